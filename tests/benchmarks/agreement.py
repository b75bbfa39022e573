"""How well two annotators of blurred regions agree: `python -m tests.benchmarks.agreement`, which writes
hub/labels/agreement.json.

Both labelled the same photos on the same grid without seeing each other's answers; cells that one of them was unsure of
(`?`) are counted and left out.
"""

import json
from pathlib import Path

import numpy as np

from abc_hf.data.regions import read_regions
from abc_hf.evaluation.metrics import kappa
from abc_hf.losses import NUM_LEVELS

LABELS = Path(__file__).parents[2] / "hub" / "labels"


def agreement(first: dict[str, list[str]], second: dict[str, list[str]]) -> dict[str, float]:
    """Shares and kappas over the cells of the photos that both have labelled."""
    both = sorted(first.keys() & second.keys())
    pairs = [pair for file in both for pair in zip("".join(first[file]), "".join(second[file]), strict=True)]
    levels = np.zeros((NUM_LEVELS, NUM_LEVELS))
    for one, other in pairs:
        if "?" not in (one, other):
            levels[int(one), int(other)] += 1
    split = (slice(0, 1), slice(1, None))  # sharp, blurred
    blurred = np.array([[levels[rows, columns].sum() for columns in split] for rows in split])
    sure = levels.sum()
    return {
        "photos": len(both),
        "cells": len(pairs),
        "sure": float(sure / len(pairs)),
        "blurred_agreement": float(np.trace(blurred) / sure),
        "blurred_kappa": kappa(blurred),
        "level_agreement": float(np.trace(levels) / sure),
        "level_kappa": kappa(levels, quadratic=True),
    }


def main() -> None:
    result = agreement(*(read_regions(LABELS / name) for name in ("blur_regions.csv", "blur_regions_second.csv")))
    (LABELS / "agreement.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
