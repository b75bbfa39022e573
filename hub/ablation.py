# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The ablation of the paper's Figure 9, and of the blur branch's parts: `python -m hub.ablation WEIGHTS --dataset ...`.

WEIGHTS is a run's folder of trained blur and attention branches with a content trunk (`best-blur`). Baselines 2 to 5
and the network before joint training freeze them and train the classifier alone, on features computed once: same
photos, same steps, several seeds. `--verdicts NAME=RUN` and `--maps NAME=RUN` add what train_accelerate.py trained from
end to end, from its run.json: baseline 1, joint training, and blur branches that lack a part. Writes ablation.json and
ablation.png.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from datasets import concatenate_datasets, load_dataset

from abc_hf.configuration_abc_fusenet import DESIRABILITY, MAPS
from abc_hf.data import classifier_rows
from abc_hf.image_processing_abc_fusenet import ABCFuseNetImageProcessor
from abc_hf.metrics import class_scores
from abc_hf.modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding, DesirabilityClassifier
from abc_hf.plots import grouped_bars
from abc_hf.training import OURS, fit_classifier, fusion_inputs, seed_dropout

BASELINES = {
    "2: B": ("blur",),
    "3: B + C": ("blur", "content"),
    "4: B + A": ("blur", "attention"),
    "5: B + A + C": ("blur", "attention", "content"),
    "ABC-FuseNet, branches frozen": ("blur_attended", "blur_unattended", "content"),
}
"""What each stacks (section 5.2 of the paper)."""
VERDICT_MEASURES, MAP_MEASURES = ("accuracy", "kappa", "macro_f1"), ("pooled_auc", "per_photo_auc", "per_photo_ap")


def channels_of(chosen: tuple[str, ...], content_channels: int) -> list[int]:
    """Channels of a stack of all `MAPS`, in their order, that hold the chosen ones."""
    widths = {name: content_channels if name == "content" else 1 for name in MAPS}
    starts = dict(zip(MAPS, np.cumsum([0, *widths.values()]).tolist(), strict=False))
    return [channel for name in chosen for channel in range(starts[name], starts[name] + widths[name])]


def classify(config, chosen, cached, weights, held, phase, seed: int) -> dict[str, float]:
    """Train the classifier on the chosen maps of `cached`, and score it on `held`; both are of `fusion_inputs`."""
    content = cached[0][0].shape[0] - (len(MAPS) - 1)
    channels = channels_of(chosen, content)
    config = type(config)(**config.to_diff_dict() | {"fusion_inputs": chosen})
    seed_dropout(seed)
    classifier = DesirabilityClassifier(config, content).train()
    fit_classifier(classifier, [(stack[channels], label) for stack, label in cached], phase, weights, seed)
    classifier.eval()
    with torch.inference_mode():
        chances = torch.cat([classifier(stack[channels][None].float()).softmax(1) for stack, _ in held])
    scores = class_scores(np.array([label for _, label in held]), chances.numpy(), DESIRABILITY)
    return {name: float(scores[name]) for name in VERDICT_MEASURES}


def last_scores(run: Path, part: str, measures: tuple[str, ...]) -> dict[str, float]:
    """Scores of the validation split where a run ended, from its run.json."""
    history = [entry for entry in json.loads((run / "run.json").read_text())["history"] if part in entry]
    if not history:
        raise ValueError(f"{run / 'run.json'} holds no {part}: this is no run of that kind.")
    return {name: history[-1][part][name] for name in measures}


def named(entry: str) -> tuple[str, Path]:
    name, equals, run = entry.rpartition("=")
    if not equals or not (Path(run) / "run.json").is_file():
        raise argparse.ArgumentTypeError(f"{entry}: write NAME=RUN with the folder of a finished run.")
    return name, Path(run)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m hub.ablation", description=__doc__.split("\n\n")[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--dataset", required=True, nargs="+")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=OURS["classifier"].steps)
    parser.add_argument("--rows", type=int, default=1500, help="photos of each group at most")
    parser.add_argument("--verdicts", type=named, nargs="*", default=[], metavar="NAME=RUN")
    parser.add_argument("--maps", type=named, nargs="*", default=[], metavar="NAME=RUN")
    args = parser.parse_args(argv)

    model = ABCFuseNetForBlurUnderstanding.from_pretrained(args.weights, dtype=torch.float32)
    model = model.eval().to(memory_format=torch.channels_last)
    processor = ABCFuseNetImageProcessor.from_pretrained(args.weights)
    splits = [load_dataset(name) for name in args.dataset]
    train = concatenate_datasets([each["train"] for each in splits])
    held = splits[0]["validation"].filter(lambda label: label is not None, input_columns="desirability")
    phase = dataclasses.replace(OURS["classifier"], steps=args.steps)
    rows, weights = classifier_rows(train, phase.mix, args.rows)

    model.config.fusion_inputs = MAPS  # of what is stacked, each baseline takes its own
    cached, held = (fusion_inputs(model, processor, part) for part in (train.select(rows), held))
    verdicts = {}
    for name, chosen in BASELINES.items():
        seeds = [classify(model.config, chosen, cached, weights, held, phase, seed) for seed in range(args.seeds)]
        verdicts[name] = {measure: [scores[measure] for scores in seeds] for measure in VERDICT_MEASURES}
        print(name, *(f"{measure} {np.mean(values):.3f}" for measure, values in verdicts[name].items()))
    for name, run in args.verdicts:
        scores = last_scores(run, "desirability_real", VERDICT_MEASURES)
        verdicts.setdefault(name, {measure: [] for measure in VERDICT_MEASURES})
        for measure, value in scores.items():
            verdicts[name][measure].append(value)
    maps = {name: last_scores(run, "blur_real", MAP_MEASURES) for name, run in args.maps}
    args.out.mkdir(parents=True, exist_ok=True)
    result = {"photos": len(held), "train": len(cached), "steps": args.steps, "verdicts": verdicts, "maps": maps}
    (args.out / "ablation.json").write_text(json.dumps(result, indent=2) + "\n")
    figure = grouped_bars(
        verdicts, VERDICT_MEASURES[:2], "What the verdict needs", f"{len(held)} real validation photos"
    )
    figure.savefig(args.out / "ablation.png")


if __name__ == "__main__":
    main()
