"""`abc-fusenet sort hf://datasets/...`, from a Hub on this machine."""

import datetime
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfFileSystem

from abc_hf.cli import main
from tests.hub.mini_hub import TIME, Repo

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dataset(stand, photo):
    """A repository of three photos in Parquet, one in a tar file, as WebDataset has them, and one as it is."""

    def jpeg(seed):
        file = io.BytesIO()
        photo(64, 48, seed).save(file, "jpeg")
        return file.getvalue()

    rows, shard = io.BytesIO(), io.BytesIO()
    images = [{"bytes": jpeg(seed), "path": f"{seed}.jpg"} for seed in range(3)]
    made = datasets.Dataset.from_dict({"image": images}, features=datasets.Features({"image": datasets.Image()}))
    made.to_parquet(rows, batch_size=2)
    with tarfile.open(fileobj=shard, mode="w") as archive:
        for name, data in (("0003.jpg", jpeg(3)), ("0003.cls", b"1")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    files = {"data/train-00000-of-00001.parquet": rows, "web/0.tar": shard, "more/4.jpg": io.BytesIO(jpeg(4))}
    repo = stand.hub.repos["dataset", "me/shots"] = Repo("dataset", "me/shots")
    repo.commit("main", "photos", {name: (file.getvalue(), name[-1] != "g") for name, file in files.items()})
    return "hf://datasets/me/shots"


@pytest.mark.slow
def test_photos_wherever_a_data_set_has_them(stand, dataset, tiny_folder, tmp_path, capsys):
    """Opened in a process of their own; the second call, which has nothing to judge, is made in this one."""
    words = ["sort", dataset, "--out", str(tmp_path), "--model", str(tiny_folder), "--workers", "1"]
    environment = stand.environment(PYTHONPATH=str(ROOT))
    command = [sys.executable, "-m", "abc_hf", *words]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "5 photos, of which 0 were judged before." in run.stdout
    rows = pq.read_table(tmp_path / "photos.parquet").to_pylist()
    assert [row["path"] for row in rows] == [
        *(f"{dataset}/data/train-00000-of-00001.parquet!/image/{row}" for row in range(3)),
        f"{dataset}/more/4.jpg",
        f"{dataset}/web/0.tar!/0003.jpg",
    ]
    assert all(row["label"] and row["width"] == 64 for row in rows)
    assert len({row["perceptual_hash"] for row in rows}) == 5
    assert rows[0]["modified"] == datetime.datetime.fromisoformat(TIME).timestamp()
    HfFileSystem.clear_instance_cache()  # of another test's Hub
    main(words)
    assert "5 photos, of which 5 were judged before." in capsys.readouterr().out
