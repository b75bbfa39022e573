"""Equations (1) and (2) against hand computations."""

import math

import pytest
import torch

from abc_hf.losses import (
    AMOUNT_UNKNOWN,
    AT_LEAST_HIGH,
    NO_LABEL,
    UNKNOWN,
    class_loss,
    count_labels,
    map_loss,
)


def one_pixel(probability: float, level: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((1, 1, 1, 1), probability), torch.full((1, 1, 1), level)


def random_maps(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Six photos of 5 x 7 pixels with every kind of label; the third has none at all."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.tensor([0, 1, 2, 3, AMOUNT_UNKNOWN, UNKNOWN])
    levels = codes[torch.randint(len(codes), (6, 5, 7), generator=generator)]
    levels[2] = UNKNOWN
    return torch.rand(6, 1, 5, 7, generator=generator), levels


# ------------------------------------------------------------------------------------------------------- equation (1)


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 101 / 576), ("mean", 101 / 1152)])
def test_equation_1_by_hand(reduction, expected):
    # errors 1/2 - 0, 1 - 1, 1/4 - 1/3, 0 - 2/3: squares (36 + 0 + 1 + 64) / 144, halved, over 2 photos or 4 pixels
    probability = torch.tensor([[[[0.5, 1.0]]], [[[0.25, 0.0]]]])
    levels = torch.tensor([[[0, 3]], [[1, 2]]])
    assert map_loss(probability, levels, reduction).item() == pytest.approx(expected, rel=1e-6)
    assert map_loss(probability, levels[:, None], reduction).item() == pytest.approx(expected, rel=1e-6)
    assert map_loss(probability, levels.to(torch.uint8), reduction).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("level", range(4))
def test_the_truth_of_a_level_is_a_third_of_it(level):
    assert map_loss(*one_pixel(level / 3, level)).item() == pytest.approx(0, abs=1e-14)
    assert map_loss(*one_pixel(1.0, level)).item() == pytest.approx((1 - level / 3) ** 2 / 2, abs=1e-7)


@pytest.mark.parametrize(
    ("probability", "distance"), [(0.0, 1 / 3), (1 / 6, 1 / 6), (0.3, 1 / 30), (1 / 3, 0), (0.5, 0), (0.9, 0), (1.0, 0)]
)
def test_an_unknown_amount_costs_the_squared_distance_to_the_interval(probability, distance):
    loss = map_loss(*one_pixel(probability, AMOUNT_UNKNOWN))
    assert loss.item() == pytest.approx(distance**2 / 2, abs=1e-8)


@pytest.mark.parametrize(("probability", "distance"), [(0.0, 5 / 6), (0.5, 1 / 3), (5 / 6, 0), (0.9, 0), (1.0, 0)])
def test_high_or_more_costs_the_squared_distance_to_the_interval(probability, distance):
    assert map_loss(*one_pixel(probability, AT_LEAST_HIGH)).item() == pytest.approx(distance**2 / 2, abs=1e-7)


def test_an_amount_lies_between_the_levels():
    probability, levels = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1), 1.25)
    assert map_loss(probability, levels).item() == pytest.approx((0.5 - 1.25 / 3) ** 2 / 2, abs=1e-8)


def test_unlabelled_pixels_neither_cost_nor_count():
    probability, levels = torch.tensor([[[[0.5, 0.8, 0.1]]]]), torch.tensor([[[0, UNKNOWN, UNKNOWN]]])
    assert map_loss(probability, levels, "sum").item() == pytest.approx(1 / 8)
    assert map_loss(probability, levels, "mean").item() == pytest.approx(1 / 8)


def test_a_photo_without_labels_does_not_count():
    probability, levels = random_maps()
    rest = torch.tensor([0, 1, 3, 4, 5])
    for reduction in ("sum", "mean"):
        assert map_loss(probability, levels, reduction) == pytest.approx(
            map_loss(probability[rest], levels[rest], reduction).item(), rel=1e-6
        )


