"""tests/benchmarks/behaviour.py: its measures against other implementations, and a run from end to end."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

from abc_hf.data.build import main as build
from tests.benchmarks import behaviour
from tests.toy_photos import write_toy_photos


def test_auc_of_probabilities_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    positive, negative = list(rng.random(40).round(1) ** 0.5), list(rng.random(60).round(1))  # with ties
    expected = roc_auc_score([1] * 40 + [0] * 60, positive + negative)
    assert behaviour.probability_auc(positive, negative) == pytest.approx(expected)


def test_blur_is_put_where_it_is_said():
    photo = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    region = torch.zeros(1, 1, 96, 128)
    region[..., 24:72, 32:96] = 1
    inside, outside = (slice(36, 60), slice(44, 84)), (slice(0, 12), slice(0, 16))
    for where, blurred in (
        ("nowhere", ()),
        ("region", (inside,)),
        ("background", (outside,)),
        ("frame", (inside, outside)),
    ):
        image = np.asarray(behaviour.put_blur(photo, region, 5.0, where), np.float32)
        for part in (inside, outside):
            assert (image[part].std() < 30) == (part in blurred), where


def test_the_rules_find_what_they_are_named_for():
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (128, 128, 3), np.uint8)
    page = np.full((128, 128), 255, np.uint8)
    page[8:120:8, 8:120] = np.where(np.arange(112) % 6 < 2, 0, 255)
    page[9:120:8] = page[8:119:8]
    photos = {
        "plain": np.full((128, 128, 3), (90, 140, 200), np.uint8),
        "dark": noise // 16,
        "colourless": np.repeat(rng.integers(96, 160, (128, 128, 1), np.uint8), 3, 2),
        "text": np.repeat(page[..., None], 3, 2),
        "other": noise,
    }
    ranks = {name: behaviour.hardness(Image.fromarray(pixels)) for name, pixels in photos.items()}
    assert max(ranks, key=lambda name: ranks[name]["plain"]) == "plain"
    assert max(ranks, key=lambda name: ranks[name]["dark"]) == "dark"
    assert ranks["colourless"]["colourless"] == ranks["text"]["colourless"] == 0 > ranks["other"]["colourless"]
    assert ranks["text"]["text"] > 0.15 > 0.01 > max(ranks[name]["text"] for name in ("plain", "dark", "colourless"))


@pytest.mark.slow  # the bundled weights on some tens of photos
def test_a_run_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(behaviour, "HARD_PER_RULE", 1)
    photos = write_toy_photos(tmp_path / "photos")
    build(["folders", str(photos), "--out", str(tmp_path / "data"), "--workers", "1"])
    behaviour.main([str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--count", "2"])
    result = json.loads((tmp_path / "out" / "behaviour.json").read_text())
    assert result["growing"]["photos"] == 1 and len(result["growing"]["mean_map_value"]) == 6
    assert result["hard"]["photos"] == 1 and (tmp_path / "out" / "hard.png").stat().st_size > 1000
    assert result["bad_blur_synthetic"]["photos"] > 0
