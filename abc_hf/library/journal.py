"""The crash-safe journal of `abc-fusenet sort`, and the table written from it.

The journal is the files of `shards.py`. It knows a photo by path, size and modification time. A line that is damaged
or foreign does not count: it is set aside, and its photo is judged again.
"""

import contextlib
import glob
import hashlib
import itertools
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ..common.files import PARTIAL, replacing, write_bytes
from ..common.text import csv_cell
from .companions import Folder
from .containers import CONTAINERS, INSIDE
from .find import Found
from .shards import SHARD, line_of, pictures_are_there, read_shard, shards
from .table import COLUMNS, ESCAPED, path_from_text, path_text, place_of
from .undo_file import Moves
from .xmp import marks_beside

ASIDE = "set-aside"
"""The folder of damaged and foreign files, beside the shards."""


class Index:
    """The photos that were found and the rows of the shards in a folder, in a temporary file of SQLite: memory does not
    grow with them. Rows of other settings do not count."""

    SAME = "done.row IS NOT NULL AND found.bytes IS done.bytes AND found.modified IS done.modified"

    def __init__(self, folder: Path, settings: dict):
        self.folder, self.settings = folder, settings
        self.damaged: dict[str, int] = {}
        self.db = sqlite3.connect("", isolation_level=None)
        self.db.create_function("folder", 1, folder_of, deterministic=True)
        columns = "bytes, modified, raw_path, companions, moved_to, kept"
        self.db.execute(f"CREATE TABLE found (path TEXT PRIMARY KEY, {columns})")
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
        """Note the photos that are there now."""
        with self.emptied("found"):
            for photo in photos:
                path, raw_path = path_text(photo.path), photo.raw_path and path_text(photo.raw_path)
                moved_to = photo.moved_to and path_text(photo.moved_to)
                companions = json.dumps([path_text(name) for name in photo.companions])
                row = (path, photo.bytes, photo.modified, raw_path, companions, moved_to, False)
                self.db.execute("INSERT OR IGNORE INTO found VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def load(self) -> int:
        """Read all shards, of which later ones replace earlier ones; returns the number of rows that do not count,
        because other settings made them. `damaged` is then the number of lines that are damaged or foreign, by
        the names of shards."""
        others, self.damaged = 0, {}
        with self.emptied("done"):
            for stem, path in shards(self.folder).items():
                settings, rows, damaged = read_shard(path)
                if settings not in (None, self.settings):
                    others += len(rows) + damaged
                    continue
                self.note(rows, stem)
                if damaged:
                    self.damaged[stem] = damaged
        return others

    def note(self, rows: Iterable[dict], shard: str):
        """Rows of a shard, which replace earlier ones."""
        for row in rows:
            key = (row["path"], row["bytes"], row["modified"], row["label"])
            self.db.execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?, ?, ?)", (*key, json.dumps(row), shard))

    def todo(self, retry: bool = True, judged: bool = False) -> Iterator[tuple[Found, dict | None]]:
        """The photos that have no row or changed since, in the order found, and the rows there are. With `retry`, also
        those that failed; with `judged`, also all others."""
        which = "1" if judged else f"NOT ({self.SAME}) OR (label IS NULL AND {retry:d})"
        query = f"FROM found LEFT JOIN done USING (path) WHERE NOT kept AND ({which}) ORDER BY found.rowid"
        columns = "path, found.bytes, found.modified, raw_path, moved_to, row"
        for path, size, modified, raw_path, moved_to, row in self.db.execute(f"SELECT {columns} {query}"):
            photo = Found(
                path_from_text(path), size, modified, raw_path, moved_to=moved_to and path_from_text(moved_to)
            )
            yield photo, row and json.loads(row)

    def count(self, query: str = "found") -> int:
        return self.db.execute(f"SELECT count(*) FROM {query}").fetchone()[0]

    def count_todo(self) -> int:
        return self.count(f"found LEFT JOIN done USING (path) WHERE NOT kept AND (NOT ({self.SAME}) OR label IS NULL)")

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
        for raw_path, companions, moved_to, row in self.db.execute(
            f"SELECT raw_path, companions, moved_to, row {query}"
        ):
            names = json.loads(companions)
            row = json.loads(row) | {"raw_path": raw_path, "companions": "; ".join(names) or None, "moved_to": moved_to}
            yield row | marks_beside(place_of(row), names)

    def digest(self) -> str:
        sha = hashlib.sha256()
        for row in self.rows():
            sha.update(json.dumps(row).encode())
        return sha.hexdigest()

    def lose_pictures(self, out: Path, thoroughly: bool = False) -> int:
        """Forget the rows whose small pictures are missing or damaged; returns their number."""
        query = f"FROM found JOIN done USING (path) WHERE NOT kept AND label IS NOT NULL AND {self.SAME}"
        rows = ((path, json.loads(row)) for path, row in self.db.execute(f"SELECT path, row {query}"))
        lost = [(path,) for path, row in rows if not pictures_are_there(out, row, thoroughly)]
        self.db.executemany("DELETE FROM done WHERE path = ?", lost)
        return len(lost)

    def follow(self, source: str, moves: Moves) -> int:
        """Keep the photos of a source that an action has moved elsewhere; returns their number."""
        number, folders = 0, {}
        if not moves.moved:
            return number
        match, values = in_source(source)
        for path, raw_path in self.db.execute(
            f"SELECT path, json_extract(row, '$.raw_path') FROM done WHERE label IS NOT NULL AND ({match})", values
        ).fetchall():
            row = moves.places({"path": path, "raw_path": raw_path})
            if row["moved_to"]:
                place = path_from_text(row["moved_to"])
                folder, name = os.path.split(place)
                if folder not in folders:
                    folders = {folder: Folder.of(folder)}  # photos of one folder mostly follow each other
                status, names = os.stat(place), folders[folder].companions(name)
                values_of = (path, status.st_size, status.st_mtime, row["raw_path"], json.dumps(names), row["moved_to"])
                self.db.execute("INSERT OR IGNORE INTO found VALUES (?, ?, ?, ?, ?, ?, FALSE)", values_of)
                number += 1
        return number

    def gone(self) -> list[str]:
        """The files that were named, or found, and cannot be looked at now."""
        files = f"path NOT LIKE '%://%' OR path LIKE '{ESCAPED}%'"
        query = f"SELECT path FROM found WHERE bytes IS NULL AND modified IS NULL AND ({files})"
        return [path_from_text(path) for (path,) in self.db.execute(query) if INSIDE not in path]

    def lost_folders(self, source: str) -> set[str]:
        """The folders in a source that held judged photos, and are missing or empty now; of nested ones the highest."""
        match, values = in_source(source)
        photos = f"FROM done WHERE label IS NOT NULL AND ({match}) AND path NOT IN (SELECT path FROM found)"
        folders = {
            path_from_text(folder) for (folder,) in self.db.execute(f"SELECT DISTINCT folder(path) {photos}", values)
        }
        lost = set()
        for folder in filter(None, folders):
            if is_bare(folder):
                while (above := os.path.dirname(folder)) and is_bare(above):
                    folder = above
                lost.add(folder)
        return lost

    def keep(self, source: str) -> int:
        """Keep the rows of the photos in a source that cannot be read now; returns their number. They are not judged. A
        source is a photo, a folder, an archive, a Parquet file, a URL or a glob."""
        match, values = in_source(source)
        kept = f"FROM done WHERE label IS NOT NULL AND ({match})"
        if not self.db.execute(f"SELECT 1 {kept} LIMIT 1", values).fetchone():
            return 0
        unseen = "bytes IS NULL AND modified IS NULL"
        self.db.execute(f"DELETE FROM found WHERE {unseen} AND path IN (SELECT path {kept})", values)
        self.db.execute(f"DELETE FROM found WHERE {unseen} AND path = ?", [path_text(source)])
        columns = "path, bytes, modified, json_extract(row, '$.raw_path'), '[]', NULL, TRUE"
        return self.db.execute(f"INSERT OR IGNORE INTO found SELECT {columns} {kept}", values).rowcount

    def prune(self):
        """Delete shards without a row that counts, and set damaged and foreign files aside, once their good rows
        are in a file of their own."""
        used = {shard for (shard,) in self.db.execute("SELECT DISTINCT shard FROM done")}
        for stem, path in shards(self.folder).items():
            if stem in self.damaged:
                settings, rows, _ = read_shard(path)
                set_aside(path)
                if stem in used:
                    write_bytes(path, b"".join(map(line_of, [settings, *rows])))
            elif stem not in used:
                path.unlink()
        self.damaged = {}
        for path in foreign_files(self.folder):
            set_aside(path)
        for path in self.folder.glob(f".*{PARTIAL}"):
            path.unlink()


