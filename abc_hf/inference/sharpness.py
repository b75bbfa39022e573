# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""How sharp the subject of a photo is in the photo's own pixels, to choose among shots of one scene.

The blur map is made at the working size. At this size a slight focus error is invisible. So this module compares the
energy of gradients at a fine and at a coarse scale. Contrast and exposure cancel in the ratio. For edges blurred by a
Gaussian the ratio is known: the energy of the gradient of a step edge, smoothed by s and blurred by r, is proportional
to 1 / sqrt(s² + r²). The energy that white noise adds at each scale is known, too, and is subtracted.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d, conv2d, pad

from ..image_processing_abc_fusenet import resize_map
from .opening import load_photo

FINE, COARSE = 1.0, 4.0
"""The standard deviations of the two Gaussians whose gradients are compared [pixels]."""
BAND = 64
"""Rows computed at a time: a multiple of the coarse scale and of a noise block, and few enough that all intermediate
values stay in the processor's cache."""
LOUPE = 1280
"""The side of the shown piece of a shot [pixels]."""
WINDOW = 480
"""The side of the place that is looked for in a shot [pixels]."""


@dataclass(frozen=True, eq=False)
class SubjectSharpness:
    """The sharpness of the subject of one shot.

    Args:
        sharpness: see `sharpness`.
        box: left, top, right and bottom of the subject [pixels of the photo].
    """

    sharpness: float
    box: tuple[int, int, int, int]


def sharpness(photo: Image.Image, weights: np.ndarray | None = None) -> float:
    """How sharp a photo is in its own pixels.

    Args:
        photo: of any size and mode.
        weights: (h, w) of any size, how much each place counts. Without weights all places count the same.

    Returns:
        1 for perfectly sharp edges, FINE / COARSE = 1/4 for unlimited blur, more than 1 for texture finer than edges,
        0 for a photo without edges. Exposure and contrast do not change it.
    """
    luma = np.asarray(photo.convert("L"), np.float32)
    weights = np.ones_like(luma) if weights is None else resize_map(weights, luma.shape)
    noise = noise_variance(luma)
    fine, coarse = (max(gradient_energy(luma, weights, scale, noise), 0.0) for scale in (FINE, COARSE))
    return fine / coarse * FINE / COARSE if coarse > 1e-3 else 0.0


def gradient_energy(luma: np.ndarray, weights: np.ndarray, scale: float, noise: float) -> float:
    """The weighted mean of the squared gradient of (H, W) smoothed by a Gaussian, minus the part of such noise.

    The border of the picture is repeated. A coarse gradient is computed only at steps of its scale, because it hardly
    changes in between.
    """
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
    """A sampled Gaussian of sum 1, and its derivative, scaled to give 1 for a ramp of slope 1."""
    radius = math.ceil(4 * scale)
    x = torch.arange(-radius, radius + 1, dtype=torch.float32)
    smooth = torch.exp(-(x**2) / (2 * scale**2))
    smooth /= smooth.sum()
    derivative = smooth * x
    return smooth, derivative / (derivative * x).sum()


def noise_variance(luma: np.ndarray, block: int = 16) -> float:
    """The variance of white noise in a picture, by the mask of Immerkaer (1996), which hardly responds to edges and
    ramps. The lower quartile over blocks counts, so textured blocks do not."""
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
    """Left, top, right and bottom of the subject in a photo of `size` (width, height) [pixels].

    The box holds the places where attention is 0.5 or more, without the outermost 2 % of attention on each side. If
    there are no such places, the box is the whole photo.
    """
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
        long_side: reduce a larger photo to this long side first, to compare shots of different sizes [pixels].

    Raises:
        PhotoError: if the photo cannot be opened.
    """
    image = load_at(photo, long_side, **loading)
    box = subject_box(attention_map, image.size)
    crop = image.crop(box)
    scale = [side / small for side, small in zip(image.size, attention_map.shape[::-1], strict=True)]
    left, top, right, bottom = (round(edge / scale[index % 2]) for index, edge in enumerate(box))
    weights = attention_map[top : max(bottom, top + 1), left : max(right, left + 1)]
    return SubjectSharpness(sharpness(crop, weights if weights.any() else None), box)


def load_at(photo, long_side: int | None, **loading) -> Image.Image:
    """The photo, reduced to a long side if it is larger [pixels]."""
    image = load_photo(photo, **loading)
    if long_side and long_side < max(image.size):
        image.thumbnail((long_side, long_side), Image.Resampling.LANCZOS, reducing_gap=None)
    return image


def sharpest_place(
    preview: Image.Image, blur_map: np.ndarray, attention_map: np.ndarray, long_side: int
) -> tuple[float, float]:
    """The middle of the sharpest attended part of a photo, as shares of its width and height.

    Args:
        preview: the photo at the size of the maps, (h, w) in 0..1.
        long_side: of the photo itself [pixels]; the part is `WINDOW` of these wide and high.
    """
    luma = np.asarray(preview.convert("L"), np.float32)
    detail = sum(np.abs(np.diff(luma, axis=axis, prepend=np.take(luma, [0], axis))) for axis in (0, 1))
    side = round(WINDOW / long_side * max(luma.shape)) // 2 * 2 + 1
    weights = torch.from_numpy(detail * attention_map * (1 - blur_map))[None, None]
    for kernel in ((side, 1), (1, side)):  # one axis after the other: a large window takes minutes otherwise
        weights = avg_pool2d(weights, kernel, 1, (kernel[0] // 2, kernel[1] // 2))
    row, column = divmod(int(weights.argmax()), luma.shape[1])
    return (column + 0.5) / luma.shape[1], (row + 0.5) / luma.shape[0]


def loupe(photo, place: tuple[float, float], long_side: int | None = None, **loading) -> Image.Image:
    """The piece of a photo around a place, at most `LOUPE` pixels wide and high, not resized further.

    Args:
        photo, long_side, loading: as in `subject_sharpness`.
        place: as shares of width and height.
    """
    image = load_at(photo, long_side, **loading)
    left, top = (
        min(max(0, round(at * side) - LOUPE // 2), max(0, side - LOUPE))
        for at, side in zip(place, image.size, strict=True)
    )
    return image.crop((left, top, min(left + LOUPE, image.width), min(top + LOUPE, image.height)))
