"""Rows of the SmartBlur schema -> training batches. What a step draws depends on (seed, step) and nothing else."""

import io
import itertools
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageFilter

from ..configuration_abc_fusenet import DESIRABILITY, KINDS
from ..data.schema import check_map, group_of, levels_from
from ..losses import (
    NO_LABEL,
    NUM_LEVELS,
    UNKNOWN,
    class_loss_terms,
    map_loss_terms,
)
from .recipes import Phase

LABELS_OF_PHASE = {
    "saliency": "salient_mask",
    "blur": "blur_map",
    "classifier": "desirability",
    "joint": "desirability",
}
"""The column a row needs to take part in a phase."""
SHUFFLE_ROWS = 500
"""Rows of a stream that are held to draw from (their files, undecoded)."""


def class_labels(row: dict) -> dict[str, torch.Tensor]:
    """What the classifier learns of a row: `labels` (4,), the share of annotators who chose each class (all of them the
    row's class where single votes are not known, 0 where there is no class), and `kind_labels`, the kind of blur."""
    labels = torch.zeros(len(DESIRABILITY))
    if row.get("votes") is not None:
        labels = torch.tensor(row["votes"])
    elif row["desirability"] is not None:
        labels[row["desirability"]] = 1
    kind = row.get("blur_kind")
    return {"labels": labels, "kind_labels": torch.tensor(KINDS.index(kind) if kind in KINDS else NO_LABEL)}


def rows_by_group(dataset, phase: str, mix: dict[str, float]) -> dict[str, np.ndarray]:
    """Indices of the rows that can take part in a phase, by group; the groups are the keys of `mix`.

    Raises ValueError if a column is missing or no row has what the phase needs.
    """
    column = LABELS_OF_PHASE[phase]
    missing = {"image", "source", "desirability", column} - set(dataset.column_names)
    if missing:
        raise ValueError(f"The data set lacks the column {', '.join(sorted(missing))}.")
    table = dataset.select_columns(list({"source", "desirability", column})).with_format("arrow")[:]
    labelled = table[column].is_valid().to_numpy()
    sources, classes = table["source"].to_pylist(), table["desirability"].to_pylist()
    groups = np.array([group_of({"source": s, "desirability": c}) for s, c in zip(sources, classes, strict=True)])
    found = {name: np.flatnonzero(labelled & (groups == name)) for name in mix}
    found = {name: rows for name, rows in found.items() if len(rows)}
    if not found:
        raise ValueError(f"No row of the data set has a {column} in one of the groups {', '.join(mix)}.")
    return found


