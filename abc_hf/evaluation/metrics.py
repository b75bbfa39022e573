"""Metrics as sums over photos. One process counts each photo once; ratios are taken at the end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, cohen_kappa_score, f1_score, precision_recall_curve

BINS = 256
BETA_SQUARED = 0.3
"""Precision counts for more than recall in F_beta, as in the literature on salient objects and blur."""


def histogram(values: np.ndarray) -> np.ndarray:
    """Counts of values in 0..1 at 256 levels."""
    bins = np.clip(np.rint(values * (BINS - 1)), 0, BINS - 1).astype(np.int64)
    return np.bincount(bins, minlength=BINS).astype(float)


def average_precision(positive: np.ndarray, negative: np.ndarray) -> float:
    """Average precision from the histograms of the scores of positives and negatives; NaN without positives."""
    hits, alarms = np.cumsum(positive[::-1]), np.cumsum(negative[::-1])
    if hits[-1] == 0:
        return float("nan")
    return float(np.sum(np.diff(np.r_[0, hits / hits[-1]]) * hits / np.maximum(hits + alarms, 1)))


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC curve from histograms (ties count one half); NaN if either class is empty."""
    if positive.sum() == 0 or negative.sum() == 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / positive.sum() / negative.sum())


@dataclass(frozen=True)
class MapCounts:
    """The part of one map in `MapScores`.

    Histograms (256,) of blurred and of other pixels, as they are and with the map stretched to its own range; mean
    absolute error; intersection over union at 0.5 and at 1/6, where low blur begins.
    """

    positive: np.ndarray
    negative: np.ndarray
    stretched_positive: np.ndarray
    stretched_negative: np.ndarray
    mae: float
    iou: float
    iou_low: float

    @property
    def average_precision(self) -> float:
        return average_precision(self.positive, self.negative)

    @property
    def auc(self) -> float:
        return auc(self.positive, self.negative)


def count_map(values: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None) -> MapCounts | None:
    """Count one map. values in 0..1, truth (bool) and known (bool) are (H, W). Returns None if no pixel is known."""
    if known is not None:
        values, truth = values[known], truth[known]
    if truth.size == 0:
        return None
    stretched = (values - values.min()) / (np.ptp(values) or 1)
    return MapCounts(
        positive=histogram(values[truth]),
        negative=histogram(values[~truth]),
        stretched_positive=histogram(stretched[truth]),
        stretched_negative=histogram(stretched[~truth]),
        mae=float(np.abs(values - truth).mean()),
        iou=overlap(values >= 0.5, truth),
        iou_low=overlap(values >= 1 / 6, truth),
    )


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two boolean arrays; 0 where both are empty."""
    return float((found & truth).sum() / max(1, (found | truth).sum()))


class MapScores:
    """Scores of maps in 0..1 against binary truth, as the literature on blur detection computes them.

    pooled_ap: over all pixels of all photos together, so the absolute scale counts. per_photo_ap, per_photo_auc:
    means over photos. curve_ap, f_beta: from the precision-recall curve averaged over photos, each map stretched to its
    own range first, as the published peers were scored. mae; iou at a threshold of 0.5, iou_low at 1/6.
    """

    def __init__(self, counts: Sequence[MapCounts] = ()):
        self.positive, self.negative = np.zeros(BINS), np.zeros(BINS)
        self.precision, self.recall = np.zeros(BINS), np.zeros(BINS)
        self.per_photo: list[tuple[float, ...]] = []
        for each in counts:
            self.add(each)

    def add(self, counts: MapCounts) -> None:
        self.positive += counts.positive
        self.negative += counts.negative
        self.per_photo.append((counts.average_precision, counts.auc, counts.mae, counts.iou, counts.iou_low))
        hits = np.cumsum(counts.stretched_positive[::-1])[::-1]
        alarms = np.cumsum(counts.stretched_negative[::-1])[::-1]
        self.precision += np.where(hits > 0, hits / np.maximum(hits + alarms, 1), 0)
        self.recall += hits / max(hits[0], 1)

    def curve(self) -> dict[str, list[float]]:
        """The averaged precision-recall curve, at 256 thresholds from 0 to 1."""
        photos = max(len(self.per_photo), 1)
        return {"precision": (self.precision / photos).tolist(), "recall": (self.recall / photos).tolist()}

    def compute(self) -> dict[str, float]:
        photos = len(self.per_photo)
        if not photos:
            return {"photos": 0}
        per_photo_ap, per_photo_auc, mae, iou, iou_low = (_mean(column) for column in zip(*self.per_photo, strict=True))
        precision, recall = self.precision / photos, self.recall / photos
        f_scores = (1 + BETA_SQUARED) * precision * recall / np.maximum(BETA_SQUARED * precision + recall, 1e-9)
        return {
            "photos": photos,
            "pooled_ap": average_precision(self.positive, self.negative),
            "per_photo_ap": per_photo_ap,
            "curve_ap": curve_area(precision, recall),
            "f_beta": float(f_scores.max()),
            "mae": mae,
            "iou": iou,
            "iou_low": iou_low,
            "pooled_auc": auc(self.positive, self.negative),
            "per_photo_auc": per_photo_auc,
        }


def curve_area(precision: np.ndarray, recall: np.ndarray) -> float:
    """Area under a precision-recall curve. Its first precision holds down to a recall of 0."""
    order = np.argsort(recall)
    return float(np.trapezoid(np.r_[precision[order][0], precision[order]], np.r_[0, recall[order]]))


def _mean(values) -> float:
    """Mean over the photos for which a score is defined."""
    defined = [value for value in values if value == value]
    return float(np.mean(defined)) if defined else float("nan")


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) counts, rows truth, columns predicted."""
    return np.bincount(truth.astype(np.int64) * classes + predicted, minlength=classes**2).reshape(classes, classes)


