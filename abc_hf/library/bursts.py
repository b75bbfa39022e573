"""Shots of one moment, found by their time and their looks, and ranked by how sharp the eyes, or else the subject, are.

A burst is a chain: in the order of their EXIF times, each shot of one camera and one size follows the one before it
within `SECONDS` and looks like it, whatever the chain's length. So a minute of continuous shooting is one burst though
its first and last shot differ, and a change of scene, or a pause, ends it.
"""

import math
import os
from array import array
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..exif import SETTINGS
from .journal import write_table
from .sets import find_sets, runs
from .table import read_table, seconds_of

SECONDS = 2.0
"""The longest time from one shot of a burst to the next [s]. EXIF times without a fraction are whole seconds."""
DISTANCE = 12
"""The most bits of 64 in which the perceptual hashes of a shot and the next may differ."""
FILLED = ("burst", "burst_rank", "set", "set_kind")
RANKED_BY = ["eye_sharpness", "subject_sharpness"]
"""A shot whose eyes were measured comes before those without, which have a soft face or none."""
LOOKS = ["taken", "camera", "body", "width", "height", "perceptual_hash"]
"""The columns that tell bursts."""


def add_bursts(out: str | os.PathLike):
    """Fill the columns `FILLED` of the table in `out`, and write its files again."""
    out = Path(out)
    table = pq.read_table(out / "photos.parquet", columns=["path", *RANKED_BY, *LOOKS, *SETTINGS])
    columns = burst_columns(table, out=out)
    if any(columns["burst"]) or any(columns["set"]):
        values = zip(*columns.values(), strict=True)
        rows = zip(read_table(out), values, strict=True)
        write_table(out, (row | dict(zip(columns, those, strict=True)) for row, those in rows))


def burst_columns(table: pa.Table, out: Path | None = None) -> dict[str, list]:
    """The columns `FILLED`: `burst` (1, 2, ... in the table's order) and `burst_rank` (1 = sharpest), None for a photo
    that is in no burst; `set` and `set_kind`, see `sets.py`. Shots of a set are in no burst. `out` is the folder of
    small pictures."""
    sets = sorted((sorted(members), kind) for kind, members in find_sets(table, out))
    apart = {index for members, _ in sets for index in members}
    chains = sorted(sorted(chain) for chain in find_bursts(table, apart=apart))
    measured = table.select(RANKED_BY).to_pylist()
    columns: dict[str, list] = {name: [None] * len(table) for name in FILLED}
    for number, (shots, kind) in enumerate(sets, 1):
        for index in shots:
            columns["set"][index], columns["set_kind"][index] = number, kind
    for number, chain in enumerate(chains, 1):
        for rank, index in enumerate(sorted(chain, key=lambda index: (softness(measured[index]), index)), 1):
            columns["burst"][index], columns["burst_rank"][index] = number, rank
    return columns


def softness(row: dict) -> list[float]:
    """The key that sorts the shots of a burst; those that could not be measured come last."""
    return [math.inf if row[name] is None else -row[name] for name in RANKED_BY]


def find_bursts(
    table: pa.Table, seconds: float = SECONDS, distance: int = DISTANCE, apart: Collection[int] = ()
) -> Iterator[list[int]]:
    """The numbers of the rows of each burst, in the order they were taken. Rows of `apart` are in no burst."""
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
