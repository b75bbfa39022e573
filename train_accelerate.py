"""Train ABC-FuseNet: `accelerate launch train_accelerate.py --dataset_name FOLDER_OR_NAME --output_dir DIR`.

The paper's three phases, each a preset in abc_hf/training.py: saliency (attention learns salient objects), blur (the
blur map learns levels) and joint (everything, with the desirability of the photo). The best weights by the validation
split are kept, with the run's settings and scores beside them.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import time
import types
import typing
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, set_seed
from datasets import concatenate_datasets, load_dataset
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from abc_hf.configuration_abc_fusenet import VARIANTS, ABCFuseNetConfig
from abc_hf.data import StepSampler, TrainingPhotos, rows_by_group
from abc_hf.evaluation import evaluate, predict, selection_score
from abc_hf.image_processing_abc_fusenet import ABCFuseNetImageProcessor
from abc_hf.modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding
from abc_hf.training import (
    RECIPES,
    MovingAverage,
    TrainSettings,
    fit_classifier,
    fit_temperature,
    fusion_inputs,
    load_trunk_weights,
    parameter_groups,
    train_mode,
)

MOST_ROWS = 1500
"""Rows of each group that the classifier's features are kept of (0.4 MB each)."""


def parse_settings(argv: list[str] | None = None) -> TrainSettings:
    """An option per field of TrainSettings; anything else is refused."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    for field in dataclasses.fields(TrainSettings):
        kind, options = typing.get_type_hints(TrainSettings)[field.name], {"help": field.metadata["help"]}
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = typing.get_args(kind)[0]
        if typing.get_origin(kind) is typing.Literal:
            options["choices"], kind = typing.get_args(kind), str
        if typing.get_origin(kind) is list:
            options["nargs"], kind = "+", str
        if field.default is dataclasses.MISSING:
            options["required"] = True
        else:
            options["default"] = field.default
            options["help"] += " (default: %(default)s)"
        parser.add_argument(f"--{field.name}", type=kind, **options)
    settings = TrainSettings(**vars(parser.parse_args(argv)))
    if settings.variant not in VARIANTS:
        parser.error(f"--variant {settings.variant}: choose one of {', '.join(VARIANTS)}.")
    return settings


def load_splits(names: list[str]):
    """The train and validation splits of all data sets together."""
    loaded = [load_dataset(name) for name in names]
    return tuple(concatenate_datasets([d[split] for d in loaded if split in d]) for split in ("train", "validation"))


def build_model(settings: TrainSettings) -> ABCFuseNetForBlurUnderstanding:
    if settings.model_name_or_path:
        return ABCFuseNetForBlurUnderstanding.from_pretrained(settings.model_name_or_path, dtype=torch.float32)
    model = ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig(**VARIANTS[settings.variant]))
    for name, source in (("blur", settings.blur_weights), ("content", settings.content_weights)):
        if source:
            load_trunk_weights(model.abc_fusenet.trunks[name], source)
    return model


def code_version() -> str:
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return answer.stdout.strip() or "unknown"


def save(model, processor, folder: Path, record: dict) -> None:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n")


def log_scores(entry: dict, settings: TrainSettings, history: list) -> None:
    history.append(entry)
    with (Path(settings.output_dir) / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")
    tqdm.write(json.dumps(entry))


def train_phase(name: str, model, processor, splits, settings: TrainSettings, accelerator: Accelerator, history: list):
    """Train one phase; returns the model with the best weights by the validation split."""
    train, validation = splits
    phase = RECIPES[settings.recipe][name]
    phase = dataclasses.replace(
        phase,
        steps=settings.max_train_steps or phase.steps,
        batch_size=settings.per_device_train_batch_size or phase.batch_size,
        learning_rate=settings.learning_rate or phase.learning_rate,
    )
    print(f"phase {name}: {phase}")
    out = Path(settings.output_dir)
    groups = rows_by_group(train, name, phase.mix)
    print("rows:", {group: len(rows) for group, rows in groups.items()})

    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(parameter_groups(model, phase, phase.learning_rate, phase.weight_decay))
    scheduler = get_cosine_schedule_with_warmup(optimizer, min(settings.warmup_steps, phase.steps // 4), phase.steps)
    average = MovingAverage(model, settings.ema_decay)
    model, optimizer, scheduler = accelerator.prepare(model, optimizer, scheduler)
    average.model.to(accelerator.device)

    progress = {"step": 0, "best": float("-inf")}
    checkpoints = out / "checkpoints" / name
    if settings.resume_from_checkpoint:
        chosen = Path(settings.resume_from_checkpoint)
        if settings.resume_from_checkpoint == "latest":
            found = sorted(checkpoints.glob("step-*"))
            chosen = found[-1] if found else None
        if chosen is not None:
            accelerator.load_state(chosen)
            extra = torch.load(chosen / "extra.pt", weights_only=True)
            average.load_state_dict(extra["average"])
            progress = extra["progress"]
            print(f"going on from {chosen}")

    photos = TrainingPhotos(train, processor, name, phase.crop, phase.scales, settings.seed)
    first, last = progress["step"] * phase.batch_size, phase.steps * phase.batch_size
    loader = torch.utils.data.DataLoader(
        photos,
        sampler=StepSampler(groups, phase.mix, settings.seed, first, last),
        batch_size=phase.batch_size,
        num_workers=settings.dataloader_num_workers,
    )
    unwrapped = accelerator.unwrap_model(model)
    losses, waited, started = [], 0.0, time.perf_counter()
    bar = tqdm(total=phase.steps, initial=progress["step"], desc=name, disable=not accelerator.is_main_process)
    batches = iter(loader)
    for step in range(progress["step"] + 1, phase.steps + 1):
        mark = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - mark
        train_mode(unwrapped, phase)
        pixel_values = batch["pixel_values"].to(accelerator.device, memory_format=torch.channels_last)
        labels = {key: batch[key].to(accelerator.device) for key in phase.losses}
        with accelerator.autocast():
            output = model(pixel_values, branches=phase.branches, **labels)
        accelerator.backward(output.loss)
        accelerator.clip_grad_norm_(unwrapped.parameters(), settings.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        average.update(unwrapped)
        losses.append(float(output.loss.detach()))
        bar.update()
        bar.set_postfix(loss=f"{sum(losses[-50:]) / len(losses[-50:]):.4f}")

        if step % settings.eval_steps == 0 or step == phase.steps:
            scores = evaluate(average.model, processor, validation, phase.branches, settings.max_eval_samples)
            best = selection_score(scores, phase.branches)
            entry = {
                "phase": name,
                "step": step,
                "loss": sum(losses[-200:]) / len(losses[-200:]),
                "seconds": round(time.perf_counter() - started, 1),
                "waiting_share": round(waited / (time.perf_counter() - started), 3),
                "selection": best,
                **scores,
            }
            log_scores(entry, settings, history)
            if best > progress["best"]:
                progress["best"] = best
                record = {"settings": dataclasses.asdict(settings), "code": code_version(), "scores": entry}
                save(average.model, processor, out / f"best-{name}", record)
        if step % settings.checkpointing_steps == 0:
            progress["step"] = step
            folder = checkpoints / f"step-{step:06d}"
            accelerator.save_state(folder)
            torch.save({"average": average.state_dict(), "progress": progress}, folder / "extra.pt")
    bar.close()
    return ABCFuseNetForBlurUnderstanding.from_pretrained(out / f"best-{name}", dtype=torch.float32)


def train_classifier(model, processor, splits, settings: TrainSettings, accelerator: Accelerator, history: list):
    """The classifier alone, on what the frozen branches make of whole photos."""
    train, validation = splits
    phase = RECIPES[settings.recipe]["classifier"]
    phase = dataclasses.replace(phase, steps=settings.max_train_steps or phase.steps)
    print(f"phase classifier: {phase}")
    groups = rows_by_group(train, "classifier", phase.mix)
    groups = {name: chosen[:: -(-len(chosen) // MOST_ROWS)] for name, chosen in groups.items()}
    rows = [int(row) for chosen in groups.values() for row in chosen]
    weights = [phase.mix[name] / len(chosen) for name, chosen in groups.items() for _ in chosen]
    model = model.to(accelerator.device, memory_format=torch.channels_last)
    cached = fusion_inputs(model, processor, train.select(rows))
    model.classifier.train()
    fit_classifier(model.classifier, cached, phase, weights, settings.seed)
    scores = evaluate(model.eval(), processor, validation, phase.branches, settings.max_eval_samples)
    entry = {"phase": "classifier", "step": phase.steps, "selection": selection_score(scores, phase.branches), **scores}
    log_scores(entry, settings, history)
    record = {"settings": dataclasses.asdict(settings), "code": code_version(), "scores": entry}
    save(model, processor, Path(settings.output_dir) / "best-classifier", record)
    return model


def calibrate(model, processor, validation) -> float:
    """Set the temperature from the real photos of the validation split; returns it."""
    logits, labels = [], []
    for row in validation.filter(lambda source: not source.startswith("synth/"), input_columns="source"):
        if row["desirability"] is not None:
            logits.append(predict(model, processor, row["image"].convert("RGB"))["logits"])
            labels.append(row["desirability"])
    temperature = fit_temperature(torch.from_numpy(np.stack(logits)) * model.config.temperature, torch.tensor(labels))
    model.config.temperature = temperature
    return temperature


def main(argv: list[str] | None = None) -> None:
    settings = parse_settings(argv)
    out = Path(settings.output_dir)
    out.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision, project_config=ProjectConfiguration(project_dir=settings.output_dir)
    )
    set_seed(settings.seed)
    splits = load_splits(settings.dataset_name)
    processor = ABCFuseNetImageProcessor(size={"longest_edge": settings.working_size})
    model = build_model(settings)
    history: list[dict] = []
    for name in RECIPES[settings.recipe] if settings.phase == "all" else (settings.phase,):
        if name == "classifier":
            model = train_classifier(model, processor, splits, settings, accelerator, history)
        else:
            model = train_phase(name, model, processor, splits, settings, accelerator, history)
        accelerator.free_memory()
    if settings.phase in ("all", "classifier", "joint"):
        temperature = calibrate(model.eval(), processor, splits[1])
        print(f"temperature {temperature:.3f}")
    record = {"settings": dataclasses.asdict(settings), "code": code_version(), "command": sys.argv, "history": history}
    save(model, processor, out, record)
    print(f"trained weights: {out}")


if __name__ == "__main__":
    main()
