# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The training objective of ABC-FuseNet: pure functions, equations (1) and (2) of the paper.

Each term comes as a sum and the count to divide it by, so that batches and processes can be added up before dividing.
"""

import torch
import torch.nn.functional as F

NUM_LEVELS = 4
"""No, low, medium and high blur: 0, 1/3, 2/3 and 1 in the blur map (section 4.3)."""
AMOUNT_STEPS = 60
"""Values of a map of amounts from a level to the next: 0, 60, 120 and 180 are the levels."""
AT_LEAST_HIGH = 253
"""A pixel of high blur that may be blurred more than where high blur begins, in a map of amounts between the levels."""
AMOUNT_UNKNOWN = 254
"""A pixel that is blurred, by how much nobody said (binary masks and weak labels)."""
UNKNOWN = 255
"""A pixel without a label."""
NO_LABEL = -100
"""A row without a desirability class."""


def map_loss_terms(probability: torch.Tensor, levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Squared error of a map against level labels, equation (1) without its normalisation.

    Args:
        probability: (B, 1, H, W), the sigmoid of a branch's logit, in 0..1.
        levels: (B, H, W) or (B, 1, H, W): 0..3 or amounts between them, `AT_LEAST_HIGH`, `AMOUNT_UNKNOWN` or `UNKNOWN`.
            The truth of a level is level / 3. `AMOUNT_UNKNOWN` costs the squared distance to the interval [1/3, 1],
            `AT_LEAST_HIGH` that to [5/6, 1], and `UNKNOWN` costs nothing.

    Returns:
        half the sum of squared errors, the number of labelled pixels, and the number of photos that have any.
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
    labelled = levels != UNKNOWN
    error = torch.where(labelled, probability - truth, 0.0)
    return 0.5 * error.square().sum(), labelled.sum(), labelled.flatten(1).any(1).sum()


def map_loss(probability: torch.Tensor, levels: torch.Tensor, reduction: str = "sum") -> torch.Tensor:
    """Equation (1). "sum" divides by the photos that have a label (the paper's), "mean" by the labelled pixels."""
    total, pixels, photos = map_loss_terms(probability, levels)
    return total / (photos if reduction == "sum" else pixels).clamp(min=1)


def class_loss_terms(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax cross-entropy, summed over the rows that have a label, and the number of these rows.

    Args:
        logits: (B, C), of desirability or of the kind of blur.
        labels: (B,) classes, `NO_LABEL` for none; or (B, C) the share of annotators who chose each class, all 0 for
            none.
    """
    if labels.dim() == 2 and labels.is_floating_point():
        return -(labels * logits.float().log_softmax(-1)).sum(), (labels.sum(-1) > 0).sum()
    labels = labels.view(-1)
    return F.cross_entropy(logits.float(), labels, ignore_index=NO_LABEL, reduction="sum"), (labels != NO_LABEL).sum()


def class_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Softmax cross-entropy averaged over the rows that have a label; 0 if none has. Arguments: `class_loss_terms`."""
    total, rows = class_loss_terms(logits, labels)
    return total / rows.clamp(min=1)
