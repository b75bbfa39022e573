"""What a training run is made of: phases, parameter groups, losses, checkpoints, averages.

The loop is train_accelerate.py.
"""

import copy
import dataclasses
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import broadcast
from torch import nn
from tqdm import tqdm
from transformers import AutoModel

from .data import class_labels
from .losses import NO_LABEL, UNKNOWN, class_loss, class_loss_terms, map_loss_terms


@dataclass(frozen=True)
class Phase:
    """One stage of the protocol.

    branches: what runs; losses: which labels the model is given; parts: what trains, by the names of `parts_of`, each
    with the factor on the learning rate; mix: how often a group of rows is drawn; batch_size: photos of a step, over
    all processes; crop, scales, amounts: see `TrainingPhotos`; freeze_batch_norm: see `train_mode`.
    """

    branches: tuple[str, ...]
    losses: tuple[str, ...]
    parts: dict[str, float]
    mix: dict[str, float]
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    crop: int
    scales: tuple[float, float]
    freeze_batch_norm: bool = False
    amounts: bool = False

    def __str__(self) -> str:
        parts = ", ".join(f"{name} x{factor:g}" for name, factor in self.parts.items())
        mix = ", ".join(f"{name} {share:.0%}" for name, share in self.mix.items())
        return (
            f"{self.steps} steps of {self.batch_size} photos ({mix}), crops of {self.crop} pixels at scales of "
            f"{self.scales[0]:g} to {self.scales[1]:g}\n  labels: {', '.join(self.losses)}"
            f"{', amounts between the levels where known' if self.amounts else ''}; Adam, learning rate "
            f"{self.learning_rate:g}, weight decay {self.weight_decay:g}\n  trains: {parts}; BatchNorm statistics "
            f"{'frozen' if self.freeze_batch_norm else 'of the batch'}"
        )


PAPER = {
    "saliency": Phase(
        branches=("blur", "attention"),
        losses=("blur_labels", "attention_labels"),
        parts={"blur_trunk": 1.0, "blur_branch": 1.0, "attention_trunk": 1.0, "attention_branch": 1.0},
        mix={"sharp": 0.5, "blurred": 0.5},
        steps=10_000, batch_size=12, learning_rate=1e-3, weight_decay=0.05, crop=320, scales=(0.8, 1.0),
    ),
    "blur": Phase(
        branches=("blur",),
        losses=("blur_labels",),
        parts={"blur_trunk": 1.0, "blur_branch": 1.0},
        mix={"synthetic": 0.6, "blurred": 0.2, "sharp": 0.2},
        steps=30_000, batch_size=12, learning_rate=1e-3, weight_decay=0.05, crop=320, scales=(0.8, 1.0),
    ),
    "joint": Phase(
        branches=("blur", "attention", "content"),
        losses=("blur_labels", "labels"),
        parts={
            "blur_trunk": 1.0, "blur_branch": 1.0, "attention_trunk": 1.0, "attention_branch": 1.0,
            "content_trunk": 1.0, "classifier": 1.0,
        },
        mix={"synthetic": 0.4, "blurred": 0.4, "sharp": 0.2},
        steps=20_000, batch_size=4, learning_rate=1e-2, weight_decay=0.01, crop=512, scales=(1.0, 1.0),
        freeze_batch_norm=True,
    ),
}  # fmt: skip
"""Section 5, "Implementation details". Steps, crops and the frozen BatchNorm of batches of 4, on which it is silent,
are ours."""

OURS = {
    "saliency": Phase(
        branches=("attention",),
        losses=("attention_labels",),
        parts={"content_trunk": 0.3, "attention_trunk": 0.3, "attention_branch": 1.0},
        mix={"sharp": 0.6, "blurred": 0.4},
        steps=500, batch_size=12, learning_rate=1e-3, weight_decay=0.01, crop=288, scales=(0.7, 1.0),
    ),
    "blur": Phase(
        branches=("blur",),
        losses=("blur_labels",),
        parts={"blur_trunk": 0.5, "blur_branch": 1.0},
        mix={"synthetic": 0.4, "blurred": 0.35, "sharp": 0.25},
        steps=1600, batch_size=7, learning_rate=1e-3, weight_decay=0.01, crop=320, scales=(0.55, 1.0),
        amounts=True,
    ),
    "classifier": Phase(
        branches=("blur", "attention", "content"),
        losses=("labels", "kind_labels"),
        parts={"classifier": 1.0},
        mix={"synthetic": 0.2, "blurred": 0.37, "sharp": 0.43},
        steps=1300, batch_size=32, learning_rate=1e-3, weight_decay=0.05, crop=512, scales=(1.0, 1.0),
    ),
    "joint": Phase(
        branches=("blur", "attention", "content"),
        losses=("blur_labels", "attention_labels", "labels", "kind_labels"),
        parts={"blur_branch": 0.1, "content_trunk": 0.1, "attention_branch": 0.2, "classifier": 1.0},
        mix={"synthetic": 0.2, "blurred": 0.4, "sharp": 0.4},
        steps=600, batch_size=6, learning_rate=5e-4, weight_decay=0.01, crop=448, scales=(0.85, 1.0),
        freeze_batch_norm=True, amounts=True,
    ),
}  # fmt: skip
"""What did better with the data at hand (EXPERIMENTS.md). Between blur and joint, the classifier alone trains on the
frozen branches, whose outputs are computed once."""

