"""The script that judges a data set on the Hub: started as a file, with what its own metadata asks for."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import datasets
import pytest
from packaging.requirements import Requirement

from abc_hf import load_pipeline
from hub import push_model
from tests.hub.card_schema import problems
from tests.hub.mini_hub import Repo

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "hub" / "judge_dataset.py"
EXAMPLES = ROOT / "abc_hf" / "examples"
NAMES = ("bokeh.jpg", "night.jpg", "all-sharp.jpg")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def photos(stand, scored_folder, tmp_path_factory):
    """tester/photos: three photos and a damaged file; tester/blur: a model. Returns the model's folder."""
    features = datasets.Features({"title": datasets.Value("string"), "photo": datasets.Image()})
    files = [(name, (EXAMPLES / name).read_bytes()) for name in NAMES] + [("damaged.jpg", b"\xff\xd8 no photo")]
    rows = [{"title": name, "photo": {"bytes": data, "path": name}} for name, data in files]
    path = tmp_path_factory.mktemp("photos") / "train-00000-of-00001.parquet"
    datasets.Dataset.from_list(rows, features=features).to_parquet(path)
    repo = stand.hub.repos["dataset", "tester/photos"] = Repo("dataset", "tester/photos")
    repo.commit("main", "photos", {"data/train-00000-of-00001.parquet": (path.read_bytes(), True)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push_model, "check", lambda pipeline, folder: 0.0)
        patch.setattr(push_model, "write_networks", lambda pipeline, folder: None)
        push_model.main([str(scored_folder), "--repo", "tester/blur", "--yes"])
    return scored_folder


def judge(stand, folder: Path, *words) -> subprocess.CompletedProcess:
    """Start a copy of the script where this project cannot be imported."""
    script = shutil.copy(SCRIPT, folder)
    code = f"import runpy, sys; sys.modules['abc_hf'] = None; runpy.run_path({str(script)!r}, run_name='__main__')"
    leave = "try:\n    exec(sys.stdin.read())\nfinally:\n    sys.stdout.flush(), sys.stderr.flush()"
    command = [sys.executable, "-I", "-c", f"import sys\n{leave}", *words]
    return subprocess.run(
        command, input=code, cwd=folder, env=stand.environment(), capture_output=True, text=True, timeout=300
    )


def test_it_asks_for_what_the_package_asks_for():
    block = re.search(r"^# /// script\n((?:#.*\n)*?)# ///$", SCRIPT.read_text(), re.MULTILINE)[1]
    metadata = tomllib.loads(re.sub(r"^# ?", "", block, flags=re.MULTILINE))
    assert metadata["requires-python"] == PROJECT["requires-python"]
    lines = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["train"]]
    ours = {each.name: each for each in map(Requirement, lines)}
    for each in map(Requirement, metadata["dependencies"]):
        assert str(each.specifier) == str(ours[each.name].specifier)


@pytest.mark.slow
def test_it_writes_a_verdict_for_each_photo(stand, photos, tmp_path):
    done = judge(stand, tmp_path, "tester/photos", "tester/verdicts", "--model", "tester/blur", "--private")
    assert "4 photos judged, 1 could not be; the verdicts are in the data set tester/verdicts." in done.stdout, (
        done.stderr
    )
    files = stand.hub.files("dataset", "tester/verdicts")
    text = files["README.md"].decode()
    assert problems("dataset", text) == [] and "(https://huggingface.co/datasets/tester/photos)" in text
    assert stand.hub.repos["dataset", "tester/verdicts"].extra["private"]
    read = 'import datasets, json; print(json.dumps(list(datasets.load_dataset("tester/verdicts", split="train"))))'
    *rows, damaged = stand.run(read, tmp_path)
    assess = load_pipeline(photos, device="cpu")
    for number, (name, row) in enumerate(zip(NAMES, rows, strict=True)):
        expected = assess(EXAMPLES / name).to_dict()
        assert (row["row"], row["file"], row["error"]) == (number, name, None)
        assert all(row[key] == expected[key] for key in ("label", "certain", "kind", "reason"))
        for key, value in {**expected["probabilities"], "score": expected["score"]}.items():
            assert row[key] == pytest.approx(value, abs=1e-4)
    assert damaged["label"] is None and damaged["row"] == 3 and damaged["error"]


@pytest.mark.slow
def test_an_existing_data_set_is_left_alone(stand, photos, tmp_path):
    before = stand.hub.repos["dataset", "tester/photos"].resolve("main")
    done = judge(stand, tmp_path, "tester/photos", "tester/photos", "--model", "tester/blur")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "judge_dataset: The data set tester/photos exists; choose another name, or delete it."
    )
    assert stand.hub.repos["dataset", "tester/photos"].resolve("main") == before


@pytest.mark.slow
def test_a_column_that_holds_no_photos_is_named(stand, photos, tmp_path):
    words = ["tester/photos", "tester/none", "--model", "tester/blur", "--column", "title"]
    done = judge(stand, tmp_path, *words)
    assert "tester/photos has no photos in a column title; it has photo." in done.stderr
    assert ("dataset", "tester/none") not in stand.hub.repos
