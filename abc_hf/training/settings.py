# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The options of train_accelerate.py, each declared once: a field of `TrainSettings`."""

import argparse
import dataclasses
import difflib
import json
import math
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from accelerate.tracking import get_available_trackers
from huggingface_hub.errors import StrictDataclassError

from ..configuration_abc_fusenet import VARIANTS, ABCFuseNetConfig
from ..data.schema import FEATURES
from ..image_processing_abc_fusenet import ABCFuseNetImageProcessor
from .parts import PARTS
from .recipes import RECIPES, Phase

ARCHITECTURE = tuple(name for name in ABCFuseNetConfig.__annotations__ if name != "model_type")
RESNET = "microsoft/resnet-50"
"""What the content trunk of `paper` starts from."""


def option(default, text: str, **limits):
    """A field with its help; `least`, `above`, `most`, `below` bound a number."""
    return field(default=default, metadata={"help": text, **limits})


@dataclass
class TrainSettings:
    """The command line of train_accelerate.py: an option per field, its default here and nowhere else."""

    # data
    dataset_name: list[str] | None = option(
        None, "data sets in the SmartBlur schema: folders or Hub names; without any, a small one is made to try with"
    )
    dataset_config_name: str | None = option(None, "configuration of the data sets")
    dataset_revision: str | None = option(None, "revision of the data sets on the Hub")
    rename_columns: list[str] | None = option(None, f"OLD=NEW ..., to the names of the schema: {', '.join(FEATURES)}")
    cache_dir: str | None = option(None, "where data sets are cached")
    streaming: bool = option(False, "read the train split while training instead of downloading it first")
    train_val_split: float = option(0.1, "share of train to validate on where no split does", above=0, below=1)
    photos_on_device: bool = option(
        False, "keep the photos of train in the memory of the device, and blur and augment them there, ever anew"
    )
    max_train_samples: int | None = option(None, "use this many rows of train only", least=1)
    max_eval_samples: int = option(150, "photos of each kind in an evaluation", least=1)
    output_dir: str = option("out", "where the weights, run.json, metrics.jsonl, curves and samples go")

    # model
    phase: Literal["saliency", "blur", "classifier", "joint", "all"] = option("all", "which stage to train")
    recipe: Literal["paper", "ours", "gpu"] = option("ours", "preset of the stages")
    variant: str = option("mobile", f"{', '.join(VARIANTS)}, when no model is given")
    model_name_or_path: str | None = option(None, "weights to go on from")
    blur_weights: str | None = option(None, "pre-trained weights of the blur trunk")
    content_weights: str | None = option(
        None, f"pre-trained weights of the content trunk; the paper variant takes {RESNET} unless this is none"
    )
    working_size: int = option(
        ABCFuseNetImageProcessor.size["longest_edge"], "long side at which photos are judged [pixels]", least=32
    )
    architecture: list[str] | None = option(
        None, "KEY=VALUE ... of ABCFuseNetConfig, on top of the variant, as in refinement_layers=0"
    )
    dropout: float | None = option(None, "of the classifier, instead of the model's", least=0, below=1)
    freeze: list[str] | None = option(None, f"parts that do not train, of {', '.join(PARTS)}")
    freeze_batch_norm: bool | None = option(
        None, "keep the statistics of BatchNorm while training, instead of what the preset says"
    )

    # optimization
    max_train_steps: int | None = option(None, "steps of each phase, instead of the preset's", least=1)
    num_train_epochs: float | None = option(
        None, "the same in epochs: as many photos are drawn as there are rows that take part", above=0
    )
    per_device_train_batch_size: int | None = option(
        None, "photos a process takes at once; unset, a step has the preset's batch over all processes", least=1
    )
    gradient_accumulation_steps: int = option(1, "batches of a process in a step", least=1)
    learning_rate: float | None = option(None, "instead of the preset's", above=0)
    scale_lr: bool = option(
        False, "multiply the rate by the photos of a step over those of the preset's (the classifier phase has its own)"
    )
    learning_rate_factors: list[str] | None = option(None, "PART=FACTOR ... on the rate, instead of the preset's")
    layer_decay: float = option(
        1.0, "factor on the rate from a block of a trunk to the one before it; 1 for none", above=0, most=1
    )
    weight_decay: float | None = option(None, "instead of the preset's", least=0)
    adam_beta1: float = option(0.9, "of Adam", least=0, below=1)
    adam_beta2: float = option(0.999, "of Adam", least=0, below=1)
    adam_epsilon: float = option(1e-8, "of Adam", above=0)
    max_grad_norm: float = option(1.0, "gradient clipping; 0 for none", least=0)
    lr_scheduler_type: Literal["cosine", "linear", "polynomial", "constant_with_warmup", "constant"] = option(
        "cosine", "how the rate goes on after the warm-up"
    )
    warmup_steps: int = option(100, "linear warm-up, a quarter of the steps at most", least=0)
    use_ema: bool = option(True, "evaluate and save an exponential moving average of the weights")
    ema_decay: float = option(0.998, "of that average", least=0, below=1)
    crop_size: int | None = option(
        None, "side of the crops [pixels], a multiple of 32, instead of the preset's", least=32
    )
    augment: bool = option(True, "flip, crop, scale, brightness, contrast and traces of processing, drawn at random")
    seed: int = option(0, "of weights, drawing, augmentation and dropout", least=0)

    # machine
    cpu: bool = option(False, "train on the CPU even if there is something faster")
    mixed_precision: Literal["no", "bf16", "fp16"] | None = option(
        None, "autocast (unset: as accelerate launch has it)"
    )
    allow_tf32: bool = option(False, "faster float32 products on Ampere and later GPUs")
    gradient_checkpointing: bool = option(
        False, "less memory, more time (statistics of BatchNorm that are not frozen move twice as fast)"
    )
    torch_compile: bool = option(False, "compile the training step: a minute or more at its start, then faster steps")
    dataloader_num_workers: int = option(1, "processes that decode and augment, for each training process", least=0)

    # progress
    logging_steps: int = option(25, "log the loss this often", least=1)
    eval_steps: int = option(250, "evaluate on the validation split this often, and at the end", least=1)
    checkpointing_steps: int = option(250, "save a checkpoint to resume from this often, and at the end", least=1)
    checkpoints_total_limit: int = option(2, "checkpoints of a phase to keep", least=1)
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
        """The preset of a phase with what the settings change in it."""
        phase = RECIPES[self.recipe][name]
        changed = {
            "steps": self.max_train_steps,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "crop": self.crop_size,
            "freeze_batch_norm": self.freeze_batch_norm,
        }
        factors = phase.parts | {part: factor for part, factor in self.factors().items() if part in phase.parts}
        parts = {part: factor for part, factor in factors.items() if part not in (self.freeze or ())}
        if not parts:
            raise ValueError(f"--freeze leaves the {name} phase nothing to train: it trains {', '.join(phase.parts)}.")
        changed = {key: value for key, value in changed.items() if value is not None}
        return dataclasses.replace(phase, parts=parts, **changed)

    def factors(self) -> dict[str, float]:
        """`learning_rate_factors` by part; raises ValueError, in one sentence, for anything but PART=FACTOR."""
        factors = {}
        for entry in self.learning_rate_factors or ():
            part, _, factor = entry.partition("=")
            try:
                factors[part] = float(factor)
            except ValueError:
                raise ValueError(f"--learning_rate_factors {entry}: write PART=FACTOR, as in blur_trunk=0.1.") from None
            if part not in PARTS:
                raise ValueError(f"--learning_rate_factors {entry}: {wrong_name(part, PARTS)}")
        return factors

    def overrides(self) -> dict:
        """`architecture` by key; a value is read as JSON, and as text where it is none.

        Raises ValueError, in one sentence, for what the configuration refuses."""
        overrides = {}
        for entry in self.architecture or ():
            key, _, value = entry.partition("=")
            if key not in ARCHITECTURE:
                raise ValueError(f"--architecture {entry}: {wrong_name(key, ARCHITECTURE)}")
            try:
                value = json.loads(value)
            except json.JSONDecodeError:
                pass
            is_float = isinstance(getattr(ABCFuseNetConfig, key), float)
            overrides[key] = float(value) if is_float and isinstance(value, int) else value
        try:
            ABCFuseNetConfig(**VARIANTS[self.variant] | overrides)
        except (TypeError, ValueError, StrictDataclassError) as error:
            raise ValueError(f"--architecture: {str(error).strip().splitlines()[-1].strip()}") from None
        return overrides

    def renamed(self) -> dict[str, str]:
        """`rename_columns` by the old name; raises ValueError, in one sentence, for what is no column of the schema."""
        pairs = [entry.partition("=") for entry in self.rename_columns or ()]
        for old, _, new in pairs:
            if new not in FEATURES:
                raise ValueError(f"--rename_columns {old}={new}: {wrong_name(new, FEATURES)}")
        return {old: new for old, _, new in pairs}

    def device_batch(self, phase: Phase, processes: int) -> int:
        """Photos in a batch of one process: a step has the preset's number over all processes, or a few more."""
        if self.per_device_train_batch_size:
            return self.per_device_train_batch_size
        return -(-phase.batch_size // (processes * self.gradient_accumulation_steps))

    def with_epochs(self, phase: Phase, rows: int, photos: int) -> Phase:
        """The phase with the steps, of so many photos each, that the epochs asked for take over so many rows."""
        if self.num_train_epochs is None:
            return phase
        return dataclasses.replace(phase, steps=math.ceil(self.num_train_epochs * rows / photos))

    def with_scaled_rate(self, phase: Phase, photos: int) -> Phase:
        """The phase with the learning rate that `scale_lr` makes of the preset's for steps of so many photos."""
        if not self.scale_lr:
            return phase
        return dataclasses.replace(phase, learning_rate=phase.learning_rate * photos / phase.batch_size)


def wrong_name(name: str, names) -> str:
    """A sentence's end that tells the name meant, or all there are."""
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(names)}."


