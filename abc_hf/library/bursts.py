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
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from ..exif import SETTINGS
from ..inference.processes import Processes
from ..inference.sharpness import subject_sharpness
from ..photos import PhotoError
from .find import Reader
from .journal import line_of, lines, value_of, write_table
from .sets import find_sets, runs
from .table import attention_file, place_of, seconds_of

SECONDS = 2.0
"""The longest time from one shot of a burst to the next [s]. EXIF times without a fraction are whole seconds."""
DISTANCE = 12
"""The most bits of 64 in which the perceptual hashes of a shot and the next may differ."""
MEASURED = "sharpness.jsonl"
"""The name of the file of measurements. Runs append to it, so that a killed run loses nothing."""
FILLED = ("burst", "burst_rank", "sharpness", "set", "set_kind")
KEY = ("path", "bytes", "modified")
"""The columns that change if a photo has changed since it was measured."""
LOOKS = ["taken", "camera", "body", "width", "height", "perceptual_hash"]
"""The columns that tell bursts."""


def add_bursts(out: str | os.PathLike, workers: int = 0, everything: bool = False):
    """Fill the columns `FILLED` of the table in `out`, and write its files again.

    Only photos in bursts are opened, and only if they were not measured before.

    Args:
        workers: processes that measure; 0 measures in this one.
        everything: measure all photos, which opens each again.
    """
    out = Path(out)
    table = pq.read_table(out / "photos.parquet", columns=[*KEY, "moved_to", "label", *LOOKS, *SETTINGS])
    columns = burst_columns(table, lambda rows: measured(rows, out, workers), out=out, everything=everything)
    if everything or any(columns["burst"]) or any(columns["set"]):
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
    out: Path | None = None,
    everything: bool = False,
) -> dict[str, list]:
    """The columns `FILLED`: `burst` (1, 2, ... in the table's order), `burst_rank` (1 = sharpest) and `sharpness`, None
    for a photo that is in no burst; `set` and `set_kind`, see `sets.py`. Shots of a set are in no burst.

    Args:
        table: with the columns `KEY`, `LOOKS`, `SETTINGS`, `moved_to` and `label`.
        measure: the sharpness of rows' subjects in native pixels; None for one that cannot be measured, which ranks
            last.
        seconds, distance: see `SECONDS` and `DISTANCE`.
        out: the folder of small pictures.
        everything: measure all photos that have a verdict.
    """
    sets = sorted((sorted(members), kind) for kind, members in find_sets(table, out))
    apart = {index for members, _ in sets for index in members}
    chains = sorted(sorted(chain) for chain in find_bursts(table, seconds, distance, apart))
    members = [index for chain in chains for index in chain]
    if everything:
        members = [index for index, label in enumerate(table["label"].to_pylist()) if label]
    rows = table.take(pa.array(members, pa.int64())).select([*KEY, "moved_to"]).to_pylist()
    sharpness = dict(zip(members, measure(rows), strict=True))
    columns: dict[str, list] = {name: [None] * len(table) for name in FILLED}
    for index, value in sharpness.items():
        columns["sharpness"][index] = value
    for number, (shots, kind) in enumerate(sets, 1):
        for index in shots:
            columns["set"][index], columns["set_kind"][index] = number, kind
    for number, chain in enumerate(chains, 1):
        ranked = sorted(chain, key=lambda index: (sharpness[index] is None, -(sharpness[index] or 0), index))
        for rank, index in enumerate(ranked, 1):
            columns["burst"][index], columns["burst_rank"][index] = number, rank
    return columns


def find_bursts(
    table: pa.Table, seconds: float = SECONDS, distance: int = DISTANCE, apart: Collection[int] = ()
) -> Iterator[list[int]]:
    """The numbers of the rows of each burst, in the order they were taken.

    Args:
        table: with the columns `LOOKS`.
        apart: rows that are in no burst.
    """
    kinds: dict[tuple, int] = {}
    kind, time, bits, number = array("q"), array("d"), array("Q"), array("q")  # of shots
    for index, row in enumerate(row for part in table.select(LOOKS).to_batches(1000) for row in part.to_pylist()):
        taken = seconds_of(row["taken"])
        if taken is None or not row["perceptual_hash"] or index in apart:
            continue
        sides = sorted((row["width"] or 0, row["height"] or 0))
        kind.append(kinds.setdefault((row["camera"], row["body"], *sides), len(kinds)))
        time.append(taken)
        bits.append(int(row["perceptual_hash"], 16))
        number.append(index)
    order = np.lexsort((time, kind))  # by kind, then time, then row
    kind, time, bits, number = (np.asarray(values)[order] for values in (kind, time, bits, number))
    follows = (np.diff(kind) == 0) & (np.diff(time) <= seconds)
    follows &= np.bitwise_count(bits[1:] ^ bits[:-1]) <= distance
    for first, last in runs(follows):
        yield number[first : last + 1].tolist()


def measured(rows: list[dict], out: Path, workers: int = 0) -> list[float | None]:
    """The sharpness of the subjects of photos, from `MEASURED` where it is known; None for those that cannot be opened.

    Args:
        rows: path, bytes, modified and moved_to of each.
    """
    known = dict(read_measured(out / MEASURED))
    keys = [tuple(row[name] for name in KEY) for row in rows]
    missing = {key: place_of(row) for key, row in zip(keys, rows, strict=True) if key not in known}
    if not missing:
        return [known[key] for key in keys]
    photos = [(key[0], place) for key, place in missing.items()]
    values = tqdm(measure_all(photos, out, workers), "sharpness", len(missing), unit="photo", disable=None)
    with (out / MEASURED).open("ab") as file:
        file.write(b"\n")  # after a line that was cut short
        for key, value in zip(missing, values, strict=False):
            known[key] = value
            file.write(line_of([*key, value]))
            file.flush()
    return [known.get(key) for key in keys]


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


def measure_all(photos: list[tuple[str, str]], out: Path, workers: int = 0) -> Iterator[float | None]:
    """The sharpness of photos in their order; arguments as in `Measurer.__call__`."""
    if not workers:
        yield from itertools.starmap(Measurer(out), photos)
        return
    with Processes(min(workers, 1 + len(photos) // 8), Measurer, (out,)) as pool:
        for future in [pool.submit(*photo) for photo in photos]:
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

    def __call__(self, path: str, place: str) -> float | None:
        """Args: path: as in the table; place: where the photo is now. Returns None if it cannot be opened."""
        try:
            with Image.open(attention_file(self.out, path)) as image:
                attention = np.asarray(image, np.float32) / 255
            with self.reader.photo(place) as photo:
                return round(subject_sharpness(photo, attention).sharpness, 4)
        except Exception:  # whatever it is, the other photos go on
            return None
