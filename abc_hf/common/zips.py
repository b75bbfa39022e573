"""Photos inside zip files: their names, which of them count, and the reason why one cannot be unpacked."""

import struct
import zipfile
from collections.abc import Iterator
from typing import IO, BinaryIO

from .names import is_photo

ENTRY, DIRECTORY = b"PK\x03\x04", b"PK\x01\x02"
"""How the header of an entry begins, beside its data and in the directory at the end of the file."""
IS_UTF8 = 0x08
"""The bit of the second byte of an entry's flags that says that the entry's name is UTF-8."""


def open_zip(file: BinaryIO, max_directory: int | None = None) -> zipfile.ZipFile:
    """A zip file whose names are read by `entry_name`; one name that is damaged does not hide the other entries. A
    table of contents of more than `max_directory` bytes is refused, because it is held in memory."""
    return zipfile.ZipFile(_UnflaggedNames(file, max_directory))


def photo_entries(archive: zipfile.ZipFile, extensions: tuple[str, ...]) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """The entries of an archive of `open_zip` that are photos by `names.is_photo`, each with its name and folders."""
    for entry in archive.infolist():
        name = entry_name(entry)
        if not entry.is_dir() and is_photo(name, extensions):
            yield name, entry


def entry_name(entry: zipfile.ZipInfo) -> str:
    """The name as UTF-8, which macOS writes without saying so; if the name is no UTF-8, as code page 437."""
    try:
        return entry.filename.encode("cp437").decode().replace("\\", "/")
    except UnicodeError:
        return entry.filename.replace("\\", "/")


def parts(file: IO[bytes]) -> Iterator[bytes]:
    """The bytes of an entry, in parts. `zipfile` unpacks all of bzip2 and LZMA that it reads, so it reads little."""
    while part := file.read(2**12):
        yield part


def unpacking_error(error: Exception) -> str:
    """The sentence for an error that `zipfile` raised while an entry was unpacked."""
    if isinstance(error, NotImplementedError):
        return "it is packed in a way that cannot be read here; pack the photos again as a plain zip."
    if isinstance(error, RuntimeError) and "password" in str(error):
        return "it is locked by a password."
    if isinstance(error, MemoryError):
        return "there is not enough memory to unpack it."
    return "it cannot be unpacked; the archive is damaged."


class _UnflaggedNames:
    """A zip file in which no entry claims that its name is UTF-8.

    `zipfile` refuses the whole file if one such name is damaged. Without the claim it reads every name as code page
    437, which can say any bytes.
    """

    def __init__(self, file: BinaryIO, max_directory: int | None):
        self.file, self.max_directory = file, max_directory

    def __getattr__(self, name: str):
        return getattr(self.file, name)

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        if size == 30 and data.startswith(ENTRY) and len(data) == 30:
            return data[:7] + bytes([data[7] & ~IS_UTF8]) + data[8:]
        if data.startswith(DIRECTORY):
            if self.max_directory is not None and len(data) > self.max_directory:
                raise zipfile.BadZipFile("the table of contents is too large")
            data, at = bytearray(data), 0
            while data.startswith(DIRECTORY, at) and at + 46 <= len(data):
                data[at + 9] &= ~IS_UTF8
                at += 46 + sum(struct.unpack_from("<3H", data, at + 28))
            return bytes(data)
        return data
