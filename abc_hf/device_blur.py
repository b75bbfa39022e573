"""Blur put into sharp photos as they are drawn, a batch at a time, on the device that trains.

The scenes are SmartBlur-Synth's (abc_hf/synthesis.py), written for tensors: layers blurred by kernels of their own in
linear light and composited, levels that follow from the kernels. No photo is ever blurred the same way twice, and a
batch of a hundred takes a GPU some milliseconds where a stored photo takes a core a third of a second.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .kernels import defocus_kernel, path_kernel, scaled_path, shake_path, straight_path
from .losses import NO_LABEL, NUM_LEVELS, UNKNOWN
from .synthesis import BAD_BLUR, GOOD_BLUR, LEVEL_RADII, MELTED_RADIUS, NO_BLUR, OK_BLUR, SCENES

REACH = 40
"""Half the side of the largest kernel [pixels]."""
LARGEST = 26.0
"""The largest equivalent radius [pixels]: 0.05 of a long side of 512."""
KINDS = ("defocus", "motion", "shake")
KIND_OF = {"moving-subject": "motion", "panning": "motion", "shake": "shake"}
"""What blurs a scene, where it is not defocus."""
SHARE = {"background": 0.05, "panning": 0.05, "moving-subject": 0.05, "turning-subject": 0.05, "shake": 0.035}
"""The largest radius of a scene, as a fraction of the long side; others have 0.03."""
SMALLEST_SHARE = LEVEL_RADII[0]
TURN_COPIES = 24
DEPTH_STOPS = 6


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
    low, medium, high = (math.log(radius) for radius in LEVEL_RADII)
    points = [low - (medium - low) / 2, low, medium, high, math.log(MELTED_RADIUS)]
    values = [0, 0.5, 1.5, 2.5, NUM_LEVELS - 1]
    known = ~share.isnan()
    found = torch.where(known, share, 0).clamp(min=1e-6).log()
    level = torch.zeros_like(found)
    for (left, right), (start, end) in zip(
        zip(points, points[1:], strict=False), zip(values, values[1:], strict=False), strict=True
    ):
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
    desirability, -100 where nothing follows."""

    light: torch.Tensor
    levels: torch.Tensor
    labels: torch.Tensor


