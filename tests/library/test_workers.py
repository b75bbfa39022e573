"""Photos made to do harm, in processes that are within limits."""

import itertools
import os
import signal
import threading
import time

import pytest
import torch

from abc_hf.inference import processes
from abc_hf.library import workers
from abc_hf.library.find import Found
from abc_hf.library.workers import Workers, judges


class Hostile(workers.Preparer):
    """Does harm for some names."""

    def __call__(self, path, data=None):
        if "spins" in path:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                pass
        if "grows" in path:
            bytearray(processes.MEMORY + 1)
        if "crashes" in path:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().__call__(path, data)


def test_a_photo_that_does_harm_is_an_error_and_the_others_are_not(photo, tmp_path, tiny_folder, monkeypatch):
    names = ["0.jpg", "spins.jpg", "1.jpg", "grows.jpg", "2.jpg", "crashes.jpg", "3.jpg", "4.jpg"]
    for number, name in enumerate(names):
        photo(64, 48, number).save(tmp_path / name)
    monkeypatch.setattr(workers, "Preparer", Hostile)
    monkeypatch.setattr(processes, "CPU_SECONDS", 1)
    pool = Workers(tiny_folder, 1)
    try:
        answers = list(pool.prepared(Found(str(tmp_path / name), 1, 1.0) for name in names))
    finally:
        pool.stop()
    assert [os.path.basename(found.path) for found, _ in answers] == names
    errors = {os.path.basename(found.path): prepared["error"] for found, prepared in answers if "error" in prepared}
    assert errors == {
        "spins.jpg": "opening it takes more than 1 seconds of CPU time.",
        "grows.jpg": "there is not enough memory to open it.",
        "crashes.jpg": "the process that opened it crashed; the photo is damaged, or too large for the memory.",
    }


@pytest.mark.parametrize("harm", [MemoryError(), RecursionError(), SystemError("decoder"), OSError("broken")])
def test_whatever_is_raised_is_the_photos_error(photo, tmp_path, tiny_folder, monkeypatch, harm):
    def fail(preview):
        raise harm

    photo(64, 48).save(tmp_path / "0.jpg")
    monkeypatch.setattr(workers, "thumbnail", fail)
    prepared = workers.Preparer(tiny_folder)(str(tmp_path / "0.jpg"))
    assert list(prepared) == ["error"] and prepared["error"].endswith(".")


def test_judges_work_at_the_same_time_and_answer_in_order():
    """Each waits for the other; the threads of PyTorch are divided among them, and given back."""
    before, together = torch.get_num_threads(), threading.Barrier(2, timeout=20)

    def judge(number):
        together.wait()
        time.sleep(0.02 * (number % 2 == 0))
        return number, threading.get_ident(), torch.get_num_threads()

    torch.set_num_threads(4)
    try:
        with judges(2) as in_turn:
            numbers, threads, cores = zip(*in_turn(judge, range(6)), strict=True)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert numbers == (0, 1, 2, 3, 4, 5) and len({*threads}) == 2 and {*cores} == {2}


def test_judges_take_no_more_items_than_they_need_and_pass_errors_on():
    taken = []

    def judge(number):
        if number == 3:
            raise OSError("no room")
        return number

    with judges(2) as in_turn:
        rows = in_turn(judge, (taken.append(number) or number for number in itertools.count()))
        assert [next(rows) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(OSError, match="no room"):
            next(rows)
    assert len(taken) <= 6