GPU = {
    "blur": dataclasses.replace(
        OURS["blur"], mix={"synthetic": 0.55, "blurred": 0.25, "sharp": 0.2},
        steps=950, batch_size=96, learning_rate=1.5e-3, crop=416, scales=(0.5, 1.0),
    ),
    "joint": dataclasses.replace(
        OURS["joint"], parts={"blur_branch": 0.02, "content_trunk": 0.1, "attention_branch": 0.2, "classifier": 1.0},
        mix={"synthetic": 0.25, "blurred": 0.37, "sharp": 0.38},
        steps=420, batch_size=48, learning_rate=1e-3, crop=512, scales=(0.9, 1.0),
    ),
}  # fmt: skip
"""The same with large batches, from trained weights on: minutes on a GPU, with `--photos_on_device`."""

RECIPES = {"paper": PAPER, "ours": OURS, "gpu": GPU}
PARTS = ("blur_trunk", "attention_trunk", "content_trunk", "blur_branch", "attention_branch", "classifier")


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """The parts a phase may train, by name. Parts that a variant does not have (a shared trunk) are left out."""
    base = model.abc_fusenet
    trunks = {f"{name}_trunk": trunk for name, trunk in base.trunks.items()}
    heads = {"blur_branch": base.blur_branch, "attention_branch": base.attention_branch, "classifier": model.classifier}
    return {**trunks, **heads}


def trained_parts(model: nn.Module, phase: Phase) -> dict[str, nn.Module]:
    """The parts that train in a phase: those it names, if the model has them and its branches use them."""
    used = {f"{model.abc_fusenet.trunk_of[branch]}_trunk" for branch in phase.branches}
    parts = {name: part for name, part in parts_of(model).items() if name in phase.parts}
    return {name: part for name, part in parts.items() if not name.endswith("_trunk") or name in used}


def parameter_groups(model: nn.Module, phase: Phase, layer_decay: float = 1.0) -> list[dict]:
    """Freeze what the phase does not train; the rest as optimizer groups (no weight decay on norms and biases).

    layer_decay: the factor on the learning rate from a block of a trunk to the block before it (the last has the
    trunk's), so that what was pre-trained and is most general changes least.
    """
    model.requires_grad_(False)
    groups = []
    for name, part in trained_parts(model, phase).items():
        part.requires_grad_(True)
        blocks = part.blocks() if layer_decay < 1 and name.endswith("_trunk") else [part]
        for depth, block in enumerate(reversed(blocks)):
            rate = phase.learning_rate * phase.parts[name] * layer_decay**depth
            matrices = [p for p in block.parameters() if p.dim() > 1]
            vectors = [p for p in block.parameters() if p.dim() <= 1]
            groups.append({"params": matrices, "lr": rate, "weight_decay": phase.weight_decay})
            groups.append({"params": vectors, "lr": rate, "weight_decay": 0.0})
    return groups


def train_mode(model: nn.Module, phase: Phase) -> None:
    """Training mode for the parts the phase trains; the frozen ones keep their BatchNorm statistics, and with
    `freeze_batch_norm` so do all (their scales and offsets train)."""
    model.eval()
    for part in trained_parts(model, phase).values():
        part.train()
        for module in part.modules():
            if phase.freeze_batch_norm and isinstance(module, nn.BatchNorm2d):
                module.eval()


def count_labels(batch: dict[str, torch.Tensor], phase: Phase, reduction: str) -> torch.Tensor:
    """(len(phase.losses),) int64: what the sum of each loss is to be divided by.

    Rows with a class; of maps the labelled pixels, or with the reduction "sum" (equation 1) the photos that have any.
    """
    counts = []
    for name in phase.losses:
        if name == "labels":
            known = batch[name].sum(1) > 0
        elif name == "kind_labels":
            known = batch[name] != NO_LABEL
        else:
            known = batch[name] != UNKNOWN
            if reduction == "sum":
                known = known.flatten(1).any(1)
        counts.append(known.sum())
    return torch.stack(counts)


