"""Physically meant blur put into batches of sharp photos, with its levels per pixel and its desirability.

A scene is one or two layers of light with a coverage (alpha). Every layer is blurred by its own kernel in linear light,
coverage included, and the layers are composited: light of a blurred object spreads over the scene behind it, and a
sharp object is never smeared by the blur behind it. The truth follows from the kernels: levels are thresholds of the
equivalent radius of the kernel (abc_hf/data/kernels.py) over the photo's long side.

Training blurs photos with it as they are drawn, and `python -m abc_hf.data.build synth` stores photos made with it.
"""

import functools
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from ..configuration_abc_fusenet import DESIRABILITY, KINDS
from ..losses import NO_LABEL, NUM_LEVELS, UNKNOWN
from .kernels import LARGEST, REACH, KernelBank, NewKernels
from .marks import MarkBank, RandomNumbers

LEVEL_RADII = (0.0016, 0.004, 0.010)
"""Where low, medium and high blur begin, as a fraction of the long side: 0.8, 2 and 5 pixels of 512. Section 3.2
puts it in words: visible, but details can be seen; details not clear any more; textures and shapes changed."""
MELTED_RADIUS = 0.05
"""The radius from which more blur looks the same, as a fraction of the long side."""
_LOW, _MEDIUM, _HIGH = np.log(LEVEL_RADII)
AMOUNT_LOGARITHMS = (_LOW - (_MEDIUM - _LOW) / 2, _LOW, _MEDIUM, _HIGH, np.log(MELTED_RADIUS))
AMOUNT_LEVELS = (0, 0.5, 1.5, 2.5, NUM_LEVELS - 1)
"""Logarithms of radii as fractions of the long side, and the amounts of blur that they are; straight in between."""
NO_BLUR, GOOD_BLUR, OK_BLUR, BAD_BLUR = range(len(DESIRABILITY))
SCENES = {
    "sharp": 0.10,
    "background": 0.24,
    "subject": 0.10,
    "depth": 0.14,
    "frame": 0.07,
    "shake": 0.08,
    "moving-subject": 0.10,
    "panning": 0.11,
    "turning-subject": 0.04,
    "turning-frame": 0.02,
}
"""The scenes and their shares. sharp: nothing is blurred. background: all but the subject. subject: the subject alone.
depth: blur grows with depth. frame, shake: everything, by defocus or camera shake. moving-subject: it moves. panning:
the camera follows the subject. turning-subject, turning-frame: subject or frame turns, comes near or goes away."""
HELD_OUT_SCENES = tuple(scene for scene in SCENES if not scene.startswith("turning"))
"""Scenes of the test split: those that have kernels or paths of its own."""
KIND_OF = {"moving-subject": "motion", "panning": "motion", "shake": "camera-shake"}
"""The kind of blur of scenes; all others are defocus."""
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
    """Levels 0..3, with fractions, from equivalent radii as fractions of the long side. NaN, a mixed radius, gives 255,
    unknown.

    They grow with the logarithm of the radius: 1/2, 3/2 and 5/2 are where low, medium and high blur begin, 3 is
    `MELTED_RADIUS`.
    """
    known = ~share.isnan()
    found = torch.where(known, share, 0).clamp(min=1e-6).log()
    level = torch.zeros_like(found)
    for (left, right), (start, end) in zip(pairwise(AMOUNT_LOGARITHMS), pairwise(AMOUNT_LEVELS), strict=True):
        level = level + (end - start) * ((found - left) / (right - left)).clamp(0, 1)
    return torch.where(known, level, float(UNKNOWN))


def desirability_of(levels: torch.Tensor, subject: torch.Tensor, has_subject: torch.Tensor) -> torch.Tensor:
    """Section 3.2 in figures: (B,) the desirability that follows from where blur of which level falls; -100 for none.

    The subject's level is the one that most of it has. Blur on it of medium level or more is bad; low is ok. A sharp
    subject before a background that is mostly of medium level or more is good, before less blur ok.

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


# ----------------------------------------------------------------------------------------------------------- layers


def convolve(planes: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W), each blurred by its kernel (B, K, K); the photo is continued by reflection."""
    height, width = planes.shape[-2:]
    around = min(REACH, height - 1, width - 1)
    padded = F.pad(planes, (around,) * 4, mode="reflect")
    size = tuple(side + 2 * REACH for side in padded.shape[-2:])
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(kernels, s=size)[:, None]
    blurred = torch.fft.irfft2(spectrum, s=size)
    start = REACH + around
    return blurred[..., start : start + height, start : start + width]


