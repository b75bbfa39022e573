"""One job at a time in a folder of results."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def only_job(out: Path) -> Iterator[None]:
    """Make a folder, and hold it for one job at a time; the system releases it when the process ends, even if it
    crashes. Raises ValueError if another job has it, or nothing can be written there."""
    lock = FileLock(out / "lock", timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ValueError(f"{out} is in use by another sort or watch; wait for it, or choose another --out.") from None
    except OSError as error:
        raise ValueError(f"{out} cannot be written to ({error.strerror}); choose another folder.") from None
    try:
        yield
    finally:
        lock.release()
