"""A folder for the files of one process. It is deleted when the process ends, or when the next one starts."""

import atexit
import contextlib
import shutil
import tempfile
from pathlib import Path

import filelock

LOCK = ".lock"
"""The file that the process has locked for as long as it lives."""
_locks: dict[Path, filelock.FileLock] = {}


def own_folder(base: Path, prefix: str) -> Path:
    """Make a folder below `base`, and delete those of this prefix that crashed processes left. It is deleted when the
    process ends. Called with such a folder of this process, it returns that."""
    if base in _locks:
        return base
    base.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(base / f".{prefix}start"):  # one process at a time
        for left in base.glob(f"{prefix}*"):
            with contextlib.suppress(filelock.Timeout, OSError), filelock.FileLock(left / LOCK, blocking=False):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        _locks[folder] = filelock.FileLock(folder / LOCK, blocking=False)
        _locks[folder].acquire()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
