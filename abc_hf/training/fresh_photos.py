"""Training photos that stay in the device's memory: drawn, blurred and augmented there, a batch at a time.

The same as `batches.TrainingPhotos`, for data sets that fit (1.3 MB a photo of 512 pixels).
Sharp photos get fresh blur (abc_hf/data/synthesis.py) in place of SmartBlur-Synth's stored one. A batch depends on the
seed and its number alone.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from ..data.kernels import KernelBank
from ..data.marks import MarkBank, RandomNumbers
from ..data.schema import LEVELS_OF
from ..data.synthesis import BAD_BLUR, GOOD_BLUR, LIT, FreshBlur, to_srgb
from ..losses import NO_LABEL, NUM_LEVELS, UNKNOWN
from .augmentation import crop, processed, stored
from .batches import class_labels

SCALED_TOGETHER = 16
"""Photos of a batch that share a random scale."""


class FreshPhotos:
    """Batches of a phase for `train_accelerate.py`, made on the device.

    The synthetic share of the phase's mix is sharp photos with fresh blur. The spoilt share is photos of wanted blur
    under a fresh shake or out of focus, which is bad blur. It teaches the look of bad blur where wanted blur is at
    home, as in streets at night. A batch is of landscape or of portrait photos; crops are `phase.crop` pixels long and
    three quarters of that (up to a multiple of 32) on the short side.

    Args:
        groups: rows by group, as `rows_by_group` gives them; stored synthetic ones are not used.
        first, last, process, processes: see `StepSampler`.
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
        wanted = (self.table["labels"][:, GOOD_BLUR] == 1).cpu().numpy()
        self.groups["spoilt"] = [rows[wanted[rows]] for rows in self.groups.get("blurred", [])]
        bank = KernelBank(device)
        self.blur = FreshBlur(bank, marks=MarkBank(device), lit=LIT)
        self.spoil = FreshBlur(bank, {"shake": 0.7, "frame": 0.3})

    def read(self, dataset, index: int) -> dict[str, torch.Tensor]:
        row = dataset[index]
        return stored(row, f"Row {index} of train ({row['source']})", self.side) | class_labels(row)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for batch in self.batches:
            yield self.batch(batch * self.processes + self.process)

    @torch.no_grad()
    def batch(self, number: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng((self.seed, number))
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        flag = int(rng.random() < self.landscape_share)
        mix = {name: share for name, share in self.phase.mix.items() if len((self.groups.get(name) or [[], []])[flag])}
        names = sorted(mix, key=lambda name: ["synthetic", "spoilt", name].index(name))
        chances = np.array([mix[name] for name in names]) / sum(mix.values())
        drawn = np.sort(rng.choice(len(names), self.batch_size, p=chances))
        count = {name: int((drawn == number).sum()) for number, name in enumerate(names)}
        fresh = count.get("synthetic", 0)
        spoilt = slice(fresh, fresh + count.get("spoilt", 0))
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
        if spoilt.stop > spoilt.start:
            mask, no_subject = torch.zeros_like(pixels[spoilt, :1]), torch.zeros_like(longs[spoilt], dtype=torch.bool)
            made = self.spoil(pixels[spoilt], mask, no_subject, longs[spoilt], generator)
            pixels[spoilt], bad = to_srgb(made.light), made.labels == BAD_BLUR
            before = levels[spoilt]
            levels[spoilt] = torch.where(before < NUM_LEVELS, torch.maximum(before, made.levels), before)
            labels[spoilt] = F.one_hot(made.labels, labels.shape[1]) * bad[:, None]
            kinds[spoilt] = torch.where(bad, made.kinds, NO_LABEL)
        pixels = processed(pixels, RandomNumbers(generator), rng)
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
        parts = []
        for start in range(0, len(rows), SCALED_TOGETHER):
            numbers = rows[start : start + SCALED_TOGETHER]
            index = torch.from_numpy(numbers).to(self.device)
            photos, blur, subject = (self.table[name][index] for name in ("photo", "blur", "subject"))
            scale = rng.uniform(*self.phase.scales)
            maps = torch.stack([blur, subject], 1)
            pixels, maps, sizes = crop(photos, maps, self.sizes[numbers], shape, scale, rng)
            parts.append((pixels, maps, torch.from_numpy(sizes.max(1)).to(self.device).float()))
        photos, maps, longs = (torch.cat(each) for each in zip(*parts, strict=True))
        return photos, maps[:, :1], maps[:, 1:], longs
