"""The record of a training run: run.json, metrics.jsonl, curves, samples and the model card."""

import importlib.metadata
import json
import logging
import math
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from huggingface_hub import ModelCard, ModelCardData
from matplotlib.figure import Figure

from ..data.card import truth_colors
from ..evaluation.records import predict, spread
from ..evaluation.scoring import for_json
from ..visualization import colorize
from .checkpoints import in_a_sentence, replacing_folder

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy", "pillow")


class RunLog:
    """The account of a run in its folder; only the main process writes.

    `history` is all that was logged, also in metrics.jsonl, one JSON object a line.
    """

    def __init__(self, accelerator, out: Path, settings: dict, data: dict):
        self.accelerator, self.out = accelerator, out
        self.history: list[dict] = []
        self.account = {
            "settings": settings,
            "data": data,
            "code": code_version(),
            "command": [Path(sys.argv[0]).name, *without_token(sys.argv[1:])],
            "versions": {"python": platform.python_version()}
            | {name: importlib.metadata.version(name) for name in PACKAGES},
            "processes": accelerator.num_processes,
            "device": str(accelerator.device),
        }
        self.restore([])

    def restore(self, history: list[dict]) -> None:
        """Go on from the log of a checkpoint."""
        self.history = history
        if self.accelerator.is_main_process:
            (self.out / "metrics.jsonl").write_text("".join(json.dumps(for_json(entry)) + "\n" for entry in history))

    def log(self, **entry) -> None:
        self.history.append(entry)
        self.accelerator.log(flatten(entry), step=entry["step"])
        if self.accelerator.is_main_process:
            with (self.out / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(for_json(entry)) + "\n")

    def save(self, model, processor, folder: Path, **more) -> None:
        """Weights, processor and run.json in a folder."""
        if self.accelerator.is_main_process:
            record = json.dumps(for_json(self.account | more), indent=2, allow_nan=False) + "\n"
            own = folder == self.out  # which holds more than the weights
            with in_a_sentence(folder) if own else replacing_folder(folder) as partial:
                target = partial or folder
                model.save_pretrained(target)
                processor.save_pretrained(target)
                (target / "run.json").write_text(record)

    def say_changed_data(self, before: dict) -> None:
        """Log a warning if an earlier part of the run was trained with other data."""
        for split, now in self.account["data"].items():
            if (was := before[split]) != now:
                logger.warning(
                    f"The {split} split is not the one the checkpoint was trained with: its digest was {was['digest']} "
                    f"({was['rows']} rows) and is {now['digest']} ({now['rows']} rows)."
                )

    def draw(self, name: str, figure: Figure) -> None:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def flatten(entry: dict, prefix: str = "") -> dict[str, float]:
    """The numbers of a nested dict, by phase and path, as trackers take them."""
    prefix = prefix or f"{entry['phase']}/"
    numbers: dict[str, float] = {}
    for key, value in entry.items():
        if isinstance(value, dict):
            numbers |= flatten(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and key != "step":
            numbers[prefix + key] = value
    return numbers


def without_token(arguments: list[str]) -> list[str]:
    """The command line without the value of --hub_token, or --hub-token."""
    kept = [re.sub(r"^(--hub[_-]token)=.*", r"\1=...", argument) for argument in arguments]
    return [
        "..." if re.fullmatch("--hub[_-]token", last) else each for last, each in zip(["", *kept], kept, strict=False)
    ]


def code_version() -> str:
    """The commit of the checkout, or the version of the package."""
    git = ["git", "describe", "--always", "--dirty"]
    try:
        answer = subprocess.run(git, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        answer = ""
    return answer or f"abc-fusenet {importlib.metadata.version('abc-fusenet')}"


def best_scores(history: list[dict]) -> dict[str, dict]:
    """Of each phase, the logged scores of the weights that were kept: the highest, the last if none is a number."""
    best: dict[str, dict] = {}
    for entry in history:
        if "selection" in entry:
            before = best.get(entry["phase"], {}).get("selection")
            if before is None or not math.isfinite(before) or (entry["selection"] or -math.inf) > before:
                best[entry["phase"]] = entry
    return best


def curves(history: list[dict]) -> Figure:
    """Loss and learning rate, and the score that picks the best, over the steps of each phase."""
    phases = list(dict.fromkeys(entry["phase"] for entry in history))
    figure = Figure((4.5 * max(1, len(phases)), 5.5), dpi=100, layout="constrained")
    axes = figure.subplots(2, max(1, len(phases)), squeeze=False)
    for column, phase in enumerate(phases):
        entries = [entry for entry in history if entry["phase"] == phase]
        for row, key, title in ((0, "loss", "training loss"), (1, "selection", "score on validation")):
            points = [(entry["step"], entry[key]) for entry in entries if entry.get(key) is not None]
            axes[row, column].plot(*zip(*points, strict=True) if points else ([], []), marker="o", markersize=3)
            axes[row, column].set(title=f"{phase}: {title}", xlabel="step")
            axes[row, column].grid(alpha=0.3)
    return figure


def samples(model, processor, rows, branches: tuple[str, ...]) -> Figure | None:
    """Photos of a data set, a row each: the photo; of each map of the branches that run, the truth and the prediction.

    Maps are on their full range of 0..1; places without a label are grey. None without a map or without a row.
    """
    maps = [(f"{name}_map", column) for name, column in (("blur", "blur_map"), ("attention", "salient_mask"))]
    maps = [(output, column) for output, column in maps if output.removesuffix("_map") in branches]
    if not maps or not len(rows):
        return None
    figure = Figure((2.4 * (1 + 2 * len(maps)), 1.9 * len(rows)), dpi=80, layout="constrained")
    axes = figure.subplots(len(rows), 1 + 2 * len(maps), squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        photo = row["image"].convert("RGB")
        predicted = predict(model, processor, photo, branches)
        panels: list[tuple] = [(row["source"], np.asarray(photo.resize(predicted[maps[0][0]].shape[::-1])))]
        for output, column in maps:
            truth = None if row[column] is None else truth_colors(row[column], column)
            panels += [(f"{column}, truth", truth), (output, colorize(predicted[output]))]
        for axis, (title, image) in zip(line, panels, strict=True):
            axis.set_axis_off()
            axis.set_title(title[-28:], fontsize=7)
            if image is not None:
                axis.imshow(image)
    return figure


def model_card(account: dict, scores: dict, name: str = "PATH OR NAME OF THIS MODEL") -> str:
    """README.md of a trained model, from the record of its run; `name` is that of its repository on the Hub."""
    settings = account["settings"]
    names = [Path(each).name if Path(each).is_absolute() else each for each in settings["dataset_name"]]
    card = ModelCard.from_template(
        ModelCardData(
            license="apache-2.0",
            library_name="transformers",
            pipeline_tag="image-classification",
            tags=["blur-detection", "image-quality", "abc-fusenet"],
        ),
        template_path=str(Path(__file__).with_name("card.md")),
        name=name,
        settings=settings,
        datasets=", ".join(names),
        train=account["data"]["train"],
        code=account["code"],
        scores={key.strip(): value for key, value in flatten(scores, " ").items() if math.isfinite(value)},
    )
    return str(card).rstrip() + "\n"


def sample_rows(validation, column: str, most: int = 4):
    """A few rows of a split that have a label, evenly spread."""
    table = validation.select_columns([column]).with_format("arrow")[:]
    labelled = np.flatnonzero(table[column].is_valid().to_numpy()).tolist()
    return validation.select(spread(labelled, most))
