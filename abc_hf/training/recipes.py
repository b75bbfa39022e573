"""The phases of each recipe."""

import dataclasses
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Phase:
    """One stage of the protocol.

    branches: the branches that run; losses: the labels that the model is given; parts: the parts that train, by their
    name in `parts_of`, each with its factor on the learning rate; mix: how often a group of rows is drawn; emphasis:
    how often a row is drawn within its group, by the beginning of its source, in steps of a quarter, 1 for all others;
    batch_size: photos of a step, over all processes; crop, scales, amounts: see `TrainingPhotos`; freeze_batch_norm:
    see `train_mode`.
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
    emphasis: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} x{factor:g}" for name, factor in self.parts.items())
        mix = ", ".join(f"{name} {share:.0%}" for name, share in self.mix.items())
        often = ", ".join(f"{start}* x{factor:g}" for start, factor in self.emphasis.items())
        return (
            f"{self.steps} steps of {self.batch_size} photos ({mix}), crops of {self.crop} pixels at scales of "
            f"{self.scales[0]:g} to {self.scales[1]:g}\n  labels: {', '.join(self.losses)}"
            f"{', amounts between the levels where known' if self.amounts else ''}; Adam, learning rate "
            f"{self.learning_rate:g}, weight decay {self.weight_decay:g}\n  trains: {parts}; BatchNorm statistics "
            f"{'frozen' if self.freeze_batch_norm else 'of the batch'}"
            + (f"\n  photos of these sources are drawn more or less often: {often}" if often else "")
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

PHOTOS_OF_MOTION = {"consumer/stock": 2.5}
CHOSEN_SNAPSHOTS = dict.fromkeys(("consumer/pet", "consumer/cat", "consumer/dog", "consumer/insect"), 0.25)
"""Stock photos of wanted motion are rare; these snapshots were chosen because earlier weights got them wrong, so their
classes are not those of snapshots at large."""

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
        emphasis=PHOTOS_OF_MOTION | CHOSEN_SNAPSHOTS,
    ),
    "joint": Phase(
        branches=("blur", "attention", "content"),
        losses=("blur_labels", "attention_labels", "labels", "kind_labels"),
        parts={"blur_branch": 0.1, "content_trunk": 0.1, "attention_branch": 0.2, "classifier": 1.0},
        mix={"synthetic": 0.2, "spoilt": 0.1, "blurred": 0.36, "sharp": 0.34},
        steps=600, batch_size=6, learning_rate=5e-4, weight_decay=0.01, crop=448, scales=(0.85, 1.0),
        freeze_batch_norm=True, amounts=True, emphasis=PHOTOS_OF_MOTION | CHOSEN_SNAPSHOTS,
    ),
}  # fmt: skip
"""The recipe that scores better here, see EXPERIMENTS.md. Between blur and joint, the classifier alone trains on
the frozen branches, whose outputs are computed once."""

GPU = {
    "blur": dataclasses.replace(
        OURS["blur"], mix={"synthetic": 0.55, "blurred": 0.25, "sharp": 0.2},
        steps=950, batch_size=96, learning_rate=1.5e-3, crop=416, scales=(0.5, 1.0),
    ),
    "joint": dataclasses.replace(
        OURS["joint"], parts={"blur_branch": 0.02, "content_trunk": 0.1, "attention_branch": 0.2, "classifier": 1.0},
        mix={"synthetic": 0.22, "spoilt": 0.1, "blurred": 0.34, "sharp": 0.34},
        steps=420, batch_size=48, learning_rate=1e-3, crop=512, scales=(0.9, 1.0),
    ),
}  # fmt: skip
"""The same with large batches, from trained weights on: minutes on a GPU, with `--photos_on_device`."""

RECIPES = {"paper": PAPER, "ours": OURS, "gpu": GPU}
