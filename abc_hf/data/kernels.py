"""The kernels and paths of blur, and where a renderer gets them from.

The amount of blur is the equivalent radius of a kernel, r = sqrt(2 E|x|^2) over its mass: the radius of a disc, 0.41
times the length of a straight motion, twice the sigma of a Gaussian.
"""

import math

import numpy as np
import torch
from scipy import ndimage

from ..configuration_abc_fusenet import KINDS

REACH = 40
"""Half the side of the largest kernel [pixels]."""
LARGEST = 26.0
"""The largest equivalent radius [pixels]: 0.05 of a long side of 512."""


def aperture_kernel(
    radius: float, blades: int = 0, angle: float = 0.0, oversample: int = 4, obstruction: float = 0.0
) -> np.ndarray:
    """Defocus of an aperture with straight blades (0 for a disc) of an equivalent radius of `radius` pixels.

    `obstruction` is the part of a disc's diameter that a mirror hides (a ring); only without blades.
    """
    half = int(np.ceil(radius * 1.25)) + 1
    steps = (np.arange((2 * half + 1) * oversample) + 0.5) / oversample - half - 0.5
    x, y = np.meshgrid(steps, steps)
    distance, theta = np.hypot(x, y), np.arctan2(y, x) + angle
    if blades:
        sector = 2 * np.pi / blades
        # a polygon of circumradius R has E|x|^2 = R^2 / 6 * (2 + cos(sector)); a disc has R^2 / 2
        circumradius = radius * np.sqrt(3 / (2 + np.cos(sector)))
        edge = circumradius * np.cos(sector / 2) / np.cos(np.mod(theta, sector) - sector / 2)
    else:
        edge = radius / np.sqrt(1 + obstruction**2)  # a ring has E|x|^2 = R^2 / 2 * (1 + obstruction^2)
    inside = ((distance <= edge) & (distance >= obstruction * edge)).astype(np.float32)
    size = 2 * half + 1
    kernel = inside.reshape(size, oversample, size, oversample).sum((1, 3))
    return kernel / kernel.sum() if kernel.sum() else identity_kernel()


def gaussian_kernel(radius: float) -> np.ndarray:
    """A Gaussian of sigma = radius / 2, as soft lenses and stacked small errors give."""
    half = int(np.ceil(1.5 * radius)) + 1
    steps = np.arange(-half, half + 1)
    line = np.exp(-(steps**2) / (2 * (radius / 2) ** 2))
    kernel = np.outer(line, line)
    return (kernel / kernel.sum()).astype(np.float32)


def path_kernel(path: np.ndarray) -> np.ndarray:
    """Kernel of a motion along `path`, an (N, 2) array of points [pixels] spent equal time at; centred on its mean."""
    path = path - path.mean(0)
    half = int(np.ceil(np.abs(path).max())) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    corner = np.floor(path).astype(int)
    fraction = path - corner
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - fraction[:, 0]) * np.abs(1 - dx - fraction[:, 1])
            np.add.at(kernel, (corner[:, 0] + dy + half, corner[:, 1] + dx + half), weight)
    return kernel / kernel.sum()


def scaled_path(path: np.ndarray, radius: float) -> np.ndarray:
    """The path, shrunk or stretched to an equivalent radius of `radius` pixels."""
    path = path - path.mean(0)
    return path * radius / max(np.sqrt(2 * (path**2).sum(1).mean()), 1e-9)


def straight_path(rng: np.random.Generator, points: int = 200) -> np.ndarray:
    """A motion in one direction with a slight bend, mostly near the horizontal."""
    angle = rng.normal(0, 0.35) if rng.random() < 0.6 else rng.uniform(0, np.pi)
    along = np.linspace(-1, 1, points)
    bend = rng.normal(0, 0.08) * along**2
    return np.stack([np.sin(angle) * along + np.cos(angle) * bend, np.cos(angle) * along - np.sin(angle) * bend], 1)


def shake_path(rng: np.random.Generator, points: int = 200) -> np.ndarray:
    """The path of a hand-held camera: smooth random acceleration around a drift."""
    jerk = ndimage.gaussian_filter1d(rng.normal(size=(points, 2)), points / rng.uniform(6, 30), axis=0)
    velocity = jerk / jerk.std() + rng.normal(0, 1.0, 2)
    return np.cumsum(velocity, axis=0)


def arc_path(rng: np.random.Generator, points: int = 200) -> np.ndarray:
    """A turn at even speed: an arc of 60 to 150 degrees. Held out of training."""
    angle = rng.uniform(0, 2 * np.pi) + np.linspace(0, np.radians(rng.uniform(60, 150)), points)
    return np.stack([np.sin(angle), np.cos(angle)], 1)


