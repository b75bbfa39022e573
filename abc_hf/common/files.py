"""Names of files, and writing one so that it is there whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def unique_stems(photos: list[Path]) -> list[str]:
    """A name without extension for what is written of each photo: its own, with a number if it is taken."""
    stems = {}
    for photo in photos:
        stem, number = photo.stem, 2
        while stem.lower() in stems:  # not every file system tells A from a
            stem, number = f"{photo.stem}-{number}", number + 1
        stems[stem.lower()] = stem
    return list(stems.values())


PARTIAL = ".partial"
"""The end of the name of a file that is not finished."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write a file under, which takes the place of `path` when it is finished."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)
