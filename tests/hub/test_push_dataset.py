"""Data sets pushed to a Hub on this machine: what may be passed on, as people and streams read it."""

import contextlib
import csv
import io
import json
import re
import shlex
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from abc_hf.data import build
from abc_hf.data.build import main as build_dataset
from abc_hf.data.schema import FEATURES
from abc_hf.data.sources import png
from hub import push_dataset
from hub.push_dataset import HERE, allowed, region_rows
from tests.hub.card_schema import eval_problems, problems
from tests.hub.mini_hub import Repo
from tests.toy_photos import ROWS, write_toy_photos

OPEN = {"CC0-1.0", "CC-BY-SA-4.0", "Unsplash", "unrestricted"}


def load(folder: Path, tmp_path: Path) -> datasets.Dataset:
    files = [str(path) for path in (folder / "data").glob("train-*.parquet")]
    return datasets.Dataset.from_parquet(files, cache_dir=str(tmp_path / "cache"))


def photo(seed: int) -> dict:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    return png(pixels)


def write_rows(folder: Path, rows: list[tuple], split: str = "train") -> Path:
    """A data set of rows of (source, licence, with a subject)."""
    grey = png(np.zeros((48, 64)))
    made = [
        dict.fromkeys(FEATURES)
        | {"image": photo(index), "blur_map": grey, "salient_mask": grey if subject else None}
        | {"desirability": index % 4, "blur_kind": "defocus", "source": source, "license": terms}
        for index, (source, terms, subject) in enumerate(rows)
    ]
    (folder / "data").mkdir(parents=True, exist_ok=True)
    path = folder / "data" / f"{split}-00000-of-00001.parquet"
    datasets.Dataset.from_list(made, features=FEATURES).to_parquet(path)
    return folder


MIXED = [
    ("synth/frame/1", "CC0-1.0", False),
    ("synth/frame/2", "CC-BY-SA-4.0", False),
    ("synth/subject/3", "Unsplash + unrestricted", True),
    ("synth/subject/4", "CC0-1.0 + none stated", True),
    ("synth/subject/5", "CC0-1.0", True),  # built before the subject's terms were kept
    ("synth/frame/6", "none stated", False),
]


@pytest.fixture
def quick(monkeypatch):
    """Without the check in a fresh interpreter, which takes seconds."""
    monkeypatch.setattr(push_dataset, "check", lambda *_: None)


@pytest.fixture(scope="module")
def pushed(stand, tmp_path_factory):
    """What a push of `MIXED` and a validation split said; it is then at tester/synth."""
    folder = write_rows(tmp_path_factory.mktemp("mixed") / "synth", MIXED)
    write_rows(folder, MIXED[:2], "validation")
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.MonkeyPatch.context() as patch:
        patch.setattr(push_dataset, "check", lambda *_: None)
        push_dataset.main([str(folder), "--repo", "tester/synth", "--yes"])
    return folder, out.getvalue()


@pytest.mark.parametrize(
    ("source", "terms", "subject", "expected"),
    [
        *((source, terms, subject, index < 3) for index, (source, terms, subject) in enumerate(MIXED)),
        ("kodak/1", "unrestricted", True, True),  # a photo as it is, with its own mask
        ("ecssd/1", "none stated", True, False),
        ("smartblur/1", "Creative Commons", False, False),
        ("skimage/1", "public domain or CC0-1.0", False, False),
    ],
)
def test_what_may_be_passed_on(source, terms, subject, expected):
    assert allowed(source, terms, subject, OPEN) is expected


def test_rows_without_permission_stay_and_are_listed(stand, pushed):
    _, said = pushed
    assert "Kept 5 rows (train 3, validation 2)" in said
    left_out = Counter({what: int(number) for number, what in re.findall(r"Left out (\d+) rows: (.*)", said)})
    assert left_out == {
        "synth, CC0-1.0 + none stated": 1,
        "synth, CC0-1.0, subject's not kept": 1,
        "synth, none stated": 1,
    }
    files = stand.hub.files("dataset", "tester/synth")
    text = files["README.md"].decode()
    assert problems("dataset", text) == [] and "Left out, because" in text and "{{" not in text
    assert "No row is bad-blur." in " ".join(text.split())
    for _, terms, _ in MIXED[:3]:
        assert terms in files["LICENSE.md"].decode()
    assert files["contact_sheet.png"].startswith(b"\x89PNG")


READ = """
import datasets, io, json
splits = datasets.load_dataset("tester/synth")
stream = next(iter(datasets.load_dataset("tester/synth", split="train", streaming=True)))
try:
    datasets.load_dataset("tester/cut")
except Exception as error:
    cut = type(error).__name__
told = {
    "sources": {name: list(part["source"]) for name, part in splits.items()},
    "modes": [row["image"].mode, row["blur_map"].mode, stream["image"].mode],
    "features": repr(splits["train"].features), "stream": stream["source"], "cut": cut,
}
print(json.dumps(told))
"""