def tremor_path(rng: np.random.Generator, points: int = 200) -> np.ndarray:
    """Hands that tremble: an oscillation across a drift. Held out of training."""
    time = np.linspace(0, 1, points)
    swing = np.sin(2 * np.pi * (rng.uniform(1, 3) * time + rng.random())) * rng.uniform(0.3, 1)
    angle = rng.uniform(0, np.pi)
    return np.stack([np.sin(angle) * time + np.cos(angle) * swing, np.cos(angle) * time - np.sin(angle) * swing], 1)


def defocus_kernel(rng: np.random.Generator, radius: float, held_out: bool = False) -> np.ndarray:
    """Discs, polygons of 5 to 9 blades and Gaussians; held out of training are rings and squares."""
    choice = rng.random()
    if held_out:
        if choice < 0.5:
            return aperture_kernel(radius, obstruction=rng.uniform(0.3, 0.5))
        return aperture_kernel(radius, 4, rng.uniform(0, np.pi))
    if choice < 0.4:
        return aperture_kernel(radius)
    if choice < 0.7:
        return aperture_kernel(radius, int(rng.integers(5, 10)), rng.uniform(0, np.pi))
    return gaussian_kernel(radius)


def identity_kernel() -> np.ndarray:
    return np.ones((1, 1), np.float32)


def make_kernel(kind: str, rng: np.random.Generator, radius: float, held_out: bool = False) -> np.ndarray:
    """A (K, K) kernel of a kind of blur and an equivalent radius [pixels]; the part beyond `REACH` is cut off."""
    if kind == "defocus":
        made = defocus_kernel(rng, radius, held_out)
    else:
        families = {"motion": (straight_path, arc_path), "camera-shake": (shake_path, tremor_path)}
        made = path_kernel(scaled_path(families[kind][held_out](rng), radius))
    beyond = max(0, made.shape[0] // 2 - REACH)
    made = made[beyond : made.shape[0] - beyond, beyond : made.shape[1] - beyond]
    return np.pad(made / made.sum(), REACH - made.shape[0] // 2)


class KernelBank:
    """Kernels of each of `KINDS`, `count` a kind, their radii evenly spread in the logarithm from 0.5 to `LARGEST`."""

    def __init__(self, device, count: int = 3000, seed: int = 0):
        made = np.zeros((len(KINDS), count, 2 * REACH + 1, 2 * REACH + 1), np.float16)
        for index, kind in enumerate(KINDS):
            rng = np.random.default_rng((seed, index))
            for number, radius in enumerate(np.geomspace(0.5, LARGEST, count)):
                made[index, number] = make_kernel(kind, rng, radius)
        self.kernels = torch.from_numpy(made).to(device)
        self.step = math.log(LARGEST / 0.5) / (count - 1)
        self.near = count // 120  # kernels on either side of a radius that are within 3 % of it

    def draw(self, kind: torch.Tensor, radius: torch.Tensor, offset: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Kernels (B, K, K) of kinds (B,) and about the radii (B,) [pixels], and the radii they have.

        offset: (B,) integers, how many kernels of nearly the same radius to go past. Radius 0 is no blur."""
        last = self.kernels.shape[1] - 1
        index = ((radius.clamp(min=0.5) / 0.5).log() / self.step).round().long() + offset
        index = index.clamp(0, last)
        kernels = self.kernels[kind, index].float()
        exact = 0.5 * torch.exp(index * self.step)
        sharp = radius == 0
        kernels[sharp] = 0
        kernels[sharp, REACH, REACH] = 1
        return kernels / kernels.sum((1, 2), keepdim=True), exact.where(~sharp, 0)


class NewKernels:
    """Makes a kernel for each photo, in place of a `KernelBank`; `held_out` ones have the shapes kept from training."""

    near = 0

    def __init__(self, rng: np.random.Generator, held_out: bool = False):
        self.rng, self.held_out = rng, held_out

    def draw(self, kind: torch.Tensor, radius: torch.Tensor, offset: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same as `KernelBank.draw`, of exactly the radii."""
        made = []
        for number, size in zip(kind.tolist(), radius.tolist(), strict=True):
            sharp = np.pad(identity_kernel(), REACH)
            made.append(make_kernel(KINDS[number], self.rng, size, self.held_out) if size else sharp)
        return torch.from_numpy(np.stack(made)).float(), radius
