"""The options of train_accelerate.py, each declared once: a field of `TrainSettings`."""

import contextlib
import dataclasses
import difflib
import json
import math
import operator
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from accelerate.tracking import get_available_trackers
from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser

from ..configuration_abc_fusenet import VARIANTS, ABCFuseNetConfig
from ..image_processing_abc_fusenet import ABCFuseNetImageProcessor
from .parts import PARTS
from .recipes import RECIPES, Phase

ARCHITECTURE = tuple(name for name in ABCFuseNetConfig.__annotations__ if name != "model_type")
RESNET = "microsoft/resnet-50"
"""The weights that the content trunk of `paper` starts from."""
AT_LEAST = {
    "max_train_samples": 1, "max_eval_samples": 1, "working_size": 32, "crop_size": 32, "dropout": 0, "ema_decay": 0,
    "max_train_steps": 1, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "weight_decay": 0,
    "max_grad_norm": 0, "warmup_steps": 0, "seed": 0, "dataloader_num_workers": 0, "logging_steps": 1, "eval_steps": 1,
    "checkpointing_steps": 1, "checkpoints_total_limit": 1,
}  # fmt: skip
ABOVE = {"train_val_split": 0, "num_train_epochs": 0, "learning_rate": 0}
BELOW = {"train_val_split": 1, "dropout": 1, "ema_decay": 1}
LIMITS = ((AT_LEAST, operator.ge, "at least"), (ABOVE, operator.gt, "above"), (BELOW, operator.lt, "below"))
"""The range of each number."""


def option(default, text: str, **more):
    """A field with its help; `more` goes to `ArgumentParser.add_argument`."""
    return field(default=default, metadata={"help": text, **more})


