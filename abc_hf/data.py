"""Rows of the SmartBlur schema -> training batches. What a step draws depends on (seed, step) and nothing else."""

import io
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageFilter

from .losses import AMOUNT_UNKNOWN, NO_LABEL, NUM_LEVELS, UNKNOWN

LABELS_OF_PHASE = {
    "saliency": "salient_mask",
    "blur": "blur_map",
    "classifier": "desirability",
    "joint": "desirability",
}
"""The column a row needs to take part in a phase."""


def group_of(row: dict) -> str:
    """Where a row's truth comes from: "synthetic" blur, "sharp" photos, or real photos that are neither."""
    if row["source"].startswith("synth/"):
        return "synthetic"
    return "sharp" if row.get("desirability") == 0 else "blurred"


def rows_by_group(dataset, phase: str, mix: dict[str, float]) -> dict[str, np.ndarray]:
    """Indices of the rows that can take part in a phase, by group; the groups are the keys of `mix`.

    Raises ValueError if a column is missing or no row has what the phase needs.
    """
    column = LABELS_OF_PHASE[phase]
    missing = {"image", "source", "desirability", column} - set(dataset.column_names)
    if missing:
        raise ValueError(f"The data set lacks the column {', '.join(sorted(missing))}.")
    table = dataset.with_format("arrow")[:]
    labelled = table[column].is_valid().to_numpy()
    sources, classes = table["source"].to_pylist(), table["desirability"].to_pylist()
    groups = np.array([group_of({"source": s, "desirability": c}) for s, c in zip(sources, classes, strict=True)])
    found = {name: np.flatnonzero(labelled & (groups == name)) for name in mix}
    found = {name: rows for name, rows in found.items() if len(rows)}
    if not found:
        raise ValueError(f"No row of the data set has a {column} in one of the groups {', '.join(mix)}.")
    return found


class StepSampler(torch.utils.data.Sampler):
    """Yields (draw, row): draw number d of a run takes its group and row from a generator keyed on (seed, d), so a run
    that goes on at step s draws what it would have drawn anyway."""

    def __init__(self, groups: dict[str, np.ndarray], mix: dict[str, float], seed: int, first: int, last: int):
        self.groups, self.seed, self.first, self.last = groups, seed, first, last
        self.weights = np.array([mix[name] for name in groups])
        self.weights /= self.weights.sum()

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[tuple[int, int]]:
        names = list(self.groups)
        for draw in range(self.first, self.last):
            rng = np.random.default_rng((self.seed, draw, 0))
            rows = self.groups[names[rng.choice(len(names), p=self.weights)]]
            yield draw, int(rows[rng.integers(len(rows))])


class TrainingPhotos(torch.utils.data.Dataset):
    """Augmented training samples of one phase, by (draw, row).

    The paper's augmentations: horizontal flip, random crop, brightness, contrast; a random scale that never enlarges;
    and what cameras and the web do to photos (`develop`). The labels go along; what a crop reaches beyond the photo is
    filled by reflection and labelled unknown.
    """

    def __init__(self, dataset, processor, phase: str, crop: int, scales: tuple[float, float], seed: int):
        self.dataset, self.phase, self.crop, self.scales, self.seed = dataset, phase, crop, scales, seed
        self.mean, self.std = np.float32(processor.image_mean), np.float32(processor.image_std)
        self.working_size = processor.size["longest_edge"]

    def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        draw, index = key
        rng = np.random.default_rng((self.seed, draw, 1))
        row = self.dataset[index]
        photo = row["image"].convert("RGB")
        scale = min(1, self.working_size / max(photo.size)) * rng.uniform(*self.scales)
        size = tuple(max(1, round(side * scale)) for side in photo.size)
        sample = {"image": np.asarray(photo.resize(size, Image.BICUBIC))}
        for name in ("blur_map", "salient_mask"):
            if row[name] is not None:
                sample[name] = np.asarray(row[name].resize(size, Image.NEAREST))
        sample = flip_and_crop(sample, self.crop, rng)
        pixels = jitter(develop(sample["image"], rng), rng)
        pixels = (pixels - self.mean) / self.std
        unknown = np.full(pixels.shape[:2], UNKNOWN, np.uint8)
        salient = sample.get("salient_mask")
        if salient is not None:
            salient = np.where(salient == UNKNOWN - 1, UNKNOWN, np.where(salient > 127, NUM_LEVELS - 1, 0))
        label = row["desirability"]
        return {
            "pixel_values": torch.from_numpy(pixels.transpose(2, 0, 1).copy()),
            "blur_labels": torch.from_numpy(sample.get("blur_map", unknown).astype(np.int64)),
            "attention_labels": torch.from_numpy((unknown if salient is None else salient).astype(np.int64)),
            "labels": torch.tensor(NO_LABEL if label is None else label),
        }


def flip_and_crop(sample: dict[str, np.ndarray], crop: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The same flip and crop of `crop` x `crop` pixels for a photo and its maps."""
    if rng.random() < 0.5:
        sample = {name: values[:, ::-1] for name, values in sample.items()}
    height, width = sample["image"].shape[:2]
    top, left = (int(rng.integers(max(0, side - crop) + 1)) for side in (height, width))
    result = {}
    for name, values in sample.items():
        values = values[top : top + crop, left : left + crop]
        short = [(0, crop - side) for side in values.shape[:2]] + [(0, 0)] * (values.ndim - 2)
        if name == "image":
            values = np.pad(values, short, mode="symmetric")
        else:
            values = np.pad(values, short, constant_values=UNKNOWN if name == "blur_map" else UNKNOWN - 1)
        result[name] = values
    return result


def develop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random sharpening, grain and JPEG of an (H, W, 3) uint8 image: real and synthetic photos alike, so that the
    traces of how a photo was made do not give its blur away."""
    photo = Image.fromarray(image)
    if rng.random() < 0.4:
        photo = photo.filter(ImageFilter.UnsharpMask(rng.uniform(0.5, 1.5), int(rng.uniform(20, 120)), 0))
    if rng.random() < 0.3:
        grain = rng.normal(0, rng.uniform(0.5, 6), image.shape)
        photo = Image.fromarray(np.clip(np.asarray(photo) + grain, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        photo.save(buffer, "JPEG", quality=int(rng.integers(40, 96)))
        photo = Image.open(buffer)
    return np.asarray(photo)


def jitter(image: np.ndarray, rng: np.random.Generator, amount: float = 0.25) -> np.ndarray:
    """Random brightness and contrast of an (H, W, 3) uint8 image; float32 in 0..1."""
    pixels = image.astype(np.float32) / 255 * rng.uniform(1 - amount, 1 + amount)
    mean = pixels.mean()
    return np.clip((pixels - mean) * rng.uniform(1 - amount, 1 + amount) + mean, 0, 1)


def has_blur(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Binary truth of a level map, level > 0 with 254 counted as blurred, and where it is known."""
    return (levels > 0) & (levels <= AMOUNT_UNKNOWN), levels != UNKNOWN
