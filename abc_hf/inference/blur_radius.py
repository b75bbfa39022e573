"""How sharp the subject of a photo is in the photo's own pixels.

The blur map is made at the working size. At this size the slight blur of a photo of 24 megapixels is invisible. So a
small network looks at pieces of the photo in its own pixels, and tells the radius of their blur. It has learned from
computed blur of known radius (`abc_hf.training.blur_radius`): noise is not sharpness, nor are JPEG's blocks and the
halos of sharpening.
"""

import functools
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import softplus

from ..close_ups import TILE, CloseUps
from ..faces import Eye, prominent

CELL = 16
"""The side of a cell, for which the network gives one radius [pixels]."""
SMALLEST, LARGEST = 0.5, 24.0
"""The radii that the network tells apart [pixels]; less looks like a sharp photo, more like no detail at all."""
WEIGHTS = Path(__file__).parents[1] / "pretrained" / "blur_radius" / "model.safetensors"
LOOKED_AT = 12
"""The most tiles of a photo that the network looks at."""
SURE = 0.6
"""The expected error of a radius' logarithm below which a cell counts."""
SHARPEST = 0.25
"""The share of the subject, as far as it shows edges, that is sharper than the reported radius."""


@dataclass(frozen=True)
class SubjectSharpness:
    """How sharp the subject of a photo is in the photo's own pixels.

    Args:
        blur_radius: of the sharper parts of the subject, `SMALLEST` to `LARGEST` [pixels of the photo]: the radius of
            a defocus disc, or of blur of another shape that is as wide.
        box: left, top, right and bottom of the eye, if one was measured, else of the sharpest part that was looked at
            [pixels of the photo].
        faces: how many there are in the photo; None without the extra `faces`.
        eye_blur_radius: as `blur_radius`, of the sharper eye of a face; among several faces that stand out, of the
            face where this is blurred most. None if no eye could be measured.
    """

    blur_radius: float
    box: tuple[int, int, int, int]
    faces: int | None = None
    eye_blur_radius: float | None = None

    @property
    def sharpness(self) -> float:
        """How steep an edge is under this blur, 0..1; 1 for a perfect edge. A radius of 1 pixel gives 0.89, of 2
        pixels 0.71, of 4 pixels 0.45."""
        return sharpness_of(self.blur_radius)

    @property
    def eye_sharpness(self) -> float | None:
        """The same of the eye."""
        return None if self.eye_blur_radius is None else sharpness_of(self.eye_blur_radius)


def sharpness_of(blur_radius: float) -> float:
    """The steepness of an edge of sigma 1 pixel under a Gaussian blur of a radius, as a share of before."""
    return 1 / math.sqrt(1 + (blur_radius / 2) ** 2)


class RadiusNet(nn.Module):
    """The radius of blur in a photo's own pixels, for each cell of 16 x 16 of them.

    The radius is the equivalent radius of `abc_hf.data.kernels`: that of a defocus disc, twice the sigma of a Gaussian.
    Four steps halve the size. After each step, a residual block looks around. 330,000 weights.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48, 64)):
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in pairwise((1, *widths)):
            layers += [convolution(before, width, 5 if before == 1 else 3, stride=2), Around(width)]
        self.body = nn.Sequential(*layers, Around(widths[-1], 2), Around(widths[-1], 1))
        self.head = nn.Conv2d(widths[-1], 2, 1)

    def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            grey: (B, 1, H, W) sRGB luma in 0..1; H and W are multiples of `CELL`.

        Returns:
            radius: (B, 1, H / CELL, W / CELL) [pixels], `SMALLEST` to `LARGEST`.
            spread: of the same shape, the expected error of the radius' logarithm; large where there are no edges.
        """
        share, spread = self.head(self.body(4 * (grey - grey.mean((2, 3), keepdim=True)))).chunk(2, 1)
        radius = SMALLEST * (LARGEST / SMALLEST) ** share.sigmoid()
        return radius, 0.02 + softplus(spread)


