"""Train the estimator of the blur radius: `python -m abc_hf.training.blur_radius DATA --out FOLDER`.

The truth is exact and needs no labels. Sharp photos are blurred by kernels of known radius, in linear light. Then they
go through a camera: noise, sharpening, enlargement, JPEG. None of these changes the radius that the network is to find.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from datasets import load_dataset
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, IterableDataset
from tqdm.auto import tqdm

from ..configuration_abc_fusenet import DESIRABILITY
from ..data.kernels import KernelBank, NewKernels
from ..data.marks import RandomNumbers
from ..data.synthesis import as_map, convolve, random_regions, to_linear, to_srgb
from ..inference.blur_radius import CELL, LARGEST, SMALLEST, RadiusNet
from .augmentation import gaussian, jpeg

CROP = 128
"""The side of a crop [pixels]."""
MARGIN = 40
"""How far around a crop its pixels are blurred, too: the reach of the largest kernel."""
WHOLE = 0.97
"""The share of a cell that one of two layers must cover, for the cell to have this layer's radius."""


def sharp_photos(dataset, reductions: tuple[float, ...] = (1.25, 2.0)) -> list[torch.Tensor]:
    """The photos labelled no-blur as (H, W) grey uint8, reduced until their own softness hardly matters."""
    label = np.array(dataset["desirability"])
    rows = np.flatnonzero(label == DESIRABILITY.index("no-blur"))
    photos = []
    for row in tqdm(rows, "photos", disable=None):
        image = dataset[int(row)]["image"].convert("L")
        for reduction in reductions:
            width, height = (round(side / reduction) for side in image.size)
            if min(width, height) >= CROP:
                photos.append(torch.from_numpy(np.array(image.resize((width, height), Image.Resampling.LANCZOS))))
    return photos


def leaves(rng: np.random.Generator, side: int = 320, finer: int = 4) -> torch.Tensor:
    """Dead leaves, (side, side) grey uint8: shapes of all sizes that cover each other, with perfectly sharp edges."""
    page = Image.new("L", (side * finer, side * finer), int(rng.integers(256)))
    pen = ImageDraw.Draw(page)
    for size in np.sort(rng.uniform(0.05, 1, int(rng.integers(40, 400))) ** -1.5)[::-1]:
        x, y = rng.uniform(0, side * finer, 2)
        reach, grey = size * finer * rng.uniform(1, 4), int(rng.integers(256))
        angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 8))))
        if rng.random() < 0.5:
            pen.ellipse((x - reach, y - reach, x + reach, y + reach * rng.uniform(0.3, 1)), fill=grey)
        elif rng.random() < 0.5:
            pen.polygon([(x + reach * np.cos(a), y + reach * np.sin(a)) for a in angles], fill=grey)
        else:
            pen.line((x, y, *rng.uniform(0, side * finer, 2)), fill=grey, width=int(rng.integers(finer, 6 * finer)))
    return torch.from_numpy(np.array(page.reduce(finer)))


