"""The ablation of the paper's Figure 9, and of the blur branch's parts: `python -m tests.benchmarks.ablation WEIGHTS
--dataset ...`.

WEIGHTS is a run's folder of trained blur and attention branches with a content trunk (`best-blur`). They are frozen,
and for each baseline the classifier alone is trained on features computed once: same photos, same steps, several
seeds. `--starts` keeps these networks, for `train_accelerate.py --phase joint` to train on from end to end, and
`--verdicts NAME=RUN` scores what came of them. `--maps NAME=RUN` adds what runs of the blur phase, with and without its
parts, say in their run.json. Writes ablation.json, ablation.md, verdicts.png and maps.png.
"""

import argparse
import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from datasets import concatenate_datasets

from abc_hf.common.text import markdown
from abc_hf.configuration_abc_fusenet import DESIRABILITY, MAPS
from abc_hf.data.splits import open_splits
from abc_hf.evaluation import plots
from abc_hf.evaluation.metrics import class_scores
from abc_hf.image_processing_abc_fusenet import ABCFuseNetImageProcessor
from abc_hf.modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding, DesirabilityClassifier
from abc_hf.training.batches import classifier_rows, seed_dropout
from abc_hf.training.classifier import FusedPhoto, fit_classifier, fuse_rows
from abc_hf.training.parts import load_trunk_weights, parts_of
from abc_hf.training.recipes import OURS

BASELINES = {
    "1: C": ("content",),
    "2: B": ("blur",),
    "3: B + C": ("blur", "content"),
    "4: B + A": ("blur", "attention"),
    "5: B + A + C": ("blur", "attention", "content"),
    "6: B x A + B x (1 - A) + C": ("blur_attended", "blur_unattended", "content"),
}
"""What each stacks (section 5.2 of the paper); the last is the network itself, before joint training."""
WITHOUT_SALIENCY = "6, A not pre-trained"
VERDICT_MEASURES, MAP_MEASURES = ("accuracy", "kappa", "macro_f1"), ("pooled_auc", "per_photo_auc", "per_photo_ap")


def channels_of(chosen: tuple[str, ...], content_channels: int) -> list[int]:
    """Channels of a stack of all `MAPS`, in their order, that hold the chosen ones."""
    widths = {name: content_channels if name == "content" else 1 for name in MAPS}
    starts = dict(zip(MAPS, np.cumsum([0, *widths.values()]).tolist(), strict=False))
    return [channel for name in chosen for channel in range(starts[name], starts[name] + widths[name])]


def with_maps(photos: list[FusedPhoto], chosen: tuple[str, ...]) -> list[FusedPhoto]:
    """The photos with the chosen maps alone, of all `MAPS`."""
    channels = channels_of(chosen, photos[0].stacked.shape[0] - (len(MAPS) - 1))
    return [dataclasses.replace(photo, stacked=photo.stacked[channels]) for photo in photos]


def fitted(config, chosen, photos: list[FusedPhoto], weights, phase, seed: int) -> DesirabilityClassifier:
    """The classifier of the chosen maps, trained on photos that have all `MAPS`. It has no blur profile, as in the
    paper."""
    content = photos[0].stacked.shape[0] - (len(MAPS) - 1)
    seed_dropout(seed)
    changed = {"fusion_inputs": chosen, "blur_profile": False}
    classifier = DesirabilityClassifier(type(config)(**config.to_diff_dict() | changed), content, 0)
    fit_classifier(classifier.train(), with_maps(photos, chosen), phase, weights, seed)
    return classifier.eval()


@torch.inference_mode()
def verdict_scores(classifier, chosen, held: list[FusedPhoto], truth: list[int]) -> dict[str, float]:
    """The scores of the classifier of the chosen maps on photos that have all `MAPS`."""
    held = with_maps(held, chosen)
    logits = [classifier(photo.stacked[None].float(), photo.profile[None])[0] for photo in held]
    scores = class_scores(np.array(truth), torch.cat(logits).softmax(1).numpy(), DESIRABILITY)
    return {name: float(scores[name]) for name in VERDICT_MEASURES}


def without_saliency(model, content_weights: str):
    """The network with its blur branch alone: the trunk of C is as it was downloaded, and A is random."""
    seed_dropout(0)
    fresh = type(model)(model.config)
    load_trunk_weights(fresh.abc_fusenet.trunks["content"], content_weights)
    for name in ("blur_trunk", "blur_branch"):
        parts_of(fresh)[name].load_state_dict(parts_of(model)[name].state_dict())
    return fresh.to(memory_format=torch.channels_last)


def last_scores(run: Path, part: str, measures: tuple[str, ...]) -> dict[str, list[float]]:
    """Scores of the validation split where a run ended, from its run.json, as those of one seed."""
    history = [entry for entry in json.loads((run / "run.json").read_text())["history"] if part in entry]
    if not history:
        raise ValueError(f"{run / 'run.json'} holds no {part}: this is no run of that kind.")
    return {name: [history[-1][part][name]] for name in measures}


def score_table(scores: dict[str, dict[str, list[float]]], measures: tuple[str, ...]) -> list[str]:
    """Lines of a table in Markdown: the mean over seeds, and where there are several the standard deviation."""

    def cell(values: list[float]) -> str:
        return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")

    rows = [[name, str(len(row[measures[0]])), *(cell(row[each]) for each in measures)] for name, row in scores.items()]
    return markdown(["", "seeds", *measures], rows)


def load(folder: Path) -> ABCFuseNetForBlurUnderstanding:
    model = ABCFuseNetForBlurUnderstanding.from_pretrained(folder, dtype=torch.float32)
    return model.eval().to(memory_format=torch.channels_last)


