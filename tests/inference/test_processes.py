"""Processes that call a function; `tests/library/test_workers.py` tests their limits with photos."""

import time

import pytest

from abc_hf.inference.processes import Processes
from abc_hf.photos import PhotoError


def slow():
    return time.sleep


def test_stopping_ends_a_call():
    start = time.monotonic()
    pool = Processes(1, slow, ())
    future = pool.submit(300)
    while not pool.workers[0].process:
        time.sleep(0.01)
    time.sleep(0.5)
    pool.stop()
    with pytest.raises(PhotoError, match="the run ends"):
        future.result()
    assert time.monotonic() - start < 60
