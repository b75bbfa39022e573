"""Fitting the classifier alone, and its temperature."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from tqdm import tqdm

from ..losses import class_loss
from .batches import class_labels
from .recipes import Phase


@dataclass(frozen=True)
class FusedPhoto:
    """The classifier's input and labels for one photo: `stacked` (channels, h, w) in half precision, `profile`
    (channels,), and `labels` (4,) and `kind_label` as in `batches.class_labels`."""

    stacked: torch.Tensor
    profile: torch.Tensor
    labels: torch.Tensor
    kind_label: torch.Tensor


@torch.inference_mode()
def fuse_photos(model, batch: dict[str, torch.Tensor]) -> list[FusedPhoto]:
    """The `FusedPhoto`s of a batch (`pixel_values`, `labels`, `kind_labels`), of a model in evaluation mode."""
    device = next(model.parameters()).device
    pixel_values = batch["pixel_values"].to(device, memory_format=torch.channels_last)
    stacked, profile = model.fuse(model.abc_fusenet(pixel_values))
    profile = torch.zeros(len(stacked), 0) if profile is None else profile
    fused = zip(
        stacked.half().cpu(), profile.float().cpu(), batch["labels"].cpu(), batch["kind_labels"].cpu(), strict=True
    )
    return [FusedPhoto(*each) for each in fused]


def fuse_rows(model, processor, rows, progress: bool = True) -> list[FusedPhoto]:
    """The `FusedPhoto`s of whole photos, row by row. With the branches frozen they never change, so the classifier can
    train on them in minutes."""
    model.eval()
    fused = []
    for row in tqdm(rows, desc="features", disable=not progress):
        pixel_values = processor(row["image"].convert("RGB"), return_tensors="pt")["pixel_values"]
        labels = {name: label[None] for name, label in class_labels(row).items()}
        fused += fuse_photos(model, {"pixel_values": pixel_values, **labels})
    return fused


def fit_classifier(
    classifier, photos: list[FusedPhoto], phase: Phase, weights: list[float], seed: int, progress: bool = True
) -> None:
    """Train the classifier alone on `photos`, drawn by weight; a batch has photos of one shape.

    Flips of the grid are the only augmentation, because the pixels are not there any more.
    """
    rng = np.random.default_rng(seed)
    shapes: dict[tuple, list[int]] = {}
    for index, photo in enumerate(photos):
        shapes.setdefault(tuple(photo.stacked.shape), []).append(index)
    mass = np.array([sum(weights[i] for i in rows) for rows in shapes.values()])
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=phase.learning_rate, weight_decay=phase.weight_decay)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, phase.learning_rate, phase.steps, pct_start=0.1)
    device = next(classifier.parameters()).device
    for _ in tqdm(range(phase.steps), desc="classifier", disable=not progress):
        rows = list(shapes.values())[rng.choice(len(shapes), p=mass / mass.sum())]
        chances = np.array([weights[i] for i in rows])
        drawn = [photos[rows[i]] for i in rng.choice(len(rows), phase.batch_size, p=chances / chances.sum())]
        stacked = torch.stack([photo.stacked for photo in drawn]).float().to(device)
        profile = torch.stack([photo.profile for photo in drawn]).to(device)
        if rng.random() < 0.5:
            stacked = stacked.flip(-1)
        logits, kind_logits = classifier(stacked, profile)
        loss = class_loss(logits, torch.stack([photo.labels for photo in drawn]).to(device))
        loss = loss + class_loss(kind_logits, torch.stack([photo.kind_label for photo in drawn]).to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature that minimises the cross-entropy of (N, 4) logits (Guo et al. 2017)."""

    def cost(log_temperature: float) -> float:
        return float(class_loss(logits / math.exp(log_temperature), labels))

    return math.exp(minimize_scalar(cost, bounds=(math.log(0.2), math.log(5.0)), method="bounded").x)


def fit_certainty(confidence: np.ndarray, right: np.ndarray, allowed: np.ndarray, wanted: float = 0.955) -> float:
    """The lowest probability from which on at least `wanted` of the verdicts are right.

    Args:
        confidence: (N,) probabilities of the verdicts.
        right: (N,) whether a verdict is the annotators' majority.
        allowed: (N,) whether the maps allow the verdict (`verdicts.follows`); others are never certain.
    """
    confidence, right = confidence[allowed], right[allowed]
    order = np.argsort(-confidence)
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(share >= wanted)
    return float(confidence[order[enough[-1]]]) if len(enough) else 1.0