def classifier_rows(dataset, mix: dict[str, float], most: int) -> tuple[list[int], list[float]]:
    """Rows with a class, at most `most` of each group and evenly spread, and how often each is drawn for the mix."""
    groups = rows_by_group(dataset, "classifier", mix)
    groups = {name: chosen[:: -(-len(chosen) // most)] for name, chosen in groups.items()}
    rows = [int(row) for chosen in groups.values() for row in chosen]
    return rows, [mix[name] / len(chosen) for name, chosen in groups.items() for _ in chosen]


class StepSampler(torch.utils.data.Sampler):
    """Yields the batches of one process, each a list of (draw, row).

    Draw number d of a run takes its group and row from a generator keyed on (seed, d); the batches of a step hold the
    next draws in order, process after process. So a run that goes on at step s draws what it would have drawn anyway,
    and the photos of a step do not depend on how many processes share them.

    first, last: the batches of a process to begin with and to end before.
    """

    def __init__(self, groups, mix, seed, first, last, batch_size, process=0, processes=1):
        self.groups, self.seed, self.batches, self.batch_size = groups, seed, range(first, last), batch_size
        self.process, self.processes = process, processes
        self.weights = np.array([mix[name] for name in groups])
        self.weights /= self.weights.sum()

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for batch in self.batches:
            first = (batch * self.processes + self.process) * self.batch_size
            yield [(draw, self.row(draw)) for draw in range(first, first + self.batch_size)]

    def row(self, draw: int) -> int:
        rng = np.random.default_rng((self.seed, draw, 0))
        rows = self.groups[list(self.groups)[rng.choice(len(self.groups), p=self.weights)]]
        return int(rows[rng.integers(len(rows))])


class TrainingPhotos(torch.utils.data.Dataset):
    """Augmented training samples of one phase, by (draw, row).

    The paper's augmentations: horizontal flip, random crop, brightness, contrast; a random scale that never enlarges;
    and what cameras and the web do to photos (`develop`). The labels go along; what a crop reaches beyond the photo is
    filled by reflection and labelled unknown. Without `augment`, the top left `crop` pixels of the photo as it is. With
    `amounts`, blur labels are those of the column blur_amount where there is one.

    Raises ValueError, with row and column, for what cannot be read or is no label.
    """

    def __init__(
        self,
        dataset,
        processor,
        crop: int,
        scales: tuple[float, float],
        seed: int,
        augment: bool = True,
        amounts: bool = False,
    ):
        self.dataset, self.crop, self.scales, self.seed = dataset, crop, scales, seed
        self.augment, self.amounts = augment, amounts
        self.mean, self.std = np.float32(processor.image_mean), np.float32(processor.image_std)
        self.working_size = processor.size["longest_edge"]

    def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        draw, index = key
        try:
            row = self.dataset[index]
        except Exception as error:  # of whatever decoder
            raise ValueError(f"Row {index} of train has an image or a map that cannot be read ({error}).") from error
        return self.sample(draw, row, f"Row {index} of train ({row['source']})")

    def sample(self, draw: int, row: dict, name: str) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng((self.seed, draw, 1))
        photo = row["image"].convert("RGB")
        scale = min(1, self.working_size / max(photo.size))
        if self.augment:
            scale *= rng.uniform(*self.scales)
        size = tuple(max(1, round(side * scale)) for side in photo.size)
        sample = {"image": np.asarray(photo.resize(size, Image.BICUBIC))}
        blur = "blur_amount" if self.amounts and row.get("blur_amount") is not None else "blur_map"
        for column in (blur, "salient_mask"):
            if row[column] is not None:
                check_map(row[column], photo, f"{name}, column {column}")
                sample[column] = np.asarray(row[column].resize(size, Image.NEAREST))
        if "salient_mask" in sample:  # in levels, as what its crop reaches beyond the photo is
            sample["salient_mask"] = np.where(sample["salient_mask"] > 127, NUM_LEVELS - 1, 0)
        sample = flip_and_crop(sample, self.crop, rng if self.augment else None)
        pixels = sample["image"]
        pixels = jitter(develop(pixels, rng), rng) if self.augment else pixels.astype(np.float32) / 255
        pixels = (pixels - self.mean) / self.std
        unknown = np.full(pixels.shape[:2], UNKNOWN, np.uint8)
        codes, salient = sample.get(blur, unknown), sample.get("salient_mask", unknown)
        levels = levels_from(codes, blur, name)
        return {
            "pixel_values": torch.from_numpy(pixels.transpose(2, 0, 1).copy()),
            "blur_labels": torch.from_numpy(levels),
            "attention_labels": torch.from_numpy(salient.astype(np.int64)),
            **class_labels(row),
        }


class StreamedPhotos(torch.utils.data.IterableDataset):
    """The samples of `photos` (a `TrainingPhotos`) made of a stream of rows, for one of several processes.

    The stream, shuffled anew for each pass, holds this process's share of the rows; those without a `column` are
    skipped, and so are the samples before number `first`, undecoded: a run that goes on reads what it would have read.
    """

    def __init__(self, stream, photos: TrainingPhotos, column: str, first: int, process: int = 0, processes: int = 1):
        self.stream, self.photos, self.column, self.first = stream.decode(False), photos, column, first
        self.process, self.processes, self.features = process, processes, stream.features

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        number = 0
        for epoch in itertools.count():
            before = number
            for row in self.stream.shuffle(seed=self.photos.seed + epoch, buffer_size=SHUFFLE_ROWS):
                if row[self.column] is None:
                    continue
                if number >= self.first:
                    draw = number * self.processes + self.process
                    yield self.photos.sample(draw, self.decode(row), f"The row {row['source']} of train")
                number += 1
            if number == before:
                raise ValueError(f"No row of the stream has a {self.column}.")

    def decode(self, row: dict) -> dict:
        try:
            return self.features.decode_example(row)
        except Exception as error:  # of whatever decoder
            raise ValueError(
                f"The row {row['source']} of train has an image or a map that cannot be read ({error})."
            ) from error


def flip_and_crop(sample: dict[str, np.ndarray], crop: int, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
    """The same flip and crop of `crop` x `crop` pixels for a photo and its label maps; the top left ones without `rng`.

    What a crop reaches beyond the photo is reflected, in the maps `UNKNOWN`.
    """
    top = left = 0
    if rng is not None:
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
            values = np.pad(values, short, constant_values=UNKNOWN)
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
        photo.save(buffer, "JPEG", quality=int(rng.integers(50, 97)))
        photo = Image.open(buffer)
    return np.asarray(photo)


def jitter(image: np.ndarray, rng: np.random.Generator, amount: float = 0.25) -> np.ndarray:
    """Random brightness and contrast of an (H, W, 3) uint8 image; float32 in 0..1."""
    pixels = image.astype(np.float32) / 255 * rng.uniform(1 - amount, 1 + amount)
    mean = pixels.mean()
    return np.clip((pixels - mean) * rng.uniform(1 - amount, 1 + amount) + mean, 0, 1)


def count_labels(batch: dict[str, torch.Tensor], phase: Phase, reduction: str) -> torch.Tensor:
    """(len(phase.losses),) int64: what the sum of each loss is to be divided by.

    Rows with a class; of maps the labelled pixels, or with the reduction "sum" (equation 1) the photos that have any.
    """
    counts = []
    for name in phase.losses:
        if name == "labels":
            known = batch[name].sum(1) > 0
        elif name == "kind_labels":
            known = batch[name] != NO_LABEL
        else:
            known = batch[name] != UNKNOWN
            if reduction == "sum":
                known = known.flatten(1).any(1)
        counts.append(known.sum())
    return torch.stack(counts)


def summed_losses(output, batch: dict[str, torch.Tensor], phase: Phase, weight: float) -> torch.Tensor:
    """(len(phase.losses),) the losses of equation (2), summed and not yet divided; `weight` is its lambda."""
    sums = {
        "blur_labels": lambda: map_loss_terms(output.blur_map, batch["blur_labels"])[0],
        "attention_labels": lambda: map_loss_terms(output.attention_map, batch["attention_labels"])[0],
        "labels": lambda: weight * class_loss_terms(output.logits, batch["labels"])[0],
        "kind_labels": lambda: weight * class_loss_terms(output.kind_logits, batch["kind_labels"])[0],
    }
    return torch.stack([sums[name]() for name in phase.losses])


def seed_dropout(*key: int) -> None:
    """Dropout from here on depends on the key (seed, step, batch, process) alone: a resumed run has the same."""
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))