def summed_losses(output, batch: dict[str, torch.Tensor], phase: Phase, weight: float) -> torch.Tensor:
    """(len(phase.losses),) the losses of equation (2), summed and not yet divided; `weight` is its lambda."""
    sums = {
        "blur_labels": lambda: map_loss_terms(output.blur_map, batch["blur_labels"])[0],
        "attention_labels": lambda: map_loss_terms(output.attention_map, batch["attention_labels"])[0],
        "labels": lambda: weight * class_loss_terms(output.logits, batch["labels"])[0],
        "kind_labels": lambda: weight * class_loss_terms(output.kind_logits, batch["kind_labels"])[0],
    }
    return torch.stack([sums[name]() for name in phase.losses])


def seed_dropout(*key: int) -> None:
    """Dropout from here on depends on the key (seed, step, batch, process) alone: a resumed run has the same."""
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


def find_checkpoint(wanted: str | None, folder: Path) -> Path | None:
    """The checkpoint to resume from: the one that is wanted, or with "latest" the last complete one, if there is any.

    Raises ValueError if none is wanted but the folder holds some, which the run would mix with its own.
    """
    found = sorted(folder.glob("step-*[0-9]"), key=lambda path: int(path.name[5:]))
    if wanted is None:
        if found:
            raise ValueError(
                f"{folder} holds checkpoints of another run: add --resume_from_checkpoint latest to go on with it, or "
                "choose another --output_dir."
            )
        return None
    if wanted != "latest":
        return Path(wanted)
    return found[-1] if found else None


def save_checkpoint(accelerator, folder: Path, step: int, extra: dict, limit: int) -> None:
    """Write `folder/step-NNNNNN` and drop all but the last `limit`; it has its name only once it is complete."""
    partial, complete = folder / f"step-{step:06d}.partial", folder / f"step-{step:06d}"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(partial)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        torch.save(extra, partial / "extra.pt")
        shutil.rmtree(complete, ignore_errors=True)
        partial.rename(complete)
        kept = sorted(folder.glob("step-*[0-9]"), key=lambda path: int(path.name[5:]))
        for path in kept[:-limit]:
            shutil.rmtree(path)
    accelerator.wait_for_everyone()


def share_weights(model: nn.Module) -> None:
    """Give every process the weights and BatchNorm statistics of the first."""
    for tensor in model.state_dict().values():
        broadcast(tensor)


def pick_by(score, scores: dict, branches: tuple[str, ...]) -> float:
    """`score(scores, branches)`, or with synthetic photos in place of real ones where there are none to judge by;
    NaN where there are neither."""
    synthetic = {"blur_real": "blur_synthetic", "desirability_real": "desirability_synthetic"}
    stand_ins = {real: scores[other] for real, other in synthetic.items() if other in scores}
    for source in (scores, scores | stand_ins):
        try:
            value = score(source, branches)
        except KeyError:
            continue
        if math.isfinite(value):
            return value
    return math.nan


def load_trunk_weights(trunk: nn.Module, pretrained: str) -> None:
    """Fill a MobileNetV2 or ResNet trunk from a transformers checkpoint: a folder or a Hub name.

    Raises ValueError if the checkpoint does not hold every weight of the trunk.
    """
    source = AutoModel.from_pretrained(pretrained, use_safetensors=True).state_dict()
    missing = [name for name in trunk.backbone.state_dict() if name not in source]
    if missing:
        raise ValueError(f"{pretrained} does not fit the trunk: it has no {missing[0]} ({len(missing)} are missing).")
    trunk.backbone.load_state_dict({name: source[name] for name in trunk.backbone.state_dict()})


@dataclass(frozen=True)
class FusedPhoto:
    """What the classifier sees of a photo, and what it is to say: `stacked` (channels, h, w) in half precision, the
    `profile` (channels,), `labels` (4,) and `kind_label` as in `data.class_labels`."""

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

    Flips of the grid are the augmentation that is left; the pixels' were spent before.
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
    """The temperature that minimises the cross-entropy of (N, 4) logits (Guo et al. 2017), by golden-section search."""
    low, high = math.log(0.2), math.log(5.0)
    ratio = (math.sqrt(5) - 1) / 2

    def cost(log_temperature: float) -> float:
        return float(class_loss(logits / math.exp(log_temperature), labels))

    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if cost(left) < cost(right) else (left, high)
    return math.exp((low + high) / 2)


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


class MovingAverage:
    """Exponential moving average of a model's parameters and BatchNorm statistics."""

    def __init__(self, model: nn.Module, decay: float):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for mine, theirs in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs.to(mine.dtype), 1 - decay)
            else:
                mine.copy_(theirs)

    def state_dict(self) -> dict:
        return {"model": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.updates = state["updates"]
