"""Sharp marks in front of a blurred scene: writing, flakes, fences, rain."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont


class RandomNumbers:
    """Random numbers from a generator, on its device."""

    def __init__(self, generator: torch.Generator):
        self.source: dict[str, Any] = {"generator": generator, "device": generator.device}

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, **self.source)

    def normal(self, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, **self.source)

    def integers(self, low: int, high: int, count: int) -> torch.Tensor:
        return torch.randint(low, high, (count,), **self.source)

    def choice(self, chances: torch.Tensor, count: int) -> torch.Tensor:
        return torch.multinomial(chances, count, replacement=True, generator=self.source["generator"])


class MarkBank:
    """Shapes of sharp marks: writing, snow and confetti, fences, rain.

    masks: (N, side, side) uint8, 255 where the mark covers the scene; square, so that any corner of one fits a crop.
    """

    def __init__(self, device, count: int = 160, side: int = 512, seed: int = 0):
        rng = np.random.default_rng(seed)
        draws = (draw_writing, draw_dots, draw_fence, draw_rain)
        made = []
        for number in range(count):
            page = Image.new("L", (side, side))
            draws[number % len(draws)](ImageDraw.Draw(page), side, rng)
            made.append(np.asarray(page))
        self.masks = torch.from_numpy(np.stack(made)).to(device)

    def draw(self, count: int, height: int, width: int, random: RandomNumbers) -> torch.Tensor:
        """(B, 1, H, W) in 0..1: a corner each of masks drawn at random."""
        masks = self.masks[random.integers(0, len(self.masks), count)][:, None].float() / 255
        top, left = (int(random.integers(0, max(1, masks.shape[-1] - length + 1), 1)) for length in (height, width))
        masks = masks[..., top : top + height, left : left + width]
        missing = [length - side for length, side in zip((height, width), masks.shape[-2:], strict=True)]
        return F.pad(masks, (0, max(0, missing[1]), 0, max(0, missing[0])))


def draw_writing(page: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Lines of random letters, as in a watermark or a caption."""
    size = int(rng.integers(14, 60))
    font = ImageFont.load_default(size)
    spacing = int(size * rng.uniform(1.2, 5))
    for y in range(int(rng.integers(-size, spacing)), side, spacing):
        word = "".join(chr(rng.integers(65, 91) + 32 * (rng.random() < 0.6)) for _ in range(int(rng.integers(4, 12))))
        for x in range(int(rng.integers(-side // 2, 20)), side, int(size * len(word) * rng.uniform(0.6, 1.6)) + 1):
            page.text((x, y), word, fill=255, font=font)


def draw_dots(page: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Flakes and scraps of a few pixels."""
    largest = rng.uniform(1.5, 7)
    for x, y in rng.uniform(0, side, (int(rng.integers(60, 900)), 2)):
        a, b = rng.uniform(0.8, largest, 2)
        (page.ellipse if rng.random() < 0.7 else page.rectangle)((x - a, y - b, x + a, y + b), fill=255)


def draw_fence(page: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Bars or wires, in one direction or two."""
    spacing, width = rng.uniform(18, 90), int(rng.integers(1, 7))
    first = rng.uniform(0, np.pi)
    for angle in (first, first + rng.uniform(0.9, 2.2))[: int(rng.integers(1, 3))]:
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        for step in np.arange(-side, side, spacing):
            middle = side / 2 + across * step
            ends = middle - side * along, middle + side * along
            page.line([tuple(end) for end in ends], fill=255, width=width)


def draw_rain(page: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Short strokes, all in nearly one direction."""
    angle, length = rng.uniform(0, np.pi), rng.uniform(6, 40)
    for x, y in rng.uniform(0, side, (int(rng.integers(60, 500)), 2)):
        own = angle + rng.normal(0, 0.06)
        page.line((x, y, x + length * np.cos(own), y + length * np.sin(own)), fill=255, width=int(rng.integers(1, 3)))