def parse_settings(argv: list[str] | None = None, description: str = "") -> TrainSettings:
    """Settings from the command line. Unknown, impossible and contradictory options end the program with a sentence."""
    parser = argparse.ArgumentParser(
        "train_accelerate.py", "%(prog)s [OPTIONS]", description, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    for each in dataclasses.fields(TrainSettings):
        kind, options = typing.get_type_hints(TrainSettings)[each.name], {"help": each.metadata["help"]}
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = typing.get_args(kind)[0]
        if each.default is not None:
            options["help"] += f" (default: {each.default})"
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is Literal:
            options["choices"] = typing.get_args(kind)
        elif typing.get_origin(kind) is list:
            options["nargs"] = "+"
        else:
            options["type"] = kind
        parser.add_argument(f"--{each.name}", **options)
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        names = [name for action in parser._actions for name in action.option_strings]
        wrong = next((entry for entry in unknown if entry.startswith("-")), unknown[0]).partition("=")[0]
        close = difflib.get_close_matches(wrong, names, 1)
        parser.error(f"unknown option {wrong}; " + (f"did you mean {close[0]}?" if close else "see --help."))
    settings = TrainSettings(**vars(given))
    try:
        check(settings, set(vars(given)))
    except ValueError as error:
        parser.error(str(error))
    return settings


def check(settings: TrainSettings, given: set[str]) -> None:
    """Raise ValueError, in one sentence that says what to do, for options that cannot be or contradict each other."""
    for each in dataclasses.fields(settings):
        value, limits = getattr(settings, each.name), each.metadata
        tests = (
            ("least", lambda a, b: a >= b, "at least"),
            ("above", lambda a, b: a > b, "above"),
            ("below", lambda a, b: a < b, "below"),
            ("most", lambda a, b: a <= b, "at most"),
        )
        for limit, holds, words in tests:
            if value is not None and limit in limits and not holds(value, limits[limit]):
                raise ValueError(f"--{each.name} {value}: must be {words} {limits[limit]}.")
    if settings.variant not in VARIANTS:
        raise ValueError(f"--variant {settings.variant}: {wrong_name(settings.variant, VARIANTS)}")
    if settings.crop_size and settings.crop_size % 32:
        raise ValueError(f"--crop_size {settings.crop_size}: must be a multiple of 32.")
    for part in settings.freeze or ():
        if part not in PARTS:
            raise ValueError(f"--freeze {part}: {wrong_name(part, PARTS)}")
        if part in settings.factors():
            raise ValueError(f"--freeze {part} and a --learning_rate_factors of it contradict each other: drop one.")
    if settings.phase != "all" and settings.phase not in RECIPES[settings.recipe]:
        raise ValueError(
            f"--recipe {settings.recipe} has no phase {settings.phase}; it has {', '.join(RECIPES[settings.recipe])}."
        )
    for name in settings.phases():
        settings.preset(name)
    settings.renamed()
    if settings.architecture:
        settings.overrides()
    contradictions: tuple[tuple, ...] = (
        (
            settings.model_name_or_path,
            "model_name_or_path",
            ("variant", "architecture", "blur_weights", "content_weights"),
        ),
        (not settings.use_ema, "no-use_ema", ("ema_decay",)),
        (not settings.augment, "no-augment", ("photos_on_device",)),
        (settings.num_train_epochs is not None, "num_train_epochs", ("max_train_steps",)),
        (settings.streaming, "streaming", ("train_val_split", "photos_on_device")),
        (settings.dataset_name is None, "dataset_name missing", ("dataset_config_name", "dataset_revision")),
        (settings.lr_scheduler_type == "constant", "lr_scheduler_type constant", ("warmup_steps",)),
    )
    for holds, name, others in contradictions:
        for other in others:
            if holds and other in given:
                raise ValueError(f"--{name} and --{other} contradict each other: drop one.")
    if settings.streaming and settings.dataset_name is None:
        raise ValueError("--streaming needs a --dataset_name to stream.")
    if settings.streaming and settings.num_train_epochs is not None:
        raise ValueError("How long a stream is is not known: give --max_train_steps instead of --num_train_epochs.")
    if settings.streaming and "classifier" in settings.phases():
        raise ValueError("The classifier phase cannot stream: choose another --phase, or --recipe paper.")
    if not settings.push_to_hub and {"hub_model_id", "hub_private_repo", "hub_token"} & given:
        raise ValueError("Options of the Hub were given, but nothing is to be uploaded: add --push_to_hub.")
    trackers = [str(tracker.value) for tracker in get_available_trackers()]
    for name in settings.report_to or ():
        if name not in ("none", *trackers):
            raise ValueError(
                f"--report_to {name}: no such tracker is installed; there is {', '.join(trackers) or 'none'}."
            )
    if settings.report_to and "none" in settings.report_to and len(settings.report_to) > 1:
        raise ValueError("--report_to none goes with no other tracker.")
    resume = settings.resume_from_checkpoint
    if resume not in (None, "latest") and not (Path(resume) / "extra.pt").is_file():
        raise ValueError(f"--resume_from_checkpoint {resume}: this is no checkpoint folder; give one, or latest.")
    if resume not in (None, "latest") and settings.phase == "all":
        raise ValueError("A checkpoint is of one phase: name it with --phase, or --resume_from_checkpoint latest.")
