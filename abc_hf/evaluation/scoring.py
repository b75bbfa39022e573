"""Score blur maps, attention maps and verdicts on whole photos of a data set in the SmartBlur schema.

A photo is scored by one process, into a `PhotoRecord`; the records of all processes are put in the order of the rows
and summed up once, so that any number of processes gives the same figures. `abc-fusenet evaluate` is the command.
"""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from PIL import Image
from scipy.stats import spearmanr
from tqdm import tqdm

from ..configuration_abc_fusenet import DESIRABILITY, KINDS
from ..data.schema import group_of, has_blur
from ..data.splits import open_splits
from ..image_processing_abc_fusenet import resize_map
from ..losses import AMOUNT_UNKNOWN, NUM_LEVELS, UNKNOWN
from ..modeling_abc_fusenet import BRANCHES
from ..photos import load_photo
from ..verdicts import BLURRED, THRESHOLD, judge, read_maps
from .metrics import MapCounts, MapScores, class_curves, class_scores, confusion, count_map, kappa, level_scores

LABELS = ("blur_map", "salient_mask", "desirability")
FEWEST = 10
"""A source of fewer photos is counted with the rest of its folder."""


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


def open_split(name: str, split: str, needed: tuple[str, ...] = LABELS):
    """A split of a data set, a folder or a Hub name, with at least one label out of those `needed`.

    Raises ValueError, in one sentence, if there is no such data set or split, it is empty, a column is missing or of
    another kind, or no row has such a label.
    """
    try:
        splits = open_splits(name)
    except ValueError as error:
        if "corresponds to no data" in str(error):
            raise ValueError(f"The split {split} of {name} is empty.") from error
        raise
    if split not in splits:
        raise ValueError(f"The data set {name} has no split {split}; it has {', '.join(splits)}.")
    rows = splits[split]
    if missing := {"image", "source"} - set(rows.column_names):
        raise ValueError(f"The data set {name} lacks the column {', '.join(sorted(missing))}.")
    found = [column for column in needed if column in rows.column_names]
    if not found:
        raise ValueError(f"The data set {name} has nothing to score against: it lacks the column {', '.join(needed)}.")
    for column in ("image", *found):
        kind = rows.features[column]
        if column == "desirability" and getattr(kind, "names", None) != list(DESIRABILITY):
            raise ValueError(f"The column desirability of {name} must be a ClassLabel of {', '.join(DESIRABILITY)}.")
        if column != "desirability" and not isinstance(kind, datasets.Image):
            raise ValueError(f"The column {column} of {name} must be of the type Image.")
    table = rows.with_format("arrow")[:]
    if not any(table[column].null_count < len(rows) for column in found):
        raise ValueError(f"No row of the split {split} of {name} has a {' or '.join(found)}.")
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
    """Score what was predicted of a row; maps are brought to the size of their truth, as the peers' are.

    Binary truth of blur is level > 0, and 254 (blurred, amount unknown) counts as blurred (section 5.2 of the paper).
    """
    record = PhotoRecord(index, row["source"], group_of(row), row.get("blur_kind"))
    if "blur_map" in predicted:
        record.mean_blur = float(predicted["blur_map"].mean())
    if "blur_map" in predicted and row.get("blur_map") is not None:
        truth = np.asarray(row["blur_map"])
        check_levels(truth, record)
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
    """Note the verdict that the product would give, and what the annotators said."""
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


def check_levels(truth: np.ndarray, record: PhotoRecord) -> None:
    wrong = np.setdiff1d(truth, (*range(NUM_LEVELS), AMOUNT_UNKNOWN, UNKNOWN))
    if truth.ndim != 2 or len(wrong):
        found = f"the value {wrong[0]}" if truth.ndim == 2 else "colours"
        raise ValueError(
            f"Row {record.index} ({record.source}): its blur_map holds {found}; it must be grey, with the levels 0..3, "
            "254 (blurred, amount unknown) and 255 (unknown)."
        )


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


def evaluate(model, processor, dataset, branches=BRANCHES, per_group: int | None = None, progress: bool = True) -> dict:
    """Scores in training, by name, real and synthetic photos apart.

    real: blur maps pooled over weakly labelled and sharp photos; synthetic: the same against level > 0, and the
    weighted kappa of the four levels; sharp: mean map value of photos without blur; attention: against salient objects.
    """
    records = score_rows(dataset, subset(dataset, per_group), model_predictor(model, processor, branches), progress)
    real = [record for record in records if record.group != "synthetic"]
    synthetic = [record for record in records if record.group == "synthetic"]
    scores: dict[str, Any] = {"photos": len(records)}
    if "blur" in branches:
        scores["blur_real"] = map_scores(real, "blur").compute()
        scores["blur_synthetic"] = map_scores(synthetic, "blur").compute()
        levels = sum_levels(synthetic)
        if levels is not None:
            scores["blur_synthetic"]["level_kappa"] = level_scores(levels)["weighted_kappa"]
        scores["sharp"] = sharp_scores(real)
    if "attention" in branches:
        scores["attention"] = map_scores(real, "attention").compute()
    if set(branches) == set(BRANCHES):
        for kind, group in (("real", real), ("synthetic", synthetic)):
            truth, probabilities = classes_of(group)
            if len(truth):
                scores[f"desirability_{kind}"] = class_scores(truth, probabilities, DESIRABILITY)
    return scores


