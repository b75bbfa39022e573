"""tests/benchmarks/agreement.py: by hand, against scikit-learn, and the figures that are written down."""

import json

import pytest
from sklearn.metrics import cohen_kappa_score

from abc_hf.data.regions import read_regions
from tests.benchmarks.agreement import LABELS, agreement


def test_agreement_by_hand_and_by_scikit_learn():
    first, second = {"a": ["0123", "00??"], "b": ["00"]}, {"a": ["0223", "10?0"], "c": ["11"]}
    result = agreement(first, second)
    assert (result["photos"], result["cells"], result["sure"]) == (1, 8, 6 / 8)
    assert result["blurred_agreement"] == pytest.approx(5 / 6) and result["level_agreement"] == pytest.approx(4 / 6)
    one, other = [0, 1, 2, 3, 0, 0], [0, 2, 2, 3, 1, 0]
    assert result["level_kappa"] == pytest.approx(cohen_kappa_score(one, other, weights="quadratic"))
    assert result["blurred_kappa"] == pytest.approx(cohen_kappa_score([a > 0 for a in one], [b > 0 for b in other]))


def test_the_figures_written_down_are_those_of_the_labels():
    written = json.loads((LABELS / "agreement.json").read_text())
    assert written == agreement(*(read_regions(LABELS / f"blur_regions{part}.csv") for part in ("", "_second")))
