# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Photos inside a Parquet file, as the Hub's data sets keep them: a column of `datasets.Image`, which is a struct of
`bytes`, the file of a photo, and `path`, its name."""

import bisect
import io
import itertools
import json
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
BUFFER = 2**20
"""Bytes of a row group that are read at a time."""
SOUND = re.compile(rb"RIFF.{4}WAVE|FORM.{4}AIF|fLaC|OggS|ID3|.{4}ftypM4A|\xff[\xe0-\xff]", re.DOTALL)
"""How the files of sounds begin; the last one is MPEG's."""


class ParquetPhotos:
    """The photos of one column, a row each. They are read in the order of the rows: memory holds a page of the file,
    which is no larger than the column's part of a row group, and to go back is to begin with a row group anew.

    Args:
        file: open for reading; it stays open.

    Raises:
        PhotoError: if no column holds photos.
    """

    def __init__(self, file: BinaryIO):
        self.file = pq.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
        columns = image_columns(self.file)
        if not columns:
            raise PhotoError("none of its columns holds photos (a struct of bytes and path, as datasets.Image is).")
        self.column = PREFERRED if PREFERRED in columns else columns[0]
        sizes = (self.file.metadata.row_group(group).num_rows for group in range(self.file.num_row_groups))
        self.starts = list(itertools.accumulate(sizes, initial=0))
        self.rows = self.starts[-1]
        self.group: int | None = None
        self.row = -1
        self.batch: Any = None
        self.batches: Iterator = iter(())

    def name(self, row: int) -> str:
        """That of a row, counted from 0, such as `image/0017`: with zeros in front, names sort like the rows."""
        return f"{self.column}/{row:0{len(str(self.rows - 1))}}"

    def open(self, name: str) -> io.BytesIO:
        """The file of a photo.

        Raises:
            PhotoError: if the row has none.
        """
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
            check_size(self.file, group, self.column)
            self.batches = self.file.iter_batches(1, [group], [f"{self.column}.bytes"], use_threads=False)
            self.row = self.starts[group] - 1
        self.group = None  # if the group is damaged, the next row begins with it anew
        while self.row < row:
            self.batch = next(self.batches)
            self.row += 1
        self.group = group
        return self.batch.column(0)[0].as_py()


def check_size(file: pq.ParquetFile, group: int, column: str):
    """Refuse a row group whose photos unpack to too much, before a value is read.

    Raises:
        PhotoError
    """
    parts = file.metadata.row_group(group)
    part = next(
        each for each in map(parts.column, range(parts.num_columns)) if each.path_in_schema == f"{column}.bytes"
    )
    size, packed = part.total_uncompressed_size, part.total_compressed_size
    if size > MAX_BYTES * max(1, parts.num_rows) or size > max(MAX_BYTES, MAX_RATIO * packed):
        raise PhotoError(f"its row group unpacks from {packed >> 10} KB to {size >> 20} MB, which no photos do.")


def image_columns(file: pq.ParquetFile) -> list[str]:
    """The names of the columns that hold photos. Sounds have the same type; what `datasets` notes in a file tells them
    apart, or else the first of them."""
    schema = file.schema_arrow
    noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    kinds = {name: feature.get("_type") for name, feature in noted.items() if isinstance(feature, dict)}
    names = [field.name for field in schema if holds_files(field.type)]
    return [name for name in names if (kinds[name] == "Image" if name in kinds else not holds_sounds(file, name))]


def holds_sounds(file: pq.ParquetFile, column: str) -> bool:
    """Whether the first value of a column that there is, and can be read, is a sound."""
    try:
        for group in range(file.num_row_groups):
            check_size(file, group, column)
        for batch in file.iter_batches(1, columns=[f"{column}.bytes"], use_threads=False):
            if (value := batch.column(0)[0].as_py()) and value["bytes"]:
                return bool(SOUND.match(value["bytes"]))
    except (OSError, pa.ArrowException, PhotoError):  # damaged, or a bomb
        pass
    return False


def holds_files(type: pa.DataType) -> bool:
    """Whether values are structs of bytes and path."""
    if not pa.types.is_struct(type) or not {"bytes", "path"} <= {field.name for field in type}:
        return False
    return pa.types.is_binary(type.field("bytes").type) or pa.types.is_large_binary(type.field("bytes").type)