def selection_score(scores: dict, branches: tuple[str, ...]) -> float:
    """The figure by which the best checkpoint of a phase is kept, of the validation split, never CUHK.

    Blur maps: the mean AUC of real photos, pooled and per photo, and of synthetic ones, where levels are exact; one of
    them alone wavers more than checkpoints differ. Verdicts: kappa of real photos, plus that. Attention: per-photo AUC.
    """
    if "blur" not in branches:
        return scores["attention"]["per_photo_auc"]
    real, synthetic = scores["blur_real"], scores["blur_synthetic"]
    found = [real.get("pooled_auc"), real.get("per_photo_auc"), synthetic.get("pooled_auc")]
    found = [value for value in found if value is not None]
    blur = sum(found) / len(found) if found else float("nan")
    return blur + scores["desirability_real"]["kappa"] if set(branches) == set(BRANCHES) else blur


def map_scores(records: list[PhotoRecord], name: str) -> MapScores:
    """Scores of the records' "blur" or "attention"."""
    return MapScores([getattr(record, name) for record in records if getattr(record, name) is not None])


def sum_levels(records: list[PhotoRecord]) -> np.ndarray | None:
    """The confusion matrix of blur levels; None where no pixel's truth is more exact than blurred or not."""
    matrix = sum((record.levels for record in records if record.levels is not None), np.zeros((4, 4), np.int64))
    return matrix if matrix[1:].any() else None


def sharp_scores(records: list[PhotoRecord]) -> dict:
    """What the blur map says of photos labelled no-blur, where it should be 0."""
    means = np.array(
        [record.mean_blur for record in records if record.group == "sharp" and record.mean_blur is not None]
    )
    if not len(means):
        return {"photos": 0}
    return {"photos": len(means), "mean": float(means.mean()), "above_0.2": float((means > 0.2).mean())}


def classes_of(records: list[PhotoRecord]) -> tuple[np.ndarray, np.ndarray]:
    """Labels (N,) and probabilities (N, 4) of the photos that have both."""
    labelled = [record for record in records if record.probabilities is not None]
    probabilities = np.array([record.probabilities for record in labelled]).reshape(len(labelled), len(DESIRABILITY))
    return np.array([record.desirability for record in labelled], np.int64), probabilities


def groups_of(records: list[PhotoRecord]) -> dict[str, list[PhotoRecord]]:
    """Records with a blur map: all, by kind of blur, and by source, which is the folder, and what numbered names of its
    photos begin with (`cuhk/motion`)."""
    records = [record for record in records if record.blur is not None]
    numbered = [re.sub(r"[\d_]+$", "", record.source).rstrip("/") for record in records]
    common = Counter(numbered)
    groups = {"all": records}
    for record, source in zip(records, numbered, strict=True):
        if record.blur_kind:
            groups.setdefault(record.blur_kind, []).append(record)
        source = source if common[source] >= FEWEST else record.source.split("/")[0]
        groups.setdefault(source, []).append(record)
    return groups


def summarize(records: list[PhotoRecord]) -> dict:
    """All scores of some records, by what they are about: what results.json holds (README.md says what is what)."""
    groups = groups_of(records)
    scores: dict = {"photos": len(records), "curves": {}}
    if groups["all"]:
        maps = {name: map_scores(group, "blur") for name, group in groups.items()}
        scores["blur_map"] = {name: each.compute() for name, each in maps.items()}
        scores["curves"]["blur_map"] = {name: each.curve() for name, each in maps.items()}
        scores["sharp"] = sharp_scores(records)
    levels = sum_levels(records)
    if levels is not None:
        scores["levels"] = level_scores(levels)
    attention = map_scores(records, "attention")
    if attention.per_photo:
        scores["attention"] = attention.compute()
    truth, probabilities = classes_of(records)
    if len(truth):
        scores["desirability"] = class_scores(truth, probabilities, DESIRABILITY)
        scores["verdicts"] = {name: verdict_scores(group) for name, group in verdict_groups(records).items()}
        scores["curves"]["desirability"] = class_curves(truth, probabilities, DESIRABILITY)
    scores["per_photo"] = [photo_entry(record) for record in records]
    return scores


def verdict_groups(records: list[PhotoRecord]) -> dict[str, list[PhotoRecord]]:
    """Records with a verdict: all, and by the beginning of their source (`consumer/pet`)."""
    judged = [record for record in records if record.verdict is not None]
    groups = {"all": judged}
    for record in judged:
        folder, _, name = record.source.partition("/")
        prefix = re.match(r"[a-z]+(?=_)", name) if folder == "consumer" else None
        groups.setdefault(f"{folder}/{prefix[0]}" if prefix else folder, []).append(record)
    return groups


