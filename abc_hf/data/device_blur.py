"""Blur put into sharp photos as they are drawn, a batch at a time, on the device that trains.

The scenes are SmartBlur-Synth's (abc_hf/data/synthesis.py), written for tensors: layers blurred by kernels of their own
in linear light and composited, levels that follow from the kernels. No photo is ever blurred the same way twice, and a
batch of a hundred takes a GPU some milliseconds where a stored photo takes a core a third of a second.
"""

import functools
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

from ..configuration_abc_fusenet import KINDS
from ..losses import NO_LABEL, UNKNOWN
from .kernels import defocus_kernel, path_kernel, scaled_path, shake_path, straight_path
from .synthesis import AMOUNT_LEVELS, AMOUNT_LOGARITHMS, BAD_BLUR, GOOD_BLUR, LEVEL_RADII, NO_BLUR, OK_BLUR, SCENES

REACH = 40
"""Half the side of the largest kernel [pixels]."""
LARGEST = 26.0
"""The largest equivalent radius [pixels]: 0.05 of a long side of 512."""
KIND_OF = {"moving-subject": "motion", "panning": "motion", "shake": "camera-shake"}
"""What blurs a scene, where it is not defocus."""
LARGEST_SHARE = 0.03
SHARE = {"background": 0.05, "panning": 0.05, "moving-subject": 0.05, "turning-subject": 0.05, "shake": 0.035}
"""The largest radius of a scene as a fraction of the long side, where it is not `LARGEST_SHARE`."""
SMALLEST_SHARE = 1.1 * LEVEL_RADII[0]
TURN_COPIES = 24
DEPTH_STOPS = 6
MARKED = 0.12
"""The share of photos that get sharp marks in front of the scene."""
LIT = 0.2
"""The share of photos of a single layer that become a night of lamps or stars."""


def to_linear(values: torch.Tensor) -> torch.Tensor:
    """sRGB in 0..1 to linear light."""
    return torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb(light: torch.Tensor) -> torch.Tensor:
    """Linear light, clipped to 0..1, to sRGB in 0..1."""
    light = light.clamp(0, 1)
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=1e-6) ** (1 / 2.4) - 0.055)


def levels_of(share: torch.Tensor) -> torch.Tensor:
    """Equivalent radii as fractions of the long side (NaN = mixed) to levels with what lies between them, 0..3; 255 =
    unknown. `synthesis.amounts_of`, not rounded."""
    known = ~share.isnan()
    found = torch.where(known, share, 0).clamp(min=1e-6).log()
    level = torch.zeros_like(found)
    for (left, right), (start, end) in zip(pairwise(AMOUNT_LOGARITHMS), pairwise(AMOUNT_LEVELS), strict=True):
        level = level + (end - start) * ((found - left) / (right - left)).clamp(0, 1)
    return torch.where(known, level, float(UNKNOWN))


def judge(levels: torch.Tensor, subject: torch.Tensor, has_subject: torch.Tensor) -> torch.Tensor:
    """`synthesis.judge` of a batch: (B,) classes, -100 where nothing follows.

    levels: (B, 1, H, W) as `levels_of` makes them; subject: (B, 1, H, W) in 0..1, where `has_subject` (B,) holds.
    """
    known = levels != UNKNOWN
    level = levels.round()

    def share(where: torch.Tensor, least: int) -> torch.Tensor:
        inside = (where & known).flatten(1).sum(1)
        return ((where & known & (level >= least)).flatten(1).sum(1) / inside.clamp(min=1)).where(inside > 0, torch.nan)

    on, off = subject > 0.5, subject <= 0.5
    verdict = torch.full_like(has_subject, OK_BLUR, dtype=torch.long)
    verdict[share(off, 2) > 0.5] = GOOD_BLUR
    verdict[share(on, 1) > 0.25] = OK_BLUR
    verdict[share(on, 2) > 0.5] = BAD_BLUR
    verdict[~has_subject | share(on, 1).isnan() | share(off, 1).isnan()] = NO_LABEL
    verdict[~(known & (level > 0)).flatten(1).any(1)] = NO_BLUR
    return verdict


# ----------------------------------------------------------------------------------------------------------- kernels


