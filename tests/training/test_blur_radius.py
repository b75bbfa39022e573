import itertools
import json

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy import stats

from abc_hf.inference.blur_radius import CELL, LARGEST, SMALLEST, RadiusNet
from abc_hf.training import blur_radius as training
from abc_hf.training.blur_radius import CROP, BlurredCrops, enlarged, laplace_loss, leaves, sharp_photos

FEW = 240
"""Kernels of a kind."""


@pytest.fixture(scope="module")
def pages():
    rng = np.random.default_rng(0)
    return [leaves(rng) for _ in range(4)]


def test_batches_are_crops_with_the_radius_of_each_cell(pages):
    for crops, truth in itertools.islice(iter(BlurredCrops(pages, 6, 3, FEW)), 4):
        assert crops.shape == (6, 1, CROP, CROP)
        assert truth.shape == (6, 1, CROP // CELL, CROP // CELL)
        assert crops.min() >= 0
        assert crops.max() <= 1
        known = truth[~truth.isnan()]
        assert (known >= SMALLEST).all()
        assert (known <= LARGEST).all()
    assert truth[2:].flatten(1).std(1).max() < 1e-4  # only a third of a batch has two layers
    again, _ = next(iter(BlurredCrops(pages, 6, 3, FEW)))
    assert torch.equal(again, next(iter(BlurredCrops(pages, 6, 3, FEW)))[0])


def test_larger_radii_leave_less_detail(pages):
    batches = [next(iter(BlurredCrops(pages, 30, seed, FEW))) for seed in range(2)]
    crops, truth = (torch.cat(each)[:, 0] for each in zip(*batches, strict=True))
    detail = (crops[:, :, 1:] - crops[:, :, :-1]).square().mean((1, 2)) / crops.var((1, 2))
    whole = ~truth.isnan().any((1, 2)) & (truth.flatten(1).std(1) < 1e-4)
    assert stats.spearmanr(detail[whole], truth[whole, 0, 0])[0] < -0.4


def test_enlarging_multiplies_the_radius():
    light, truth = torch.rand(1, 1, CROP, CROP), torch.full((1, 1, 8, 8), 3.0)
    bigger, radius = enlarged(light, truth, 2.0)
    assert bigger.shape == light.shape
    assert radius == pytest.approx(2 * np.sqrt(9.25) * np.ones((1, 1, 8, 8)), rel=1e-5)


def test_the_loss_is_the_density_of_laplace():
    radius, spread = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([0.1, 0.5, 0.2])
    truth = torch.tensor([1.2, 3.0, torch.nan])
    expected = -stats.laplace.logpdf(truth[:2].log(), radius[:2].log(), spread[:2]).mean() - np.log(2)
    assert laplace_loss(radius, spread, truth).item() == pytest.approx(expected, rel=1e-5)


def test_only_photos_labelled_sharp_are_used():
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8))
    data = datasets.Dataset.from_dict({"image": [photo] * 3, "desirability": [0, 1, 0]}).cast_column(
        "image", datasets.Image()
    )
    found = sharp_photos(data)
    assert [tuple(each.shape) for each in found] == [(240, 320), (150, 200)] * 2


@pytest.mark.slow
def test_a_short_training_writes_weights_that_load(pages, tmp_path):
    training.train(pages, tmp_path, steps=2, batch_size=3, rate=1e-3)
    weights = load_file(tmp_path / "model.safetensors")
    network = RadiusNet()
    missing = network.load_state_dict(weights, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing)
    assert len(json.loads((tmp_path / "losses.json").read_text())) == 2
