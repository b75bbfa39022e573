"""Photos of a data set -> crops as cameras and the web might have made them, on any device.

The paper's augmentations are flips, crops, brightness and contrast. Added are a random scale that never enlarges, less
colour, and traces of processing (`develop`).
"""

import functools
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ..data.marks import RandomNumbers
from ..data.schema import check_map, levels_from
from ..image_processing_abc_fusenet import working_shape
from ..losses import AMOUNT_STEPS, NUM_LEVELS, UNKNOWN


def stored(row: dict, name: str, side: int, amounts: bool = True) -> dict[str, torch.Tensor]:
    """A row as it is kept: the photo at the working size in a square (3, side, side), continued by reflection; codes of
    blur and of the subject (0, 1) in squares, 255 where there is none. The codes of blur are always amounts; with
    `amounts`, those of the column blur_amount where there is one.

    Raises ValueError, with row and column, for a map that is none.
    """
    photo = row["image"].convert("RGB")
    height, width = working_shape(photo.height, photo.width, side)
    pixels = np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    canvas = np.pad(pixels, ((0, 0), (0, side - height), (0, side - width)), mode="symmetric")
    result: dict[str, Any] = {"photo": torch.from_numpy(canvas), "size": (height, width)}
    blur = "blur_amount" if amounts and row.get("blur_amount") is not None else "blur_map"
    for key, column in (("blur", blur), ("subject", "salient_mask")):
        codes = np.full((side, side), UNKNOWN, np.uint8)
        if row[column] is not None:
            check_map(row[column], photo, f"{name}, column {column}")
            values = np.asarray(row[column].resize((width, height), Image.Resampling.NEAREST))
            if column == "salient_mask":
                values = values > 127
            else:  # levels and amounts alike in the codes of amounts
                levels = levels_from(values, column, name)
                values = np.rint(np.where(levels < NUM_LEVELS, levels * AMOUNT_STEPS, levels))
            codes[:height, :width] = values
        result[key] = torch.from_numpy(codes)
    return result


