"""Photos inside a Parquet file or a Lance data set, as the Hub's data sets keep them: a column of `datasets.Image`,
which is a struct of `bytes`, the file of a photo, and `path`, its name; or in Lance, of their bytes alone."""

import bisect
import io
import itertools
import json
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ..photos import PhotoError

PREFERRED = "image"
"""The column that is taken where several hold photos; if none has this name, the first."""
MAX_BYTES, MAX_RATIO = 500 * 2**20, 50
"""A row group is not read if its photos unpack to more than so many bytes each, or to more than that in all and so many
times what they take in the file: photos are compressed already."""
MIN_ROW, FREE_ROWS = 16, 10_000
"""A file is not read if it claims more rows than `FREE_ROWS` and one for each `MIN_ROW` bytes."""
HEADER, MAX_HEADER, MAX_PAGES = 256, 2**24, 100_000
"""The usual and the most bytes of the header of a page, and the most pages of a row group."""
BUFFER = 2**20
"""Bytes of a row group that are read at a time."""
SOUND = re.compile(rb"RIFF.{4}WAVE|FORM.{4}AIF|fLaC|OggS|ID3|.{4}ftypM4A|\xff[\xe0-\xff]", re.DOTALL)
"""How the files of sounds begin; the last one is MPEG's."""


class ParquetPhotos:
    """The photos of one column, a row each. They are read in the order of the rows: memory holds a page of the file,
    which is no larger than the column's part of a row group, and going back reads a row group again.

    Args:
        file: open for reading; it stays open.

    Raises:
        PhotoError: if no column holds photos, or the file claims more rows than it can hold.
    """

    def __init__(self, file: BinaryIO):
        self.source, self.bytes = file, file.seek(0, os.SEEK_END)
        self.file = pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
        sizes = [self.file.metadata.row_group(group).num_rows for group in range(self.file.num_row_groups)]
        self.starts = list(itertools.accumulate(sizes, initial=0))
        self.rows = self.starts[-1]
        if min(sizes, default=0) < 0 or self.rows > FREE_ROWS + self.bytes / MIN_ROW:
            raise PhotoError(f"it claims {self.rows} rows in {self.bytes >> 10} KB, which no photos do.")
        columns = [name for name, known in image_columns(self.file).items() if known or not self.holds_sounds(name)]
        if not columns:
            raise PhotoError("none of its columns holds photos (a struct of bytes and path, as datasets.Image is).")
        self.column = PREFERRED if PREFERRED in columns else columns[0]
        self.group: int | None = None
        self.row = -1
        self.batch: Any = None
        self.batches: Iterator = iter(())

    def name(self, row: int) -> str:
        """That of a row, counted from 0, such as `image/0017`: with zeros in front, names sort like the rows."""
        return f"{self.column}/{row:0{len(str(self.rows - 1))}}"

    def open(self, name: str) -> io.BytesIO:
        """The file of a photo. Raises PhotoError if the row has none."""
        column, _, row = name.rpartition("/")
        if column != self.column or not row.isdecimal() or int(row) >= self.rows:
            raise PhotoError("there is no such row.")
        photo = self.value(int(row))
        if not photo or photo["bytes"] is None:
            raise PhotoError("the row holds no photo.")
        return io.BytesIO(photo["bytes"])

    def value(self, row: int) -> dict | None:
        """The column's value in a row, without `path`."""
        group = bisect.bisect_right(self.starts, row) - 1
        if group != self.group or row < self.row:
            self.check_size(group, self.column)
            self.batches = self.file.iter_batches(1, [group], [f"{self.column}.bytes"], use_threads=False)
            self.row = self.starts[group] - 1
        self.group = None  # if the group is damaged, the next row reads it again
        while self.row < row:
            self.batch = next(self.batches, None)
            self.row += 1
            if self.batch is None:
                raise PhotoError(f"its row group {group} holds fewer rows than it claims.")
        self.group = group
        return self.batch.column(0)[0].as_py()

    def check_size(self, group: int, column: str):
        """Refuse a row group whose photos unpack to too much, before a value is read: by the sizes at the end of the
        file, and by those in the pages, if these are here. Raises PhotoError."""
        parts = self.file.metadata.row_group(group)
        part = next(
            each for each in map(parts.column, range(parts.num_columns)) if each.path_in_schema == f"{column}.bytes"
        )
        size, packed = part.total_uncompressed_size, part.total_compressed_size
        start = min(filter(None, (part.dictionary_page_offset, part.data_page_offset)), default=0)
        if not (0 < start <= start + packed <= self.bytes and size >= 0 and part.num_values == parts.num_rows):
            raise PhotoError(f"its row group {group} is damaged: sizes and places do not fit the file.")
        if isinstance(self.source, io.BufferedReader | io.BytesIO):
            size = max(size, unpacked_size(self.source, start, start + packed))
        if size > MAX_BYTES * max(1, parts.num_rows) or size > max(MAX_BYTES, MAX_RATIO * packed):
            raise PhotoError(
                f"its row group {group} unpacks from {packed >> 10} KB to {size >> 20} MB, which no photos do."
            )

    def holds_sounds(self, column: str) -> bool:
        """Whether the first value of a column that there is, and can be read, is a sound."""
        try:
            for group in range(self.file.num_row_groups):
                self.check_size(group, column)
                for batch in self.file.iter_batches(1, [group], [f"{column}.bytes"], use_threads=False):
                    if (value := batch.column(0)[0].as_py()) and value["bytes"]:
                        return bool(SOUND.match(value["bytes"]))
        except (OSError, pa.ArrowException, PhotoError):  # damaged, or a bomb
            pass
        return False


