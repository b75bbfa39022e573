"""The folder of an evaluation, as the command leaves it, and the mistakes one can make."""

import json
import shutil
import sys

import datasets
import numpy as np
import pytest
from PIL import Image

from abc_hf.cli import main
from abc_hf.evaluation.results import read_results, table
from tests.toy_photos import write_toy_split


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """`set`; `right` and `wrong`, folders of maps for it; and `right.json` and `wrong.json`, their results."""
    folder = tmp_path_factory.mktemp("toy")
    rows = datasets.load_dataset(str(write_toy_split(folder / "set")), split="test")
    for name in ("right", "wrong"):
        (folder / name).mkdir()
    for index, row in enumerate(rows):
        truth = np.zeros((32, 48)) if row["blur_map"] is None else np.minimum(np.asarray(row["blur_map"]), 3) / 3
        np.save(folder / "right" / f"photo{index}.npy", truth)
        Image.fromarray(np.uint8(np.rint(255 * (1 - truth)))).save(folder / "wrong" / f"photo{index}.png")
    for name in ("right", "wrong"):
        assert evaluate(folder, "--predictions", folder / name, "--out", folder / "out") == 0
        shutil.copy(folder / "out" / "results.json", folder / f"{name}.json")
    return folder


def evaluate(folder, *arguments) -> int:
    return main(["evaluate", "--dataset", str(folder / "set"), *map(str, arguments)])


@pytest.mark.slow
def test_compare_draws_one_table_and_one_plot(toy, tmp_path, capsys):
    files = [str(toy / "right.json"), str(toy / "wrong.json")]
    assert main(["evaluate", "--compare", *files, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out == (tmp_path / "comparison.md").read_text()
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in out.splitlines()]
    figures = {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:] if len(row) > 1 and row[1] == "all"}
    assert figures["right"]["pooled AP"] == "1.000" and figures["right"]["photos"] == "8"
    assert float(figures["wrong"]["pooled AP"]) < 0.8
    assert {path.name for path in tmp_path.iterdir()} == {"comparison.md", "comparison.png"}


@pytest.mark.slow
def test_a_model_beside_a_peer(toy, tiny_folder, tmp_path, capsys):
    arguments = [tiny_folder, "--predictions", toy / "right", "--device", "cpu", "--out", tmp_path]
    assert evaluate(toy, *arguments) == 0
    assert read_results(tmp_path / "peer.json")["blur_map"] == read_results(toy / "right.json")["blur_map"]
    assert read_results(tmp_path / "results.json")["name"] == "tiny"
    assert capsys.readouterr().out.count("| right") == 4  # all, defocus, motion, and the rest


def test_only_so_many_photos(toy, tmp_path):
    assert evaluate(toy, "--predictions", toy / "right", "--max-samples", 3, "--out", tmp_path) == 0
    assert [entry["row"] for entry in read_results(tmp_path / "results.json")["per_photo"]] == [0, 4, 8]


def test_results_are_strict_json(toy):
    def refuse(constant):
        raise AssertionError(constant)

    json.loads((toy / "right.json").read_text(), parse_constant=refuse)


def test_the_table_omits_missing_scores():
    assert table([{"name": "x", "desirability": {"photos": 3, "accuracy": 0.5}}]).splitlines()[2].split() == [
        *("| x | 3 | 0.500 | - | - | - | - |".split())
    ]


def mistake(folder, capsys, *arguments) -> str:
    capsys.readouterr()
    assert evaluate(folder, *arguments) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("abc-fusenet: ")
    return err


def test_mistakes_with_files(toy, tmp_path, capsys):
    right = ["--predictions", toy / "right", "--out", tmp_path / "out"]
    curves = tmp_path / "curves"
    assert "there is no such folder" in mistake(toy, capsys, *right, "--peer-curves", curves)
    curves.mkdir()
    assert "holds no curves" in mistake(toy, capsys, *right, "--peer-curves", curves)
    (curves / "Peer.txt").write_text("0.5 0.5\n2 0\n")
    assert "Peer.txt must hold rows of a precision and a recall" in mistake(
        toy, capsys, *right, "--peer-curves", curves
    )
    assert "no split train; it has test" in mistake(toy, capsys, *right, "--split", "train")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text("[]")
    assert "out/results.json is not the results.json of an evaluation; choose" in mistake(toy, capsys, *right)
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["[]"]


def compare_mistake(capsys, out, *files) -> str:
    capsys.readouterr()
    assert main(["evaluate", "--compare", *map(str, files), "--out", str(out)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and not out.exists()
    return err


def test_mistakes_in_comparing(toy, tmp_path, capsys):
    out = tmp_path / "out"
    assert "gone.json: there is no such file" in compare_mistake(
        capsys, out, toy / "right.json", tmp_path / "gone.json"
    )
    (tmp_path / "other.json").write_text("{}")
    assert "other.json is not the results.json" in compare_mistake(capsys, out, tmp_path / "other.json")
    (tmp_path / "other.json").write_text("nonsense")
    assert "other.json: cannot be read as JSON" in compare_mistake(capsys, out, tmp_path / "other.json")
    evaluate(toy, "--predictions", toy / "right", "--max-samples", 3, "--out", tmp_path / "few")
    few = tmp_path / "few" / "results.json"
    said = compare_mistake(capsys, out, toy / "right.json", few)
    assert "8 photos" in said and "2 photos" in said and "are not of the same photos" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Give MODEL, --predictions or both, with --dataset; or --compare and results.json files."),
        (["bundled"], "Give MODEL, --predictions or both, with --dataset"),
        (["bundled", "--dataset", "x", "--compare", "a.json"], "--compare takes results.json files alone"),
        (["--predictions", "x", "--dataset", "y", "--save-maps", "z"], "--save-maps writes the maps of a MODEL"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(arguments, said, tmp_path, capsys):
    assert main(["evaluate", *arguments, "--out", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_without_the_extra_it_is_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert main(["evaluate", "bundled", "--dataset", "x", "--out", str(tmp_path)]) == 1
    said = 'abc-fusenet: Evaluation needs more packages; run `pip install "abc-fusenet[train]"`.\n'
    assert capsys.readouterr().err == said
