# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
#
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "datasets>=5.0",
#     "huggingface-hub>=2.0",
#     "numpy>=2.0",
#     "pillow>=11.3",
#     "torch>=2.8,<2.14",
#     "transformers>=5.20,<6",
# ]
# ///
"""Judge the photos of a data set on the Hub, and write a data set of verdicts:

    uv run hub/judge_dataset.py USER/PHOTOS USER/VERDICTS --model USER/MODEL
    hf jobs uv run --secrets HF_TOKEN hub/judge_dataset.py USER/PHOTOS USER/VERDICTS --model USER/MODEL

The second command runs on machines of Hugging Face; `--flavor t4-small` gives it a GPU. This file needs nothing else of
the project: the code of the model comes with the model. The new data set holds verdicts and no photos, a row for each
photo, in the same order. A photo that cannot be judged has a sentence in the column `error`.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import torch
from datasets import Dataset, Features, Image, Value, load_dataset
from huggingface_hub import DatasetCard, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError
from transformers import pipeline

LABELS = ("no-blur", "good-blur", "ok-blur", "bad-blur")
FIGURES = ("score", "blur_on_subject", "blur_on_background", "blur_fraction")
FEATURES = Features(
    {
        "row": Value("int64"),
        "file": Value("string"),
        "label": Value("string"),
        "certain": Value("bool"),
        "kind": Value("string"),
        **{name: Value("float32") for name in (*FIGURES, *LABELS)},
        "reason": Value("string"),
        "error": Value("string"),
    }
)
CARD = """---
tags:
- blur-detection
- image-quality
---
# Verdicts on the blur of {photos}

Each row is the verdict of [{model}](https://huggingface.co/{model}) on the photo in the same row of the split `{split}`
of [{photos}](https://huggingface.co/datasets/{photos}).

- `label`: the most probable of no-blur, good-blur, ok-blur and bad-blur. The columns of these names hold the
  probabilities.
- `score`: 0 means that blur ruins the photo, 1 that there is no unwanted blur.
- `certain`: whether the label is sure enough to act on.
- `error`: why a photo has no verdict.
"""


def verdict(row: int, file: str | None, report: Any) -> dict:
    """A row of the new data set. `report` is a BlurReport, or the error of a photo that cannot be judged."""
    made = dict.fromkeys(FEATURES) | {"row": row, "file": file}
    if isinstance(report, Exception):
        return made | {"error": str(report)}
    told = report.to_dict()
    taken = {name: told[name] for name in ("label", "certain", "kind", "reason", *FIGURES)}
    return made | taken | told["probabilities"]


def verdicts(judge: Any, photos: Any, column: str, batch_size: int) -> Iterator[dict]:
    """Judge a stream of photos. A photo is the bytes of a file, so one that is damaged stops nothing."""
    files: list[str | None] = []

    def data() -> Iterator[bytes]:
        for row in photos:
            photo = row[column] or {}
            files.append(photo.get("path"))
            yield photo.get("bytes") or b""

    for number, report in enumerate(judge(data(), batch_size=batch_size, on_error="return")):
        yield verdict(number, files[number], report)


def run(args: argparse.Namespace) -> str:
    api = HfApi()
    if get_token() is None:
        raise ValueError("There is no token: run `hf auth login`, or set HF_TOKEN.")
    if api.repo_exists(args.verdicts, repo_type="dataset"):
        raise ValueError(f"The data set {args.verdicts} exists; choose another name, or delete it.")
    photos = load_dataset(args.photos, args.config, split=args.split, streaming=True)
    columns = [name for name, kind in (photos.features or {}).items() if isinstance(kind, Image)]
    column = args.column or (columns[0] if columns else "image")
    if column not in columns:
        raise ValueError(f"{args.photos} has no photos in a column {column}; it has {', '.join(columns) or 'none'}.")
    photos = photos.select_columns([column]).cast_column(column, Image(decode=False))
    if args.limit:
        photos = photos.take(args.limit)
    device = 0 if torch.cuda.is_available() else "cpu"
    task: Any = "blur-understanding"  # of the code that comes with the model
    judge = pipeline(task, model=args.model, revision=args.revision, device=device, trust_remote_code=True)
    made = list(verdicts(judge, photos, column, args.batch_size))
    Dataset.from_list(made, features=FEATURES).push_to_hub(args.verdicts, split=args.split, private=args.private)
    told = DatasetCard(CARD.format(photos=args.photos, model=args.model, split=args.split))
    card = DatasetCard.load(args.verdicts)  # push_to_hub wrote its metadata
    card.data["tags"], card.text = told.data["tags"], told.text
    card.push_to_hub(args.verdicts)
    failed = sum(row["error"] is not None for row in made)
    return f"{len(made)} photos judged, {failed} could not be; the verdicts are in the data set {args.verdicts}."


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", help="a data set on the Hub with a column of images")
    parser.add_argument("verdicts", help="the data set to write, which must not exist")
    parser.add_argument("--model", required=True, help="a model on the Hub")
    parser.add_argument("--revision", help="of the model; a commit fixes its code, which is run")
    parser.add_argument("--config", help="of the data set of photos")
    parser.add_argument("--split", default="train", help="(default: %(default)s)")
    parser.add_argument("--column", help="the column of images (default: the first one)")
    parser.add_argument("--limit", type=int, help="judge only so many photos")
    parser.add_argument("--batch-size", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--private", action="store_true", help="the new data set is private")
    try:
        print(run(parser.parse_args(argv)))
    except (ValueError, OSError, HfHubHTTPError) as error:
        sys.exit(f"judge_dataset: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