@pytest.mark.slow
def test_the_card_works_word_for_word(stand, pushed, tmp_path):
    """And all splits, a stream, and a file that was cut short on the Hub, which is not loaded. A dry run comes first:
    it loads the folder in a fresh interpreter."""
    push_dataset.main([str(pushed[0]), "--repo", "tester/synth"])
    repo = stand.hub.repos["dataset", "tester/cut"] = Repo("dataset", "tester/cut")
    files = dict(stand.hub.repos["dataset", "tester/synth"].tree("main")[1])
    name = "data/train-00000-of-00001.parquet"
    files[name] = (files[name][0][:-200], True)
    repo.commit("main", "cut", files)
    card = stand.hub.files("dataset", "tester/synth")["README.md"].decode()
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 2
    told = stand.run("\n".join(blocks) + READ, tmp_path)
    assert told["sources"] == {"train": [row[0] for row in MIXED[:3]], "validation": [row[0] for row in MIXED[:2]]}
    assert told["modes"] == ["RGB", "L", "RGB"] and told["features"] == repr(FEATURES)
    assert told["stream"] == MIXED[0][0] and told["cut"]


def test_a_repeated_push_uploads_nothing(stand, pushed, quick, capsys):
    folder, _ = pushed
    push_dataset.main([str(folder), "--repo", "tester/synth", "--yes"])
    assert "Nothing to upload" in capsys.readouterr().out


@pytest.mark.slow
def test_the_viewer_reads_a_hundred_rows_at_a_time(tmp_path, quick):
    folder = write_rows(tmp_path / "many", [("kodak/1", "unrestricted", False)] * 805)
    push_dataset.main([str(folder), "--repo", "tester/many", "--out", str(tmp_path / "out")])
    files = sorted((tmp_path / "out" / "data").iterdir())
    assert len(files) == 8, "as many processes as that can share a stream"
    parquet = [pq.ParquetFile(file) for file in files]
    assert sum(each.metadata.num_rows for each in parquet) == 805
    groups = [each.metadata.row_group(i).num_rows for each in parquet for i in range(each.metadata.num_row_groups)]
    assert max(groups) <= 100
    first = parquet[0].read_row_group(0, columns=["image"])["image"][0].as_py()
    assert first["bytes"].startswith(b"\x89PNG"), "photos are in the file, not beside it"


def test_smartblur_is_hosted_by_the_cards_own_commands(stand, pushed, tmp_path, monkeypatch, capsys, quick):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "run_jobs", lambda jobs, workers: map(build.write_shard, jobs))  # not in processes
    for name in ("images", "blur_maps"):
        (tmp_path / "DATA" / name).mkdir(parents=True)
    with (tmp_path / "DATA" / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "desirability", "split"])
        for index, split in enumerate(("train", "train", "validation", "test")):
            (tmp_path / "DATA" / "images" / f"{index}.png").write_bytes(photo(index)["bytes"])
            Image.fromarray(np.full((48, 64), index % 4, np.uint8)).save(f"DATA/blur_maps/{index}.png")
            table.writerow([f"{index}.png", "good-blur", split])
    card = stand.hub.files("dataset", "tester/synth")["README.md"].decode()
    commands = re.search(r"```sh\n(.*?)```", card, re.DOTALL)[1].splitlines()
    mains = {"abc_hf.data.build": build_dataset, "hub.push_dataset": push_dataset.main}
    for line in commands:
        python, option, module, *arguments = shlex.split(line)
        assert (python, option) == ("python", "-m")
        mains[module](arguments)
    out = capsys.readouterr().out
    assert "Kept 4 rows (train 2, validation 1, test 1)" in out and "dry run" in out
    with pytest.raises(SystemExit, match="No row of smartblur may be passed on"):
        push_dataset.main(["smartblur", "--repo", "tester/smartblur"])


