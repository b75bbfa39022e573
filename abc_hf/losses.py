# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The training objective of ABC-FuseNet: pure functions, equations (1) and (2) of the paper.

Each loss is a sum divided by a count of labels. Training gives the count of the whole step, of all its batches and
processes: averaging batch means would over-weight batches with few labels.
"""

import torch
import torch.nn.functional as F

NUM_LEVELS = 4
"""No, low, medium and high blur: 0, 1/3, 2/3 and 1 in the blur map (section 4.3)."""
AMOUNT_STEPS = 60
"""Values of a map of amounts from a level to the next: 0, 60, 120 and 180 are the levels."""
AT_LEAST_HIGH = 253
"""In a map of amounts between the levels, a pixel of high blur or more."""
AMOUNT_UNKNOWN = 254
"""A blurred pixel of unknown amount (binary masks and weak labels)."""
UNKNOWN = 255
"""A pixel without a label."""
NO_LABEL = -100
"""A row without a desirability class."""


def map_loss(
    probability: torch.Tensor, levels: torch.Tensor, reduction: str = "sum", count: torch.Tensor | None = None
) -> torch.Tensor:
    """Equation (1): half the sum of squared errors of a map against level labels, divided by `count`.

    Args:
        probability: (B, 1, H, W), the sigmoid of a branch's logit, in 0..1.
        levels: (B, H, W) or (B, 1, H, W): 0..3 or amounts between them, `AT_LEAST_HIGH`, `AMOUNT_UNKNOWN` or `UNKNOWN`.
            The truth of a level is level / 3. `AMOUNT_UNKNOWN` costs the squared distance to the interval [1/3, 1],
            `AT_LEAST_HIGH` that to [5/6, 1], and `UNKNOWN` costs nothing.
        reduction, count: `count_levels` of the batch by this reduction, unless another count is given.
    """
    if levels.dim() == 3:
        levels = levels[:, None]
    if levels.shape != probability.shape:
        raise ValueError(
            f"Map labels must have the photos' shape, {tuple(probability.shape[-2:])}; got {tuple(levels.shape[-2:])}."
        )
    probability = probability.float()
    low = 1 / (NUM_LEVELS - 1)
    truth, found = levels.float() * low, probability.detach()
    truth = torch.where(levels == AMOUNT_UNKNOWN, found.clamp(min=low), truth)
    truth = torch.where(levels == AT_LEAST_HIGH, found.clamp(min=1 - low / 2), truth)
    error = torch.where(levels != UNKNOWN, probability - truth, 0.0)
    count = count_levels(levels, reduction) if count is None else count
    return 0.5 * error.square().sum() / count.clamp(min=1)


def count_levels(levels: torch.Tensor, reduction: str) -> torch.Tensor:
    """ "sum": the photos that have a labelled pixel, as in the paper; "mean": the labelled pixels."""
    labelled = levels != UNKNOWN
    return (labelled.flatten(1).any(1) if reduction == "sum" else labelled).sum()


def class_loss(logits: torch.Tensor, labels: torch.Tensor, count: torch.Tensor | None = None) -> torch.Tensor:
    """Softmax cross-entropy, summed over the rows that have a label and divided by `count`.

    Args:
        logits: (B, C), of desirability or of the kind of blur.
        labels: (B,) classes, `NO_LABEL` for none; or (B, C) the share of annotators who chose each class, all 0 for
            none.
        count: `count_classes` of the batch, unless another count is given.
    """
    count = count_classes(labels) if count is None else count
    if labels.is_floating_point():
        total = -(labels * logits.float().log_softmax(-1)).sum()
    else:
        total = F.cross_entropy(logits.float(), labels.view(-1), ignore_index=NO_LABEL, reduction="sum")
    return total / count.clamp(min=1)


def count_classes(labels: torch.Tensor) -> torch.Tensor:
    """The rows that have a label."""
    return (labels.sum(-1) > 0 if labels.is_floating_point() else labels != NO_LABEL).sum()


def count_labels(labels: dict[str, torch.Tensor], reduction: str) -> dict[str, torch.Tensor]:
    """The number that divides the loss of each kind of labels, by the names that the model gives them."""
    maps = ("blur_labels", "attention_labels")
    return {
        name: count_levels(each, reduction) if name in maps else count_classes(each) for name, each in labels.items()
    }