class LancePhotos(ParquetPhotos):
    """The photos of one column of a Lance data set, a row each.

    Args:
        path: of a folder, or a URL that Lance knows.

    Raises:
        PhotoError: if no column holds photos, or Lance is not installed.
    """

    def __init__(self, path: str):
        try:
            import lance
        except ImportError:
            raise PhotoError('Lance data sets need `pip install "abc-fusenet[ray]"`.') from None
        self.data = lance.dataset(path)
        self.rows = self.data.count_rows()
        columns = [field.name for field in self.data.schema if holds_files(field.type) or is_binary(field.type)]
        if not columns:
            raise PhotoError("none of its columns holds photos (bytes, or a struct of bytes and path).")
        self.column = PREFERRED if PREFERRED in columns else columns[0]

    def value(self, row: int) -> dict | None:
        value = self.data.take([row], columns=[self.column])[self.column][0].as_py()
        return {"bytes": value} if isinstance(value, bytes) else value


def unpacked_size(file: BinaryIO, place: int, end: int) -> int:
    """The bytes that the pages between two places of a file unpack to, as their headers say. Raises PhotoError if a
    header cannot be read."""
    total = 0
    for _ in range(MAX_PAGES):
        if place >= end:
            return total
        file.seek(place)
        try:
            try:
                fields, length = thrift_struct(file.read(HEADER))
            except IndexError:
                file.seek(place)
                fields, length = thrift_struct(file.read(MAX_HEADER))
            unpacked, packed = fields[2], fields[3]
            if min(unpacked, packed) < 0:
                raise ValueError
        except (LookupError, ValueError, RecursionError):
            break
        total += unpacked
        place += length + packed
    raise PhotoError("the headers of its pages are damaged.")


def thrift_struct(data: bytes, place: int = 0) -> tuple[dict[int, int], int]:
    """The whole numbers in a struct of Thrift's compact protocol, by the numbers of their fields, and where it ends."""
    fields, field = {}, 0
    while head := data[place]:
        place, kind, step = place + 1, head & 15, head >> 4
        if step:
            field += step
        else:
            field, place = thrift_number(data, place)
        if kind in (4, 5, 6):  # a whole number; odd ones stand for those below 0
            value, place = thrift_number(data, place)
            fields[field] = value >> 1 ^ -(value & 1)
        elif kind == 8:  # bytes, behind their number
            value, place = thrift_number(data, place)
            place += value
        elif kind == 12:
            place = thrift_struct(data, place)[1]
        elif kind in (3, 7):
            place += 1 if kind == 3 else 8
        elif kind not in (1, 2):  # true and false
            raise ValueError
    return fields, place + 1


def thrift_number(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        value |= (data[place] & 127) << shift
        place += 1
        if data[place - 1] < 128:
            return value, place
    raise ValueError


def image_columns(file: pq.ParquetFile) -> dict[str, bool]:
    """The names of the columns that may hold photos, each with whether `datasets` has noted that it does. Sounds have
    the same type."""
    schema = file.schema_arrow
    noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    kinds = {name: feature.get("_type") for name, feature in noted.items() if isinstance(feature, dict)}
    names = [field.name for field in schema if holds_files(field.type)]
    return {name: name in kinds for name in names if kinds.get(name, "Image") == "Image"}


def holds_files(kind: pa.DataType) -> bool:
    """Whether values are structs of bytes and path."""
    if not pa.types.is_struct(kind) or not {"bytes", "path"} <= {field.name for field in kind}:
        return False
    return is_binary(kind.field("bytes").type)


def is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