@dataclass
class TrainSettings:
    """The command line of train_accelerate.py: an option per field, its default here and nowhere else."""

    # data
    dataset_name: list[str] | None = option(
        None,
        "data sets in the SmartBlur schema: folders or Hub names; without any, a small one is made to try",
    )
    dataset_revision: str | None = option(None, "revision of the data sets on the Hub")
    cache_dir: str | None = option(None, "where data sets are cached")
    streaming: bool = option(False, "read the train split while training instead of downloading it first")
    train_val_split: float = option(0.1, "share of train to validate on, if no data set has a validation split")
    photos_on_device: bool = option(
        False,
        "keep the photos of train in the memory of the device; blur and augment them there, differently every time",
    )
    max_train_samples: int | None = option(None, "use this many rows of train only")
    max_eval_samples: int = option(150, "photos of each kind in an evaluation")
    output_dir: str = option("out", "where the weights, run.json, metrics.jsonl, curves and samples go")

    # model
    phase: Literal["saliency", "blur", "classifier", "joint", "all"] = option("all", "phase to train, or all")
    recipe: Literal["paper", "ours", "gpu"] = option("ours", "preset of the phases")
    variant: Literal["paper", "mobile", "tiny"] = option("mobile", "the network, unless --model_name_or_path is given")
    model_name_or_path: str | None = option(None, "folder or Hub name of the weights to start from")
    blur_weights: str | None = option(None, "pre-trained weights of the blur trunk")
    content_weights: str | None = option(
        None, f"pre-trained weights of the content trunk; the paper variant takes {RESNET} unless this is none"
    )
    working_size: int = option(
        ABCFuseNetImageProcessor.size["longest_edge"], "long side at which photos are judged [pixels]"
    )
    architecture: list[str] | None = option(
        None, "KEY=VALUE ... of ABCFuseNetConfig, on top of the variant, as in refinement_layers=0"
    )
    dropout: float | None = option(None, "dropout of the classifier, instead of the model's")
    freeze: list[str] | None = option(None, f"parts that do not train, of {', '.join(PARTS)}")
    freeze_batch_norm: bool | None = option(
        None, "yes or no: keep the statistics of BatchNorm, instead of the preset's", nargs="?", const=True
    )

    # optimization
    max_train_steps: int | None = option(None, "steps of each phase, instead of the preset's")
    num_train_epochs: float | None = option(
        None, "epochs of each phase instead of steps; an epoch draws as many photos as there are rows"
    )
    per_device_train_batch_size: int | None = option(
        None, "photos a process takes at once; unset, a step has the preset's batch over all processes"
    )
    gradient_accumulation_steps: int = option(1, "batches of a process in a step")
    learning_rate: float | None = option(None, "learning rate, instead of the preset's")
    weight_decay: float | None = option(None, "weight decay, instead of the preset's")
    max_grad_norm: float = option(1.0, "gradient clipping; 0 for none")
    lr_scheduler_type: Literal["cosine", "linear", "polynomial", "constant_with_warmup", "constant"] = option(
        "cosine", "course of the learning rate after the warm-up"
    )
    warmup_steps: int = option(100, "linear warm-up, a quarter of the steps at most")
    use_ema: bool = option(True, "evaluate and save an exponential moving average of the weights")
    ema_decay: float = option(0.998, "decay of that average")
    crop_size: int | None = option(None, "side of the crops [pixels], a multiple of 32, instead of the preset's")
    augment: bool = option(True, "flip, crop, scale, brightness, contrast and traces of processing, drawn at random")
    seed: int = option(0, "seed of weights, drawing, augmentation and dropout")

    # machine
    cpu: bool = option(False, "train on the CPU even if there is an accelerator")
    mixed_precision: Literal["no", "bf16", "fp16"] | None = option(
        None, "precision of the computations (unset: that of accelerate launch)"
    )
    allow_tf32: bool = option(False, "faster float32 products on Ampere and later GPUs")
    gradient_checkpointing: bool = option(
        False, "less memory, more time (statistics of BatchNorm that are not frozen move twice as fast)"
    )
    torch_compile: bool = option(False, "compile the training step: a minute or more at its start, then faster steps")
    dataloader_num_workers: int = option(1, "processes that decode and augment, for each training process")

    # progress
    logging_steps: int = option(25, "log the loss this often")
    eval_steps: int = option(250, "evaluate on the validation split this often, and at the end")
    checkpointing_steps: int = option(250, "save a checkpoint to resume from this often, and at the end")
    checkpoints_total_limit: int = option(2, "checkpoints of a phase to keep")
    resume_from_checkpoint: str | None = option(None, "a checkpoint folder, or latest")
    report_to: list[str] | None = option(
        None, "trackers of accelerate beside metrics.jsonl, or none (unset: tensorboard if it is installed)"
    )

    # publishing
    push_to_hub: bool = option(False, "upload the result")
    hub_model_id: str | None = option(None, "USER/NAME on the Hub (unset: the name of output_dir)")
    hub_private_repo: bool = option(False, "make the repository private if it is new")
    hub_token: str | None = option(None, "token of the Hub (unset: the one `hf auth login` stored)")

    def record(self) -> dict:
        """The settings as they are kept beside the weights: all but the token."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "hub_token"}

    def phases(self) -> tuple[str, ...]:
        return tuple(RECIPES[self.recipe]) if self.phase == "all" else (self.phase,)

    def preset(self, name: str) -> Phase:
        """The preset of a phase, changed by the settings."""
        phase = RECIPES[self.recipe][name]
        changed = {
            "steps": self.max_train_steps,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "crop": self.crop_size,
            "freeze_batch_norm": self.freeze_batch_norm,
        }
        parts = {part: factor for part, factor in phase.parts.items() if part not in (self.freeze or ())}
        if not parts:
            raise ValueError(f"--freeze leaves the {name} phase nothing to train: it trains {', '.join(phase.parts)}.")
        changed = {key: value for key, value in changed.items() if value is not None}
        return dataclasses.replace(phase, parts=parts, **changed)  # type: ignore[arg-type]  # options of one type each

    def overrides(self) -> dict:
        """`architecture` by key. A value is read as JSON, or as text if it is not JSON.

        Raises ValueError, in one sentence, if the configuration refuses a value."""
        overrides = {}
        for entry in self.architecture or ():
            key, _, value = entry.partition("=")
            if key not in ARCHITECTURE:
                raise ValueError(f"--architecture {entry}: {wrong_name(key, ARCHITECTURE)}")
            with contextlib.suppress(json.JSONDecodeError):
                value = json.loads(value)
            is_float = isinstance(getattr(ABCFuseNetConfig, key), float)
            overrides[key] = float(value) if is_float and isinstance(value, int) else value
        try:
            ABCFuseNetConfig(**VARIANTS[self.variant] | overrides)
        except (TypeError, ValueError, StrictDataclassError) as error:
            raise ValueError(f"--architecture: {str(error).strip().splitlines()[-1].strip()}") from None
        return overrides

    def device_batch(self, phase: Phase, processes: int) -> int:
        """The photos in a batch of one process. Over all processes, a step has the preset's number, or a few more."""
        if self.per_device_train_batch_size:
            return self.per_device_train_batch_size
        return -(-phase.batch_size // (processes * self.gradient_accumulation_steps))

    def with_epochs(self, phase: Phase, rows: int, photos: int) -> Phase:
        """The phase with the steps, of so many photos each, that the epochs asked for take over so many rows."""
        if self.num_train_epochs is None:
            return phase
        return dataclasses.replace(phase, steps=math.ceil(self.num_train_epochs * rows / photos))


def wrong_name(name: str, names) -> str:
    """A sentence's end that tells the name meant, or all there are."""
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}."