def fill_holes(light: torch.Tensor, hole: torch.Tensor) -> torch.Tensor:
    """Fill the holes (B, 1, H, W), in 0..1, of (B, C, H, W) from their surroundings: by the mean of the known pixels
    in cells. Cells of each coarser level fill the holes that the finer ones leave."""
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


def layers_of(light: torch.Tensor, alpha: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The background (B, 3, H, W), continued behind the subject, and the subject with its coverage (B, 4, H, W)."""
    return fill_holes(light, (alpha * 1.5).clamp(max=1)), torch.cat([light * alpha, alpha], 1)


def composite(back: torch.Tensor, front: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The light (B, 3, H, W) of a subject with its coverage in front of a background, and the coverage (B, 1, H, W)."""
    cover = front[:, 3:].clamp(0, 1)
    return front[:, :3] + (1 - cover) * back, cover


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


# ------------------------------------------------------------------------------------------------------------ scenes


@dataclass
class Blurred:
    """light: (B, 3, H, W), linear; levels: (B, 1, H, W), 0..3 with fractions, 255 = unknown; labels: (B,)
    desirability, -100 = unknown; kinds: (B,) of blur, in the order of the configuration's `KINDS`."""

    light: torch.Tensor
    levels: torch.Tensor
    labels: torch.Tensor
    kinds: torch.Tensor


class FreshBlur:
    """Puts blur into batches of sharp photos, one of the `scenes` each, by their chances."""

    def __init__(
        self,
        bank: KernelBank | NewKernels,
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
            long_side: (B,) of the whole photos [pixels]; radii are fractions of it.
            generator: on the photos' device; every choice is drawn from it.
        """
        count, _, height, width = photos.shape
        random = RandomNumbers(generator)
        of_scene = functools.partial(torch.tensor, device=photos.device)
        scene = random.choice(of_scene(self.chances), count)

        def among(*wanted: str) -> torch.Tensor:
            return of_scene([name in wanted for name in self.names])[scene]

        largest = of_scene([SHARE.get(name, LARGEST_SHARE) for name in self.names])[scene]
        share = SMALLEST_SHARE * (largest / SMALLEST_SHARE) ** random.uniform(count)
        radius = (share * long_side).clamp(max=LARGEST)
        kind = of_scene([KINDS.index(KIND_OF.get(name, "defocus")) for name in self.names])[scene]
        offset = random.integers(-self.bank.near, self.bank.near + 1, count)
        single = among("sharp", "frame", "shake", "turning-frame")  # one layer: the photo as it is
        single |= among("depth") & (random.uniform(count) < 0.5)
        region = torch.where(as_map(has_subject), subjects, random_regions(count, height, width, random))

        light = brighten(to_linear(photos), random)
        lit = among("sharp", "frame", "shake") & single & (random.uniform(count) < self.lit)
        light[lit] = with_lamps(light[lit], random)
        back, front = layers_of(light, region * ~as_map(single))
        back = torch.where(as_map(single), light, back)
        back, seen = self.still(back, radius * among("background", "panning", "frame", "shake"), kind, offset)
        front, own = self.still(front, radius * among("subject", "moving-subject"), kind, offset)

        inside = torch.where(as_map(single), 1.0, region)
        turning = among("turning-subject", "turning-frame")
        for planes, radii, here in ((back, seen, turning & single), (front, own, turning & ~single)):
            if len(index := here.nonzero().flatten()):
                planes[index], radii[index] = random_turn(planes[index], inside[index], radius[index], random)
        if len(index := among("depth").nonzero().flatten()):
            back[index], seen[index] = self.by_depth(back[index], radius[index], kind[index], offset[index], random)

        stacked, cover = composite(back, front)
        mixed = (cover > 0.1) & (cover < 0.9) & (seen != own) & (torch.maximum(own, seen) > 1.5)
        radii = torch.where(mixed, torch.nan, torch.where(cover >= 0.5, own, seen))
        levels = levels_of(radii / as_map(long_side))
        labels = desirability_of(levels, region, has_subject & ~(among("depth") & single))
        spoilt = among("frame", "shake") & ~has_subject  # the subject is somewhere in the frame
        labels[spoilt] = torch.where(levels[spoilt, 0, 0, 0].round() >= 2, BAD_BLUR, OK_BLUR)
        wanted = among("moving-subject", "turning-subject", "turning-frame")  # motion may be the subject of the photo
        labels[wanted & (labels == BAD_BLUR)] = NO_LABEL
        kinds = torch.where(among("turning-subject", "turning-frame"), KINDS.index("motion"), kind)
        kinds = torch.where(among("sharp"), NO_LABEL, kinds)
        dark = stacked.amax(1, keepdim=True) < 0.004  # blur is invisible there
        levels[lit] = torch.where(dark[lit], float(UNKNOWN), levels[lit])
        light = add_grain(stacked, random)
        if self.marks is not None:
            light, levels = with_marks(light, levels, self.marks, random)
        return Blurred(light, levels, labels, kinds)

    def still(self, planes, radius, kind, offset) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, C, H, W) blurred by a kernel each, not at all for radius 0, and the radii (B, 1, H, W) [pixels]."""
        kernels, exact = self.bank.draw(kind, radius, offset)
        blurred = planes.clone()
        if len(index := exact.nonzero().flatten()):
            blurred[index] = convolve(planes[index], kernels[index])
        return blurred, as_map(exact).repeat(1, 1, *planes.shape[-2:])

    def by_depth(self, light, radius, kind, offset, random: RandomNumbers) -> tuple[torch.Tensor, torch.Tensor]:
        """Blur (B, 3, H, W) that grows away from a plane in focus to `radius` (B,) [pixels]: a stack of blurred copies,
        interpolated per pixel. Also returns the radii (B, 1, H, W)."""
        count, _, height, width = light.shape
        tilt = (random.uniform(count) - 0.5) + (random.uniform(count) - 0.5)
        upright = random.uniform(count) < 0.7
        angle = torch.where(upright, math.pi / 2 + 0.6 * tilt, random.uniform(count, high=math.pi))
        plane = slopes(angle, height, width)
        low, high = plane.amin((2, 3), keepdim=True), plane.amax((2, 3), keepdim=True)
        focus, depth_of_field = random.uniform(count, 1, 1, 1), random.uniform(count, 1, 1, 1, low=0.02, high=0.3)
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


def brighten(light: torch.Tensor, random: RandomNumbers) -> torch.Tensor:
    """Give back to nearly white pixels of every other photo the light that the camera cut off, up to five times as
    much. Lamps and glints keep their brightness when they are blurred into discs and streaks."""
    count = len(light)
    gain = random.uniform(count, 1, 1, 1, high=5) * (random.uniform(count, 1, 1, 1) < 0.5)
    return light * (1 + gain * ((light.amax(1, keepdim=True) - 0.9) / 0.1).clamp(0, 1) ** 2)


def with_lamps(light: torch.Tensor, random: RandomNumbers) -> torch.Tensor:
    """A night: (B, 3, H, W) in linear light made dark, and points of light in it, many times brighter than white, which
    a sharp lens shows as dots and an unsharp one as discs."""
    count, _, height, width = light.shape
    one = count, 1, 1, 1
    density = torch.exp(random.uniform(*one, low=math.log(3e-4), high=math.log(4e-3)))
    brightness = torch.exp(random.uniform(count, 1, height, width, low=0, high=5.5))
    points = (random.uniform(count, 1, height, width) < density) * brightness * random.uniform(*one, low=0.5, high=2)
    spread = F.avg_pool2d(F.pad(points, (1,) * 4), 3, 1)
    tint = random.uniform(count, 3, 1, 1, low=0.6)
    return light * 10 ** random.uniform(*one, low=-3, high=-0.7) + tint * (0.5 * points + 0.5 * spread)


def with_marks(light: torch.Tensor, levels: torch.Tensor, bank: MarkBank, random: RandomNumbers):
    """(B, 3, H, W) in linear light and levels (B, 1, H, W) with sharp marks in front of some of the photos. A mark is
    sharp, its rim is unknown, and the scene between the marks keeps its levels."""
    count, _, height, width = light.shape
    one = count, 1, 1, 1
    opacity = random.uniform(*one, low=0.3, high=1) ** 0.5 * (random.uniform(*one) < MARKED)
    cover = bank.draw(count, height, width, random)
    grey = torch.where(
        random.uniform(*one) < 0.5, random.uniform(count, 1, 1, 1).round(), random.uniform(count, 3, 1, 1)
    )
    rim = F.max_pool2d(cover, 3, 1, padding=1) > 0.05
    inside = (cover > 0.95) & (opacity > 0.7)
    levels = torch.where(rim & (opacity > 0), float(UNKNOWN), levels)
    levels = torch.where(inside, 0.0, levels)
    cover = cover * opacity
    return light * (1 - cover) + to_linear(grey) * cover, levels


def add_grain(light: torch.Tensor, random: RandomNumbers) -> torch.Tensor:
    """A camera's shot and read noise on three photos in five, before the tone curve."""
    one = len(light), 1, 1, 1
    shot, read = random.uniform(*one, high=0.01), random.uniform(*one, high=0.004)
    noise = random.normal(light)
    soft = 2 * F.avg_pool2d(F.pad(noise, (1,) * 4, mode="reflect"), 3, 1)
    noise = noise + random.uniform(*one) * (soft - noise)
    return light + (random.uniform(*one) < 0.6) * noise * (light.clamp(0, 1) * shot**1.5 + read**2).sqrt()


def random_regions(count: int, height: int, width: int, random: RandomNumbers) -> torch.Tensor:
    """(B, 1, H, W) regions of a quarter to three quarters of the frame: blobs of four sizes, and straight cuts."""
    blobs = []
    for cells in (3, 5, 8, 12):
        noise = random.uniform(count, 1, cells, cells) + random.uniform(count, 1, cells, cells)
        blobs.append(F.interpolate(noise, (height, width), mode="bicubic", align_corners=False))
    field = torch.stack(blobs)[random.integers(0, len(blobs), count), torch.arange(count, device=noise.device)]
    straight = random.uniform(count, 1, 1, 1) < 0.25
    field = torch.where(straight, slopes(random.uniform(count, high=2 * math.pi), height, width), field)
    some = F.interpolate(field, (32, 32), mode="nearest").flatten(1).sort(1).values
    cut = some.gather(1, (random.uniform(count, 1, low=0.25, high=0.75) * some.shape[1]).long())
    return soften(field > as_map(cut))


def soften(mask: torch.Tensor) -> torch.Tensor:
    """Anti-alias a binary mask (B, 1, H, W)."""
    return F.avg_pool2d(F.pad(mask.float(), (1,) * 4, mode="replicate"), 3, 1)


def random_turn(planes, inside, radius, random: RandomNumbers) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn (B, C, H, W), come near, or both, about a point of the part `inside` (B, 1, H, W), whose farthest parts blur
    by `radius` (B,) pixels. Also returns the radii (B, 1, H, W)."""
    count, _, height, width = planes.shape
    y = torch.arange(height, device=planes.device).view(1, 1, -1, 1)
    x = torch.arange(width, device=planes.device).view(1, 1, 1, -1)
    mass = inside.sum((1, 2, 3)).clamp(min=1)
    mean = torch.stack([(inside * x).sum((1, 2, 3)), (inside * y).sum((1, 2, 3))], 1) / mass[:, None]
    centre = mean + (random.uniform(count, 2) - 0.5) * torch.tensor([width, height], device=planes.device) / 4
    distance = torch.hypot(x - as_map(centre[:, 0]), y - as_map(centre[:, 1]))
    reach = (distance * (inside > 0.5)).amax((1, 2, 3)).clamp(min=8)
    way, quarter = random.uniform(count, high=2 * math.pi), math.pi / 2
    way = torch.where(
        random.uniform(count) < 0.7, (way / quarter).round() * quarter, way
    )  # purely the one or the other
    spread = radius * math.sqrt(6) / reach
    return turned(planes, centre, spread * torch.cos(way), spread * torch.sin(way)), distance * as_map(radius / reach)
