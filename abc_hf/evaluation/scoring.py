"""Score blur maps, attention maps and verdicts on whole photos of a data set in the SmartBlur schema.

A photo is scored by one process, into a `PhotoRecord`; the records of all processes are put in the order of the rows
and summed up once, so that any number of processes gives the same figures. `abc-fusenet evaluate` is the command.
"""

import math
import re
from collections import Counter
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ..configuration_abc_fusenet import DESIRABILITY
from ..modeling_abc_fusenet import BRANCHES
from ..verdicts import BLURRED, THRESHOLD
from .metrics import MapScores, class_curves, class_scores, confusion, kappa, level_scores
from .records import PhotoRecord, model_predictor, score_rows, subset

FEWEST = 10
"""A source of fewer photos is counted with the rest of its folder."""


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
    """The score that picks the best checkpoint of a phase, on the validation split, never on CUHK.

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
    """The mean blur maps of photos labelled no-blur; 0 would be right."""
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
    """Records with a blur map: all, by kind of blur, and by source. A source is a folder, with the beginning of its
    photos' names if they are numbered, such as `cuhk/motion`."""
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
    """All scores of some records, by topic, as results.json holds them; docs/evaluating.md explains each."""
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
    """How far verdicts can be trusted. Each share comes with its number of photos, and is None without photos.

    majority, agreed, sure: accuracy and kappa against the annotators' majority, on all photos, on those where all
    annotators agree and on those where all were sure. always_one_label: accuracy on `agreed` of the commonest label.
    false_bad: photos called bad-blur though no annotator did. bad_found: photos of bad-blur that were called so.
    rejected: photos that score less than the default threshold: their share, the share of them that is bad-blur
    (precision), and the share of bad-blur photos among them (recall). called_ok: the share of photos called ok-blur,
    by us and by the annotators. certain: the share of certain verdicts, and their accuracy. subject_*: sharp subjects
    called blurred, blurred ones called sharp, and the rank correlation with annotators. kind: accuracy of the kind of
    blur if all annotators name one.
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
    """Our blur of the subject against the annotators' levels of 0..3. "Sharp" is below 0.5 for them and below `BLURRED`
    for us; "blurred" is 1.5 or more for them."""
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
    """`summarize` of a model on a whole split, without the details that only figures need."""
    records = score_rows(dataset, list(range(len(dataset))), model_predictor(model, processor), progress)
    return without_details(summarize(records))


def without_details(scores: dict) -> dict:
    return for_json({name: value for name, value in scores.items() if name not in ("curves", "per_photo")})


def for_json(value):
    """The same with None for numbers that are not finite, which JSON does not have."""
    if isinstance(value, dict):
        return {key: for_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [for_json(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