def kappa(matrix: np.ndarray, quadratic: bool = False) -> float:
    """Cohen's kappa of a confusion matrix, unweighted or quadratically weighted; 1 if everything is one class."""
    if matrix.trace() == matrix.sum() == matrix.max():
        return 1.0
    truth, found = np.indices(matrix.shape).reshape(2, -1)
    weights = "quadratic" if quadratic else None
    return float(cohen_kappa_score(truth, found, weights=weights, sample_weight=matrix.ravel()))


CONFIDENCE_BINS = 10
"""Equal bins of the probability of the predicted class, in the reliability diagram and the calibration error."""


def level_scores(matrix: np.ndarray) -> dict:
    """Scores of blur levels from their confusion matrix of pixels; the error is in levels."""
    index = np.arange(len(matrix))
    distance = np.abs(index[:, None] - index)
    return {
        "pixels": int(matrix.sum()),
        "mean_absolute_error": float((distance * matrix).sum() / matrix.sum()),
        "weighted_kappa": kappa(matrix, quadratic=True),
        "confusion": matrix.astype(int).tolist(),
    }


def class_scores(truth: np.ndarray, probabilities: np.ndarray, names: tuple[str, ...]) -> dict:
    """Scores of classes from the truth (N,) and the probabilities (N, classes); balanced accuracy and macro-F1 are
    means over the classes that occur in the truth."""
    predicted = probabilities.argmax(1)
    matrix = confusion(truth, predicted, len(names))
    occurs = matrix.sum(1) > 0
    recall = np.diag(matrix) / np.maximum(matrix.sum(1), 1)
    precision = np.diag(matrix) / np.maximum(matrix.sum(0), 1)
    bins = reliability(probabilities.max(1), predicted == truth)
    per_class = {}
    for index in np.flatnonzero(occurs):
        per_class[names[index]] = {
            "photos": int(matrix[index].sum()),
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "average_precision": float(average_precision_score(truth == index, probabilities[:, index])),
        }
    return {
        "photos": len(truth),
        "accuracy": float((predicted == truth).mean()),
        "balanced_accuracy": float(recall[occurs].mean()),
        "macro_f1": float(f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)),
        "kappa": kappa(matrix),
        "ece": sum(each["photos"] * abs(each["accuracy"] - each["confidence"]) for each in bins) / len(truth),
        "confusion": matrix.tolist(),
        "per_class": per_class,
        "reliability": bins,
    }


def class_curves(truth: np.ndarray, probabilities: np.ndarray, names: tuple[str, ...]) -> dict[str, dict]:
    """The precision-recall curve of each class that occurs, against the rest."""
    curves = {}
    for index, name in enumerate(names):
        if (truth == index).any():
            precision, recall, _ = precision_recall_curve(truth == index, probabilities[:, index])
            curves[name] = {"precision": precision.tolist(), "recall": recall.tolist()}
    return curves


def reliability(confidence: np.ndarray, correct: np.ndarray) -> list[dict]:
    """Photos, mean confidence and accuracy of each bin of confidence that has photos, from the lowest up."""
    bins = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
    return [
        {
            "from": index / CONFIDENCE_BINS,
            "photos": int((bins == index).sum()),
            "confidence": float(confidence[bins == index].mean()),
            "accuracy": float(correct[bins == index].mean()),
        }
        for index in np.unique(bins).tolist()
    ]