def test_gradient_of_equation_1_has_its_closed_form():
    # d/db of (sigmoid(b) - t)^2 / (2 N) is (p - t) p (1 - p) / N, with t the nearest truth of the label
    logits, levels = torch.tensor([[[[-2.0, -2.0, 1.0, 1.0, 0.5]]]]).repeat(2, 1, 1, 1), torch.empty(2, 1, 5).long()
    levels[:] = torch.tensor([2, AMOUNT_UNKNOWN, AMOUNT_UNKNOWN, UNKNOWN, 0])
    logits.requires_grad_()
    map_loss(logits.sigmoid(), levels, "sum").backward()
    low, high, p = 1 / (1 + math.exp(2)), 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-0.5))
    slope = [(low - 2 / 3) * low * (1 - low), (low - 1 / 3) * low * (1 - low), 0 * high, 0, p * p * (1 - p)]
    torch.testing.assert_close(logits.grad, torch.tensor(slope).view(1, 1, 1, 5).expand(2, 1, 1, 5) / 2)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_batch_without_labels_gives_zero_and_a_zero_gradient(reduction):
    logits = torch.randn(2, 1, 3, 3, requires_grad=True)
    loss = map_loss(logits.sigmoid(), torch.full((2, 3, 3), UNKNOWN), reduction)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_map_losses_of_parts_add_up_to_that_of_the_whole(reduction):
    probability, levels = random_maps()
    count = count_labels({"blur_labels": levels}, reduction)["blur_labels"]
    parts = [map_loss(probability[rows], levels[rows], count=count) for rows in (slice(0, 1), slice(1, 3), slice(3, 6))]
    torch.testing.assert_close(sum(parts), map_loss(probability, levels, reduction))
    assert count == (5 if reduction == "sum" else (levels != UNKNOWN).sum())


def test_low_precision_maps_are_summed_in_float32():
    probability, levels = torch.full((1, 1, 100, 100), 0.5, dtype=torch.bfloat16), torch.zeros(1, 100, 100).long()
    assert map_loss(probability, levels, "sum").item() == pytest.approx(1250)


def test_labels_of_another_shape_are_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"photos' shape, \(4, 6\); got \(2, 3\)\."):
        map_loss(torch.rand(1, 1, 4, 6), torch.zeros(1, 2, 3).long())


# --------------------------------------------------------------------------------------- cross-entropy of equation (2)


def test_cross_entropy_by_hand():
    # softmax of (ln 3, 0, 0, 0) is (1/2, 1/6, 1/6, 1/6)
    logits = torch.tensor([[math.log(3), 0, 0, 0], [math.log(3), 0, 0, 0], [0, 0, 0, 0]])
    labels = torch.tensor([0, 2, 3])
    assert class_loss(logits, labels).item() == pytest.approx((math.log(2) + math.log(6) + math.log(4)) / 3)


def test_rows_without_a_class_take_no_part():
    logits = torch.tensor([[math.log(3), 0, 0, 0], [5.0, -3.0, 2.0, 1.0]], requires_grad=True)
    loss = class_loss(logits, torch.tensor([1, NO_LABEL]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(6))
    torch.testing.assert_close(logits.grad, torch.tensor([[1 / 2, -5 / 6, 1 / 6, 1 / 6], [0, 0, 0, 0]]))


def test_a_batch_without_classes_gives_zero_and_a_zero_gradient():
    logits = torch.randn(3, 4, requires_grad=True)
    loss = class_loss(logits, torch.full((3,), NO_LABEL))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(3, 4))


def test_class_losses_of_parts_add_up_to_that_of_the_whole():
    logits, labels = torch.randn(5, 4), torch.tensor([0, NO_LABEL, 3, 1, NO_LABEL])
    votes = torch.eye(4)[labels.clamp(min=0)] * (labels != NO_LABEL)[:, None]
    for each in (labels, votes):
        count = count_labels({"labels": each}, "mean")["labels"]
        parts = [class_loss(logits[part], each[part], count) for part in (slice(0, 2), slice(2, 5))]
        torch.testing.assert_close(sum(parts), class_loss(logits, labels))
        assert count == 3


def test_votes_share_the_cost():
    # softmax of (ln 3, 0, 0, 0) is (1/2, 1/6, 1/6, 1/6); the last row has no votes
    logits = torch.tensor([[math.log(3), 0, 0, 0], [math.log(3), 0, 0, 0], [9.0, 0, 0, 0]])
    votes = torch.tensor([[0.75, 0.25, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 0]])
    expected = (0.75 * math.log(2) + 0.25 * math.log(6) + math.log(6)) / 2
    assert class_loss(logits, votes).item() == pytest.approx(expected)
    torch.testing.assert_close(class_loss(logits, torch.eye(4)[:3]), class_loss(logits, torch.tensor([0, 1, 2])))
