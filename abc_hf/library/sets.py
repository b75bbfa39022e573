"""Shots that belong together: exposure brackets, focus stacks, panoramas and time lapses, found by EXIF and timing.

No shot of a set is worse than the others: each does its part. So a set is no burst, and nothing in it is rejected.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from ..exif import SETTINGS
from .table import seconds_of, thumbnail_files

BRACKET, STACK, PANORAMA, TIME_LAPSE = "exposure bracket", "focus stack", "panorama", "time lapse"
SECONDS, PANORAMA_SECONDS = 2.0, 6.0
"""The longest time from the end of one shot of a set to the next, and that within a panorama [s]."""
STEP = 0.3
"""The least difference of exposure in a bracket [EV]."""
LEAST = {BRACKET: 3, STACK: 4, PANORAMA: 3, TIME_LAPSE: 10}
"""The fewest shots of a set."""
DISTANCE = 12
"""The most bits in which the hashes of shots of one view differ; those of a panorama differ more."""
NEEDED = ["path", "taken", "camera", "body", "width", "height", "perceptual_hash", *SETTINGS]
"""The columns that sets are told by."""


def find_sets(table: pa.Table, out: Path | None = None) -> Iterator[tuple[str, list[int]]]:
    """The kind of each set, and the numbers of its rows in the order they were taken. `out` is the folder of small
    pictures, whose overlap tells a panorama."""
    rows = [row for part in table.select(NEEDED).to_batches(1000) for row in part.to_pylist()]
    groups: dict[tuple, list[tuple[float, int]]] = {}
    for number, row in enumerate(rows):
        if (taken := seconds_of(row["taken"])) is not None and row["camera"]:
            size = sorted((row["width"] or 0, row["height"] or 0))
            groups.setdefault((row["camera"], row["body"], *size), []).append((taken, number))
    for group in groups.values():
        if len(group) >= 3:
            group.sort()
            yield from sets_of_camera(rows, group, out)


def sets_of_camera(
    rows: list[dict], shots: list[tuple[float, int]], out: Path | None
) -> Iterator[tuple[str, list[int]]]:
    """The sets among the shots of one camera, each its time and its row, in order."""
    numbers = [number for _, number in shots]
    column = {name: np.array([rows[n][name] for n in numbers], float) for name in SETTINGS}  # None is NaN
    times = np.array([time for time, _ in shots])
    gaps = np.diff(times) - np.nan_to_num(column["exposure_time"][:-1])
    light = np.log2(column["f_number"] ** 2 / column["exposure_time"] * 100 / column["iso"])
    change = np.abs(np.diff(column["exposure_bias"]))
    change = np.where(np.isnan(change), np.abs(np.diff(light)), np.maximum(change, 0))
    same_lens = np.diff(column["focal_length"]) == 0
    same_light = np.abs(np.diff(light)) < 0.05
    focus = np.diff(column["subject_distance"])
    bits = np.array([int(rows[n]["perceptual_hash"] or "0", 16) for n in numbers], np.uint64)
    differs = np.bitwise_count(bits[1:] ^ bits[:-1]) > DISTANCE
    close, used = gaps <= SECONDS, np.zeros(len(numbers), bool)
    even = np.abs(np.diff(np.diff(times))) <= np.maximum(1, 0.05 * np.diff(times)[1:])
    for kind, pairs in (
        (BRACKET, close & same_lens & (change >= STEP)),
        (STACK, close & same_lens & same_light & (focus > 0)),
        (STACK, close & same_lens & same_light & (focus < 0)),
        (TIME_LAPSE, np.concatenate([even, [False]]) | np.concatenate([[False], even])),
        (PANORAMA, (gaps <= PANORAMA_SECONDS) & same_lens & same_light & differs),
    ):
        for first, last in runs(pairs & ~used[1:] & ~used[:-1]):
            found = range(first, last + 1)
            if len(found) >= LEAST[kind] and holds(
                kind, times[first : last + 1], [rows[numbers[i]] for i in found], out
            ):
                used[first : last + 1] = True
                yield kind, [numbers[i] for i in found]


def holds(kind: str, times: np.ndarray, rows: list[dict], out: Path | None) -> bool:
    """Whether the whole set is of the kind that each pair of neighbours suggests."""
    if kind == TIME_LAPSE:
        gaps = np.diff(times)
        return bool(np.median(gaps) >= 2 and np.ptp(gaps) <= max(1, 0.1 * np.median(gaps)))
    if kind == PANORAMA:
        return out is not None and all(overlaps(out, a["path"], b["path"]) for a, b in itertools.pairwise(rows))
    return True


def runs(pairs: np.ndarray) -> Iterator[tuple[int, int]]:
    """The first and the last of each chain of shots whose neighbours all hold."""
    edges = np.diff(np.concatenate([[False], pairs, [False]]).astype(np.int8))
    yield from zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist(), strict=True)


def overlaps(out: Path, *paths: str) -> bool:
    """Whether the view of a shot continues in another one: part of it is there, shifted."""
    try:
        one, two = (np.asarray(Image.open(thumbnail_files(out, path)[0]).convert("L"), np.float32) for path in paths)
    except OSError:
        return False
    if one.shape != two.shape:
        return False
    spectrum = np.fft.rfft2(one - one.mean()) * np.conj(np.fft.rfft2(two - two.mean()))
    peak = np.fft.irfft2(spectrum / (np.abs(spectrum) + 1e-6), one.shape)
    down, right = np.unravel_index(peak.argmax(), peak.shape)
    height, width = one.shape
    for y in (int(down), int(down) - height):
        for x in (int(right), int(right) - width):
            a = one[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]
            b = two[max(0, -y) : height + min(0, -y), max(0, -x) : width + min(0, -x)]
            moved = max(abs(y) / height, abs(x) / width)
            if not (0.1 <= moved <= 0.85 and a.size > 200 and a.std() > 1 and b.std() > 1):
                continue
            if np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.7:
                return True
    return False
