"""Shots of one scene side by side: the same place of each, in its own pixels."""

import numpy as np
from PIL import Image

from .opening import load_photo

LOUPE = 1280
"""The largest side of the shown piece of a shot [pixels]."""
COARSE = 0.1
"""The standard deviation of the frequencies that shots are aligned by, which blur leaves alone [cycles per pixel]."""
CLEAR = 8
"""By so many standard deviations the match of two shots stands out from chance."""


def shift(shot: Image.Image, other: Image.Image) -> tuple[float, float]:
    """How far the scene of `shot` has moved in `other`, to the right and down, in shares of width and height: by phase
    correlation. (0, 0) where the two do not match clearly."""
    size = shot.size
    window = np.outer(np.hanning(size[1]), np.hanning(size[0]))
    lumas = (np.asarray(image.convert("L").resize(size), np.float64) for image in (shot, other))
    first, second = (np.fft.rfft2((luma - luma.mean()) * window) for luma in lumas)
    cross = second * first.conj()
    squares = np.fft.fftfreq(size[1])[:, None] ** 2 + np.fft.rfftfreq(size[0]) ** 2
    cross *= np.exp(-squares / (2 * COARSE**2)) / np.maximum(np.abs(cross), 1e-9)
    match = np.fft.irfft2(cross, size[::-1])
    peak = divmod(int(match.argmax()), size[0])
    if match[peak] < match.mean() + CLEAR * match.std():
        return 0.0, 0.0
    down, right = ((step + length / 2) % length - length / 2 for step, length in zip(peak, match.shape, strict=True))
    return right / size[0], down / size[1]


def loupe(photo, place: tuple[float, float], long_side: int | None = None, **loading) -> Image.Image:
    """The piece of a photo around a place, at most `LOUPE` pixels wide and high and black beyond the photo.

    Args:
        photo, loading: as in `load_photo`.
        place: as shares of width and height.
        long_side: reduce a larger photo to this long side first, to compare shots of different sizes [pixels].
    """
    image = load_photo(photo, **loading)
    if long_side and long_side < max(image.size):
        image.thumbnail((long_side, long_side), Image.Resampling.LANCZOS, reducing_gap=None)
    sides = [min(LOUPE, side) for side in image.size]
    left, top = (round(at * whole - side / 2) for at, whole, side in zip(place, image.size, sides, strict=True))
    return image.crop((left, top, left + sides[0], top + sides[1]))


def inside(place: tuple[float, float], size: tuple[int, int]) -> tuple[float, float]:
    """The place nearest to one around which the loupe lies inside a photo of such width and height [pixels]."""
    x, y = (
        min(max(at, min(LOUPE, side) / 2 / side), 1 - min(LOUPE, side) / 2 / side)
        for at, side in zip(place, size, strict=True)
    )
    return x, y