def crop(
    photos: torch.Tensor, maps: torch.Tensor, sizes: np.ndarray, shape: tuple[int, int], scale: float, rng
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Scale and crop photos (B, 3, S, S) and maps (B, C, S, S) as `stored` makes them, to the shape (h, w).

    The crops are flipped at random. Without `rng`, they are the top left ones. A crop that reaches beyond the photo is
    filled by reflection, in the maps by `UNKNOWN`. Also returns the (height, width) of the scaled photos; sizes: the
    same before.
    """
    before = photos.shape[-1]
    side = max(32, round(before * scale))
    photos, maps = photos.float() / 255, maps.float()
    if side < before:
        photos = F.interpolate(photos, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        maps = F.interpolate(maps, (side, side), mode="nearest-exact")
    missing = [max(0, length - side) for length in shape]
    if any(missing):
        around = (0, missing[1], 0, missing[0])
        photos = F.pad(photos, around, mode="reflect" if max(missing) < side else "replicate")
        maps = F.pad(maps, around, value=UNKNOWN)
    sizes = (sizes * side / before).round().astype(int)
    cut_photos, cut_maps = [], []
    for photo, own, size in zip(photos, maps, sizes, strict=True):
        draw = (0, 0, 1) if rng is None else rng.random(3)
        top, left = (int(draw[axis] * (max(0, size[axis] - shape[axis]) + 1)) for axis in (0, 1))
        window = (slice(None), slice(top, top + shape[0]), slice(left, left + shape[1]))
        flips = [-1] if draw[2] < 0.5 else []
        cut_photos.append(photo[window].flip(flips))
        cut_maps.append(own[window].flip(flips))
    return torch.stack(cut_photos), torch.stack(cut_maps), sizes


def processed(pixels: torch.Tensor, random: RandomNumbers, rng: np.random.Generator) -> torch.Tensor:
    """Photos (B, 3, H, W) in 0..1 with traces of processing, and of other brightness, contrast and colour."""
    return jitter(develop((pixels * 255).round(), random, rng), random)


def develop(images: torch.Tensor, random: RandomNumbers, rng: np.random.Generator) -> torch.Tensor:
    """Random sharpening, grain and JPEG of (B, 3, H, W) in 0..255: real and synthetic photos alike, so that the traces
    of how a photo was made do not give its blur away. Returns values in 0..1."""
    uniform = functools.partial(random.uniform, len(images), 1, 1, 1)
    amount = uniform(low=0.2, high=1.2) * (uniform() < 0.4)
    images = (images + amount * (images - gaussian(images, uniform(low=0.5, high=1.5)))).clamp(0, 255).round()
    noise = random.normal(images)
    images = (images + noise * uniform(low=0.5, high=6) * (uniform() < 0.3)).clamp(0, 255).floor()
    saved = (uniform() < 0.5).flatten().nonzero().flatten()
    if len(saved):
        shift = tuple(int(n) for n in rng.integers(0, 8, 2))  # blocks begin anywhere
        quality = uniform(low=50, high=97).flatten()[saved].floor()
        moved = jpeg(images[saved].roll(shift, (2, 3)), quality)
        images[saved] = moved.roll((-shift[0], -shift[1]), (2, 3))
    return images / 255


def gaussian(images: torch.Tensor, sigma: torch.Tensor, half: int = 4) -> torch.Tensor:
    """Blur (B, C, H, W) by Gaussians of sigma (B, 1, 1, 1) [pixels]."""
    count, channels, height, width = images.shape
    steps = torch.arange(-half, half + 1, device=images.device)
    line = torch.exp(-(steps**2) / (2 * sigma.view(-1, 1) ** 2))
    line = (line / line.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    planes = F.pad(images.reshape(1, count * channels, height, width), (half,) * 4, mode="reflect")
    planes = F.conv2d(planes, line[:, None, :, None], groups=count * channels)
    planes = F.conv2d(planes, line[:, None, None, :], groups=count * channels)
    return planes.view_as(images)


def jitter(images: torch.Tensor, random: RandomNumbers, amount: float = 0.25) -> torch.Tensor:
    """Random brightness and contrast of (B, 3, H, W) in 0..1, and less colour for one photo in five."""
    uniform = functools.partial(random.uniform, len(images), 1, 1, 1)
    images = images * uniform(low=1 - amount, high=1 + amount)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * uniform(low=1 - amount, high=1 + amount) + mean
    grey = (images * torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    colour = torch.where(uniform() < 0.2, uniform(), 1.0)
    return (grey + (images - grey) * colour).clamp(0, 1)


LUMA = torch.tensor(
    [
        [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)  # fmt: skip
CHROMA = torch.full((8, 8), 99)
CHROMA[:4, :4] = torch.tensor([[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]])
"""The quantisation tables of the JPEG standard's annex K."""


def jpeg(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """The photos (B, 3, H, W), in 0..255, after JPEG with annex K's tables and halved chroma. H and W: multiples of 16.

    quality: (B,) 1 to 100, scaled as libjpeg does."""
    frequency = torch.arange(8, device=images.device)
    basis = torch.cos((2 * frequency[None] + 1) * frequency[:, None] * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    factor = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).view(-1, 1, 1)

    def coded(plane: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        steps = ((table.to(plane.device) * factor + 50) / 100).floor().clamp(1, 255)[:, None, None]
        blocks = plane.unfold(1, 8, 8).unfold(2, 8, 8)  # (B, rows, columns, 8, 8)
        blocks = ((basis @ blocks @ basis.T) / steps).round() * steps
        return (basis.T @ blocks @ basis).permute(0, 1, 3, 2, 4).reshape(plane.shape)

    red, green, blue = images.unbind(1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    half = F.avg_pool2d(torch.stack([0.564334 * (blue - luma), 0.713267 * (red - luma)], 1), 2)
    luma = coded(luma - 128, LUMA) + 128
    half = torch.stack([coded(plane, CHROMA) for plane in half.unbind(1)], 1)
    blue, red = F.interpolate(half, images.shape[-2:], mode="bilinear", align_corners=False).unbind(1)
    colours = [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue]
    return torch.stack(colours, 1).round().clamp(0, 255)