def make_kernels(kind: str, seed: tuple[int, ...], radii: np.ndarray) -> np.ndarray:
    """(N, K, K) float16 kernels of a kind and of the equivalent radii [pixels]; what reaches beyond is cut off."""
    rng = np.random.default_rng(seed)
    side = 2 * REACH + 1
    kernels = np.zeros((len(radii), side, side), np.float16)
    for kernel, radius in zip(kernels, radii, strict=True):
        if kind == "defocus":
            made = defocus_kernel(rng, radius)
        else:
            made = path_kernel(scaled_path((straight_path if kind == "motion" else shake_path)(rng), radius))
        beyond = max(0, made.shape[0] // 2 - REACH)
        made = made[beyond : made.shape[0] - beyond, beyond : made.shape[1] - beyond]
        start = REACH - made.shape[0] // 2
        kernel[start : start + made.shape[0], start : start + made.shape[1]] = made / made.sum()
    return kernels


class KernelBank:
    """Kernels of each of `KINDS`, `count` a kind, their radii evenly spread in the logarithm from 0.5 to `LARGEST`."""

    def __init__(self, device, count: int = 3000, seed: int = 0):
        radii = np.geomspace(0.5, LARGEST, count)
        made = np.stack([make_kernels(kind, (seed, index), radii) for index, kind in enumerate(KINDS)])
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


class MarkBank:
    """Shapes of what stands sharp in front of a blurred scene: writing, snow and confetti, fences, rain.

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

    def draw(self, count: int, height: int, width: int, dice: "Dice") -> torch.Tensor:
        """(B, 1, H, W) in 0..1: a corner each of masks drawn at random."""
        masks = self.masks[dice.integers(0, len(self.masks), count)][:, None].float() / 255
        top, left = (int(dice.integers(0, max(1, masks.shape[-1] - length + 1), 1)) for length in (height, width))
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


def convolve(planes: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W), each of the batch by its kernel (B, K, K); the frame goes on by reflection."""
    height, width = planes.shape[-2:]
    around = min(REACH, height - 1, width - 1)
    padded = F.pad(planes, (around,) * 4, mode="reflect")
    size = tuple(side + 2 * REACH for side in padded.shape[-2:])
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(kernels, s=size)[:, None]
    blurred = torch.fft.irfft2(spectrum, s=size)
    start = REACH + around
    return blurred[..., start : start + height, start : start + width]


# ------------------------------------------------------------------------------------------------------------ scenes


def fill_holes(light: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """Continue (B, C, H, W) into the holes (B, 1, H, W) in 0..1 from what surrounds them: means of ever coarser cells
    of what is known, each level giving what the finer ones lack."""
    known = 1 - hole
    shape = light.shape[-2:]
    result, trust = light * known, known
    for cell in (4, 8, 16, 32, 64, 128):
        weight = F.avg_pool2d(known, cell, ceil_mode=True, count_include_pad=False)
        mean = F.avg_pool2d(light * known, cell, ceil_mode=True, count_include_pad=False)
        grown = [F.interpolate(values, shape, mode="bilinear", align_corners=False) for values in (mean, weight)]
        share = (1 - trust) * (grown[1] / 0.05).clamp(0, 1)
        result = result + share * grown[0] / grown[1].clamp(min=1e-4)
        trust = trust + share
    mean = (light * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1e-4)
    return result + (1 - trust) * mean


def turned(planes: torch.Tensor, centre: torch.Tensor, angle: torch.Tensor, zoom: torch.Tensor) -> torch.Tensor:
    """The mean of (B, C, H, W) over turns by `angle` and growth by e^`zoom` about centres (B, 2) [pixels, x and y]."""
    height, width = planes.shape[-2:]
    half = torch.tensor([width / 2, height / 2], device=planes.device)
    offset = centre + 0.5 - half
    total = torch.zeros_like(planes)
    for copy in range(TURN_COPIES):
        time = (copy + 0.5) / TURN_COPIES - 0.5
        cosine, sine, scale = torch.cos(angle * time), torch.sin(angle * time), torch.exp(-zoom * time)
        matrix = scale[:, None, None] * torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
        shift = (offset - (matrix @ offset[..., None])[..., 0]) / half
        theta = torch.cat([matrix * (half[None] / half[:, None]), shift[..., None]], 2)
        grid = F.affine_grid(theta, list(planes.shape), align_corners=False)
        total += F.grid_sample(planes, grid, padding_mode="reflection", align_corners=False)
    return total / TURN_COPIES


@dataclass
class Blurred:
    """light: (B, 3, H, W), linear; levels: (B, 1, H, W), 0..3 and what lies between, 255 = unknown; labels: (B,)
    desirability, -100 where nothing follows; kinds: (B,) of blur, in the order of the configuration's `KINDS`."""

    light: torch.Tensor
    levels: torch.Tensor
    labels: torch.Tensor
    kinds: torch.Tensor


class Dice:
    """Random numbers from a generator, on its device."""

    def __init__(self, generator: torch.Generator):
        self.source = {"generator": generator, "device": generator.device}

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, **self.source)

    def normal(self, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, **self.source)

    def integers(self, low: int, high: int, count: int) -> torch.Tensor:
        return torch.randint(low, high, (count,), **self.source)

    def choice(self, chances: torch.Tensor, count: int) -> torch.Tensor:
        return torch.multinomial(chances, count, replacement=True, generator=self.source["generator"])


class FreshBlur:
    """Puts blur into batches of sharp photos, one of the `scenes` each, by their chances."""

    def __init__(
        self,
        bank: KernelBank,
        scenes: dict[str, float] = SCENES,
        marks: MarkBank | None = None,
        lit: float = 0.0,
    ):
        self.bank, self.names, self.chances = bank, list(scenes), list(scenes.values())
        self.marks, self.lit = marks, lit

    def __call__(
        self,
        photos: torch.Tensor,
        subjects: torch.Tensor,
        has_subject: torch.Tensor,
        long_side: torch.Tensor,
        generator: torch.Generator,
    ) -> Blurred:
        """
        Args:
            photos: (B, 3, H, W) sRGB in 0..1, sharp all over.
            subjects: (B, 1, H, W) salient objects in 0..1, of the photos for which `has_subject` (B,) holds.
            long_side: (B,) of the whole photos [pixels], of which the radius is a fraction.
            generator: on the photos' device; every choice is drawn from it.
        """
        count, _, height, width = photos.shape
        dice = Dice(generator)
        of_scene = functools.partial(torch.tensor, device=photos.device)
        scene = dice.choice(of_scene(self.chances), count)

        def among(*wanted: str) -> torch.Tensor:
            return of_scene([name in wanted for name in self.names])[scene]

        largest = of_scene([SHARE.get(name, LARGEST_SHARE) for name in self.names])[scene]
        share = SMALLEST_SHARE * (largest / SMALLEST_SHARE) ** dice.uniform(count)
        radius = (share * long_side).clamp(max=LARGEST)
        kind = of_scene([KINDS.index(KIND_OF.get(name, "defocus")) for name in self.names])[scene]
        offset = dice.integers(-self.bank.near, self.bank.near + 1, count)
        single = among("sharp", "frame", "shake", "turning-frame")  # one layer: the photo as it is
        single |= among("depth") & (dice.uniform(count) < 0.5)
        region = torch.where(as_map(has_subject), subjects, random_regions(count, height, width, dice))

        light = brighten(to_linear(photos), dice)
        lit = among("sharp", "frame", "shake") & single & (dice.uniform(count) < self.lit)
        light[lit] = with_lamps(light[lit], dice)
        alpha = region * ~as_map(single)
        back = torch.where(as_map(single), light, fill_holes(light, (alpha * 1.5).clamp(max=1)))
        front = torch.cat([light * alpha, alpha], 1)
        back, seen = self.still(back, radius * among("background", "panning", "frame", "shake"), kind, offset)
        front, own = self.still(front, radius * among("subject", "moving-subject"), kind, offset)

        inside = torch.where(as_map(single), 1.0, region)
        turning = among("turning-subject", "turning-frame")
        for planes, radii, here in ((back, seen, turning & single), (front, own, turning & ~single)):
            if len(index := here.nonzero().flatten()):
                planes[index], radii[index] = random_turn(planes[index], inside[index], radius[index], dice)
        if len(index := among("depth").nonzero().flatten()):
            back[index], seen[index] = self.by_depth(back[index], radius[index], kind[index], offset[index], dice)

        cover = front[:, 3:].clamp(0, 1)
        mixed = (cover > 0.1) & (cover < 0.9) & (seen != own) & (torch.maximum(own, seen) > 1.5)
        radii = torch.where(mixed, torch.nan, torch.where(cover >= 0.5, own, seen))
        levels = levels_of(radii / as_map(long_side))
        labels = judge(levels, region, has_subject & ~(among("depth") & single))
        spoilt = among("frame", "shake") & ~has_subject  # the subject, whatever it is, is in the frame
        labels[spoilt] = torch.where(levels[spoilt, 0, 0, 0].round() >= 2, BAD_BLUR, OK_BLUR)
        wanted = among("moving-subject", "turning-subject", "turning-frame")  # motion may be what the photo is about
        labels[wanted & (labels == BAD_BLUR)] = NO_LABEL
        kinds = torch.where(among("turning-subject", "turning-frame"), KINDS.index("motion"), kind)
        kinds = torch.where(among("sharp"), NO_LABEL, kinds)
        seen = front[:, :3] + (1 - cover) * back
        dark = seen.amax(1, keepdim=True) < 0.004  # nothing can be seen of blur there
        levels[lit] = torch.where(dark[lit], float(UNKNOWN), levels[lit])
        light = add_grain(seen, dice)
        if self.marks is not None:
            light, levels = with_marks(light, levels, self.marks, dice)
        return Blurred(light, levels, labels, kinds)

    def still(self, planes, radius, kind, offset) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, H, W) blurred by a kernel each, not at all for radius 0, and the radii (B, 1, H, W) [pixels]."""
        kernels, exact = self.bank.draw(kind, radius, offset)
        blurred = planes.clone()
        if len(index := exact.nonzero().flatten()):
            blurred[index] = convolve(planes[index], kernels[index])
        return blurred, as_map(exact).repeat(1, 1, *planes.shape[-2:])

    def by_depth(self, light, radius, kind, offset, dice: Dice) -> tuple[torch.Tensor, torch.Tensor]:
        """`synthesis.blur_by_depth` of a batch: blur that grows away from a plane in focus to `radius` (B,), a stack of
        blurred copies interpolated per pixel; and the radii (B, 1, H, W)."""
        count, _, height, width = light.shape
        tilt = (dice.uniform(count) - 0.5) + (dice.uniform(count) - 0.5)
        upright = dice.uniform(count) < 0.7
        angle = torch.where(upright, math.pi / 2 + 0.6 * tilt, dice.uniform(count, high=math.pi))
        plane = slopes(angle, height, width)
        low, high = plane.amin((2, 3), keepdim=True), plane.amax((2, 3), keepdim=True)
        focus, depth_of_field = dice.uniform(count, 1, 1, 1), dice.uniform(count, 1, 1, 1, low=0.02, high=0.3)
        amount = (((plane - low) / (high - low) - focus).abs() - depth_of_field).clamp(min=0)
        radii = amount / amount.amax((2, 3), keepdim=True).clamp(min=1e-6) * as_map(radius)

        rises = torch.linspace(0, 1, DEPTH_STOPS, device=light.device)
        stops = [torch.zeros_like(radius), *(0.6 * (radius.clamp(min=0.7) / 0.6) ** rise for rise in rises)]
        result = torch.zeros_like(light)
        for number, stop in enumerate(stops):
            left = stops[number - 1] if number else stop - 1
            weight = (radii - as_map(left)) / as_map(stop - left)
            if number < DEPTH_STOPS:
                right = stops[number + 1]
                weight = torch.minimum(weight, (as_map(right) - radii) / as_map(right - stop))
            result += weight.clamp(0, 1) * self.still(light, stop, kind, offset)[0]
        return result, radii


def as_map(values: torch.Tensor) -> torch.Tensor:
    """(B,) as (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def slopes(angle: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B, 1, H, W) planes that rise by 1 across the frame in the directions (B,)."""
    y = torch.linspace(0, 1, height, device=angle.device).view(1, 1, -1, 1)
    x = torch.linspace(0, 1, width, device=angle.device).view(1, 1, 1, -1)
    return torch.cos(as_map(angle)) * x + torch.sin(as_map(angle)) * y


def brighten(light: torch.Tensor, dice: Dice) -> torch.Tensor:
    """`synthesis.brighten` of every other photo: what is nearly white gets back what the camera cut off."""
    count = len(light)
    gain = dice.uniform(count, 1, 1, 1, high=5) * (dice.uniform(count, 1, 1, 1) < 0.5)
    return light * (1 + gain * ((light.amax(1, keepdim=True) - 0.9) / 0.1).clamp(0, 1) ** 2)


def with_lamps(light: torch.Tensor, dice: Dice) -> torch.Tensor:
    """A night: (B, 3, H, W) in linear light made dark, and points of light in it, many times brighter than white, which
    a sharp lens shows as dots and an unsharp one as discs."""
    count, _, height, width = light.shape
    one = count, 1, 1, 1
    density = torch.exp(dice.uniform(*one, low=math.log(3e-4), high=math.log(4e-3)))
    brightness = torch.exp(dice.uniform(count, 1, height, width, low=0, high=5.5))
    points = (dice.uniform(count, 1, height, width) < density) * brightness * dice.uniform(*one, low=0.5, high=2)
    spread = F.avg_pool2d(F.pad(points, (1,) * 4), 3, 1)
    tint = dice.uniform(count, 3, 1, 1, low=0.6)
    return light * 10 ** dice.uniform(*one, low=-3, high=-0.7) + tint * (0.5 * points + 0.5 * spread)


def with_marks(light: torch.Tensor, levels: torch.Tensor, bank: MarkBank, dice: Dice):
    """(B, 3, H, W) in linear light and levels (B, 1, H, W) with sharp marks in front of some of the photos. A mark is
    sharp, its rim is unknown, and the scene between the marks keeps its levels."""
    count, _, height, width = light.shape
    one = count, 1, 1, 1
    opacity = dice.uniform(*one, low=0.3, high=1) ** 0.5 * (dice.uniform(*one) < MARKED)
    cover = bank.draw(count, height, width, dice)
    grey = torch.where(dice.uniform(*one) < 0.5, dice.uniform(count, 1, 1, 1).round(), dice.uniform(count, 3, 1, 1))
    rim = F.max_pool2d(cover, 3, 1, padding=1) > 0.05
    inside = (cover > 0.95) & (opacity > 0.7)
    levels = torch.where(rim & (opacity > 0), float(UNKNOWN), levels)
    levels = torch.where(inside, 0.0, levels)
    cover = cover * opacity
    return light * (1 - cover) + to_linear(grey) * cover, levels


def add_grain(light: torch.Tensor, dice: Dice) -> torch.Tensor:
    """A camera's shot and read noise on three photos in five, before the tone curve."""
    one = len(light), 1, 1, 1
    shot, read = dice.uniform(*one, high=0.01), dice.uniform(*one, high=0.004)
    noise = dice.normal(light)
    soft = 2 * F.avg_pool2d(F.pad(noise, (1,) * 4, mode="reflect"), 3, 1)
    noise = noise + dice.uniform(*one) * (soft - noise)
    return light + (dice.uniform(*one) < 0.6) * noise * (light.clamp(0, 1) * shot**1.5 + read**2).sqrt()


def random_regions(count: int, height: int, width: int, dice: Dice) -> torch.Tensor:
    """(B, 1, H, W) regions of a quarter to three quarters of the frame: blobs of four sizes, and straight cuts."""
    blobs = []
    for cells in (3, 5, 8, 12):
        noise = dice.uniform(count, 1, cells, cells) + dice.uniform(count, 1, cells, cells)
        blobs.append(F.interpolate(noise, (height, width), mode="bicubic", align_corners=False))
    field = torch.stack(blobs)[dice.integers(0, len(blobs), count), torch.arange(count, device=noise.device)]
    straight = dice.uniform(count, 1, 1, 1) < 0.25
    field = torch.where(straight, slopes(dice.uniform(count, high=2 * math.pi), height, width), field)
    some = F.interpolate(field, (32, 32), mode="nearest").flatten(1).sort(1).values
    cut = some.gather(1, (dice.uniform(count, 1, low=0.25, high=0.75) * some.shape[1]).long())
    return F.avg_pool2d(F.pad((field > as_map(cut)).float(), (1,) * 4, mode="replicate"), 3, 1)


def random_turn(planes, inside, radius, dice: Dice) -> tuple[torch.Tensor, torch.Tensor]:
    """`synthesis.random_turn` of a batch: (B, C, H, W) turned, approached or both about a point of what is `inside`
    (B, 1, H, W), whose farthest parts blur by `radius` (B,) pixels; and the radii (B, 1, H, W)."""
    count, _, height, width = planes.shape
    y = torch.arange(height, device=planes.device).view(1, 1, -1, 1)
    x = torch.arange(width, device=planes.device).view(1, 1, 1, -1)
    mass = inside.sum((1, 2, 3)).clamp(min=1)
    mean = torch.stack([(inside * x).sum((1, 2, 3)), (inside * y).sum((1, 2, 3))], 1) / mass[:, None]
    centre = mean + (dice.uniform(count, 2) - 0.5) * torch.tensor([width, height], device=planes.device) / 4
    distance = torch.hypot(x - as_map(centre[:, 0]), y - as_map(centre[:, 1]))
    reach = (distance * (inside > 0.5)).amax((1, 2, 3)).clamp(min=8)
    way, quarter = dice.uniform(count, high=2 * math.pi), math.pi / 2
    way = torch.where(dice.uniform(count) < 0.7, (way / quarter).round() * quarter, way)  # purely the one or the other
    spread = radius * math.sqrt(6) / reach
    return turned(planes, centre, spread * torch.cos(way), spread * torch.sin(way)), distance * as_map(radius / reach)
