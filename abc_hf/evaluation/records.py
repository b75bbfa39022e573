"""The predictions of a model, or of a folder of maps, for the rows of a split, and each photo's part in the scores."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from PIL import Image
from tqdm import tqdm

from ..configuration_abc_fusenet import DESIRABILITY, KINDS
from ..data.schema import conform, group_of, has_blur, levels_from
from ..data.splits import open_splits
from ..image_processing_abc_fusenet import resize_map
from ..losses import NUM_LEVELS
from ..modeling_abc_fusenet import BRANCHES
from ..photos import load_photo
from ..verdicts import judge, read_maps
from .metrics import MapCounts, confusion, count_map

LABEL_COLUMNS = ("blur_map", "salient_mask", "desirability")


@dataclass
class PhotoRecord:
    """One photo's part in the scores; None where it has no such label or there is no such prediction.

    group: "synthetic", "sharp" or "blurred". levels: confusion matrix of pixels (4, 4), those of exactly known level.
    probabilities: (4,). agreed: all annotators chose one class; sure: and all were sure; bad_votes: the share of them
    who chose bad-blur. subject_blur: the annotators' mean level on the subject, 0..3. kind_agreed: all annotators named
    `blur_kind`.
    """

    index: int
    source: str
    group: str
    blur_kind: str | None = None
    blur: MapCounts | None = None
    mean_blur: float | None = None
    levels: np.ndarray | None = None
    attention: MapCounts | None = None
    desirability: Any = None
    probabilities: np.ndarray | None = None
    agreed: bool = False
    sure: bool = False
    bad_votes: float | None = None
    subject_blur: float | None = None
    kind_agreed: bool = False
    verdict: Any = None
    facts: Any = None


def open_split(name: str, split: str, needed: tuple[str, ...] = LABEL_COLUMNS):
    """A split of a data set, a folder or a Hub name, with the columns of the schema and at least one label out of those
    `needed`.

    Raises ValueError, in one sentence, if there is no such data set or split, it is empty, there are no photos, a
    column is of another kind, or no row has such a label.
    """
    try:
        splits = open_splits(name)
    except ValueError as error:
        if "corresponds to no data" in str(error):
            raise ValueError(f"The split {split} of {name} is empty.") from error
        raise
    if split not in splits:
        raise ValueError(f"The data set {name} has no split {split}; it has {', '.join(splits)}.")
    rows = conform(splits[split], name, split)
    table = rows.select_columns(list(needed)).with_format("arrow")[:]
    if not any(table[column].null_count < len(rows) for column in needed):
        labels = " or ".join(needed)
        raise ValueError(f"No row of the split {split} of {name} has a {labels}: there is nothing to score against.")
    return rows


@torch.inference_mode()
def predict(model, processor, photo, branches=BRANCHES) -> dict[str, np.ndarray]:
    """Maps (h, w) at the working size, without padding, and logits (4,) of one PIL photo, by name."""
    inputs = processor(photo, return_tensors="pt")["pixel_values"]
    device = next(model.parameters()).device
    output = model(inputs.to(device, memory_format=torch.channels_last), branches=branches)
    result = {}
    for name in ("blur_map", "attention_map"):
        if name in output:
            result[name] = processor.crop_map(output[name][0, 0], photo.size[::-1]).float().cpu().numpy()
    if output.logits is not None:
        result["logits"] = output.logits[0].float().cpu().numpy()
        result["kind_logits"] = output.kind_logits[0].float().cpu().numpy()
        result["certain_from"] = model.config.certain_from
    return result


def score_photo(index: int, row: dict, predicted: dict[str, np.ndarray]) -> PhotoRecord:
    """Score the predictions for a row. Maps are resized to the size of their truth, as those of the peers are.

    Binary truth of blur is level > 0, and 254 (blurred, amount unknown) counts as blurred (section 5.2 of the paper).
    """
    record = PhotoRecord(index, row["source"], group_of(row), row.get("blur_kind"))
    if "blur_map" in predicted:
        record.mean_blur = float(predicted["blur_map"].mean())
    if "blur_map" in predicted and row.get("blur_map") is not None:
        truth = np.asarray(row["blur_map"])
        levels_from(truth, "blur_map", f"Row {index} ({record.source})")
        values = resize_map(predicted["blur_map"], truth.shape)
        record.blur = count_map(values, *has_blur(truth))
        exact = truth < NUM_LEVELS
        nearest = np.rint(values[exact] * (NUM_LEVELS - 1)).astype(np.int64)
        record.levels = confusion(truth[exact], nearest, NUM_LEVELS)
    if "attention_map" in predicted and row.get("salient_mask") is not None:
        salient = np.asarray(row["salient_mask"]) > 127
        record.attention = count_map(resize_map(predicted["attention_map"], salient.shape), salient)
    if "logits" in predicted and row["desirability"] is not None:
        judge_photo(record, row, predicted)
    return record


def judge_photo(record: PhotoRecord, row: dict, predicted: dict) -> None:
    """Note the verdict that the product would give, and the annotators' answers."""
    probabilities, kinds = softmax(predicted["logits"]), softmax(predicted["kind_logits"])
    record.facts = read_maps(predicted["blur_map"], predicted["attention_map"])
    record.verdict = judge(
        dict(zip(DESIRABILITY, probabilities.tolist(), strict=True)),
        dict(zip(KINDS, kinds.tolist(), strict=True)),
        record.facts,
        predicted["certain_from"],
    )
    record.desirability, record.probabilities = row["desirability"], probabilities
    if (votes := row.get("votes")) is not None:
        record.agreed, record.bad_votes = max(votes) == 1, votes[DESIRABILITY.index("bad-blur")]
    record.sure, record.kind_agreed = bool(row.get("sure")), bool(row.get("kind_agreed"))
    record.subject_blur = row.get("subject_blur")