def parse_settings(argv: list[str] | None = None, description: str = "") -> TrainSettings:
    """Settings from the command line. Unknown, impossible and contradictory options end the program with a sentence."""
    parser = HfArgumentParser(
        TrainSettings,  # type: ignore[arg-type]  # any dataclass
        prog="train_accelerate.py",
        usage="%(prog)s [OPTIONS]",
        description=description,
        allow_abbrev=False,
    )
    argv = sys.argv[1:] if argv is None else argv
    argv = [re.sub(r"^--[\w-]+", lambda name: "--" + name[0][2:].replace("-", "_"), each) for each in argv]
    settings, unknown = parser.parse_args_into_dataclasses(
        argv, return_remaining_strings=True, look_for_args_file=False
    )
    try:
        if unknown:
            wrong = next((entry for entry in unknown if entry.startswith("-")), unknown[0]).partition("=")[0]
            close = difflib.get_close_matches(wrong, parser._option_string_actions, 1)
            raise ValueError(f"unknown option {wrong}; {f'did you mean {close[0]}?' if close else 'see --help.'}")
        check(settings)
    except ValueError as error:
        parser.error(str(error))
    return settings


def check(settings: TrainSettings) -> None:
    """Raise ValueError, in one sentence that says what to do, for impossible or contradictory options."""
    given = {name for name, value in vars(settings).items() if value != getattr(TrainSettings, name)}
    for limits, holds, words in LIMITS:
        for name, limit in limits.items():
            value = getattr(settings, name)
            if value is not None and not holds(value, limit):
                raise ValueError(f"--{name} {value}: must be {words} {limit}.")
    if settings.crop_size and settings.crop_size % 32:
        raise ValueError(f"--crop_size {settings.crop_size}: must be a multiple of 32.")
    for part in settings.freeze or ():
        if part not in PARTS:
            raise ValueError(f"--freeze {part}: {wrong_name(part, PARTS)}")
    if settings.phase != "all" and settings.phase not in RECIPES[settings.recipe]:
        raise ValueError(
            f"--recipe {settings.recipe} has no phase {settings.phase}; it has {', '.join(RECIPES[settings.recipe])}."
        )
    for name in settings.phases():
        settings.preset(name)
    if settings.architecture:
        settings.overrides()
    contradictions = {
        "model_name_or_path": ("variant", "architecture", "blur_weights", "content_weights"),
        "photos_on_device": ("augment",),
        "num_train_epochs": ("max_train_steps",),
        "streaming": ("train_val_split", "photos_on_device", "num_train_epochs"),
        "use_ema": ("ema_decay",),
    }
    for name, others in contradictions.items():
        for other in (each for each in others if {name, each} <= given):
            one, two = (f"--no_{each}" if each in ("augment", "use_ema") else f"--{each}" for each in (name, other))
            raise ValueError(f"{one} and {two} contradict each other: drop one.")
    if settings.dataset_name is None and given & {"streaming", "dataset_revision"}:
        raise ValueError("--streaming and --dataset_revision need a --dataset_name.")
    if settings.streaming and "classifier" in settings.phases():
        raise ValueError("The classifier phase cannot stream: choose another --phase, or --recipe paper.")
    if not settings.push_to_hub and given & {"hub_model_id", "hub_private_repo", "hub_token"}:
        raise ValueError("Options of the Hub need --push_to_hub: without it nothing is uploaded.")
    trackers = ["none", *(tracker.value for tracker in get_available_trackers())]
    chosen = settings.report_to or []
    for name in chosen:
        if name not in trackers or (name == "none" and len(chosen) > 1):
            wrong, installed = " ".join(chosen), ", ".join(trackers[1:])
            raise ValueError(f"--report_to {wrong}: give none, or some of the installed ones, {installed}.")
    resume = settings.resume_from_checkpoint
    if resume not in (None, "latest") and not (Path(resume) / "extra.pt").is_file():
        raise ValueError(f"--resume_from_checkpoint {resume}: this is no checkpoint folder; give one, or latest.")
    if resume not in (None, "latest") and settings.phase == "all":
        raise ValueError("A checkpoint is of one phase: name it with --phase, or --resume_from_checkpoint latest.")
