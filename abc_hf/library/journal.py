# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""What `abc-fusenet sort` has done, such that a process killed at any moment loses nothing, and the table made of it.

Rows go line by line into `shards/RUN-PROCESS-NUMBER.jsonl`, from where some hundred at a time become a Parquet shard of
that name: that is the journal. It knows a photo by path, size and modification time.
"""

import contextlib
import hashlib
import itertools
import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ..common.files import PARTIAL, replacing
from ..common.text import csv_cell
from .find import INSIDE, Found
from .table import COLUMNS, path_from_text, path_text

SHARD_ROWS = 500
"""Rows of a shard."""
SHARD_COLUMNS = COLUMNS.append(pa.field("content", pa.string()))  # SHA-256 of the photo's file, if it was asked for
ALL_COLUMNS = set(SHARD_COLUMNS.names)
SETTINGS = b"abc_fusenet.settings"
"""The key of the settings in the metadata of a shard."""


class Writer:
    """Writes the rows of one process. What `add` was given is kept, whatever happens to the process.

    Args:
        folder: of shards.
        settings: all that changes answers, as JSON can say it.
        process: its number, where several share the work.
    """

    def __init__(self, folder: Path, settings: dict, process: int = 0):
        self.folder, self.settings = folder, settings
        self.folder.mkdir(parents=True, exist_ok=True)
        run = 1 + max((int(stem.split("-")[0]) for stem in shards(folder)), default=0)
        self.name, self.number, self.file, self.rows = f"{run:05}-{process:05}", 0, None, 0

    def add(self, rows: list[dict]) -> str:
        """Note rows; returns the name of the shard they will be in."""
        if self.file is None:
            self.number += 1
            self.file = (self.folder / f"{self.name}-{self.number:05}.jsonl").open("x", encoding="ascii")
            self.file.write(json.dumps(self.settings) + "\n")
        self.file.write("".join(json.dumps(row) + "\n" for row in rows))
        self.file.flush()
        self.rows += len(rows)
        shard = Path(self.file.name).stem
        if self.rows >= SHARD_ROWS:
            self.close()
        return shard

    def close(self):
        """Make a shard of the rows so far."""
        if name := self.leave():
            close_shard(Path(name))

    def leave(self) -> str | None:
        """Leave the rows so far as lines; returns the name of their file."""
        if self.file is None:
            return None
        file, self.file, self.rows = self.file, None, 0
        file.close()
        return file.name


def close_shard(lines: Path):
    """Make Parquet of lines."""
    settings, rows = read_lines(lines)
    if rows:
        schema = SHARD_COLUMNS.with_metadata({SETTINGS: json.dumps(settings)})
        with replacing(lines.with_suffix(".parquet")) as file:
            pq.write_table(pa.Table.from_pylist(rows, schema), file)
    lines.unlink()


def shards(folder: Path) -> dict[str, Path]:
    """The shards in a folder, oldest first, by name without extension; lines where there is no Parquet of them yet."""
    files = {}
    for end in (".jsonl", ".parquet"):
        files |= {path.stem: path for path in folder.glob(f"*{end}")}
    return dict(sorted(files.items()))


def read_lines(path: Path) -> tuple[dict | None, list[dict]]:
    """Settings and rows, up to a line that is not whole: whoever wrote it was killed."""
    lines = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            lines.append(json.loads(line if line.endswith(b"\n") else b""))
        except ValueError:
            break
    return (lines[0], lines[1:]) if lines else (None, [])


def read_shard(path: Path) -> tuple[dict | None, list[dict]]:
    """Settings and rows of a shard; none of one that is damaged, whose photos are then judged again."""
    if path.suffix == ".jsonl":
        return read_lines(path)
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        if getattr(error, "errno", None):  # it may be whole; the disk is not
            raise
        return None, []
    return json.loads((table.schema.metadata or {}).get(SETTINGS, "null")), table.to_pylist()


class Index:
    """The photos that were found and the rows there are, in a temporary file of SQLite: memory does not grow with them.

    Args:
        folder: of shards.
        settings: rows of others do not count.
        process, processes: the number of this one, and of all that share the work (see `dealt_to`).
    """

    SAME = "done.row IS NOT NULL AND found.bytes IS done.bytes AND found.modified IS done.modified"

    def __init__(self, folder: Path, settings: dict, process: int = 0, processes: int = 1):
        self.folder, self.settings, self.process, self.processes = folder, settings, process, processes
        self.db = sqlite3.connect("", isolation_level=None)
        self.db.execute("CREATE TABLE found (path TEXT PRIMARY KEY, bytes, modified, raw_path, mine)")
        self.db.execute("CREATE TABLE done (path TEXT PRIMARY KEY, bytes, modified, label, row, shard)")

    def close(self):
        self.db.close()

    @contextlib.contextmanager
    def emptied(self, table: str):
        self.db.execute("BEGIN")
        self.db.execute(f"DELETE FROM {table}")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def find(self, photos: Iterable[Found]):
        """Note what is there now."""
        with self.emptied("found"):
            for photo in photos:
                path, raw_path = path_text(photo.path), photo.raw_path and path_text(photo.raw_path)
                mine = dealt_to(path, photo.place, self.processes) == self.process
                row = (path, photo.bytes, photo.modified, raw_path, mine)
                self.db.execute("INSERT OR IGNORE INTO found VALUES (?, ?, ?, ?, ?)", row)

    def load(self) -> int:
        """Read all shards, of which later ones replace earlier ones; returns the number of rows that do not count:
        those of other settings, and those of an older version, which lack columns."""
        others = 0
        with self.emptied("done"):
            for stem, path in shards(self.folder).items():
                settings, rows = read_shard(path)
                complete = [row for row in rows if settings == self.settings and row.keys() >= ALL_COLUMNS]
                self.note(complete, stem)
                others += len(rows) - len(complete)
        return others

    def note(self, rows: Iterable[dict], shard: str):
        """Rows of a shard, which replace earlier ones."""
        for row in rows:
            key = (row["path"], row["bytes"], row["modified"], row["label"])
            self.db.execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?, ?, ?)", (*key, json.dumps(row), shard))

    def todo(self, retry: bool = True, all: bool = False) -> Iterator[tuple[Found, dict | None]]:
        """The photos of this process that have no row or changed since, in the order found, and the rows there are.

        Args:
            retry: those that failed, too.
            all: all others, too.
        """
        which = "1" if all else f"NOT ({self.SAME}) OR (label IS NULL AND {retry:d})"
        query = f"FROM found LEFT JOIN done USING (path) WHERE mine AND ({which}) ORDER BY found.rowid"
        columns = "path, found.bytes, found.modified, raw_path, row"
        for *found, row in self.db.execute(f"SELECT {columns} {query}"):
            yield Found(path_from_text(found[0]), *found[1:]), row and json.loads(row)

    def count(self, query: str) -> int:
        return self.db.execute(f"SELECT count(*) FROM {query}").fetchone()[0]

    def count_found(self) -> int:
        return self.count("found")

    def count_todo(self) -> int:
        return self.count(f"found LEFT JOIN done USING (path) WHERE mine AND (NOT ({self.SAME}) OR label IS NULL)")

    def labels(self) -> Counter:
        """How many photos have which label; None is for those that could not be opened."""
        query = f"FROM found JOIN done USING (path) WHERE {self.SAME} GROUP BY label"
        return Counter(dict(self.db.execute(f"SELECT label, count(*) {query}")))

    def count_uncertain(self) -> int:
        """How many photos have a verdict that is not certain."""
        return self.count(f"found JOIN done USING (path) WHERE {self.SAME} AND NOT json_extract(row, '$.certain')")

    def rows(self) -> Iterator[dict]:
        """The rows of photos as they are now, by path."""
        query = f"FROM found JOIN done USING (path) WHERE {self.SAME} ORDER BY path"
        for raw_path, row in self.db.execute(f"SELECT raw_path, row {query}"):
            yield json.loads(row) | {"raw_path": raw_path}

    def digest(self) -> str:
        """What tells these rows from others."""
        sha = hashlib.sha256()
        query = f"FROM found JOIN done USING (path) WHERE {self.SAME} ORDER BY path"
        for row in self.db.execute(f"SELECT row, raw_path {query}"):
            sha.update(json.dumps(row).encode())
        return sha.hexdigest()

    def prune(self):
        """Delete shards of which no row counts any more, and make Parquet of lines that a killed process left."""
        used = {shard for (shard,) in self.db.execute("SELECT DISTINCT shard FROM done")}
        for stem, path in shards(self.folder).items():
            if stem not in used:
                path.unlink()
            elif path.suffix == ".jsonl":
                close_shard(path)
        for path in [*self.folder.glob("*.jsonl"), *self.folder.glob(f"*{PARTIAL}")]:
            path.unlink()


def dealt_to(path: str, place: float | None, processes: int) -> int:
    """The number of the process that judges a photo: by the checksum of its path, or if its place in a file is known,
    that of the file, from which on each process has the next part of it."""
    if place is None:
        return zlib.crc32(path.encode()) % processes
    return (zlib.crc32(path.rpartition(INSIDE)[0].encode()) + int(place * processes)) % processes


def write_table(out: Path, rows: Iterable[dict]):
    """Write `photos.parquet` and `photos.csv`, which replace those there are when they are finished. A spreadsheet runs
    no text of the CSV file as a formula."""
    with (
        replacing(out / "photos.parquet") as parquet,
        replacing(out / "photos.csv") as csv,
        pq.ParquetWriter(parquet, COLUMNS) as parquet_file,
        pyarrow.csv.CSVWriter(csv, COLUMNS) as csv_file,
    ):
        for part in batched(rows, 1000):
            table = pa.Table.from_pylist(part, COLUMNS)
            parquet_file.write_table(table)
            cells = [{name: csv_cell(value) for name, value in row.items()} for row in part]
            csv_file.write_table(pa.Table.from_pylist(cells, COLUMNS))


def batched(rows: Iterable[dict], size: int) -> Iterator[list[dict]]:
    rows = iter(rows)
    while part := list(itertools.islice(rows, size)):
        yield part