def convolution(before: int, after: int, side: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution, batch norm and ReLU."""
    padding = side // 2 * dilation
    conv = nn.Conv2d(before, after, side, stride, padding, dilation, bias=False, padding_mode="replicate")
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())


class Around(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, width: int, dilation: int = 1):
        super().__init__()
        self.look = nn.Sequential(convolution(width, width, 3), convolution(width, width, 3, dilation=dilation))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values + self.look(values)


@functools.cache
def radius_net() -> RadiusNet:
    """The trained network that comes with the package."""
    network = RadiusNet()
    network.load_state_dict(load_file(WEIGHTS), strict=False)  # without the counters of batch norm
    return network.eval()


@torch.inference_mode()
def radii_of(tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The radius [pixels] and its spread for each cell of tiles (N, H, W) uint8: two arrays (N, H / CELL, W / CELL)."""
    radius, spread = radius_net()(torch.from_numpy(tiles)[:, None].float() / 255)
    return radius[:, 0].numpy(), spread[:, 0].numpy()


def measure(seen: CloseUps, blur_map: np.ndarray, attention_map: np.ndarray) -> SubjectSharpness | None:
    """Measure the sharper parts of the subject of a photo. Without a subject that stands out, of the whole photo.

    Args:
        seen: pieces of the photo.
        blur_map, attention_map: (h, w) in 0..1, of any size.

    Returns:
        None if the subject shows no edges by which blur can be measured.
    """
    attended = np.where(attention_map >= 0.5, attention_map, 0)
    attended = attended if attended.any() else np.ones_like(attention_map)
    faces = None if seen.faces is None else len(seen.faces)
    eye = softest_eye(seen, attention_map)
    if eye is None:
        found = sharper_parts(seen, blur_map, attended)
        return None if found is None else SubjectSharpness(*found, faces)
    radius, box = eye
    found = sharper_parts(seen, blur_map, attended) or eye
    return SubjectSharpness(found[0], box, faces, radius)


def sharper_parts(
    seen: CloseUps, blur_map: np.ndarray, attended: np.ndarray
) -> tuple[float, tuple[int, int, int, int]] | None:
    """The radius of blur of the sharper attended parts, and the box of the sharpest; None if they show no edges."""
    places = seen.places(CELL)
    importance = at(attended, places)
    worth = seen.detail * (importance * (1.01 - at(blur_map, places))).mean((1, 2))
    chosen = np.argsort(-worth, kind="stable")[:LOOKED_AT]
    chosen = chosen[worth[chosen] > 0]
    if not len(chosen):
        return None
    radius, spread = radii_of(seen.tiles[chosen])
    weights = importance[chosen] * (spread < SURE)
    if not weights.any():
        return None
    found = sharper(radius, weights)
    sharp = (weights * (radius <= found)).sum((1, 2))
    left, top = (int(edge) for edge in seen.corners[chosen[int(sharp.argmax())]])
    return found, (left, top, min(left + TILE, seen.size[0]), min(top + TILE, seen.size[1]))


def sharper(radius: np.ndarray, weights: np.ndarray) -> float:
    """The radius below which `SHARPEST` of the weight lies."""
    order = np.argsort(radius, axis=None)
    mass = weights.ravel()[order].cumsum()
    return float(radius.ravel()[order][np.searchsorted(mass, SHARPEST * mass[-1])])


def softest_eye(seen: CloseUps, attention_map: np.ndarray) -> tuple[float, tuple[int, int, int, int]] | None:
    """The radius of blur of the sharper eye of the face where this is blurred most, and the box of this eye; None if no
    face stands out that is large enough."""
    standing_out = prominent(seen.faces or [], attention_map)
    radii: dict[int, tuple[float, tuple[int, int, int, int]]] = {}
    for eye in seen.eyes:
        if seen.faces and seen.faces[eye.face] in standing_out:
            measured = eye_radius(eye), eye.box
            radii[eye.face] = min(radii.get(eye.face, measured), measured)
    return max(radii.values(), default=None)


def eye_radius(eye: Eye) -> float:
    """The radius of blur of the sharper parts of an eye [pixels]. An eye without edges is strongly blurred, so all its
    cells count."""
    radius, _ = radii_of(eye.tile[None])
    middles = (np.arange(radius.shape[-1]) + 0.5) * CELL
    reach = max(eye.around, CELL)
    near = [np.abs(middles - (place - start)) <= reach for place, start in zip(eye.middle, eye.corner, strict=True)]
    return sharper(radius, np.outer(near[1], near[0]).astype(float))


def at(values: np.ndarray, places: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """A map (h, w) at places, shares of its width and height; 0 beyond it."""
    height, width = values.shape
    x, y = places
    found = values[np.minimum((y * height).astype(int), height - 1), np.minimum((x * width).astype(int), width - 1)]
    return np.where((x < 1) & (y < 1), found, 0)
