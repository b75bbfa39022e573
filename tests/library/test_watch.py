import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from abc_hf.library.find import Found
from abc_hf.library.watch import Arrivals, watch_library

ROOT = Path(__file__).parents[2]


def paths(out):
    return [Path(path).name for path in pq.read_table(out / "photos.parquet")["path"].to_pylist()]


def test_photos_are_judged_as_they_arrive(photo, tmp_path, tiny_folder, caplog):
    """Each step happens while it sleeps; the last is Ctrl-C. Its clock goes on while it sleeps only."""
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    photo(64, 48, 0).save(folder / "old.jpg")
    os.utime(folder / "old.jpg", (1, 1))
    photo(64, 48, 1).save(tmp_path / "whole.jpg")
    data, tables, slept = (tmp_path / "whole.jpg").read_bytes(), [], []
    later = time.time() + 3600  # however slow this machine is, no new file is an old one

    def begin():
        (folder / "new.jpg").write_bytes(data[:500])
        os.utime(folder / "new.jpg", (later, later))

    def grow():
        (folder / "new.jpg").write_bytes(data)
        os.utime(folder / "new.jpg", (later + 1, later + 1))

    def nothing():
        pass

    def broken():
        (folder / "broken.jpg").write_bytes(b"no photo")

    def vanish():
        (folder / "old.jpg").unlink()

    def end():
        raise KeyboardInterrupt

    steps = iter([begin, grow, nothing, nothing, broken, nothing, nothing, nothing, vanish, nothing, end])

    def sleep(seconds):
        assert seconds >= 1
        slept.append(seconds)
        tables.append(paths(out))
        next(steps)()

    watch_library(
        [str(folder)],
        out,
        sleep,
        lambda: sum(slept),
        model=tiny_folder,
        device="cpu",
        workers=0,
    )
    assert tables[0] == tables[1] == tables[2] == ["old.jpg"], "what is there; and nothing that still grows"
    assert ["new.jpg", "old.jpg"] in tables
    assert tables[-1] == paths(out) == ["broken.jpg", "new.jpg"]
    (sentence,) = caplog.messages
    assert sentence.startswith(f"{folder}/broken.jpg: "), "told once"


def test_a_file_is_taken_when_it_stops_growing():
    arrivals, now = Arrivals(), time.time()
    old, new = Found("old", 1, now - 100), Found("new", 1, now)
    assert list(arrivals.settled([old, new])) == [old]
    grown = Found("new", 2, now)
    assert list(arrivals.settled([grown])) == []
    assert list(arrivals.settled([grown])) == [grown]
    assert list(arrivals.settled([])) == []
    assert list(arrivals.settled([Found("unknown", 1, None)])) == [Found("unknown", 1, None)]


@pytest.mark.slow
def test_the_command(photo, tmp_path, tiny_folder):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    command = [sys.executable, "-m", "abc_hf", "watch", folder, "--out", out, "--model", tiny_folder]
    process = subprocess.Popen(
        [*command, "--device", "cpu"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert any(line.startswith("Watching; Ctrl-C ends it.") for line in process.stdout)
    photo(64, 48, 1).save(folder / "new.jpg")
    deadline = time.monotonic() + 120
    while not (out / "photos.parquet").exists() or not paths(out):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    text, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Judged 1 photo in" in text
    assert err == f"abc-fusenet: {folder}: the folder holds no photos.\n"
    assert paths(out) == ["new.jpg"]