def named(needed: str, entry: str) -> tuple[str, Path]:
    """NAME=RUN taken apart; the folder must hold the file that is needed."""
    name, equals, run = entry.rpartition("=")
    if not equals or not (Path(run) / needed).is_file():
        raise argparse.ArgumentTypeError(f"{entry}: write NAME=RUN with the folder of a finished run.")
    return name, Path(run)


def grouped_bars(scores: dict[str, dict[str, list[float]]], measures: tuple[str, ...], title: str, note: str):
    """Bars of several measures for each name, the mean over seeds, with a dot for every seed."""
    figure, axes = plots.chart(8.2, 0.9 + 0.55 * len(scores))
    high = 0.8 / len(measures)
    for place, (measure, color) in enumerate(zip(measures, plots.METHOD_COLORS, strict=False)):
        at = np.arange(len(scores)) + (place - (len(measures) - 1) / 2) * high
        values = [row[measure] for row in scores.values()]
        means = [float(np.mean(each)) for each in values]
        axes.barh(at, means, high * 0.9, color=color, label=measure)
        for y, each, mean in zip(at, values, means, strict=True):
            axes.plot(each, [y] * len(each), "o", ms=3, color=plots.INK, mec="white", mew=0.5)
            axes.text(max(each) + 0.012, y, f"{mean:.3f}", va="center", fontsize=9, color=plots.INK)
    axes.set(yticks=range(len(scores)), yticklabels=list(scores), xlim=(0, 1))
    axes.invert_yaxis()
    axes.legend(
        frameon=False, fontsize=9, labelcolor=plots.INK, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(measures)
    )
    plots.styled(figure, axes, title, note)
    return figure


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ablation", description=__doc__.split("\n\n")[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--dataset", required=True, nargs="+", help="the first one's validation split is scored")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=OURS["classifier"].steps)
    parser.add_argument("--rows", type=int, default=1500, help="photos of each group at most")
    parser.add_argument("--working_size", type=int, help="long side of photos [pixels], instead of that of the weights")
    parser.add_argument("--content_weights", help="what C's trunk began as: adds the network without pre-trained A")
    parser.add_argument(
        "--starts",
        type=Path,
        help="keep the networks there, as NUMBER-SEED; what is there already is not trained again",
    )
    parser.add_argument("--verdicts", type=partial(named, "config.json"), nargs="*", default=[], metavar="NAME=RUN")
    parser.add_argument("--maps", type=partial(named, "run.json"), nargs="*", default=[], metavar="NAME=RUN")
    args = parser.parse_args(argv)

    model = load(args.weights)
    size = {"size": {"longest_edge": args.working_size}} if args.working_size else {}
    processor = ABCFuseNetImageProcessor.from_pretrained(args.weights, **size)
    splits = [open_splits(name) for name in args.dataset]
    train = concatenate_datasets([each["train"] for each in splits])
    held = splits[0]["validation"].filter(lambda label: label is not None, input_columns="desirability")
    phase = dataclasses.replace(OURS["classifier"], steps=args.steps)
    rows, weights = classifier_rows(train, phase, args.rows)

    def features(network, photos):
        network.config.fusion_inputs = MAPS  # of what is stacked, each baseline takes its own
        return fuse_rows(network, processor, photos)

    verdicts = {}

    def add(name: str, classifier, chosen, judged):
        row = verdicts.setdefault(name, {measure: [] for measure in VERDICT_MEASURES})
        for measure, value in verdict_scores(classifier, chosen, judged, held["desirability"]).items():
            row[measure].append(value)

    def compare(network, baselines: dict[str, tuple[str, ...]]):
        judged, cached = features(network, held), None
        for name, chosen in baselines.items():
            for seed in range(args.seeds):
                kept = args.starts and args.starts / f"{name.split(':')[0]}-{seed}"
                if kept and (kept / "model.safetensors").is_file():
                    classifier = load(kept).classifier
                else:
                    cached = cached or features(network, train.select(rows))
                    classifier = fitted(network.config, chosen, cached, weights, phase, seed)
                    if kept:
                        network.config.fusion_inputs, network.classifier = chosen, classifier
                        network.config.blur_profile = False
                        network.save_pretrained(kept)
                        processor.save_pretrained(kept)
                add(name, classifier, chosen, judged)
            print(name, *(f"{measure} {np.mean(values):.3f}" for measure, values in verdicts[name].items()))

    compare(model, BASELINES)
    if args.content_weights:
        compare(without_saliency(model, args.content_weights), {WITHOUT_SALIENCY: list(BASELINES.values())[-1]})
    for name, run in args.verdicts:
        network = load(run)
        chosen = tuple(network.config.fusion_inputs)  # before `features` asks for all
        add(name, network.classifier, chosen, features(network, held))
    maps = {name: last_scores(run, "blur_real", MAP_MEASURES) for name, run in args.maps}
    args.out.mkdir(parents=True, exist_ok=True)
    account = {
        "photos": len(held),
        "train": len(rows),
        "steps": args.steps,
        "working_size": processor.size["longest_edge"],
    }
    (args.out / "ablation.json").write_text(json.dumps(account | {"verdicts": verdicts, "maps": maps}, indent=2) + "\n")
    tables = score_table(verdicts, VERDICT_MEASURES) + (["", *score_table(maps, MAP_MEASURES)] if maps else [])
    (args.out / "ablation.md").write_text("\n".join(tables) + "\n")
    note = f"{len(held)} real validation photos; dots are seeds"
    grouped_bars(verdicts, VERDICT_MEASURES[:2], "What the verdict needs", note).savefig(args.out / "verdicts.png")
    if maps:
        note = "real validation photos; one seed each"
        grouped_bars(maps, MAP_MEASURES[:2], "What the blur map needs", note).savefig(args.out / "maps.png")


if __name__ == "__main__":
    main()
