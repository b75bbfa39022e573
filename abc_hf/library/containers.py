"""Reading photos, wherever they are: in files, in zip, tar and Parquet files, in Lance data sets, behind URLs."""

import contextlib
import hashlib
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

import fsspec

from ..common.text import first_line
from ..common.zips import open_zip, parts, photo_entries, unpacking_error
from ..formats import PHOTO_EXTENSIONS, RAW_EXTENSIONS
from ..photos import PhotoError, open_file
from .parquet import LancePhotos, ParquetPhotos

ZIPS = (".zip",)
ARCHIVES = (*ZIPS, ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
PARQUET = (".parquet",)
LANCE = (".lance",)
"""The extension of Lance data sets, which are folders."""
CONTAINERS = (*ARCHIVES, *PARQUET, *LANCE)
INSIDE = "!/"
"""The sign between an archive or Parquet file and its member in a path."""
MAX_MEMBER_BYTES = 500 * 2**20
"""The most that one photo may unpack or download to."""


def explained(sentence: str, error: Exception) -> str:
    """A sentence, with the error behind it."""
    return "there is no such file." if isinstance(error, FileNotFoundError) else f"{sentence} ({first_line(error)})."


@contextlib.contextmanager
def open_archive(path: str) -> Iterator[Any]:
    """A `ZipFile`, a `TarFile`, `ParquetPhotos` or `LancePhotos`, by the file's extension."""
    if path.lower().endswith(LANCE):
        yield LancePhotos(path)
        return
    with open_any(path) as file:
        if path.lower().endswith(PARQUET):
            yield ParquetPhotos(file)
        elif path.lower().endswith(ZIPS):
            with open_zip(file) as archive:
                yield archive
        else:
            with tarfile.open(fileobj=file) as archive:
                yield archive


def open_any(path: str):
    return fsspec.open(path) if "://" in path else open_file(path)


def split_member(path: str) -> tuple[str, str]:
    """An archive or a Parquet file, and its member; for any other path, the path and nothing."""
    position = path.find(INSIDE)
    while position >= 0:
        archive = path[:position]
        if archive.lower().endswith(CONTAINERS) and ("://" in archive or os.path.exists(archive)):
            return archive, path[position + len(INSIDE) :]
        position = path.find(INSIDE, position + 1)
    return path, ""


class Reader:
    """Opens photos wherever they are. The last archive stays open: its members are mostly read one after the other."""

    def __init__(self):
        self.open, self.path = contextlib.ExitStack(), ""
        self.archive: Any = None
        self.entries: dict[str, Any] = {}

    def close(self):
        self.open.close()
        self.path, self.archive, self.entries = "", None, {}

    @contextlib.contextmanager
    def photo(self, path: str) -> Iterator[str | bytes]:
        """A photo as `load_photo` takes it: the path of a local file, or bytes. A RAW file, which is told by its
        extension, is written to a temporary file. Raises PhotoError if it cannot be read, or is larger than
        `MAX_MEMBER_BYTES`."""
        archive, member = split_member(path)
        if not member and "://" not in path:
            yield path
            return
        data = self.read(archive, member)
        extension = os.path.splitext(member or path.partition("::")[0])[1]
        if extension.lower() not in RAW_EXTENSIONS:
            yield data
            return
        with tempfile.TemporaryDirectory() as folder:
            name = os.path.join(folder, f"photo{extension}")
            with open(name, "wb") as file:
                file.write(data)
            yield name

    def read(self, path: str, member: str) -> bytes:
        """The bytes of a file, or of an archive's member, counted while they are unpacked."""
        name = f"{path}{INSIDE}{member}" if member else path
        try:
            with self.member(path, member) if member else open_any(path) as file:
                data = bytearray()
                for part in parts(file):
                    data += part
                    if len(data) > MAX_MEMBER_BYTES:
                        break
        except PhotoError as error:
            raise PhotoError(f"{name}: {error}") from None
        except Exception as error:  # as in `in_archive`
            if path.lower().endswith(ZIPS) and not isinstance(error, OSError | KeyError):
                raise PhotoError(f"{name}: {unpacking_error(error)}") from error
            raise PhotoError(f"{name}: {explained('it cannot be read', error)}") from error
        if len(data) > MAX_MEMBER_BYTES:
            raise PhotoError(f"{name}: it unpacks to more than {MAX_MEMBER_BYTES >> 20} MB.")
        return bytes(data)

    def sha256(self, path: str) -> str | None:
        """Of a photo's file, in hexadecimal digits; None if it cannot be read."""
        try:
            with self.photo(path) as photo:
                return sha256(photo)
        except (PhotoError, OSError):
            return None

    def member(self, path: str, member: str):
        if self.path != path:
            self.close()
            self.archive = self.open.enter_context(open_archive(path))
            self.path = path
            if isinstance(self.archive, tarfile.TarFile):
                self.entries = {entry.name: entry for entry in self.archive}  # it would look through all for each
            elif isinstance(self.archive, zipfile.ZipFile):
                self.entries = dict(photo_entries(self.archive, PHOTO_EXTENSIONS))
        if isinstance(self.archive, tarfile.TarFile):
            return self.archive.extractfile(self.entries.get(member, member))
        return self.archive.open(self.entries.get(member, member))


def sha256(photo: str | bytes) -> str:
    """Of a file or of bytes, in hexadecimal digits."""
    if isinstance(photo, bytes):
        return hashlib.sha256(photo).hexdigest()
    with open_file(photo) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
