# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Shots of one moment, found by their time and their looks, and ranked by how sharp their subject is.

A burst is a chain: in the order of their EXIF times, each shot of one camera and one size follows the one before it
within `SECONDS` and looks like it, whatever the chain's length. So a minute of continuous shooting is one burst though
its first and last shot differ, and a change of scene, or a pause, ends it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from itertools import groupby
from multiprocessing import get_context

import pyarrow as pa

from .sort_table import COLUMNS

SECONDS = 2.0
"""The longest time from one shot of a burst to the next [s]. EXIF times without a fraction are whole seconds."""
DISTANCE = 12
"""The most bits of 64 in which the perceptual hashes of a shot and the next may differ."""


def add_bursts(
    table: pa.Table,
    measure: Callable[[dict], float | None],
    known: pa.Table | None = None,
    seconds: float = SECONDS,
    distance: int = DISTANCE,
    workers: int = 0,
) -> pa.Table:
    """Fill the columns `burst` (1, 2, ... in the table's order), `burst_rank` (1 = sharpest) and `sharpness`.

    Args:
        table: of the columns `COLUMNS`.
        measure: the sharpness of a row's subject in native pixels, None if it cannot be measured, which ranks last; it
            is called for photos in bursts alone.
        known: an earlier table, whose sharpness is kept for photos of the same path, size and time of change.
        seconds, distance: see `SECONDS` and `DISTANCE`.
        workers: processes that measure; 0 measures in this one. `measure` must be picklable then.
    """
    rows = table.select(["path", "bytes", "modified", "taken", "camera", "width", "height", "perceptual_hash"])
    chains = sorted(sorted(chain) for chain in find_bursts(rows.to_pydict(), seconds, distance))
    members = [index for chain in chains for index in chain]
    earlier = known_sharpness(known)
    keys = rows.take(pa.array(members, pa.int64())).select(["path", "bytes", "modified"]).to_pylist()
    sharpness = {index: earlier.get(tuple(key.values())) for index, key in zip(members, keys, strict=True)}
    missing = [index for index in members if sharpness[index] is None]
    sharpness |= zip(missing, measured(table, missing, measure, workers), strict=True)

    columns = {name: [None] * len(table) for name in ("burst", "burst_rank", "sharpness")}
    for number, chain in enumerate(chains, 1):
        ranked = sorted(chain, key=lambda index: (sharpness[index] is None, -(sharpness[index] or 0), index))
        for rank, index in enumerate(ranked, 1):
            columns["burst"][index] = number
            columns["burst_rank"][index] = rank
            columns["sharpness"][index] = sharpness[index]
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, COLUMNS.field(name), pa.array(values, COLUMNS.field(name).type))
    return table


def find_bursts(columns: dict[str, list], seconds: float = SECONDS, distance: int = DISTANCE) -> Iterator[list[int]]:
    """The numbers of the rows of each burst, in the order they were taken.

    Args:
        columns: `path`, `taken`, `camera`, `width`, `height` and `perceptual_hash` of the table.
    """
    shots = []
    for index, (taken, bits) in enumerate(zip(columns["taken"], columns["perceptual_hash"], strict=True)):
        time = seconds_of(taken)
        if time is None or not bits:
            continue
        sides = tuple(sorted((columns["width"][index] or 0, columns["height"][index] or 0)))
        shots.append(((columns["camera"][index] or "", sides), time, columns["path"][index], index, int(bits, 16)))
    shots.sort()
    for _, group in groupby(shots, key=lambda shot: shot[0]):
        chain = []
        for _, time, _, index, bits in group:
            if chain and (time - last_time > seconds or (bits ^ last_bits).bit_count() > distance):
                if len(chain) > 1:
                    yield chain
                chain = []
            chain.append(index)
            last_time, last_bits = time, bits
        if len(chain) > 1:
            yield chain


def seconds_of(taken: str | None) -> float | None:
    """An ISO 8601 time as seconds, to be subtracted from another; None if it is none. Zones are not looked at: the
    shots of one camera share one."""
    try:
        return (datetime.fromisoformat(taken).replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
    except (TypeError, ValueError):
        return None


def known_sharpness(table: pa.Table | None) -> dict[tuple, float]:
    """(path, bytes, modified) of the photos in a table whose sharpness is known, and that."""
    if table is None:
        return {}
    columns = table.select(["path", "bytes", "modified", "sharpness"]).to_pydict()
    keys = zip(columns["path"], columns["bytes"], columns["modified"], strict=True)
    return {key: value for key, value in zip(keys, columns["sharpness"], strict=True) if value is not None}


def measured(table: pa.Table, indices: list[int], measure: Callable, workers: int) -> Iterator[float | None]:
    """The sharpness of the rows of these numbers, in order."""
    rows = (table.slice(index, 1).to_pylist()[0] for index in indices)
    if not workers or len(indices) < 2:
        yield from map(measure, rows)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(measure, rows, chunksize=4)