def verdict_scores(records: list[PhotoRecord]) -> dict:
    """How far verdicts can be trusted. Each share says of how many photos; None where there are none.

    majority, agreed, sure: accuracy and kappa against the annotators' majority, on all photos, on those where all
    annotators agree and on those where all were sure. always_one_label: accuracy on `agreed` of the commonest label.
    false_bad: photos called bad-blur though no annotator did. bad_found: photos of bad-blur that were called so.
    rejected: photos that score less than the default threshold: their share, the share of them that is bad-blur
    (precision), and the share of bad-blur photos among them (recall). called_ok: photos called ok-blur, and what
    annotators called so. certain: the share of certain verdicts, and their accuracy. subject_*: sharp subjects told
    blurred, blurred ones told sharp, and the rank correlation with annotators. kind: accuracy of the kind of blur where
    all annotators name one.
    """
    bad = DESIRABILITY.index("bad-blur")
    truth = np.array([record.desirability for record in records])
    found = np.array([DESIRABILITY.index(record.verdict.label) for record in records])
    certain = np.array([record.verdict.certain for record in records])
    agreed, sure = (np.array([getattr(record, name) for record in records], bool) for name in ("agreed", "sure"))
    no_vote = np.array([record.bad_votes == 0 for record in records])
    scores: dict[str, Any] = {"photos": len(records)}
    for name, where in (("majority", truth >= 0), ("agreed", agreed), ("sure", sure)):
        scores[name] = {
            "photos": int(where.sum()),
            "accuracy": mean_of(found[where] == truth[where]),
            "kappa": kappa(confusion(truth[where], found[where], len(DESIRABILITY))) if where.any() else None,
        }
    scores["always_one_label"] = mean_of(truth[agreed] == np.bincount(truth[agreed], minlength=1).argmax())
    scores["false_bad"] = {"photos": int(no_vote.sum()), "share": mean_of(found[no_vote] == bad)}
    scores["bad_found"] = {"photos": int((truth == bad).sum()), "share": mean_of(found[truth == bad] == bad)}
    rejected = np.array([record.verdict.rejected(THRESHOLD) for record in records])
    scores["rejected"] = {
        "threshold": THRESHOLD,
        "share": mean_of(rejected),
        "precision": mean_of(truth[rejected] == bad),
        "recall": mean_of(rejected[truth == bad]),
    }
    ok = DESIRABILITY.index("ok-blur")
    scores["called_ok"] = {"share": mean_of(found == ok), "annotators": mean_of(truth == ok)}
    scores["certain"] = {"share": mean_of(certain), "accuracy": mean_of(found[certain] == truth[certain])}
    return scores | subject_scores(records) | kind_scores(records)


def subject_scores(records: list[PhotoRecord]) -> dict:
    """What is said of the subject against the annotators' levels (0..3): "sharp" is below 0.5 for them and below
    `BLURRED` for us, "blurred" 1.5 or more for them."""
    told = [record for record in records if record.subject_blur is not None]
    truth = np.array([record.subject_blur for record in told])
    found = np.array([record.facts.subject for record in told])
    sharp, blurred = truth < 0.5, truth >= 1.5
    spread_out = len(told) > 1 and np.ptp(truth) > 0 and np.ptp(found) > 0
    return {
        "subject_sharp_told_blurred": {"photos": int(sharp.sum()), "share": mean_of(found[sharp] >= BLURRED)},
        "subject_blurred_told_sharp": {"photos": int(blurred.sum()), "share": mean_of(found[blurred] < BLURRED)},
        "subject_rank_correlation": float(spearmanr(truth, found).statistic) if spread_out else None,
    }


def kind_scores(records: list[PhotoRecord]) -> dict:
    """Accuracy of the kind of blur on photos whose annotators all name one, and are not judged no-blur."""
    named = [record for record in records if record.kind_agreed and record.verdict.kind is not None]
    hits = np.array([record.verdict.kind == record.blur_kind for record in named])
    return {"kind": {"photos": len(named), "accuracy": mean_of(hits)}}


def mean_of(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def photo_entry(record: PhotoRecord) -> dict:
    entry: dict[str, Any] = {"row": record.index, "source": record.source, "blur_kind": record.blur_kind}
    if record.blur is not None:
        entry |= {name: getattr(record.blur, name) for name in ("average_precision", "auc", "mae", "iou")}
    if record.probabilities is not None:
        entry["desirability"] = DESIRABILITY[record.desirability]
        entry["predicted"] = record.verdict.label
        entry["certain"], entry["kind"] = record.verdict.certain, record.verdict.kind
        entry["probabilities"] = record.probabilities.tolist()
    return entry


def score_split(model, processor, dataset, progress: bool = True) -> dict:
    """`summarize` of a model on a whole split, without what only the figures need."""
    records = score_rows(dataset, list(range(len(dataset))), model_predictor(model, processor), progress)
    return without_details(summarize(records))


def without_details(scores: dict) -> dict:
    return plain({name: value for name, value in scores.items() if name not in ("curves", "per_photo")})


def plain(value):
    """The same with None for numbers that are not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
