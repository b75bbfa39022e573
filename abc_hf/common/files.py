"""Names of files, and the one way to write a file: it is there whole or not at all."""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import BinaryIO

STEM_BYTES = 220
"""The longest stem in bytes; file systems take names of 255, and `BlurReport.save` adds up to 20."""


def unique_stems(photos: Sequence[PurePath]) -> list[str]:
    """A name without extension for each photo's files: the photo's own, shortened, with a number if it is taken."""
    stems = {}
    for photo in photos:
        own = photo.stem
        while len(os.fsencode(own)) > STEM_BYTES:
            own = own[:-1]
        stem, number = own, 2
        while stem.lower() in stems:  # not every file system tells A from a
            stem, number = f"{own}-{number}", number + 1
        stems[stem.lower()] = stem
    return list(stems.values())


def check_results(folder: Path, mark: str, names: Sequence[str]) -> None:
    """Raise ValueError if results in a folder would replace files of the user's: a file, or a folder, of one of the
    names is there, but not `mark`, which the program writes beside its results before or with them."""
    if not (folder / mark).exists():
        for path in (folder / name for name in names):
            if path.exists() and not path.is_symlink():  # a link is replaced, and its target stays
                raise ValueError(f"{path} is no result of this command; choose another folder, or move it away.")


PARTIAL = ".partial"
"""The end of the name of a file that is not finished."""


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = True, sync: bool = True) -> Iterator[BinaryIO]:
    """A new file, open for writing, that takes the name `path` when it is finished.

    Its name until then, `file.name`, cannot be guessed and has a fixed length, and the file must not exist. So no link
    is followed and no file of the user's is written to. A link called `path` is replaced, not written through.

    Args:
        overwrite: replace a file called `path`; otherwise raise `FileExistsError`.
        sync: wait until the disk has the bytes.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}{PARTIAL}")
    try:
        with open(partial, "x+b", opener=opened_new) as file:
            if overwrite and os.path.isfile(path) and not os.path.islink(path):
                shutil.copymode(path, partial)
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(partial, path) if overwrite else rename_new(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def opened_new(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def rename_new(old: Path, new: Path):
    """Rename a file. Raises FileExistsError if the new name is taken; `os.rename` would replace the file of that
    name."""
    try:
        os.link(old, new, follow_symlinks=False)
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EEXIST, errno.EXDEV, errno.ENOENT, errno.ENOSPC):
            raise
        if os.path.lexists(new):  # this file system has no hard links
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new)) from None
        os.rename(old, new)
    else:
        os.unlink(old)


def write_bytes(path: Path, data: bytes, *, sync: bool = True):
    """Write a file through `replacing`."""
    with replacing(path, sync=sync) as file:
        file.write(data)


def sha256_of(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