class FreshBlur:
    """Puts blur into batches of sharp photos. All choices are drawn from a generator on the device."""

    def __init__(self, bank: KernelBank, scenes: dict[str, float] = SCENES):
        self.bank, self.scenes = bank, scenes

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
        """
        count, _, height, width = photos.shape
        device = photos.device

        def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
            return low + (high - low) * torch.rand(*shape, generator=generator, device=device)

        names = list(self.scenes)
        chances = torch.tensor([self.scenes[name] for name in names], device=device)
        scene = torch.multinomial(chances, count, replacement=True, generator=generator)

        def among(*wanted: str) -> torch.Tensor:
            return sum((scene == names.index(name) for name in wanted if name in names), torch.zeros_like(scene)).bool()

        region = torch.where(has_subject.view(-1, 1, 1, 1), subjects, self.regions(count, height, width, uniform))
        gain = (uniform(count, high=5) * (uniform(count) < 0.5)).view(-1, 1, 1, 1)
        light = to_linear(photos)
        light = light * (1 + gain * ((light.amax(1, keepdim=True) - 0.9) / 0.1).clamp(0, 1) ** 2)

        largest = torch.tensor([SHARE.get(name, 0.03) for name in names], device=device)[scene]
        share = SMALLEST_SHARE * (largest / SMALLEST_SHARE) ** uniform(count)
        radius = (share * long_side).clamp(max=LARGEST)
        kind = torch.tensor([KINDS.index(KIND_OF.get(name, "defocus")) for name in names], device=device)[scene]
        offset = torch.randint(-25, 26, (count,), generator=generator, device=device)

        front = among("subject", "moving-subject", "turning-subject")
        turning = among("turning-subject", "turning-frame")
        whole = among("frame", "shake", "turning-frame", "sharp") | (
            among("depth") & (uniform(count) < 0.5)
        )  # one layer: the photo as it is
        alpha = region * ~whole.view(-1, 1, 1, 1)
        back = torch.where(whole.view(-1, 1, 1, 1), light, fill_holes(light, (alpha * 1.5).clamp(max=1)))

        still = among("sharp") | turning
        back_radius = radius * (among("frame", "shake", "background", "panning") & ~still)
        front_radius = radius * (front & ~still)
        back_kernel, back_radius = self.bank.draw(kind, back_radius, offset)
        front_kernel, front_radius = self.bank.draw(kind, front_radius, offset)
        seen = back_radius.view(-1, 1, 1, 1).expand(-1, 1, height, width).clone()
        own = front_radius.view(-1, 1, 1, 1).expand(-1, 1, height, width).clone()

        stack = torch.cat([light * alpha, alpha], 1)
        base = back.clone()
        if (index := (back_radius > 0).nonzero().flatten()).numel():
            base[index] = convolve(back[index], back_kernel[index])
        if (index := (front_radius > 0).nonzero().flatten()).numel():
            stack[index] = convolve(stack[index], front_kernel[index])
        if (index := turning.nonzero().flatten()).numel():
            centre, angle, zoom, field = self.turn(region[index], radius[index], whole[index], uniform)
            single = whole[index].view(-1, 1, 1, 1)
            planes = torch.cat([torch.where(single, base[index], stack[index, :3]), stack[index, 3:]], 1)
            planes = turned(planes, centre, angle, zoom)
            base[index] = torch.where(single, planes[:, :3], base[index])
            stack[index] = torch.where(single, stack[index], planes)
            seen[index] = torch.where(single, field, seen[index])
            own[index] = torch.where(single, own[index], field)
        if (index := among("depth").nonzero().flatten()).numel():
            base[index], seen[index] = self.depth(base[index], radius[index], kind[index], offset[index], uniform)

        cover = stack[:, 3:].clamp(0, 1)
        composed = stack[:, :3] + (1 - cover) * base
        mixed = (cover > 0.1) & (cover < 0.9) & ((seen - own).abs() > 0) & (torch.maximum(own, seen) > 1.5)
        radii = torch.where(mixed, torch.nan, torch.where(cover >= 0.5, own, seen))
        levels = levels_of(radii / long_side.view(-1, 1, 1, 1))
        labels = judge(levels, region, has_subject & ~(among("depth") & whole))
        spoilt = among("frame", "shake") & ~has_subject  # the subject, whatever it is, is in the frame
        labels[spoilt] = torch.where(levels[spoilt, 0, 0, 0].round() >= 2, BAD_BLUR, OK_BLUR)
        return Blurred(self.grain(composed, uniform, generator), levels, labels)

    def regions(self, count: int, height: int, width: int, uniform) -> torch.Tensor:
        """(B, 1, H, W) regions of a quarter to three quarters of the frame: blobs and straight cuts."""
        device = uniform(1).device
        field = torch.empty(count, 1, height, width, device=device)
        for number, cells in enumerate((3, 5, 8, 12)):
            blobs = field[number::4]
            if not len(blobs):
                break
            noise = uniform(len(blobs), 1, cells, cells, low=-1) + uniform(len(blobs), 1, cells, cells, low=-1)
            field[number::4] = F.interpolate(noise, (height, width), mode="bicubic", align_corners=False)
        angle = uniform(count, high=2 * math.pi).view(-1, 1, 1, 1)
        y = torch.linspace(0, 1, height, device=device).view(1, 1, -1, 1)
        x = torch.linspace(0, 1, width, device=device).view(1, 1, 1, -1)
        straight = (uniform(count) < 0.25).view(-1, 1, 1, 1)
        field = torch.where(straight, torch.cos(angle) * x + torch.sin(angle) * y, field)
        cells = F.interpolate(field, (32, 32), mode="nearest").flatten(1).sort(1).values
        cut = cells.gather(1, (uniform(count, 1, low=0.25, high=0.75) * 1023).long()).view(-1, 1, 1, 1)
        return F.avg_pool2d(F.pad((field > cut).float(), (1,) * 4, mode="replicate"), 3, 1)

    def turn(self, region: torch.Tensor, radius: torch.Tensor, whole: torch.Tensor, uniform):
        """`synthesis.random_turn` of a batch: centres, angles and zooms, and the field of radii that they give."""
        count, _, height, width = region.shape
        device = region.device
        y = torch.arange(height, device=device).view(1, -1, 1)
        x = torch.arange(width, device=device).view(1, 1, -1)
        inside = region[:, 0].clone()
        inside[whole] = 1
        mass = inside.sum((1, 2)).clamp(min=1)
        mean = torch.stack([(inside * x).sum((1, 2)), (inside * y).sum((1, 2))], 1) / mass[:, None]
        spread = torch.tensor([width, height], device=device) / 4
        centre = mean + (uniform(count, 2) - 0.5) * spread
        distance = torch.hypot(x - centre[:, 0, None, None], y - centre[:, 1, None, None])
        reach = (distance * (inside > 0.5)).amax((1, 2)).clamp(min=8)
        way = uniform(count, high=2 * math.pi)
        pure = uniform(count) < 0.7
        way = torch.where(pure, (way / (math.pi / 2)).round() * (math.pi / 2), way)
        size = radius * math.sqrt(6) / reach
        field = distance[:, None] * (size / math.sqrt(6)).view(-1, 1, 1, 1)
        return centre, size * torch.cos(way), size * torch.sin(way), field

    def depth(self, light, radius, kind, offset, uniform):
        """Blur that grows away from a plane in focus: a stack of blurred copies, interpolated per pixel."""
        count, _, height, width = light.shape
        device = light.device

        tilt = (uniform(count) - 0.5) + (uniform(count) - 0.5)
        angle = torch.where(uniform(count) < 0.7, math.pi / 2 + 0.6 * tilt, uniform(count, high=math.pi))
        angle, focus, field = (
            values.view(-1, 1, 1, 1) for values in (angle, uniform(count), uniform(count, low=0.02, high=0.3))
        )
        y = torch.linspace(0, 1, height, device=device).view(1, 1, -1, 1)
        x = torch.linspace(0, 1, width, device=device).view(1, 1, 1, -1)
        plane = torch.cos(angle) * x + torch.sin(angle) * y
        low, high = plane.amin((2, 3), keepdim=True), plane.amax((2, 3), keepdim=True)
        amount = (((plane - low) / (high - low) - focus).abs() - field).clamp(min=0)
        radii = amount / amount.amax((2, 3), keepdim=True).clamp(min=1e-6) * radius.view(-1, 1, 1, 1)
        stops = 0.6 * (radius.clamp(min=0.7) / 0.6).view(-1, 1) ** torch.linspace(0, 1, DEPTH_STOPS, device=device)
        stops = torch.cat([torch.zeros(count, 1, device=device), stops], 1)
        result = torch.zeros_like(light)
        for number in range(DEPTH_STOPS + 1):
            stop = stops[:, number].view(-1, 1, 1, 1)
            left = stops[:, number - 1].view(-1, 1, 1, 1) if number else stop - 1
            rise = (radii - left) / (stop - left)
            if number < DEPTH_STOPS:
                right = stops[:, number + 1].view(-1, 1, 1, 1)
                rise = torch.minimum(rise, (right - radii) / (right - stop))
            kernels, _ = self.bank.draw(kind, stops[:, number], offset)
            result += rise.clamp(0, 1) * (convolve(light, kernels) if number else light)
        return result, radii

    def grain(self, light: torch.Tensor, uniform, generator: torch.Generator) -> torch.Tensor:
        """A camera's shot and read noise on three photos in five, before the tone curve."""
        count = len(light)
        shot, read = (uniform(count, high=most).view(-1, 1, 1, 1) for most in (0.01, 0.004))
        noisy = (uniform(count) < 0.6).view(-1, 1, 1, 1)
        noise = torch.randn(light.shape, generator=generator, device=light.device)
        soft = F.avg_pool2d(F.pad(noise, (1,) * 4, mode="reflect"), 3, 1) * 2
        blend = uniform(count).view(-1, 1, 1, 1)
        noise = noise + blend * (soft - noise)
        return light + noisy * noise * (light.clamp(0, 1) * shot**1.5 + read**2).sqrt()
