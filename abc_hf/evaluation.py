"""Score a model on whole photos of a data set in the SmartBlur schema.

python -m abc_hf.evaluation MODEL --dataset FOLDER_OR_NAME --split test --out results.json
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import torch
from datasets import load_dataset
from tqdm import tqdm
from transformers import AutoImageProcessor, AutoModelForImageClassification

from .data import group_of, has_blur
from .image_processing_abc_fusenet import resize_map, working_shape
from .losses import AMOUNT_UNKNOWN, NUM_LEVELS
from .metrics import MapScores, confusion, kappa, macro_f1
from .modeling_abc_fusenet import BRANCHES


def subset(dataset, per_group: int | None) -> list[int]:
    """Indices of at most `per_group` rows of each group, evenly spread."""
    columns = dataset.select_columns(["source", "desirability"])
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(columns):
        groups.setdefault(group_of(row), []).append(index)
    chosen = []
    for rows in groups.values():
        count = len(rows) if per_group is None else min(per_group, len(rows))
        chosen += [rows[i] for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]
    return sorted(chosen)


@torch.inference_mode()
def predict(model, processor, photo, branches=BRANCHES) -> dict[str, np.ndarray]:
    """Maps (h, w) at the working size, without padding, and logits (4,) of one PIL photo, by name."""
    inputs = processor(photo, return_tensors="pt")["pixel_values"]
    device = next(model.parameters()).device
    output = model(inputs.to(device, memory_format=torch.channels_last), branches=branches)
    height, width = working_shape(photo.height, photo.width, processor.size["longest_edge"])
    result = {}
    for name in ("blur_map", "attention_map"):
        if name in output:
            result[name] = output[name][0, 0, :height, :width].float().cpu().numpy()
    if output.logits is not None:
        result["logits"] = output.logits[0].float().cpu().numpy()
    return result


def evaluate(model, processor, dataset, branches=BRANCHES, per_group: int | None = None, progress: bool = True) -> dict:
    """Scores by name, real and synthetic photos apart.

    real: blur maps pooled over weakly labelled and sharp photos; synthetic: the same against level > 0, and the
    weighted kappa of the four levels; sharp: mean map value of photos without blur; attention: against salient objects.
    """
    maps = {"real": MapScores(), "synthetic": MapScores()}
    attention, sharp_means = MapScores(), []
    levels = np.zeros((NUM_LEVELS, NUM_LEVELS))
    classes = {"real": np.zeros((4, 4)), "synthetic": np.zeros((4, 4))}
    rows = subset(dataset, per_group)
    for row in tqdm(dataset.select(rows), desc="evaluate", leave=False, disable=not progress):
        photo = row["image"].convert("RGB")
        predicted = predict(model, processor, photo, branches)
        kind = "synthetic" if group_of(row) == "synthetic" else "real"
        size = next(v for k, v in predicted.items() if k.endswith("map")).shape[::-1]
        if "blur_map" in predicted and row["blur_map"] is not None:
            truth = np.asarray(row["blur_map"].resize(size, 0))
            maps[kind].update(predicted["blur_map"], *has_blur(truth))
            if kind == "real" and row["desirability"] == 0:
                sharp_means.append(float(predicted["blur_map"].mean()))
            if kind == "synthetic":
                exact = truth < min(NUM_LEVELS, AMOUNT_UNKNOWN)
                nearest = np.rint(predicted["blur_map"] * (NUM_LEVELS - 1)).astype(np.int64)
                levels += confusion(truth[exact], nearest[exact], NUM_LEVELS)
        if "attention_map" in predicted and row["salient_mask"] is not None and kind == "real":
            attention.update(predicted["attention_map"], np.asarray(row["salient_mask"].resize(size, 0)) > 127)
        if "logits" in predicted and row["desirability"] is not None:
            classes[kind][row["desirability"], predicted["logits"].argmax()] += 1

    scores = {"photos": len(rows)}
    if "blur" in branches:
        scores["blur_real"] = maps["real"].compute()
        scores["blur_synthetic"] = maps["synthetic"].compute() | {"level_kappa": kappa(levels, quadratic=True)}
        means = np.array(sharp_means)
        scores["sharp"] = {"mean": float(means.mean()), "above_0.2": float((means > 0.2).mean())}
    if "attention" in branches:
        scores["attention"] = attention.compute()
    if set(branches) == set(BRANCHES):
        for kind, matrix in classes.items():
            if matrix.sum():
                scores[f"desirability_{kind}"] = {
                    "accuracy": float(np.trace(matrix) / matrix.sum()),
                    "kappa": kappa(matrix),
                    "macro_f1": macro_f1(matrix),
                    "confusion": matrix.astype(int).tolist(),
                }
    return scores


def selection_score(scores: dict, branches: tuple[str, ...]) -> float:
    """The figure by which the best checkpoint of a phase is kept: real photos of the validation split, never CUHK."""
    if set(branches) == set(BRANCHES):
        return scores["desirability_real"]["kappa"] + scores["blur_real"]["pooled_auc"]
    return scores["blur_real"]["pooled_auc"] if "blur" in branches else scores["attention"]["per_photo_auc"]


def score_split(model, processor, dataset, maps: Path | None = None, progress: bool = True) -> dict:
    """Scores of a split by source, at the size of each label map, as the published peers are scored.

    blur_map: binary truth is level > 0, 254 counts as blurred, 255 is left out. desirability: rows that have a class.
    `maps`: a folder for the blur maps as they were scored, one STEM.npy per photo.
    """
    by_source: dict[str, MapScores] = {}
    matrix = np.zeros((4, 4))
    for row in tqdm(dataset, desc="evaluate", disable=not progress):
        predicted = predict(model, processor, row["image"].convert("RGB"))
        if row["blur_map"] is not None:
            truth = np.asarray(row["blur_map"])
            values = resize_map(predicted["blur_map"], truth.shape)
            source = re.sub(r"[\d_]+$", "", row["source"])
            for name in ("all", source):
                by_source.setdefault(name, MapScores()).update(values, *has_blur(truth))
            if maps is not None:
                np.save(maps / f"{row['source'].rsplit('/', 1)[-1]}.npy", values)
        if row["desirability"] is not None:
            matrix[row["desirability"], predicted["logits"].argmax()] += 1
    return {
        "blur_map": {name: scores.compute() for name, scores in by_source.items()},
        "desirability": {
            "photos": int(matrix.sum()),
            "accuracy": float(np.trace(matrix) / max(matrix.sum(), 1)),
            "kappa": kappa(matrix),
            "macro_f1": macro_f1(matrix),
            "confusion": matrix.astype(int).tolist(),
        },
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m abc_hf.evaluation", description=__doc__.split("\n\n")[0])
    parser.add_argument("model", help="a folder or a Hub name")
    parser.add_argument("--dataset", required=True, help="a data set in the SmartBlur schema: a folder or a Hub name")
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--maps", type=Path, help="also write the blur maps here, as NumPy arrays")
    args = parser.parse_args(argv)
    model = AutoModelForImageClassification.from_pretrained(args.model, dtype=torch.float32)
    model = model.eval().to(memory_format=torch.channels_last)
    processor = AutoImageProcessor.from_pretrained(args.model)
    if args.maps:
        args.maps.mkdir(parents=True, exist_ok=True)
    scores = score_split(model, processor, load_dataset(args.dataset, split=args.split), args.maps)
    args.out.write_text(json.dumps({"split": args.split, **scores}, indent=2) + "\n")
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
