"""Rows of the SmartBlur schema -> training batches. The draws of a step depend on (seed, step) alone."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch

from ..configuration_abc_fusenet import DESIRABILITY, KINDS
from ..data.marks import RandomNumbers
from ..data.schema import LEVELS_OF, group_of
from ..losses import NO_LABEL, NUM_LEVELS, UNKNOWN
from .augmentation import crop, processed, stored
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
    """The labels of a row for the classifier. `labels` (4,): the share of annotators who chose each class. Without
    single votes, all chose the row's class; without a class, all shares are 0. `kind_labels`: the kind of blur."""
    labels = torch.zeros(len(DESIRABILITY))
    if row.get("votes") is not None:
        labels = torch.tensor(row["votes"])
    elif row["desirability"] is not None:
        labels[row["desirability"]] = 1
    kind = row.get("blur_kind")
    return {"labels": labels, "kind_labels": torch.tensor(KINDS.index(kind) if kind in KINDS else NO_LABEL)}


def rows_by_group(
    dataset, phase: str, mix: dict[str, float], emphasis: dict[str, float] | None = None
) -> dict[str, np.ndarray]:
    """Indices of the rows that can take part in a phase, by group; the groups are the keys of `mix`. With
    `emphasis` (see `Phase`), a row stands in its group as many times as it is drawn.

    Raises ValueError if a column is missing or no row has the labels of the phase.
    """
    column = LABELS_OF_PHASE[phase]
    missing = {"image", "source", "desirability", column} - set(dataset.column_names)
    if missing:
        raise ValueError(f"The data set lacks the column {', '.join(sorted(missing))}.")
    table = dataset.select_columns(list({"source", "desirability", column})).with_format("arrow")[:]
    labelled = table[column].is_valid().to_numpy()
    sources, classes = table["source"].to_pylist(), table["desirability"].to_pylist()
    groups = np.array([group_of({"source": s, "desirability": c}) for s, c in zip(sources, classes, strict=True)])
    times = np.array([emphasis_of(source, emphasis or {}) for source in sources])
    times //= np.gcd.reduce(times)
    found = {group: np.flatnonzero(labelled & (groups == group)) for group in mix}
    found = {group: np.repeat(rows, times[rows]) for group, rows in found.items() if len(rows)}
    if not found:
        raise ValueError(f"No row of the data set has a {column} in one of the groups {', '.join(mix)}.")
    return found


def emphasis_of(source: str, emphasis: dict[str, float]) -> int:
    """How often a row is drawn, in quarters."""
    return round(4 * next((factor for start, factor in emphasis.items() if source.startswith(start)), 1.0))


def classifier_rows(dataset, phase: Phase, most: int) -> tuple[list[int], list[float]]:
    """Rows with a class, at most `most` of each group and evenly spread, and how often each is drawn for the mix."""
    rows, weights = [], []
    for name, found in rows_by_group(dataset, "classifier", phase.mix, phase.emphasis).items():
        chosen, times = np.unique(found, return_counts=True)
        step = -(-len(chosen) // most)
        rows += chosen[::step].tolist()
        weights += (phase.mix[name] * times[::step] / times[::step].sum()).tolist()
    return rows, weights


class StepSampler(torch.utils.data.Sampler):
    """Yields the batches of one process, each a list of (draw, row).

    Draw number d of a run takes its group and row from a generator keyed on (seed, d); the batches of a step hold the
    next draws in order, process after process. So a run that goes on at step s draws the same photos as an unbroken
    one, and the photos of a step do not depend on how many processes share them.

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

    See `augmentation`. Without `augment`, a sample is the top left `crop` pixels of the photo as it is. With `amounts`,
    blur labels are those of the column blur_amount where there is one.

    Raises ValueError, with row and column, for a photo that cannot be read and for a wrong label.
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
        self.dataset, self.shape, self.scales, self.seed = dataset, (crop, crop), scales, seed
        self.augment, self.amounts, self.processor = augment, amounts, processor

    def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        draw, index = key
        try:
            row = self.dataset[index]
        except Exception as error:  # decoders raise many types
            raise ValueError(f"Row {index} of train has an image or a map that cannot be read ({error}).") from error
        return self.sample(draw, row, f"Row {index} of train ({row['source']})")

    def sample(self, draw: int, row: dict, name: str) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng((self.seed, draw, 1)) if self.augment else None
        kept = stored(row, name, self.processor.size["longest_edge"], self.amounts)
        maps = torch.stack([kept["blur"], kept["subject"]])
        scale = rng.uniform(*self.scales) if rng else 1.0
        pixels, maps, _ = crop(kept["photo"][None], maps[None], np.array([kept["size"]]), self.shape, scale, rng)
        if rng:
            random = RandomNumbers(torch.Generator().manual_seed(int(rng.integers(2**62))))
            pixels = processed(pixels, random, rng)
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (self.processor.image_mean, self.processor.image_std))
        codes, subject = maps[0].long()
        return {
            "pixel_values": (pixels[0] - mean) / std,
            "blur_labels": torch.from_numpy(LEVELS_OF["blur_amount"])[codes],
            "attention_labels": torch.where(subject < UNKNOWN, subject * (NUM_LEVELS - 1), UNKNOWN),
            **class_labels(row),
        }


class StreamedPhotos(torch.utils.data.IterableDataset):
    """The samples of `photos` (a `TrainingPhotos`) made of a stream of rows, for one of several processes.

    The stream is shuffled differently for each pass and holds this process's share of the rows. Rows without a `column`
    are skipped. The first `first` samples are skipped undecoded, so a resumed run reads the same rows.
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
        except Exception as error:  # decoders raise many types
            raise ValueError(
                f"The row {row['source']} of train has an image or a map that cannot be read ({error})."
            ) from error


def seed_dropout(*key: int) -> None:
    """Dropout from here on depends on the key (seed, step, batch, process) alone: a resumed run has the same."""
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))
