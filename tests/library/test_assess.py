"""The rows of `Assess` are those of `sort`, in whatever form a batch comes."""

import io
import pickle
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import abc_hf
from abc_hf.inference import Assess
from abc_hf.library import assess as module
from abc_hf.library.sort import sort_library
from abc_hf.library.table import COLUMNS, thumbnail_files
from abc_hf.photos import load_photo
from abc_hf.pipeline import BlurUnderstandingPipeline


@pytest.fixture
def paths(photo, tmp_path):
    """Photos of two shapes, one that is none, and one that is not there."""
    for number in range(3):
        photo(*((64, 48), (48, 64))[number % 2], number).save(tmp_path / f"{number}.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    return [str(tmp_path / name) for name in ("broken.jpg", "2.jpg", "0.jpg", "missing.jpg", "1.jpg")]


@pytest.fixture
def assess(tiny_folder, pipelines_once):
    return Assess(tiny_folder, device="cpu")


def rows_of(columns: dict) -> list[dict]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def assert_alike(rows: list[dict], others: list[dict], but=()):
    assert len(rows) == len(others) > 0
    for row, other in zip(rows, others, strict=True):
        assert {name: row[name] for name in row if name not in but} == {
            name: pytest.approx(other[name], abs=1e-5) if isinstance(other[name], float) else other[name]
            for name in other
            if name not in but
        }


def test_rows_are_those_of_sort(paths, assess, tiny_folder, tmp_path):
    table = assess(pa.table({"path": paths}))
    assert table.schema.equals(COLUMNS) and table["path"].to_pylist() == paths
    assert sort_library(paths, tmp_path / "out", model=tiny_folder, device="cpu", workers=0) == 1
    sorted_rows = {row["path"]: row for row in pq.read_table(tmp_path / "out" / "photos.parquet").to_pylist()}
    assert_alike(table.to_pylist(), [sorted_rows[path] for path in paths])
    assert [row["label"] is None for row in table.to_pylist()] == [True, False, False, True, False]
    assert table["error"][3].as_py() == "there is no such file."


def test_all_forms_of_a_batch(paths, assess):
    expected = assess(pa.table({"path": paths})).to_pylist()
    assert_alike(rows_of(assess({"path": paths})), expected)
    for arrays in (assess({"path": np.array(paths, object)}), assess(np.array(paths, object))):
        assert arrays["score"].dtype == np.float32 and arrays["label"].tolist() == [row["label"] for row in expected]
    frame = assess(pd.DataFrame({"path": paths}))
    assert isinstance(frame, pd.DataFrame)
    assert_alike(pa.Table.from_pandas(frame, COLUMNS, preserve_index=False).to_pylist(), expected)
    assert assess({"path": []}) == {name: [] for name in COLUMNS.names}
    with pytest.raises(ValueError, match="A batch for Assess has a column `path`, `bytes` or `image`."):
        assess({"photo": paths})


def test_bytes_and_images(paths, assess):
    paths = [path for path in paths if "missing" not in path]
    expected = assess({"path": paths})
    files = [Path(path).read_bytes() for path in paths]
    given = assess({"path": paths, "bytes": files})
    assert given["bytes"] == list(map(len, files))
    assert_alike(rows_of(given), rows_of(expected), but=("modified", "error"))
    assert_alike(rows_of(assess(files)), rows_of(expected), but=("path", "modified", "error"))
    as_datasets = assess({"image": [{"bytes": file, "path": path} for file, path in zip(files, paths, strict=True)]})
    assert as_datasets["path"] == paths and as_datasets["label"] == expected["label"]
    images = [load_photo(path) for path in paths[1:]]
    pixels = assess({"image": [images[0], np.asarray(images[1]), None]})
    assert pixels["label"] == [*expected["label"][1:3], None] and pixels["path"] == [None] * 3


def test_small_pictures(paths, assess, tiny_folder, tmp_path):
    """The bytes of the files that `sort` writes."""
    sort_library(paths[1:2], tmp_path / "out", model=tiny_folder, device="cpu", workers=0)
    row = {
        name: values[0]
        for name, values in Assess(tiny_folder, device="cpu", columns=module.ROWS.names)([paths[1]]).items()
    }
    files = thumbnail_files(tmp_path / "out", paths[1])
    assert [row[name] for name in module.PICTURES[:2]] == [file.read_bytes() for file in files]
    assert Image.open(io.BytesIO(row["attention_map"])).mode == "L"
    assert Image.open(io.BytesIO(row["blur_map"])).mode == "L"


def test_what_does_not_fit_together_is_judged_alone(paths, assess, monkeypatch):
    expected, judged = assess({"path": paths}), []
    answer = BlurUnderstandingPipeline._answer

    def little_memory(self, photos):
        judged.append(len(photos))
        if len(photos) > 1 or len(judged) == 2:
            raise torch.OutOfMemoryError("none left")
        answer(self, photos)

    monkeypatch.setattr(BlurUnderstandingPipeline, "_answer", little_memory)
    assess.batch_size = 2
    rows = assess({"path": paths})
    assert judged == [2, 1, 1, 1]
    assert [label is None for label in rows["label"]] == [True, True, False, True, False]
    assert "none left" in rows["error"][1] and rows["label"][2] == expected["label"][2]


def test_it_travels_as_its_arguments(paths, assess):
    data = pickle.dumps(assess)
    assert len(data) < 1000
    assert pickle.loads(data)({"path": paths})["label"] == assess({"path": paths})["label"]


def test_datasets_map(paths, assess):
    """With Arrow tables, so that a column without values has its type."""
    photos = datasets.Dataset.from_dict({"path": paths}).with_format("arrow")
    judged = photos.map(assess, batched=True, batch_size=2).with_format(None)
    assert judged.column_names == COLUMNS.names
    assert_alike(judged.to_list(), assess(pa.table({"path": paths})).to_pylist())


def test_it_is_public(tiny_folder):
    assert abc_hf.Assess is Assess and "Assess" in dir(abc_hf)
