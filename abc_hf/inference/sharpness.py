# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""How sharp the subject of a photo is in the photo's own pixels, to choose among shots of one scene.

The blur map is made at the working size, where a small miss of focus is not to be seen. Here the energy of gradients at
a fine and at a coarse scale is compared instead. Contrast and exposure drop out of the ratio, and for edges blurred by
a Gaussian it is known in closed form: the energy of a step edge's gradient, smoothed by s and blurred by r, goes with
1 / sqrt(s² + r²). The energy that white noise adds at each scale is known as well, and taken off.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import conv2d, pad

from ..image_processing_abc_fusenet import resize_map
from ..photos import load_photo

FINE, COARSE = 1.0, 4.0
"""The standard deviations of the Gaussians whose gradients are compared [pixels]."""
BAND = 64
"""Rows that are worked on at a time: a multiple of the coarse scale and of a block of noise, and small enough for what
is made of them to stay in the processor's cache."""
LOUPE = 480
"""The side of the piece of a shot that is shown [pixels]."""


@dataclass(frozen=True, eq=False)
class SubjectSharpness:
    """What is said of the subject of one shot.

    Args:
        sharpness: see `sharpness`.
        box: left, top, right and bottom of the subject [pixels of the photo].
        loupe: the middle of the subject, at most `LOUPE` pixels wide and high, not resized.
    """

    sharpness: float
    box: tuple[int, int, int, int]
    loupe: Image.Image


def sharpness(photo: Image.Image, weights: np.ndarray | None = None) -> float:
    """How sharp a photo is in its own pixels.

    Args:
        photo: of any size and mode.
        weights: (h, w) of any size, how much each place counts; without them, all count the same.

    Returns:
        1 for perfectly sharp edges, FINE / COARSE = 1/4 for boundless blur, more than 1 for texture finer than that,
        0 where there are no edges. A change of exposure or contrast does not change it.
    """
    luma = np.asarray(photo.convert("L"), np.float32)
    weights = np.ones_like(luma) if weights is None else resize_map(weights, luma.shape)
    noise = noise_variance(luma)
    fine, coarse = (max(gradient_energy(luma, weights, scale, noise), 0.0) for scale in (FINE, COARSE))
    return fine / coarse * FINE / COARSE if coarse > 1e-3 else 0.0


def gradient_energy(luma: np.ndarray, weights: np.ndarray, scale: float, noise: float) -> float:
    """The weighted mean of the squared gradient of (H, W) smoothed by a Gaussian, less what such noise adds.
    The picture's border is repeated. A coarse gradient is taken at every so many pixels as its scale has: it hardly
    differs in between."""
    smooth, derivative = gaussian(scale)
    radius, step, height = len(smooth) // 2, int(scale), len(luma)
    along, down = torch.stack([smooth, derivative]), torch.stack([derivative, smooth])
    total = 0.0
    for top in range(0, height, BAND):
        first, last = max(0, top - radius), min(height, top + BAND + radius)
        margins = (radius, radius, first - top + radius, min(height, top + BAND) + radius - last)
        band = pad(torch.from_numpy(luma[first:last])[None, None], margins, mode="replicate")
        rows = conv2d(band, along[:, None, None], stride=(1, step))
        squares = conv2d(rows, down[:, None, :, None], stride=(step, 1), groups=2).square().sum(1)[0]
        total += float((squares * torch.from_numpy(weights[top : top + BAND : step, ::step])).sum(dtype=torch.float64))
    mean = total / float(weights[::step, ::step].sum(dtype=np.float64))
    return mean - 2 * noise * float((smooth**2).sum() * (derivative**2).sum())


def gaussian(scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A sampled Gaussian of sum 1, and its derivative, whose answer to a ramp of slope 1 is 1."""
    radius = math.ceil(4 * scale)
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    smooth = torch.exp(-(x**2) / (2 * scale**2))
    smooth /= smooth.sum()
    derivative = smooth * x
    return smooth, derivative / (derivative * x).sum()


def noise_variance(luma: np.ndarray, block: int = 16) -> float:
    """The variance of white noise in a picture, by the mask of Immerkaer (1996), which edges and ramps hardly answer
    to: the lower quartile of its mean over blocks, so that textured ones do not count."""
    means = [np.zeros(0)]
    for top in range(0, len(luma) - 2, BAND):
        band = luma[top : top + BAND + 2]
        rows = band[:-2] - 2 * band[1:-1] + band[2:]
        answer = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
        height, width = (side // block * block for side in answer.shape)
        blocks = (answer[:height, :width] ** 2).reshape(height // block, block, width // block, block)
        means.append(blocks.mean(axis=(1, 3)).ravel())
    means = np.concatenate(means)
    return float(np.quantile(means, 0.25)) / 36 if len(means) else 0.0


def subject_box(attention_map: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the subject in a photo of `size` (width, height) [pixels]: all but the outermost
    2 % of attention on each side, where attention is 0.5 or more; the whole photo, where it is nowhere."""
    attended = np.where(attention_map >= 0.5, attention_map, 0)
    if not attended.any():
        return 0, 0, *size
    edges = []
    for axis, side in ((0, size[0]), (1, size[1])):
        mass = np.cumsum(attended.sum(axis=axis))
        first, last = np.searchsorted(mass, [0.02 * mass[-1], 0.98 * mass[-1]])
        scale = side / len(mass)
        edges.append((math.floor(first * scale), min(side, math.ceil((last + 1) * scale))))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def subject_sharpness(photo, attention_map: np.ndarray, long_side: int | None = None, **loading) -> SubjectSharpness:
    """Measure the subject of a photo, as an attention map shows it, in the photo's own pixels.

    Args:
        photo, loading: as in `load_photo`.
        attention_map: (h, w) in 0..1, of any size.
        long_side: reduce a larger photo to it first, to compare shots of different sizes [pixels].

    Raises:
        PhotoError: if the photo cannot be opened.
    """
    image = load_photo(photo, **loading)
    if long_side and long_side < max(image.size):
        image.thumbnail((long_side, long_side), Image.Resampling.LANCZOS, reducing_gap=None)
    box = subject_box(attention_map, image.size)
    crop = image.crop(box)
    scale = [side / small for side, small in zip(image.size, attention_map.shape[::-1], strict=True)]
    left, top, right, bottom = (round(edge / scale[index % 2]) for index, edge in enumerate(box))
    weights = attention_map[top : max(bottom, top + 1), left : max(right, left + 1)]
    middle_x, middle_y = crop.width // 2, crop.height // 2
    half = LOUPE // 2
    loupe = crop.crop(
        (
            max(0, middle_x - half),
            max(0, middle_y - half),
            min(crop.width, middle_x + half),
            min(crop.height, middle_y + half),
        )
    )
    return SubjectSharpness(sharpness(crop, weights if weights.any() else None), box, loupe)
