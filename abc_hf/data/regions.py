"""Regions labelled by eye, and the maps made of them."""

import csv
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..losses import AMOUNT_STEPS, AT_LEAST_HIGH, NUM_LEVELS, UNKNOWN


def read_regions(path: Path) -> dict[str, list[str]]:
    """Regions labelled by eye: a CSV of `file, cells`; by file, the rows of its grid.

    `cells` holds the rows of a grid laid over the photo, a character a cell: 0..3 are the levels of section 3.2, `?` is
    mixed or unsure. Raises ValueError for a missing column, uneven rows or another character, with the row.
    """
    regions = {}
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            if row.get("file") is None or row.get("cells") is None:
                raise ValueError(f"{path}, row {number}: the columns must be file and cells.")
            grid = row["cells"].split()
            if not grid or len({len(line) for line in grid}) > 1 or not set("".join(grid)) <= set("0123?"):
                raise ValueError(
                    f"{path}, row {number}, column cells: rows of the same length, of the characters 0, 1, 2, 3 and ?, "
                    f"were expected; got {row['cells']!r}."
                )
            regions[row["file"]] = grid
    return regions


def region_cells(grid: list[str]) -> np.ndarray:
    """The cells of a labelled grid as levels; `?` is `UNKNOWN`."""
    return np.array([[UNKNOWN if cell == "?" else int(cell) for cell in line] for line in grid])


def region_amounts(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Amounts of blur from the levels that two annotators gave each cell.

    The amount is their mean if they are at most one level apart, and unknown if they are further apart. If both say
    high, the amount is `AT_LEAST_HIGH`. If only one of them is sure, that one decides.
    """
    sure = np.where(first == UNKNOWN, second, first)
    other = np.where(second == UNKNOWN, sure, second)
    amounts = np.rint((sure + other) * (AMOUNT_STEPS / 2))
    amounts = np.where((sure == NUM_LEVELS - 1) & (other == NUM_LEVELS - 1), AT_LEAST_HIGH, amounts)
    return np.where((sure == UNKNOWN) | (abs(sure - other) > 1), UNKNOWN, amounts).astype(int)


def region_map(cells: np.ndarray, weak: np.ndarray | None, height: int, width: int) -> np.ndarray:
    """Levels or amounts of (height, width) pixels from those of the cells of a labelled grid and, where there is one,
    the weak map of the salient mask.

    A cell's label holds for at least 80 % of it: near cells on the other side of sharp | blurred it is taken as
    unknown, and so it is where the weak map says the opposite for less than 80 % of the cell. Where a cell is unknown,
    the weak map stays.
    """
    rows, columns = (np.arange(side) * count // side for side, count in zip((height, width), cells.shape, strict=True))
    levels = cells[rows][:, columns]
    side = tuple(round(0.3 * length / count) for length, count in zip((height, width), cells.shape, strict=True))
    blurred, known = (levels > 0) & (levels != UNKNOWN), levels != UNKNOWN
    near_blurred, near_sharp = (ndimage.maximum_filter(each, side) for each in (blurred, known & ~blurred))
    levels = np.where(near_blurred & near_sharp, UNKNOWN, levels)
    if weak is None:
        return levels.astype(np.uint8)
    opposite = known & (weak != UNKNOWN) & ((weak > 0) != blurred)
    share = np.zeros(cells.shape)
    np.add.at(share, (rows[:, None], columns[None]), opposite)
    share /= np.outer(np.bincount(rows), np.bincount(columns))
    doubtful = opposite & (share < 0.8)[rows][:, columns]
    return np.where(known, np.where(doubtful, UNKNOWN, levels), weak).astype(np.uint8)