def softmax(logits: np.ndarray) -> np.ndarray:
    chances = np.exp(logits.astype(np.float64) - logits.max())
    return chances / chances.sum()


def score_rows(dataset, rows: list[int], predictor: Callable, progress: bool = True) -> list[PhotoRecord]:
    """The record of each row, in this order, on every process; each process makes its share of them.

    `predictor(index, row)` gives the predictions `score_photo` takes.
    """
    state = PartialState()
    mine = rows[state.process_index :: state.num_processes]
    shown = progress and state.is_main_process
    records = []
    for index in tqdm(mine, desc="evaluate", unit="photo", leave=False, disable=None if shown else True):
        row = read_row(dataset, index)
        records.append(score_photo(index, {"desirability": None, **row}, predictor(index, row)))
    if state.num_processes > 1:
        records = gather_object(records)
    return sorted(records, key=lambda record: record.index)


def read_row(dataset, index: int) -> dict:
    try:
        return dataset[index]
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"Row {index} of the data set cannot be read ({error}); repair it or leave it out.") from error


def subset(dataset, per_group: int | None) -> list[int]:
    """Indices of at most `per_group` rows of each group, evenly spread."""
    columns = dataset.select_columns(["source", "desirability"])
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(columns):
        groups.setdefault(group_of(row), []).append(index)
    return sorted(index for rows in groups.values() for index in spread(rows, per_group))


def spread(rows: list[int], count: int | None) -> list[int]:
    """At most `count` of the rows, evenly spread."""
    count = len(rows) if count is None else min(count, len(rows))
    return [rows[i] for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]


def model_predictor(model, processor, branches=BRANCHES) -> Callable:
    return lambda index, row: predict(model, processor, load_photo(row["image"]), branches)


class MapFolder:
    """Blur maps that any other program wrote, as predictions: `NAME.npy` (floats in 0..1) or `NAME.png` (grey, 8 or 16
    bits), 0 = sharp, with NAME from `photo_names`.

    Raises ValueError, in one sentence, if a row's map is missing, or when it is read if it does not fit its photo.
    """

    def __init__(self, folder: Path, names: list[str], rows: list[int]):
        if not folder.is_dir():
            raise ValueError(f"{folder}: there is no such folder; give the one that holds the blur maps.")
        self.files = {}
        for index in rows:
            found = [
                path for path in (folder / f"{names[index]}.npy", folder / f"{names[index]}.png") if path.is_file()
            ]
            self.files.update({index: found[0]} if found else {})
        missing = [names[index] for index in rows if index not in self.files]
        if missing:
            raise ValueError(
                f"{folder} lacks the blur maps of {len(missing)} of {len(rows)} photos, among them {missing[0]}.npy "
                f"(or {missing[0]}.png)."
            )

    def __call__(self, index: int, row: dict) -> dict[str, np.ndarray]:
        path = self.files[index]
        values = read_map(path)
        width, height = row["image"].size
        if abs(values.shape[1] * height / (values.shape[0] * width) - 1) > 0.03:
            raise ValueError(
                f"{path} is {values.shape[1]} x {values.shape[0]} and its photo {width} x {height}: the map must cover "
                "the whole photo, at any size."
            )
        return {"blur_map": values}


def read_map(path: Path) -> np.ndarray:
    """A map (h, w) in 0..1, float32, from a .npy file or a grey PNG; raises ValueError, naming the file."""
    try:
        if path.suffix == ".npy":
            values = np.load(path).astype(np.float32)
        else:
            image = Image.open(path)
            values = np.asarray(image, np.float32) / (65535 if image.mode.startswith("I") else 255)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a map ({error}).") from error
    if values.ndim != 2 or not values.size or not (values.min() >= 0 and values.max() <= 1):  # also true of NaN
        raise ValueError(f"{path} must hold one channel of values in 0..1 (0 = sharp, 1 = blurred).")
    return values


def photo_names(dataset) -> list[str]:
    """The name of each row's files: the end of its source, with a number where that occurs more than once."""
    seen: Counter[str] = Counter()
    names = []
    for source in dataset["source"]:
        stem = source.rsplit("/", 1)[-1]
        seen[stem] += 1
        names.append(stem if seen[stem] == 1 else f"{stem}-{seen[stem]}")
    return names
