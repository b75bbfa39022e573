"""The kernels and paths of blur, and what they do to a picture.

The amount of blur is the equivalent radius of a kernel, r = sqrt(2 E|x|^2) over its mass: the radius of a disc, 0.41
times the length of a straight motion, twice the sigma of a Gaussian.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft, ndimage
from torch.nn.functional import affine_grid, grid_sample


def equivalent_radius(kernel: np.ndarray) -> float:
    """sqrt(2 E|x|^2) of a kernel's mass about its centroid [pixels]."""
    y, x = np.indices(kernel.shape)
    mass = kernel / kernel.sum()
    cy, cx = (mass * y).sum(), (mass * x).sum()
    return float(np.sqrt(2 * (mass * ((y - cy) ** 2 + (x - cx) ** 2)).sum()))


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


def convolve(planes: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve (H, W, C) with a kernel of odd sides; the frame goes on by reflection."""
    if kernel.size == 1:
        return planes
    height, width = planes.shape[:2]
    pad_y, pad_x = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = np.pad(planes, ((pad_y, pad_y), (pad_x, pad_x), (0, 0)), mode="symmetric")
    shape = [fft.next_fast_len(n + k - 1, real=True) for n, k in zip(padded.shape[:2], kernel.shape, strict=True)]
    spectrum = fft.rfft2(padded, shape, axes=(0, 1)) * fft.rfft2(kernel.astype(np.float32), shape)[..., None]
    result = fft.irfft2(spectrum, shape, axes=(0, 1))
    return result[2 * pad_y : 2 * pad_y + height, 2 * pad_x : 2 * pad_x + width]


@dataclass
class Turn:
    """The motion of what turns by `angle` [radians] about `centre` (x, y) [pixels] and grows by the factor e^`zoom`
    meanwhile, at an even pace. Far from the centre it blurs more."""

    centre: tuple[float, float]
    angle: float
    zoom: float

    def radius(self, shape: tuple[int, int]) -> np.ndarray:
        """(H, W) the equivalent radius [pixels]: of a straight path of length l it is l / sqrt(6)."""
        y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
        distance = np.hypot(x - self.centre[0], y - self.centre[1])
        return distance * np.float32(math.hypot(self.angle, self.zoom) / math.sqrt(6))

    def blur(self, planes: np.ndarray) -> np.ndarray:
        """The mean of (H, W, C) over the motion, a copy for every two pixels of the longest path; the frame goes on by
        reflection."""
        height, width = planes.shape[:2]
        longest = float(self.radius((height, width)).max()) * math.sqrt(6)
        half = torch.tensor([width / 2, height / 2])
        offset = torch.tensor(self.centre) + 0.5 - half
        image = torch.from_numpy(np.ascontiguousarray(planes.transpose(2, 0, 1)))[None]
        total = torch.zeros_like(image)
        copies = math.ceil(longest / 2) + 1
        times = (np.arange(copies) + 0.5) / copies - 0.5
        for time in times:
            turn, scale = self.angle * time, math.exp(-self.zoom * time)
            matrix = scale * torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
            shift = (offset - matrix @ offset) / half  # about the centre, in grid_sample's -1..1
            theta = torch.cat([matrix * (half[None] / half[:, None]), shift[:, None]], 1)
            grid = affine_grid(theta[None].float(), image.shape, align_corners=False)
            total += grid_sample(image, grid, padding_mode="reflection", align_corners=False)
        return (total[0] / copies).numpy().transpose(1, 2, 0)
