"""Metrics as sums over photos: `update` adds counts, `compute` divides once at the end."""

import numpy as np

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


class MapScores:
    """Scores of maps in 0..1 against binary truth, the ways the blur detection literature has them.

    pooled_ap: over all pixels of all photos together, so that the absolute scale counts. per_photo_ap, per_photo_auc:
    means over photos. curve_ap, f_beta: from the precision-recall curve averaged over photos, each map stretched to its
    own range first, as the published peers were scored. mae; iou at a threshold of 0.5. `known` masks pixels in.
    """

    def __init__(self):
        self.positive, self.negative = np.zeros(BINS), np.zeros(BINS)
        self.precision, self.recall = np.zeros(BINS), np.zeros(BINS)
        self.per_photo: list[tuple[float, ...]] = []

    def update(self, values: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None) -> None:
        """values in 0..1, truth (bool) and known (bool): (H, W)."""
        if known is not None:
            values, truth = values[known], truth[known]
        if truth.size == 0:
            return
        positive, negative = histogram(values[truth]), histogram(values[~truth])
        self.positive += positive
        self.negative += negative
        hit = values >= 0.5
        iou = (hit & truth).sum() / max(1, (hit | truth).sum())
        scores = average_precision(positive, negative), auc(positive, negative), np.abs(values - truth).mean(), iou
        self.per_photo.append(scores)

        stretched = (values - values.min()) / (np.ptp(values) or 1)
        hits = np.cumsum(histogram(stretched[truth])[::-1])[::-1]
        alarms = np.cumsum(histogram(stretched[~truth])[::-1])[::-1]
        self.precision += np.where(hits > 0, hits / np.maximum(hits + alarms, 1), 0)
        self.recall += hits / max(hits[0], 1)

    def compute(self) -> dict[str, float]:
        photos = len(self.per_photo)
        if not photos:
            return {"photos": 0}
        per_photo_ap, per_photo_auc, mae, iou = (_mean(column) for column in zip(*self.per_photo, strict=True))
        precision, recall = self.precision / photos, self.recall / photos
        order = np.argsort(recall)
        precision_by_recall = np.r_[precision[order][0], precision[order]]
        f_scores = (1 + BETA_SQUARED) * precision * recall / np.maximum(BETA_SQUARED * precision + recall, 1e-9)
        return {
            "photos": photos,
            "pooled_ap": average_precision(self.positive, self.negative),
            "per_photo_ap": per_photo_ap,
            "curve_ap": float(np.trapezoid(precision_by_recall, np.r_[0, recall[order]])),
            "f_beta": float(f_scores.max()),
            "mae": mae,
            "iou": iou,
            "pooled_auc": auc(self.positive, self.negative),
            "per_photo_auc": per_photo_auc,
        }


def _mean(values) -> float:
    """Mean over the photos for which a score is defined."""
    defined = [value for value in values if value == value]
    return float(np.mean(defined)) if defined else float("nan")


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) counts, rows truth, columns predicted."""
    return np.bincount(truth.astype(np.int64) * classes + predicted, minlength=classes**2).reshape(classes, classes)


def kappa(matrix: np.ndarray, quadratic: bool = False) -> float:
    """Cohen's kappa of a confusion matrix, unweighted or quadratically weighted."""
    index = np.arange(len(matrix))
    weights = (index[:, None] - index) ** 2 if quadratic else index[:, None] != index
    expected = np.outer(matrix.sum(1), matrix.sum(0)) / max(matrix.sum(), 1)
    return float(1 - (weights * matrix).sum() / max((weights * expected).sum(), 1e-12))


def macro_f1(matrix: np.ndarray) -> float:
    """Mean F1 over the classes that occur in the truth."""
    scores = 2 * np.diag(matrix) / np.maximum(matrix.sum(0) + matrix.sum(1), 1)
    return float(scores[matrix.sum(1) > 0].mean())
