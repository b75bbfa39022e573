"""What engines change, and what they cost: their verdicts, probabilities and maps beside PyTorch's, on a data set.

    python tests/benchmarks/engines.py --dataset FOLDER_OR_NAME --split validation --out tests/benchmarks/results

All engines judge each photo in turn, on one thread, and CPU time counts: so other work on the machine hardly changes
the ratios. Ctrl-C ends the run and keeps the photos judged so far; they are in random order. Writes engines.json.
Engines are chosen by a validation split, never by CUHK.
"""

import argparse
import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[2]))
from abc_hf import load_photo, load_pipeline
from abc_hf.configuration_abc_fusenet import DESIRABILITY
from abc_hf.evaluation.records import PhotoRecord, judge_photo, open_split, spread
from abc_hf.evaluation.results import write_json
from abc_hf.evaluation.scoring import for_json
from abc_hf.image_processing_abc_fusenet import working_shape
from abc_hf.inference.engines import ENGINES, OpenVINOEngine, load_engine
from hub.render_readme import digest_of_weights

RUNS: dict[str, Callable] = {
    **{name: lambda model, name=name: load_engine(name, model) for name in ENGINES if name != "auto"},
    "float16": lambda model: OpenVINOEngine(model, "f16"),
}
"""The engines, and what "auto" computes in on a GPU. "auto" itself is "torch" and then "openvino"."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dataset", required=True, help="a data set in the SmartBlur schema")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--model", help="ours (default: the weights in the package)")
    parser.add_argument("--engines", nargs="+", choices=list(RUNS), default=list(RUNS), help="torch is always there")
    parser.add_argument("--limit", type=int, help="photos, evenly spread over the split (default: all)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)

    torch.set_num_threads(1)
    rows = open_split(args.dataset, args.split)
    chosen = np.random.default_rng(0).permutation(spread(list(range(len(rows))), args.limit)).tolist()
    pipe = load_pipeline(args.model, device="cpu", dtype=torch.float32, engine="torch")
    size, certain_from = pipe.image_processor.size["longest_edge"], pipe.model.config.certain_from
    runs, starts = {"torch": pipe.engine}, {}
    for name in dict.fromkeys(["torch", *args.engines]):
        start = time.process_time()
        try:
            runs[name] = RUNS[name](pipe.model)
        except ImportError as error:
            print(f"{name} is left out: {error}")
        starts[name] = time.process_time() - start
    measured: dict[str, list[dict]] = {name: [] for name in runs}
    with contextlib.suppress(KeyboardInterrupt):
        for index in tqdm(chosen, unit="photo", disable=None):
            row = rows[index]
            photo = load_photo(row["image"], working_size=size)
            pixel_values = pipe.image_processor(photo, return_tensors="pt")["pixel_values"]
            shape = working_shape(photo.height, photo.width, size)
            records, taken = {}, {}
            for name, run in runs.items():
                start = time.process_time()
                outputs = run(pixel_values)
                taken[name] = time.process_time() - start
                records[name] = record_of(index, row, outputs, shape, certain_from)
            for name in runs:
                each = differences(*records[name], *records["torch"])
                measured[name].append(each | {"cpu_seconds": taken[name]})

    result = {
        "machine": f"one thread of {os.cpu_count()} ({platform.machine()})",
        "split": args.split,
        "weights": digest_of_weights(Path(pipe.model.name_or_path)),
        "photos": len(measured["torch"]),
        "of": len(rows),
        "engines": {name: entry(measured[name], starts[name]) for name in runs},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "engines.json", for_json(result))
    for name, each in result["engines"].items():
        print(
            f"{name}: {each['same_verdict']:.2%} of {result['photos']} verdicts are PyTorch's, probabilities differ by "
            f"{each['probabilities_largest']:.2g} at most; {each['cpu_seconds']:.3f} s of CPU time a photo"
        )


def record_of(index: int, row: dict, outputs: dict, shape: tuple[int, int], certain_from: float) -> tuple:
    """The record of a photo, with its verdict, and its blur map."""
    height, width = shape
    found = {name: outputs[name][0, 0, :height, :width].float().numpy() for name in ("blur_map", "attention_map")}
    found |= {name: outputs[name][0].float().numpy() for name in ("logits", "kind_logits")}
    record = PhotoRecord(index, row["source"], "all")
    judge_photo(record, {"desirability": None, **row}, {**found, "certain_from": certain_from})
    return record, found["blur_map"]


def differences(record: PhotoRecord, blur_map: np.ndarray, expected: PhotoRecord, expected_map: np.ndarray) -> dict:
    """How far the answers to a photo are from PyTorch's. A verdict is a label, a kind of blur, and its certainty."""
    ours, theirs = record.verdict, expected.verdict
    maps = np.abs(blur_map - expected_map)
    return {
        "same_label": ours.label == theirs.label,
        "same_verdict": (ours.label, ours.kind, ours.certain) == (theirs.label, theirs.kind, theirs.certain),
        "probabilities": np.abs(record.probabilities - expected.probabilities).max(),
        "blur_map_largest": maps.max(),
        "blur_map_mean": maps.mean(),
        "right": None if record.desirability is None else ours.label == DESIRABILITY[record.desirability],
    }


def entry(measured: list[dict], start: float) -> dict:
    """Differences to PyTorch over all photos, the share of right labels, and CPU seconds: the median of photos, and of
    the start."""
    values = {key: np.array([each[key] for each in measured if each[key] is not None]) for key in measured[0]}
    return {
        "same_label": float(values["same_label"].mean()),
        "same_verdict": float(values["same_verdict"].mean()),
        "probabilities_largest": float(values["probabilities"].max()),
        "probabilities_mean": float(values["probabilities"].mean()),
        "blur_map_largest": float(values["blur_map_largest"].max()),
        "blur_map_mean": float(values["blur_map_mean"].mean()),
        "accuracy": float(values["right"].mean()),
        "cpu_seconds": float(np.median(values["cpu_seconds"])),
        "start_cpu_seconds": start,
    }


if __name__ == "__main__":
    main()
