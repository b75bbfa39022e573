# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Shots of one moment, found by their time and their looks, and ranked by how sharp their subject is.

A burst is a chain: in the order of their EXIF times, each shot of one camera and one size follows the one before it
within `SECONDS` and looks like it, whatever the chain's length. So a minute of continuous shooting is one burst though
its first and last shot differ, and a change of scene, or a pause, ends it.
"""

import contextlib
import itertools
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from ..inference.processes import Processes
from ..inference.sharpness import subject_sharpness
from ..photos import PhotoError
from .find import Reader
from .journal import line_of, lines, value_of, write_table
from .table import attention_file, path_from_text

SECONDS = 2.0
"""The longest time from one shot of a burst to the next [s]. EXIF times without a fraction are whole seconds."""
DISTANCE = 12
"""The most bits of 64 in which the perceptual hashes of a shot and the next may differ."""
MEASURED = "sharpness.jsonl"
"""The name of the file that keeps what was measured: it is appended to, so that a killed run loses nothing."""
FILLED = ("burst", "burst_rank", "sharpness")
KEY = ("path", "bytes", "modified")
"""What tells a photo that was measured from one that has changed since."""
LOOKS = ["taken", "camera", "width", "height", "perceptual_hash"]
"""What bursts are told by."""


def add_bursts(out: str | os.PathLike, workers: int = 0):
    """Fill the columns `burst`, `burst_rank` and `sharpness` of the table in `out`, its files written anew.

    Only photos in bursts are opened, and only if they were not measured before.

    Args:
        workers: processes that measure; 0 measures in this one.
    """
    out = Path(out)
    table = pq.read_table(out / "photos.parquet", columns=[*KEY, *LOOKS])
    columns = burst_columns(table, lambda rows: measured(rows, out, workers))
    if any(columns["burst"]):
        write_table(out, filled(out / "photos.parquet", columns))


def filled(parquet: Path, columns: dict[str, list]) -> Iterator[dict]:
    """The rows of a table, some columns replaced."""
    values = zip(*columns.values(), strict=True)
    with pq.ParquetFile(parquet) as file:
        for part in file.iter_batches(1000):
            for row, those in zip(part.to_pylist(), itertools.islice(values, part.num_rows), strict=True):
                yield row | dict(zip(columns, those, strict=True))


def burst_columns(
    table: pa.Table,
    measure: Callable[[list[dict]], Iterable[float | None]],
    seconds: float = SECONDS,
    distance: int = DISTANCE,
) -> dict[str, list]:
    """The columns `burst` (1, 2, ... in the table's order), `burst_rank` (1 = sharpest) and `sharpness`; all None for a
    photo that is in no burst.

    Args:
        table: with the columns `KEY` and `LOOKS`.
        measure: the sharpness of rows' subjects in native pixels; None for one that cannot be measured, which ranks
            last.
        seconds, distance: see `SECONDS` and `DISTANCE`.
    """
    chains = sorted(sorted(chain) for chain in find_bursts(table, seconds, distance))
    members = [index for chain in chains for index in chain]
    rows = table.take(pa.array(members, pa.int64())).select(KEY).to_pylist()
    sharpness = dict(zip(members, measure(rows), strict=True))
    columns: dict[str, list] = {name: [None] * len(table) for name in FILLED}
    for number, chain in enumerate(chains, 1):
        ranked = sorted(chain, key=lambda index: (sharpness[index] is None, -(sharpness[index] or 0), index))
        for rank, index in enumerate(ranked, 1):
            for name, value in zip(FILLED, (number, rank, sharpness[index]), strict=True):
                columns[name][index] = value
    return columns


def find_bursts(table: pa.Table, seconds: float = SECONDS, distance: int = DISTANCE) -> Iterator[list[int]]:
    """The numbers of the rows of each burst, in the order they were taken.

    Args:
        table: with the columns `LOOKS`.
    """
    kinds: dict[tuple, int] = {}
    kind, time, bits, number = array("q"), array("d"), array("Q"), array("q")  # of shots
    for index, row in enumerate(row for part in table.select(LOOKS).to_batches(1000) for row in part.to_pylist()):
        taken = seconds_of(row["taken"])
        if taken is None or not row["perceptual_hash"]:
            continue
        sides = sorted((row["width"] or 0, row["height"] or 0))
        kind.append(kinds.setdefault((row["camera"], *sides), len(kinds)))
        time.append(taken)
        bits.append(int(row["perceptual_hash"], 16))
        number.append(index)
    order = np.lexsort((time, kind))  # by kind, then time, then row
    kind, time, bits, number = (np.asarray(values)[order] for values in (kind, time, bits, number))
    follows = (np.diff(kind) == 0) & (np.diff(time) <= seconds)
    follows &= np.bitwise_count(bits[1:] ^ bits[:-1]) <= distance
    edges = np.diff(np.concatenate([[False], follows, [False]]).astype(np.int8))
    for first, last in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        yield number[first : last + 1].tolist()


def seconds_of(taken: str | None) -> float | None:
    """An ISO 8601 time as seconds, to be subtracted from another; None if it is none. Zones are not looked at: the
    shots of one camera share one."""
    try:
        return (datetime.fromisoformat(taken or "").replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
    except ValueError:
        return None


def measured(rows: list[dict], out: Path, workers: int = 0) -> list[float | None]:
    """The sharpness of the subjects of photos, from `MEASURED` where it is known; None for those that cannot be opened.

    Args:
        rows: path, bytes and modified of each.
    """
    known = dict(read_measured(out / MEASURED))
    missing = [row["path"] for row in rows if tuple(row.values()) not in known]
    keys = {row["path"]: tuple(row.values()) for row in rows}
    if not missing:
        return [known[tuple(row.values())] for row in rows]
    values = tqdm(measure_all(missing, out, workers), "bursts", len(missing), unit="photo", disable=None)
    with (out / MEASURED).open("ab") as file:
        file.write(b"\n")  # after a line that was cut short
        for path, value in zip(missing, values, strict=False):
            known[keys[path]] = value
            file.write(line_of([*keys[path], value]))
            file.flush()
    return [known.get(tuple(row.values())) for row in rows]


def read_measured(path: Path) -> Iterator[tuple[tuple, float | None]]:
    """Path, bytes and modified of photos that were measured, and their sharpness. Lines that are damaged, or cut short,
    do not count: those photos are measured again."""
    try:
        known = lines(path)
    except (OSError, PhotoError):
        return
    for line in known:
        with contextlib.suppress(ValueError, TypeError):
            *key, value = value_of(line)
            if len(key) == len(KEY) and (value is None or isinstance(value, float)):
                hash(tuple(key))
                yield tuple(key), value


def measure_all(paths: list[str], out: Path, workers: int = 0) -> Iterator[float | None]:
    """The sharpness of photos in their order."""
    if not workers:
        yield from map(Measurer(out), paths)
        return
    with Processes(min(workers, 1 + len(paths) // 8), Measurer, (out,)) as pool:
        for future in [pool.submit(path) for path in paths]:
            try:
                yield future.result()
            except PhotoError:  # its process ended
                yield None


class Measurer:
    """Measures the sharpness of a photo's subject, which its small attention map shows.

    Args:
        out: the folder that `abc-fusenet sort` writes to.
    """

    def __init__(self, out: Path):
        self.out, self.reader = out, Reader()

    def __call__(self, path: str) -> float | None:
        """Args: path: as in the table. Returns None if the photo cannot be opened."""
        try:
            with Image.open(attention_file(self.out, path)) as image:
                attention = np.asarray(image, np.float32) / 255
            with self.reader.photo(path_from_text(path)) as photo:
                return round(subject_sharpness(photo, attention).sharpness, 4)
        except Exception:  # whatever it is, the other photos go on
            return None
