# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Small pieces of a photo in its own pixels, to be looked at once the network has said where the subject is.

The pieces are taken when the photo is opened, and the whole photo is forgotten: about 100 pieces hold a fifteenth of
the pixels of 24 megapixels.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from PIL import Image

from .faces import TILE, Eye, Face, eyes_of, find_faces

FACES = 8
"""The most faces whose eyes are looked at."""
GRID = 12
"""The most pieces along the long side."""
STEP = 8
"""Detail is looked for at 1/8 of the size, where noise has vanished [pixels]."""
STRONG = 24
"""Steps of grey that count as a full edge; stronger ones do not count more."""


@dataclass(frozen=True, eq=False)
class CloseUps:
    """Pieces of a photo.

    Args:
        tiles: (N, TILE, TILE) uint8, grey. A photo smaller than a tile is continued by its border.
        corners: (N, 2) the left and top of each [pixels of the photo].
        detail: (N,) how full of edges each is, 0..1.
        size: width and height of the photo [pixels].
        faces: the faces, the tallest first; None without the extra `faces`.
        eyes: pieces around the eyes of the tallest `FACES`.
    """

    tiles: np.ndarray
    corners: np.ndarray
    detail: np.ndarray
    size: tuple[int, int]
    faces: list[Face] | None = None
    eyes: list[Eye] = field(default_factory=list)

    def places(self, cell: int) -> tuple[np.ndarray, np.ndarray]:
        """The middles of the cells of each tile, cell x cell pixels large, as shares of the photo's width and height:
        two arrays (N, TILE / cell, TILE / cell); beyond a small photo they are above 1."""
        middles = np.arange(TILE // cell) * cell + cell / 2
        x = (self.corners[:, 0, None, None] + middles[None, None]) / self.size[0]
        y = (self.corners[:, 1, None, None] + middles[None, :, None]) / self.size[1]
        x, y = np.broadcast_arrays(x, y)
        return x, y


def close_ups(photo: Image.Image, picture: Image.Image | None = None) -> CloseUps:
    """The most detailed tile of each part of a photo, and tiles around the eyes of people. The parts lie in a grid of
    at most `GRID` along the long side.

    Args:
        photo: in its own pixels.
        picture: the photo in colour, to look for faces, if `photo` is grey; it may be smaller.
    """
    luma = photo if photo.mode == "L" else photo.convert("L")
    width, height = luma.size
    if min(width, height) < TILE:
        missing = (0, max(0, TILE - height)), (0, max(0, TILE - width))
        luma = Image.fromarray(np.pad(np.asarray(luma), missing, mode="edge"))
    detail = tile_sums(edges(np.asarray(luma.reduce(STEP), np.float32)), TILE // STEP)
    part = max(TILE, max(width, height) / GRID)
    corners, fullness = [], []
    for rows in parts(len(detail), luma.height, part):
        for columns in parts(detail.shape[1], luma.width, part):
            among = detail[rows, columns]
            row, column = divmod(int(among.argmax()), among.shape[1])
            places = (columns.start + column) * STEP, (rows.start + row) * STEP
            corners.append([min(place, side - TILE) for place, side in zip(places, luma.size, strict=True)])
            fullness.append(among[row, column])
    tiles = np.stack([np.asarray(luma.crop((x, y, x + TILE, y + TILE))) for x, y in corners])
    faces = find_faces(picture or photo)
    eyes = eyes_of(faces[:FACES], np.asarray(luma)) if faces and luma.size == (width, height) else []
    return CloseUps(tiles, np.array(corners), np.array(fullness, np.float32), (width, height), faces, eyes)


def edges(small: np.ndarray) -> np.ndarray:
    """How much of an edge each pixel of (h, w) is, 0..1."""
    steps = [np.abs(np.diff(small, axis=axis, append=np.take(small, [-1], axis))) for axis in (0, 1)]
    return np.minimum(np.maximum(*steps) / STRONG, 1)


def tile_sums(values: np.ndarray, side: int) -> np.ndarray:
    """The means of all windows of side x side."""
    sums = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return (sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]) / side**2


def parts(places: int, length: int, part: float) -> list[slice]:
    """The places along one side of a photo, where tiles can begin, in as many parts as fit its length [pixels]."""
    number = max(1, min(places, round(length / part)))
    ends = np.linspace(0, places, number + 1).round().astype(int)
    return [slice(first, last) for first, last in pairwise(ends)]
