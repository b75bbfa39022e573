"""What a training run is made of: settings, phases, parameter groups, averages. The loop is train_accelerate.py."""

import copy
import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import AutoModel

from .losses import desirability_loss


@dataclass(frozen=True)
class Phase:
    """One stage of the protocol.

    branches: what runs; losses: which labels the model is given; parts: what trains, by the names of `parts_of`, each
    with the factor on the learning rate; mix: how often a group of rows is drawn; crop, scales: see `TrainingPhotos`.
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
    ),
}  # fmt: skip
"""Section 5, "Implementation details". Steps and crops, on which it is silent, are ours."""

OURS = {
    "saliency": Phase(
        branches=("attention",),
        losses=("attention_labels",),
        parts={"content_trunk": 0.3, "attention_trunk": 0.3, "attention_branch": 1.0},
        mix={"sharp": 0.6, "blurred": 0.4},
        steps=600, batch_size=12, learning_rate=1e-3, weight_decay=0.01, crop=288, scales=(0.7, 1.0),
    ),
    "blur": Phase(
        branches=("blur",),
        losses=("blur_labels",),
        parts={"blur_trunk": 0.5, "blur_branch": 1.0},
        mix={"synthetic": 0.45, "blurred": 0.3, "sharp": 0.25},
        steps=2200, batch_size=10, learning_rate=1e-3, weight_decay=0.01, crop=256, scales=(0.5, 1.0),
    ),
    "classifier": Phase(
        branches=("blur", "attention", "content"),
        losses=("labels",),
        parts={"classifier": 1.0},
        mix={"synthetic": 0.15, "blurred": 0.31, "sharp": 0.54},
        steps=1500, batch_size=32, learning_rate=1e-3, weight_decay=0.05, crop=512, scales=(1.0, 1.0),
    ),
    "joint": Phase(
        branches=("blur", "attention", "content"),
        losses=("blur_labels", "attention_labels", "labels"),
        parts={
            "blur_trunk": 0.02, "blur_branch": 0.1, "content_trunk": 0.1, "attention_branch": 0.2, "classifier": 1.0,
        },
        mix={"synthetic": 0.2, "blurred": 0.3, "sharp": 0.5},
        steps=500, batch_size=6, learning_rate=5e-4, weight_decay=0.01, crop=512, scales=(0.9, 1.0),
    ),
}  # fmt: skip
"""What did better with the data at hand (EXPERIMENTS.md). Between blur and joint, the classifier alone trains on the
frozen branches, whose outputs are computed once."""

RECIPES = {"paper": PAPER, "ours": OURS}
PHASES = tuple(OURS)


@dataclass
class TrainSettings:
    """The command line of train_accelerate.py: an option per field, its default here and nowhere else."""

    dataset_name: list[str] = field(metadata={"help": "data sets in the SmartBlur schema: folders or Hub names"})
    output_dir: str = field(metadata={"help": "where the weights, run.json and metrics.jsonl go"})
    phase: Literal["saliency", "blur", "classifier", "joint", "all"] = field(
        default="all", metadata={"help": "which stage to train"}
    )
    recipe: Literal["paper", "ours"] = field(default="ours", metadata={"help": "preset of the stages"})
    variant: str = field(default="mobile", metadata={"help": "paper, mobile or tiny, when no model is given"})
    model_name_or_path: str | None = field(default=None, metadata={"help": "weights to go on from"})
    blur_weights: str | None = field(default=None, metadata={"help": "pre-trained weights of the blur trunk"})
    content_weights: str | None = field(default=None, metadata={"help": "pre-trained weights of the content trunk"})
    working_size: int = field(default=512, metadata={"help": "long side at which photos are judged [pixels]"})
    max_train_steps: int | None = field(default=None, metadata={"help": "steps of each phase, instead of the preset's"})
    per_device_train_batch_size: int | None = field(default=None, metadata={"help": "instead of the preset's"})
    learning_rate: float | None = field(default=None, metadata={"help": "instead of the preset's"})
    ema_decay: float = field(default=0.998, metadata={"help": "of the average of the weights, which is what is saved"})
    max_grad_norm: float = field(default=1.0, metadata={"help": "gradient clipping"})
    warmup_steps: int = field(default=100, metadata={"help": "linear warm-up; then the rate falls as a cosine"})
    eval_steps: int = field(default=250, metadata={"help": "evaluate on the validation split this often"})
    max_eval_samples: int = field(default=150, metadata={"help": "photos of each kind in an evaluation"})
    checkpointing_steps: int = field(default=250, metadata={"help": "save a checkpoint to resume from this often"})
    resume_from_checkpoint: str | None = field(default=None, metadata={"help": "a checkpoint folder, or latest"})
    mixed_precision: Literal["no", "bf16", "fp16"] = field(default="bf16", metadata={"help": "autocast"})
    dataloader_num_workers: int = field(default=1, metadata={"help": "processes that decode and augment"})
    seed: int = field(default=0, metadata={"help": "of weights, drawing and augmentation"})


def parts_of(model: nn.Module) -> dict[str, nn.Module]:
    """The parts a phase may train, by name. Parts that a variant does not have (a shared trunk) are left out."""
    base = model.abc_fusenet
    trunks = {f"{name}_trunk": trunk for name, trunk in base.trunks.items()}
    heads = {"blur_branch": base.blur_branch, "attention_branch": base.attention_branch, "classifier": model.classifier}
    return {**trunks, **heads}


def parameter_groups(model: nn.Module, phase: Phase, learning_rate: float, weight_decay: float) -> list[dict]:
    """Freeze what the phase does not train; the rest as optimizer groups (no weight decay on norms and biases)."""
    model.requires_grad_(False)
    groups = []
    for name, part in parts_of(model).items():
        if name not in phase.parts:
            continue
        part.requires_grad_(True)
        rate = learning_rate * phase.parts[name]
        matrices = [p for p in part.parameters() if p.dim() > 1]
        vectors = [p for p in part.parameters() if p.dim() <= 1]
        groups.append({"params": matrices, "lr": rate, "weight_decay": weight_decay})
        groups.append({"params": vectors, "lr": rate, "weight_decay": 0.0})
    return groups


def train_mode(model: nn.Module, phase: Phase) -> None:
    """Training mode for the parts the phase trains; the frozen ones keep their BatchNorm statistics."""
    model.eval()
    for name, part in parts_of(model).items():
        part.train(name in phase.parts)


def load_trunk_weights(trunk: nn.Module, pretrained: str) -> None:
    """Fill a MobileNetV2 or ResNet trunk from a transformers checkpoint: a folder or a Hub name.

    Raises ValueError if the checkpoint does not hold every weight of the trunk.
    """
    source = AutoModel.from_pretrained(pretrained).state_dict()
    missing = [name for name in trunk.backbone.state_dict() if name not in source]
    if missing:
        raise ValueError(f"{pretrained} does not fit the trunk: it has no {missing[0]} ({len(missing)} are missing).")
    trunk.backbone.load_state_dict({name: source[name] for name in trunk.backbone.state_dict()})


@torch.inference_mode()
def fusion_inputs(model, processor, rows, progress: bool = True) -> list[tuple[torch.Tensor, int]]:
    """What the classifier sees of each labelled row's whole photo, (channels, h, w) in half precision, and its class.

    With the branches frozen this never changes, so the classifier can train on it in minutes.
    """
    model.eval()
    device = next(model.parameters()).device
    cached = []
    for row in tqdm(rows, desc="features", disable=not progress):
        pixel_values = processor(row["image"].convert("RGB"), return_tensors="pt")["pixel_values"]
        pixel_values = pixel_values.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            stacked = model.fuse(model.abc_fusenet(pixel_values))
        cached.append((stacked[0].half().cpu(), row["desirability"]))
    return cached


def fit_classifier(classifier, cached, phase: Phase, weights: list[float], seed: int, progress: bool = True) -> None:
    """Train the classifier alone on `fusion_inputs`, drawing rows by weight; a batch has one shape of photo.

    Flips of the grid are the augmentation that is left; the pixels' were spent before caching.
    """
    rng = np.random.default_rng(seed)
    shapes: dict[tuple, list[int]] = {}
    for index, (features, _) in enumerate(cached):
        shapes.setdefault(tuple(features.shape), []).append(index)
    mass = np.array([sum(weights[i] for i in rows) for rows in shapes.values()])
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=phase.learning_rate, weight_decay=phase.weight_decay)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, phase.learning_rate, phase.steps, pct_start=0.1)
    device = next(classifier.parameters()).device
    for _ in tqdm(range(phase.steps), desc="classifier", disable=not progress):
        rows = list(shapes.values())[rng.choice(len(shapes), p=mass / mass.sum())]
        chances = np.array([weights[i] for i in rows])
        drawn = [rows[i] for i in rng.choice(len(rows), phase.batch_size, p=chances / chances.sum())]
        features = torch.stack([cached[i][0] for i in drawn]).float().to(device)
        if rng.random() < 0.5:
            features = features.flip(-1)
        loss = desirability_loss(classifier(features), torch.tensor([cached[i][1] for i in drawn], device=device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature that minimises the cross-entropy of (N, 4) logits (Guo et al. 2017), by golden-section search."""
    low, high = math.log(0.2), math.log(5.0)
    ratio = (math.sqrt(5) - 1) / 2

    def cost(log_temperature: float) -> float:
        return float(desirability_loss(logits / math.exp(log_temperature), labels))

    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if cost(left) < cost(right) else (left, high)
    return math.exp((low + high) / 2)


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
