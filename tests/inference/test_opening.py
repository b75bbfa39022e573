"""Photos opened in processes of their own: the same photos, the same sentences, and limits."""

import io
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from abc_hf import load_pipeline, photos
from abc_hf.inference import opening, processes
from abc_hf.inference.side_by_side import loupe
from abc_hf.photos import PhotoError

SECONDS = "opening it takes more than 0.3 seconds of CPU time."


def test_the_photos_are_the_same(photo, tmp_path, monkeypatch):
    photo(640, 480).save(tmp_path / "a.jpg", exif=photo(8, 8).getexif())
    monkeypatch.chdir(tmp_path)
    data = (tmp_path / "a.jpg").read_bytes()
    for options in ({}, {"working_size": 96, "resample": 3}, {"max_pixels": 307_200}):
        expected = photos.load_photo("a.jpg", **options)
        for given in ("a.jpg", tmp_path / "a.jpg", data, bytearray(data), memoryview(data)):
            loaded = opening.load_photo(given, **options)
            assert (loaded.mode, loaded.info) == ("RGB", expected.info)
            np.testing.assert_array_equal(loaded, expected)
    assert max(expected.size) == 640 and opening.load_photo(np.zeros((4, 6), np.uint8)).size == (6, 4)


@pytest.mark.parametrize("given", [b"", b"%PDF-1.7 no photo", "missing.jpg", "a\0b.jpg", "", "\udc80.jpg", 5])
def test_the_sentences_are_the_same(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    for load in (photos.load_photo, opening.load_photo):
        with pytest.raises(PhotoError) as caught:
            load(given)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_photo_that_takes_too_long_is_an_error_and_the_next_one_is_not(photo, slow_photo, tight_limits, tiny_folder):
    pipe = load_pipeline(tiny_folder, device="cpu")
    good = io.BytesIO()
    photo(64, 48).save(good, "png")
    first, error, last = pipe([good.getvalue(), slow_photo, good.getvalue()], on_error="return")
    assert str(error) == f"{slow_photo}: {SECONDS}"
    assert first.to_dict() == last.to_dict() == pipe(photo(64, 48)).to_dict()
    with pytest.raises(PhotoError, match=SECONDS):
        loupe(slow_photo, (0.5, 0.5))


def test_a_photo_that_takes_too_much_memory_is_an_error(photo, tmp_path, monkeypatch):
    opening.stop()
    monkeypatch.setattr(processes, "MEMORY", 100 * 2**20)
    Image.new("L", (6000, 6000)).save(tmp_path / "large.png")
    photo(64, 48).save(tmp_path / "small.jpg")
    assert photos.load_photo(tmp_path / "large.png").width == 6000
    with pytest.raises(PhotoError, match="large.png: there is not enough memory to open it."):
        opening.load_photo(tmp_path / "large.png")
    assert opening.load_photo(tmp_path / "small.jpg").size == (64, 48)
    opening.stop()


def test_an_interrupted_photo_is_not_taken_for_the_next_one(photo, tmp_path, monkeypatch):
    for width in (64, 65):
        photo(width, 48).save(tmp_path / f"{width}.png")
    opening.load_photo(tmp_path / "64.png")
    opener = opening.IDLE[os.getpid()][-1]

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(opener.pipe, "recv", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opening.load_photo(tmp_path / "64.png")
    assert opener.process.returncode is not None
    assert opening.load_photo(tmp_path / "65.png").size == (65, 48)


def test_threads_get_their_own_photos(photo):
    files = []
    for width in range(60, 80):
        file = io.BytesIO()
        photo(width, 48).save(file, "png")
        files.append(file.getvalue())
    barrier = threading.Barrier(4)

    def width_of(data):
        return opening.load_photo(data).width

    with ThreadPoolExecutor(4, initializer=barrier.wait) as pool:
        assert list(pool.map(width_of, files)) == list(range(60, 80))
    assert len(opening.IDLE[os.getpid()]) <= 4 + 1


SCRIPT = """
import os, sys
from abc_hf.inference.opening import load_photo
print(load_photo(sys.argv[1]).size, flush=True)
if not os.fork():
    print(load_photo(sys.argv[1]).size, flush=True)
    os._exit(0)
os.wait()
print(load_photo(sys.argv[1]).size, "torch" in sys.modules)
"""


def test_in_a_plain_script_and_its_forks(photo, tmp_path):
    """No line of the script runs twice, and forks have processes of their own."""
    photo(64, 48).save(tmp_path / "a.png")
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", tmp_path / "script.py", tmp_path / "a.png"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (answer.stdout.split("\n"), answer.stderr) == (["(64, 48)", "(64, 48)", "(64, 48) False", ""], "")