def foreign_files(folder: Path) -> list[Path]:
    """The files beside the shards that are neither shards nor hidden."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name != ASIDE and not path.name.startswith(".") and not SHARD.fullmatch(path.name)
    ]


def set_aside(path: Path):
    """Move a file to the folder `ASIDE`, under a name that is free there."""
    folder = path.parent / ASIDE
    folder.mkdir(exist_ok=True)
    for number in itertools.count(1):
        name = path.name if number == 1 else f"{number}-{path.name}"
        if not os.path.lexists(folder / name):
            os.rename(path, folder / name)
            return


def in_source(source: str) -> tuple[str, list[str]]:
    """A condition of SQL for the photos in a source (see `Index.keep`), and its values."""
    conditions, values = ["path = ?"], [path_text(source)]
    if "://" not in source and glob.has_magic(source) and not os.path.lexists(source):  # a glob, or a missing folder
        pattern = os.path.abspath(source).replace("**/", "*").replace("[!", "[^")
        conditions, values = [*conditions, "path GLOB ?", "path GLOB ?"], [*values, pattern, f"{pattern}/*"]
    names = [source.rstrip("/")]
    if "://" in source:
        with contextlib.suppress(Exception):  # each file system has errors of its own
            system, top = fsspec.url_to_fs(source)
            names.append(system.unstrip_protocol(top).rstrip("/"))
    starts = [name + end for name in names for end in ("/", INSIDE)]
    starts += [ESCAPED + quote_from_bytes(os.fsencode(start), safe=b"/!").removeprefix("/") for start in starts]
    starts = [start for start in starts if start == path_text(start)]  # SQLite takes UTF-8
    conditions += ["substr(path, 1, length(?)) = ?"] * len(starts)
    return " OR ".join(conditions), values + [start for start in starts for _ in range(2)]


def folder_of(path: str) -> str:
    """The folder of a photo of the table, or of the archive or Parquet file that holds it; empty for a URL."""
    if "://" in path and not path.startswith(ESCAPED):
        return ""
    file, inside, _ = path_from_text(path).partition(INSIDE)
    return path_text(os.path.dirname(file if inside and file.lower().endswith(CONTAINERS) else path_from_text(path)))


def is_bare(folder: str) -> bool:
    """Whether a folder is missing or empty, as the folder is where a disk was."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


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