class BlurredCrops(IterableDataset):
    """Endless batches of crops (B, 1, CROP, CROP) in 0..1 and their radii (B, 1, cells, cells) [pixels], NaN where two
    radii meet.

    Args:
        photos: sharp, (H, W) grey uint8, at least `CROP` pixels on each side.
        kernels: how many of each kind of blur are kept ready.
    """

    def __init__(self, photos: list[torch.Tensor], batch_size: int, seed: int = 0, kernels: int = 3000):
        self.photos, self.batch_size = photos, batch_size
        self.rng = np.random.default_rng(seed)
        self.random = RandomNumbers(torch.Generator().manual_seed(seed))
        self.bank, self.rare = KernelBank("cpu", kernels, seed), NewKernels(self.rng, held_out=True)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        while True:
            yield self.batch()

    def sharp(self, count: int) -> torch.Tensor:
        """(B, 1, S, S) of linear light, with a margin; a part of a photo, turned and flipped at random."""
        side, crops = CROP + 2 * MARGIN, []
        for number in self.rng.integers(0, len(self.photos), count):
            photo = self.photos[number]
            top, left = (int(self.rng.integers(0, max(1, length - side + 1))) for length in photo.shape)
            crop = photo[top : top + side, left : left + side].float()[None] / 255
            missing = [side - length for length in crop.shape[1:]]
            crop = F.pad(crop, (0, missing[1], 0, missing[0]), mode="reflect")
            crop = crop.rot90(int(self.rng.integers(4)), (1, 2))
            crops.append(crop.flip(2) if self.rng.random() < 0.5 else crop)
        return to_linear(torch.stack(crops))

    def blurred(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` blurred crops with their radii (B,) [pixels]."""
        radius = torch.exp(self.random.uniform(count, low=math.log(SMALLEST / 2), high=math.log(LARGEST)))
        kind = self.random.choice(torch.tensor([0.7, 0.15, 0.15]), count)
        kernels, radius = self.bank.draw(kind, radius, self.random.integers(-self.bank.near, self.bank.near + 1, count))
        rare = self.random.uniform(count) < 0.2  # rings, squares, arcs and tremors
        if rare.any():
            kernels[rare], radius[rare] = self.rare.draw(kind[rare], radius[rare], torch.zeros(0))
        light = self.sharp(count)
        glint = self.random.uniform(count, 1, 1, 1, low=1, high=4)
        light = light * (1 + (glint - 1) * ((light - 0.8) / 0.2).clamp(0, 1))
        return convolve(light, kernels)[..., MARGIN:-MARGIN, MARGIN:-MARGIN], radius.clamp(SMALLEST, LARGEST)

    @torch.no_grad()
    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        light, radius = self.blurred(self.batch_size)
        truth = as_map(radius).repeat(1, 1, CROP // CELL, CROP // CELL)
        both = self.batch_size // 3  # these have a second layer
        front = random_regions(both, CROP, CROP, self.random)
        other, second = self.blurred(both)
        light[:both] += (other - light[:both]) * front
        share = F.avg_pool2d(front, CELL)
        truth[:both] = torch.where(share > WHOLE, as_map(second), truth[:both])
        truth[:both][(share <= WHOLE) & (share >= 1 - WHOLE)] = torch.nan
        if self.rng.random() < 0.1:  # enlarged, as by a digital zoom
            light, truth = enlarged(light, truth, float(self.rng.uniform(1.3, 3)))
        return through_camera(light, self.random, self.rng), truth


def enlarged(light: torch.Tensor, truth: torch.Tensor, factor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The middle of crops, enlarged; a pixel's own width counts as a radius of 0.5 pixels."""
    part = round(CROP / factor)
    start = (CROP - part) // 2
    light = F.interpolate(light[..., start : start + part, start : start + part], (CROP, CROP), mode="bicubic")
    cells = F.interpolate(truth, (CROP, CROP), mode="nearest")[..., start : start + part, start : start + part]
    cells = F.avg_pool2d(F.interpolate(cells, (CROP, CROP), mode="nearest"), CELL)  # NaN where two radii meet
    return light.clamp(min=0), (factor * (cells**2 + 0.25).sqrt()).clamp(max=LARGEST)


def through_camera(light: torch.Tensor, random: RandomNumbers, rng: np.random.Generator) -> torch.Tensor:
    """Crops (B, 1, H, W) of linear light as a camera saves them: 0..1 in sRGB.

    Exposure; shot and read noise of ISO 100 to 6400 on sensors of a full well of 4,000 to 60,000 electrons; the
    smoothing of noise by demosaicing; a tone curve; sharpening; JPEG of quality 60 to 98.
    """
    one = len(light), 1, 1, 1

    def between(low: float, high: float) -> torch.Tensor:
        return torch.exp(random.uniform(*one, low=math.log(low), high=math.log(high)))

    light = light * between(0.25, 1.4)
    electrons = between(4e3, 6e4) / between(1, 64)
    noise = random.normal(light) * (light.clamp(min=0) / electrons + (3 / electrons) ** 2).sqrt()
    mosaic = random.uniform(*one) < 0.7
    noise = torch.where(mosaic, gaussian(noise, random.uniform(*one, low=0.3, high=0.9), 3), noise)
    grey = to_srgb(light + noise)
    mean = grey.mean((2, 3), keepdim=True)
    grey = ((grey - mean) * random.uniform(*one, low=0.5, high=1.3) + mean).clamp(0, 1) * 255
    amount = random.uniform(*one, low=0.2, high=2) * (random.uniform(*one) < 0.5)
    grey = (grey + amount * (grey - gaussian(grey, random.uniform(*one, low=0.5, high=1.5)))).clamp(0, 255).round()
    saved = (random.uniform(len(grey)) < 0.8).nonzero().flatten()
    shift = tuple(int(n) for n in rng.integers(0, 8, 2))  # blocks begin anywhere
    quality = random.uniform(len(saved), low=60, high=98).floor()
    coded = jpeg(grey[saved].roll(shift, (2, 3)).expand(-1, 3, -1, -1), quality)[:, :1]
    grey[saved] = coded.roll((-shift[0], -shift[1]), (2, 3))
    return grey / 255


def laplace_loss(radius: torch.Tensor, spread: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The mean negative logarithm of the Laplace density of the truth's logarithm, where there is a truth."""
    known = ~truth.isnan()
    error = (radius[known].log() - truth[known].log()).abs()
    return (error / spread[known] + spread[known].log()).mean()


def train(
    photos: list[torch.Tensor],
    out: Path,
    steps: int,
    batch_size: int,
    rate: float,
    seed: int = 0,
    start: Path | None = None,
) -> RadiusNet:
    """Train a network, from nothing or from the weights `start`; write its weights and the course of its loss to
    `out`."""
    torch.manual_seed(seed)
    network = RadiusNet().train()
    if start:
        network.load_state_dict(load_file(start), strict=False)
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.05)
    losses = []
    out.mkdir(parents=True, exist_ok=True)
    batches = iter(DataLoader(BlurredCrops(photos, batch_size, seed), None, num_workers=1, prefetch_factor=4))
    for step in (progress := tqdm(range(1, steps + 1), "training", disable=None)):
        crops, truth = next(batches)
        radius, spread = network(crops)
        loss = laplace_loss(radius, spread, truth)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 0 or step == steps:
            progress.set_postfix(loss=f"{np.mean(losses[-100:]):.3f}")
            half = {
                name: value.half() if value.is_floating_point() else value
                for name, value in network.state_dict().items()
            }
            save_file(half, out / "model.safetensors")
            (out / "losses.json").write_text(json.dumps([round(loss, 4) for loss in losses]))
    return network.eval()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m abc_hf.training.blur_radius", description=__doc__)
    parser.add_argument("data", help="a data set, as abc_hf.data.build makes it")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the weights")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--start", type=Path, help="the weights to begin with (default: random ones)")
    parser.add_argument("--leaves", type=int, default=400, help="pages of painted shapes beside the photos")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    photos = sharp_photos(load_dataset(args.data, split="train"))
    rng = np.random.default_rng(args.seed)
    photos += [leaves(rng) for _ in tqdm(range(args.leaves), "leaves", disable=None)]
    train(photos, args.out, args.steps, args.batch_size, args.rate, args.seed, args.start)


if __name__ == "__main__":
    main()