@pytest.mark.slow
def test_computed_blur_keeps_the_terms_of_the_subject(tmp_path):
    """Kodak's photo may be passed on, ECSSD's object in it may not; `--redistributable` takes neither's photos."""
    photos = write_toy_photos(tmp_path / "photos")
    arguments = ["synth", str(photos), "--workers", "1", "--count", "20", "--out"]
    build_dataset([*arguments, str(tmp_path / "all")])
    rows = load(tmp_path / "all", tmp_path)
    terms = Counter((row["source"].split("/")[2], row["license"], row["salient_mask"] is not None) for row in rows)
    assert terms.keys() <= {
        ("a", "none stated + none stated", True),
        ("a", "none stated", False),
        ("c", "unrestricted", False),
        ("c", "unrestricted + none stated", True),
    }
    assert terms["c", "unrestricted", False] and terms["c", "unrestricted + none stated", True]

    rows = [list(row) for row in ROWS]
    rows[5] = ["kodak/images/f.png", "no-blur", "", "validation"]
    with (photos / "desirability.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "desirability", "blur_kind", "split"], *rows])
    build_dataset([*arguments, str(tmp_path / "open"), "--redistributable"])
    rows = load(tmp_path / "open", tmp_path)
    assert set(rows["license"]) == {"unrestricted"} and len(rows) == 20


@pytest.mark.slow
def test_labels_go_without_photos(stand, tmp_path, capsys, monkeypatch):
    table = tmp_path / "desirability.csv"
    rows = [["file", "desirability", "blur_kind", "annotators", "agreeing", "split"]]
    rows += [[file, label, kind, 2 + index % 2, 2, split] for index, (file, label, kind, split) in enumerate(ROWS)]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    regions = tmp_path / "regions.csv"
    regions.write_text("file,cells\necssd/images/a.png,0011 0?11\nelsewhere/images/z.png,00 00\n")
    options = [str(table), "--labels-only", "--regions", str(regions), "--repo", "tester/labels", "--yes"]
    push_dataset.main(options)
    files = stand.hub.files("dataset", "tester/labels")
    assert {Path(name).suffix for name in files if name != ".gitattributes"} == {".md", ".parquet", ".yaml"}
    assert eval_problems("eval.yaml", files["eval.yaml"].decode()) == []
    assert [each["split"] for each in yaml.safe_load(files["eval.yaml"])["tasks"]] == ["test", "validation"]
    card = files["README.md"].decode()
    assert problems("dataset", card) == [] and "{{" not in card and "Made by AI vision annotators" in card
    assert "Of 6 photos the first two agree on 66.7%." in card
    code = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    tell = "\nimport json; print(json.dumps([labels[:], regions[:], labels.features['desirability'].names]))"
    labels, grids, names = stand.run(code + tell, tmp_path)
    assert labels["file"] == [row[0] for row in ROWS if row[3] == "train"]
    assert [names[index] for index in labels["desirability"]] == [row[1] for row in ROWS if row[3] == "train"]
    assert grids == {"file": ["ecssd/images/a.png"], "cells": ["0011 0?11"], "annotator": [1]}
    capsys.readouterr()
    monkeypatch.setattr(push_dataset, "check", lambda *_: None)
    push_dataset.main(options)
    assert "Nothing to upload" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "category"),
    [(999, "n<1K"), (1_000, "1K<n<10K"), (99_999, "10K<n<100K"), (150_000, "100K<n<1M"), (2_000_000, "1M<n<10M")],
)
def test_sizes_are_in_the_hub_s_words(rows, category):
    data = push_dataset.card_data(["CC0-1.0"], "Toy", rows)
    assert data.size_categories == [category] and problems("dataset", f"---\n{data.to_yaml()}\n---\n") == []


def test_agreement_counts_photos_that_all_agree_on():
    rows = [{"annotators": str(of), "agreeing": str(agree)} for of, agree in ((2, 2), (3, 3), (3, 2), (3, 1))]
    assert push_dataset.agreement([*rows, {}], []) == "Of 4 photos the first two agree on 50.0%."


def mistake(*arguments) -> str:
    with pytest.raises(SystemExit) as error:
        push_dataset.main([*map(str, arguments), "--repo", "tester/x"])
    assert "\n" not in str(error.value)
    return str(error.value)


def test_mistakes_are_one_sentence(tmp_path):
    assert "holds no data/*.parquet" in mistake(tmp_path)
    folder = write_rows(tmp_path / "closed", [("ecssd/1", "none stated", False)])
    assert "No row of" in mistake(folder)
    assert "--permit is about photos" in mistake(folder, "--labels-only", "--permit", "x")
    (folder / "data" / "train-00000-of-00001.parquet").write_bytes(b"no parquet")
    assert "train-00000-of-00001.parquet is damaged at row 0" in mistake(folder)
    assert "holds no labels.csv" in mistake(tmp_path / "labels.csv", "--labels-only")
    outside = tmp_path / "desirability.csv"
    outside.write_text("file,desirability,blur_kind,split\n/home/me/a.jpg,no-blur,,train\n")
    assert "is not a path in a data set" in mistake(outside, "--labels-only")


def test_rows_that_get_lost_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(push_dataset, "run_cold", lambda *_: {"default": {"train": 3}})
    with pytest.raises(ValueError, match=r"loaded as .*'train': 3.* instead of .*'train': 4"):
        push_dataset.check(tmp_path, {"default": {"train": 4}})


def test_the_bundled_regions_are_of_the_form_that_is_uploaded():
    path = HERE / "labels" / "blur_regions.csv"
    files = [row["file"] for row in csv.DictReader(path.read_text().splitlines())]
    by_split = region_rows([path], dict.fromkeys(files, "train"))
    assert len(by_split["train"]) == len(files) and json.dumps(by_split["train"][0])
