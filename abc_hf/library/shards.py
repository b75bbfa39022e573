"""The files of the journal, `shards/RUN-NUMBER.jsonl`: a line with the settings, then a line for each photo, each
behind its checksum."""

import contextlib
import json
import math
import os
import re
import zlib
from io import BufferedWriter
from pathlib import Path

import pyarrow as pa

from ..configuration_abc_fusenet import DESIRABILITY
from ..photos import PhotoError, open_file
from .table import COLUMNS, PROBABILITIES, thumbnail_files

SHARD_ROWS = 500
"""Rows of a shard."""
SHARD_COLUMNS = COLUMNS.append(pa.field("content", pa.string()))  # SHA-256 of the photo's file, if it was asked for
PICTURES, NOTED = "pictures", "noted"
"""Further columns of a row of the journal: size and checksum of each small picture, and the time of the row."""
SHARD = re.compile(r"\d{5,}-\d{5}\.jsonl")


class Writer:
    """Writes rows to the shards of a folder. Rows given to `add` are kept, whatever happens to the process. `settings`
    is all that changes answers, as values for JSON."""

    def __init__(self, folder: Path, settings: dict):
        self.folder, self.settings = folder, settings
        self.folder.mkdir(parents=True, exist_ok=True)
        run = 1 + max((int(stem.split("-")[0]) for stem in shards(folder)), default=0)
        self.run, self.number, self.rows = f"{run:05}", 0, 0
        self.file: BufferedWriter | None = None

    def add(self, rows: list[dict]) -> str:
        """Note rows; returns the name of the shard they are in."""
        if self.file is None:
            self.number += 1
            self.file = (self.folder / f"{self.run}-{self.number:05}.jsonl").open("xb")
            self.file.write(line_of(self.settings))
        self.file.write(b"".join(map(line_of, rows)))
        self.file.flush()
        self.rows += len(rows)
        shard = Path(self.file.name).stem
        if self.rows >= SHARD_ROWS:
            self.close()
        return shard

    def close(self):
        """End the shard of the rows so far."""
        if self.file is not None:
            file, self.file, self.rows = self.file, None, 0
            file.close()


def line_of(value) -> bytes:
    """A value as a line of JSON behind its checksum."""
    text = json.dumps(value).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def value_of(line: bytes):
    """The value of a line. Raises ValueError if the line is damaged, or was not written by `line_of`."""
    checksum, _, text = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        raise ValueError
    return json.loads(text)


def lines(path: Path) -> list[bytes]:
    """The lines of a file, but for a last one that was cut short when its process was killed. Raises PhotoError if this
    is no file."""
    with open_file(path) as file:
        return file.read().split(b"\n")[:-1]


def shards(folder: Path) -> dict[str, Path]:
    """The shards in a folder, oldest first, by name without extension."""
    return {path.stem: path for path in sorted(folder.glob("*.jsonl")) if SHARD.fullmatch(path.name)}


def read_shard(path: Path) -> tuple[dict | None, list[dict], int]:
    """Settings and rows of a shard, and the number of its lines that are damaged or foreign."""
    try:
        first, *others = lines(path) or [b""]
    except (PhotoError, IsADirectoryError):
        return None, [], 1
    rows, settings = [], None
    with contextlib.suppress(ValueError, RecursionError):
        settings = value_of(first)
    if not isinstance(settings, dict):
        return None, [], len(others) + bool(first)
    for line in others:
        with contextlib.suppress(ValueError, RecursionError):
            if is_row(row := value_of(line)):
                rows.append(row)
    return settings, rows, len(others) - len(rows)


def is_row(row) -> bool:
    """Whether a value is a row of the journal, with everything that the table and the report need."""
    if not isinstance(row, dict) or row.keys() - {PICTURES, NOTED} != set(SHARD_COLUMNS.names):
        return False
    if not row["path"] or not all(is_value(row[field.name], field.type) for field in SHARD_COLUMNS):
        return False
    if row["label"] is None:
        return row["error"] is not None
    shares = [row[name] for name in (*PROBABILITIES, "score", "blur_on_subject", "blur_on_background", "blur_fraction")]
    known = row["label"] in DESIRABILITY and row["certain"] is not None and row["reason"] is not None
    return known and all(share is not None and 0 <= share <= 1 for share in shares) and are_pictures(row)


def is_value(value, kind: pa.DataType) -> bool:
    """Whether a column of this type can hold a value."""
    if value is None:
        return True
    if pa.types.is_boolean(kind):
        return type(value) is bool
    if pa.types.is_string(kind):
        return type(value) is str and value == value.encode(errors="replace").decode()  # no half of a surrogate pair
    if pa.types.is_integer(kind):
        return type(value) is int and abs(value) < 2 ** (kind.bit_width - 1)
    return type(value) in (int, float) and math.isfinite(value)


def are_pictures(row: dict) -> bool:
    """Whether a row has sizes and checksums of its small pictures."""
    pictures = row.get(PICTURES)
    known = isinstance(pictures, list) and all(isinstance(each, list) and len(each) == 2 for each in pictures)
    return known and len(row[PICTURES]) == 2 and is_value(row.get(NOTED), pa.float64()) and row.get(NOTED) is not None


def pictures_are_there(out: Path, row: dict, thoroughly: bool = False) -> bool:
    """Whether the small pictures of a photo are as they were written. The size is enough for a picture that is older
    than its row. The checksum decides on a newer one, and with `thoroughly` on all."""
    files = thumbnail_files(out, row["path"])
    try:
        for file, (size, checksum) in zip(files, row[PICTURES], strict=True):
            status = os.lstat(file)
            if status.st_size != size:
                return False
            if (thoroughly or status.st_mtime > row[NOTED]) and checksum != zlib.crc32(read_picture(file)):
                return False
    except (OSError, PhotoError):
        return False
    return True


def read_picture(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read()
