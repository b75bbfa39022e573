"""Training photos that stay in the device's memory: drawn, blurred and augmented there, a batch at a time.

What `batches.TrainingPhotos` does on the CPU, photo by photo, for data sets that fit (1.3 MB a photo of 512 pixels).
Sharp photos get fresh blur (abc_hf/data/device_blur.py) in place of SmartBlur-Synth's stored one. What a batch holds
depends on the seed and its number alone.
"""

import functools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm import tqdm

from ..data.device_blur import LIT, Dice, FreshBlur, KernelBank, MarkBank, to_srgb
from ..data.schema import LEVELS_OF, check_map, levels_from
from ..image_processing_abc_fusenet import working_shape
from ..losses import AMOUNT_STEPS, NO_LABEL, NUM_LEVELS, UNKNOWN
from .batches import class_labels

SCALED_TOGETHER = 16
"""Photos of a batch that share a random scale."""


def stored(row: dict, name: str, side: int) -> dict[str, torch.Tensor]:
    """A row as it is kept: the photo at the working size in a square (3, side, side), continued by reflection; codes of
    blur and of the subject (0, 1) in squares, 255 where there is none."""
    photo = row["image"].convert("RGB")
    height, width = working_shape(photo.height, photo.width, side)
    pixels = np.asarray(photo.resize((width, height), Image.BICUBIC)).transpose(2, 0, 1)
    canvas = np.pad(pixels, ((0, 0), (0, side - height), (0, side - width)), mode="symmetric")
    result = {"photo": torch.from_numpy(canvas), "size": (height, width)}
    blur = "blur_amount" if row.get("blur_amount") is not None else "blur_map"
    for key, column in (("blur", blur), ("subject", "salient_mask")):
        codes = np.full((side, side), UNKNOWN, np.uint8)
        if row[column] is not None:
            check_map(row[column], photo, f"{name}, column {column}")
            values = np.asarray(row[column].resize((width, height), Image.NEAREST))
            if column == "salient_mask":
                values = values > 127
            else:  # levels and amounts alike in the codes of amounts
                levels = levels_from(values, column, name)
                values = np.rint(np.where(levels < NUM_LEVELS, levels * AMOUNT_STEPS, levels))
            codes[:height, :width] = values
        result[key] = torch.from_numpy(codes)
    return result | class_labels(row)


