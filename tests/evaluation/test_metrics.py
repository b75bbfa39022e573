"""Metrics against scikit-learn, closed forms and the scorer of the blur detection literature."""

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as oracle

from abc_hf.evaluation.metrics import (
    MapScores,
    auc,
    average_precision,
    class_scores,
    confusion,
    count_map,
    curve_area,
    histogram,
    kappa,
    level_scores,
)
from abc_hf.evaluation.plots import read_curves
from tests.evaluation import score_maps


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    truth = rng.random((40, 50)) < 0.3
    values = np.clip(truth * 0.3 + rng.normal(0.4, 0.2, truth.shape), 0, 1)
    return np.rint(values * 255) / 255, truth


def test_average_precision_and_auc_equal_scikit_learn(scored):
    values, truth = scored
    positive, negative = histogram(values[truth]), histogram(values[~truth])
    expected = oracle.average_precision_score(truth.ravel(), values.ravel())
    assert average_precision(positive, negative) == pytest.approx(expected, abs=1e-9)
    assert auc(positive, negative) == pytest.approx(oracle.roc_auc_score(truth.ravel(), values.ravel()), abs=1e-9)


def test_without_positives_or_negatives_a_score_is_undefined():
    some, none = histogram(np.array([0.5])), np.zeros(256)
    assert np.isnan(average_precision(none, some))
    assert np.isnan(auc(some, none))


def test_map_scores_equal_the_literature_scorer():
    rng = np.random.default_rng(1)
    pairs = []
    for _ in range(5):
        truth = rng.random((30, 20)) < 0.5
        pairs.append((np.clip(truth * 0.2 + rng.normal(0.4, 0.15, truth.shape), 0, 1).astype(np.float32), truth))
    scores = MapScores([count_map(values, truth) for values, truth in pairs])
    for name, value in score_maps.score(pairs).items():
        assert scores.compute()[name] == pytest.approx(value, abs=1e-6), name


def test_pixels_of_unknown_truth_do_not_count(scored):
    values, truth = scored
    known = np.zeros_like(truth)
    known[:10] = True
    masked, cropped = (MapScores([count_map(*each)]) for each in ((values, truth, known), (values[:10], truth[:10])))
    assert masked.compute() == cropped.compute()
    assert count_map(values, truth, np.zeros_like(truth)) is None


def test_class_scores_equal_scikit_learn():
    rng = np.random.default_rng(2)
    truth, predicted = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    predicted[:120] = truth[:120]
    matrix = confusion(truth, predicted, 4)
    assert (matrix == oracle.confusion_matrix(truth, predicted)).all()
    assert kappa(matrix) == pytest.approx(oracle.cohen_kappa_score(truth, predicted))
    weighted = oracle.cohen_kappa_score(truth, predicted, weights="quadratic")
    assert kappa(matrix, quadratic=True) == pytest.approx(weighted)
    assert kappa(np.diag([5, 0])) == 1 and kappa(np.array([[0, 5], [0, 0]])) == 0
    scores = class_scores(np.array([0, 0, 1]), np.eye(3)[[0, 2, 1]], ("a", "b", "c"))
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1) / 2), "of the classes that occur"


def test_calibration_by_hand():
    """Four photos in two bins: right half the time at 0.65, always at 0.95."""
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [0.35, 0.65]])
    scores = class_scores(np.array([0, 0, 1, 0]), probabilities, ("a", "b"))
    assert [(each["photos"], each["accuracy"]) for each in scores["reliability"]] == [(2, 0.5), (2, 1.0)]
    assert scores["ece"] == pytest.approx((0.15 + 0.05) / 2)
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    area = 2 / 3 * 1 + 1 / 3 * 3 / 4  # two of three found without a mistake, the third with one
    assert scores["per_class"]["a"] == pytest.approx(
        {"photos": 3, "precision": 1.0, "recall": 2 / 3, "average_precision": area}
    )


def test_level_errors_by_hand():
    matrix = np.array([[6, 0, 0, 2], [0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    assert level_scores(matrix)["mean_absolute_error"] == pytest.approx((2 * 3 + 1) / 10)


def test_the_area_of_the_curve_is_the_score(scored):
    values, truth = scored
    scores = MapScores([count_map(values[i : i + 10], truth[i : i + 10]) for i in range(0, 40, 10)])
    assert curve_area(*(np.array(axis) for axis in scores.curve().values())) == scores.compute()["curve_ap"]


@pytest.mark.slow
@pytest.mark.skipif("ABC_SHARED" not in os.environ, reason="ABC_SHARED does not name the folder of research data")
def test_areas_under_the_published_curves():
    published = {"HiFSTBlurMap": 0.858, "Shi": 0.807, "Zhuo": 0.802, "JNB": 0.801, "Chang": 0.797, "Su": 0.783}
    published |= {"Chakrabarti": 0.766, "Yi": 0.765, "Bae": 0.758, "Tang": 0.740, "Liu": 0.729}
    curves = read_curves(Path(os.environ["ABC_SHARED"]) / "peers" / "cuhk_pr_curves")
    areas = {name: curve_area(np.array(each["precision"]), np.array(each["recall"])) for name, each in curves.items()}
    assert areas == pytest.approx(published, abs=1e-3)