class DevicePhotos:
    """Batches of a phase for `train_accelerate.py`, made on the device.

    The synthetic share of the phase's mix is sharp photos with fresh blur. A batch is of landscape or of portrait
    photos; crops are `phase.crop` pixels long and three quarters of that (up to a multiple of 32) on the short side.

    Args:
        groups: rows by group, as `data.rows_by_group` gives them; stored synthetic ones are not used.
        first, last, process, processes: see `data.StepSampler`.
    """

    def __init__(
        self, dataset, groups, phase, processor, device, seed, first, last, batch_size, process=0, processes=1
    ):
        self.phase, self.device, self.seed, self.batches = phase, device, seed, range(first, last)
        self.batch_size, self.process, self.processes = batch_size, process, processes
        self.mean, self.std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1)
            for values in (processor.image_mean, processor.image_std)
        )
        self.side = processor.size["longest_edge"]
        self.codes = torch.from_numpy(LEVELS_OF["blur_amount"]).to(device)
        self.blur = FreshBlur(KernelBank(device), marks=MarkBank(device), lit=LIT)

        groups = {name: rows for name, rows in groups.items() if name != "synthetic"}
        if not groups:
            raise ValueError("All rows are synthetic; --photos_on_device needs photos to put blur into.")
        rows = sorted({int(row) for each in groups.values() for row in each})
        place = {row: number for number, row in enumerate(rows)}
        with ThreadPoolExecutor() as pool:
            kept = list(tqdm(pool.map(lambda row: self.read(dataset, row), rows), total=len(rows), desc="photos"))
        self.sizes = np.array([each.pop("size") for each in kept])  # here: the device would be waited for
        self.table = {name: torch.stack([each[name] for each in kept]).to(device) for name in kept[0]}
        landscape = self.sizes[:, 1] >= self.sizes[:, 0]
        self.landscape_share = landscape.mean()
        self.groups = {}
        for name, each in groups.items():
            numbers = np.array([place[int(row)] for row in each])
            self.groups[name] = [numbers[landscape[numbers] == flag] for flag in (False, True)]
        if "sharp" in self.groups:
            self.groups["synthetic"] = self.groups["sharp"]

    def read(self, dataset, index: int) -> dict[str, torch.Tensor]:
        row = dataset[index]
        return stored(row, f"Row {index} of train ({row['source']})", self.side)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for batch in self.batches:
            yield self.batch(batch * self.processes + self.process)

    @torch.no_grad()
    def batch(self, number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng((self.seed, number))
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        flag = int(rng.random() < self.landscape_share)
        mix = {name: share for name, share in self.phase.mix.items() if len(self.groups.get(name, [[], []])[flag])}
        names = sorted(mix, key=lambda name: name != "synthetic")
        chances = np.array([mix[name] for name in names]) / sum(mix.values())
        drawn = np.sort(rng.choice(len(names), self.batch_size, p=chances))
        fresh = int((drawn == 0).sum()) if names[0] == "synthetic" else 0
        rows = np.array([rng.choice(self.groups[names[group]][flag]) for group in drawn])
        long, short = self.phase.crop, math.ceil(self.phase.crop * 0.75 / 32) * 32
        shape = (short, long) if flag else (long, short)

        pixels, blur, subject, longs = self.crops(rows, shape, rng)
        index = torch.from_numpy(rows).to(self.device)
        labels, kinds = self.table["labels"][index], self.table["kind_labels"][index]
        levels = self.codes[blur.long()]
        known = subject < UNKNOWN
        if fresh:
            mask = torch.where(known[:fresh], subject[:fresh], 0).float()
            has_subject = mask.flatten(1).mean(1) > 0.01
            soft = F.avg_pool2d(F.pad(mask, (1,) * 4, mode="replicate"), 3, 1)
            made = self.blur(pixels[:fresh], soft, has_subject, longs[:fresh], generator)
            pixels[:fresh] = to_srgb(made.light)
            outside = levels[:fresh] == UNKNOWN
            levels[:fresh] = made.levels.masked_fill(outside, UNKNOWN)
            labels[:fresh] = F.one_hot(made.labels.clamp(min=0), labels.shape[1]) * (made.labels != NO_LABEL)[:, None]
            kinds[:fresh] = made.kinds
        dice = Dice(generator)
        pixels = jitter(develop((pixels * 255).round(), dice, rng), dice)
        return {
            "pixel_values": (pixels - self.mean) / self.std,
            "blur_labels": levels[:, 0],
            "attention_labels": torch.where(known, subject.long() * (NUM_LEVELS - 1), UNKNOWN)[:, 0],
            "labels": labels,
            "kind_labels": kinds,
        }

    def crops(self, rows: np.ndarray, shape: tuple[int, int], rng):
        """Scaled, flipped and cropped: pixels (B, 3, h, w) in 0..1, codes of blur and subject (B, 1, h, w) and the long
        sides (B,) of the scaled photos."""
        table = self.table
        parts = []
        for start in range(0, len(rows), SCALED_TOGETHER):
            numbers = rows[start : start + SCALED_TOGETHER]
            index = torch.from_numpy(numbers).to(self.device)
            scale = rng.uniform(*self.phase.scales)
            side = max(32, round(self.side * scale))
            photo = table["photo"][index].float() / 255
            maps = torch.stack([table["blur"][index], table["subject"][index]], 1).float()
            if side < self.side:
                photo = F.interpolate(photo, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
                maps = F.interpolate(maps, (side, side), mode="nearest-exact")
            missing = [max(0, length - side) for length in shape]
            if any(missing):
                around = (0, missing[1], 0, missing[0])
                photo = F.pad(photo, around, mode="reflect" if max(missing) < side else "replicate")
                maps = F.pad(maps, around, value=UNKNOWN)
            sizes = (self.sizes[numbers] * side / self.side).round().astype(int)
            cut_photo, cut_maps = [], []
            for number, size in enumerate(sizes):
                draw = rng.random(3)
                top, left = (int(draw[axis] * (max(0, size[axis] - shape[axis]) + 1)) for axis in (0, 1))
                window = (slice(None), slice(top, top + shape[0]), slice(left, left + shape[1]))
                one, two = photo[number][window], maps[number][window]
                if draw[2] < 0.5:
                    one, two = one.flip(-1), two.flip(-1)
                cut_photo.append(one)
                cut_maps.append(two)
            longs = torch.from_numpy(sizes.max(1)).to(self.device).float()
            parts.append((torch.stack(cut_photo), torch.stack(cut_maps), longs))
        photo, maps, longs = (torch.cat(each) for each in zip(*parts, strict=True))
        return photo, maps[:, :1], maps[:, 1:], longs


# ------------------------------------------------------------------------------------------------- traces of processing


def develop(images: torch.Tensor, dice: Dice, rng: np.random.Generator) -> torch.Tensor:
    """`data.develop` of a batch (B, 3, H, W) in 0..255: random sharpening, grain and JPEG."""
    uniform = functools.partial(dice.uniform, len(images), 1, 1, 1)
    amount = uniform(low=0.2, high=1.2) * (uniform() < 0.4)
    images = (images + amount * (images - gaussian(images, uniform(low=0.5, high=1.5)))).clamp(0, 255).round()
    noise = dice.normal(images)
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


def jitter(images: torch.Tensor, dice: Dice, amount: float = 0.25) -> torch.Tensor:
    """Random brightness and contrast of (B, 3, H, W) in 0..1, and less colour for one photo in five."""
    uniform = functools.partial(dice.uniform, len(images), 1, 1, 1)
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
    """What JPEG with its annex K's tables and halved chroma makes of (B, 3, H, W) in 0..255; H and W multiples of 16.

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
