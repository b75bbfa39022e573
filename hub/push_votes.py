"""Upload the single votes of all annotators: `python -m hub.push_votes DATA/votes.csv --repo USER/NAME`.

A desirability.csv beside the votes says which split each photo belongs to. File names and votes are uploaded, and no
photos: most of these must not be passed on.
"""

import argparse
import collections
import csv
import itertools
from pathlib import Path

import datasets
import numpy as np
from huggingface_hub import DatasetCard

from abc_hf.common.text import markdown
from abc_hf.configuration_abc_fusenet import DESIRABILITY
from abc_hf.data.schema import SPLITS
from abc_hf.data.sources import read_labels
from abc_hf.evaluation.metrics import kappa
from hub import cards
from hub.push_dataset import card_data, check, config, info, labels_sources, write_shards
from hub.uploading import parser_of, push

TITLE = "SmartBlur-Desirability-Votes"
CLASSES = (*DESIRABILITY, "not-a-photo")
NUMBERS = ("subject", "rest", "sure")
VOTES = datasets.Features(
    {
        "file": datasets.Value("string"),
        "annotator": datasets.Value("string"),
        "desirability": datasets.ClassLabel(names=list(CLASSES)),
        "blur_kind": datasets.Value("string"),
        "subject": datasets.Value("int32"),
        "rest": datasets.Value("int32"),
        "sure": datasets.Value("bool"),
    }
)


def read_rows(path: Path) -> list[dict]:
    """The votes, as rows of `VOTES`. Raises ValueError for a file that is not one of votes, with the row."""
    if not path.is_file():
        raise ValueError(f"There is no file {path}; give a votes.csv.")
    rows = []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if missing := VOTES.keys() - set(reader.fieldnames or ()):
            raise ValueError(f"{path} lacks the column {', '.join(sorted(missing))}.")
        for number, row in enumerate(reader, start=2):
            where = Path(row["file"])
            if where.is_absolute() or ".." in where.parts:
                raise ValueError(f"{path}, row {number}: {row['file']} is not a path in a data set.")
            if row["desirability"] not in CLASSES:
                raise ValueError(f"{path}, row {number}: {row['desirability']!r} is not one of {', '.join(CLASSES)}.")
            try:
                numbers = {name: int(row[name]) if row[name] else None for name in NUMBERS}
            except ValueError:
                raise ValueError(f"{path}, row {number}: {', '.join(NUMBERS)} must be whole numbers.") from None
            words = {name: row[name] or None for name in ("file", "annotator", "desirability", "blur_kind")}
            rows.append(words | numbers | {"sure": bool(numbers["sure"])})
    return rows


def agreement(rows: list[dict]) -> dict[str, float]:
    """How well two annotators of one photo agree, over all pairs of votes of a photo."""
    votes = collections.defaultdict(list)
    for row in rows:
        votes[row["file"]].append(row)
    pairs = [pair for of_photo in votes.values() for pair in itertools.combinations(of_photo, 2)]
    table = np.zeros((len(CLASSES), len(CLASSES)))
    for pair in pairs:
        one, other = (CLASSES.index(vote["desirability"]) for vote in pair)
        table[one, other] += 1
        table[other, one] += 1  # annotators have no order
    sure = [one["desirability"] == other["desirability"] for one, other in pairs if one["sure"] and other["sure"]]
    return {
        "pairs": len(pairs),
        "agreed": float(np.trace(table) / table.sum()) if pairs else float("nan"),
        "kappa": kappa(table) if pairs else float("nan"),
        "sure": len(sure),
        "sure_agreed": float(np.mean(sure)) if sure else float("nan"),
    }


def agreement_text(figures: dict[str, float]) -> str:
    if not figures["pairs"]:
        return "No photo has two votes, so agreement cannot be told."
    text = (
        f"Of {figures['pairs']} pairs of votes of one photo, {figures['agreed']:.1%} agree, with a kappa of "
        f"{figures['kappa']:.2f}."
    )
    if figures["sure"]:
        text += f" Of the {figures['sure']} pairs in which both were sure, {figures['sure_agreed']:.1%} agree."
    return text


def build(args: argparse.Namespace, folder: Path) -> None:
    """Write the folder. Raises ValueError for files that hold no votes or labels."""
    rows = read_rows(args.data)
    labels = read_labels(args.data.parent / "desirability.csv", ("file", "desirability", "split"))
    split_of = {row["file"]: row["split"] for row in labels}
    by_split = {split: [row for row in rows if split_of.get(row["file"]) == split] for split in SPLITS}
    kept = {split: len(votes) for split, votes in by_split.items() if votes}
    if not kept:
        raise ValueError(f"{args.data.parent / 'desirability.csv'} holds none of the photos of {args.data.name}.")
    for split in kept:
        write_shards(datasets.Dataset.from_list(by_split[split], features=VOTES), folder / "data", split)
    taken = [row for votes in by_split.values() for row in votes]
    data = card_data(["Apache-2.0"], TITLE, len(taken))
    data.task_categories, data.configs = ["image-classification"], [config("default", "data", list(kept))]
    info(folder, "data", VOTES, kept, data, "default")
    counts = collections.Counter((split, row["desirability"]) for split, votes in by_split.items() for row in votes)
    photos = {split: len({row["file"] for row in by_split[split]}) for split in kept}
    table = [[split, str(photos[split]), *(str(counts[split, name]) for name in CLASSES)] for split in kept]
    card = cards.filled(
        DatasetCard,
        "votes_card.md",
        data,
        repo=args.repo,
        title=TITLE,
        split=next(iter(kept)),
        agreement=agreement_text(agreement(taken)),
        counts="\n".join(markdown(["split", "photos", *CLASSES], table)),
        sources=labels_sources(collections.Counter((row["file"].split("/")[0], "") for row in taken), "votes"),
        see_also=cards.see_also(args.links),
    )
    (folder / "README.md").write_text(card)
    check(folder, {"default": kept})
    print(f"Kept {len(taken)} votes; {len(rows) - len(taken)} are of files that are no photos.")


def main(argv: list[str] | None = None) -> None:
    parser = parser_of("push_votes", __doc__)
    parser.add_argument("data", type=Path, help="a votes.csv, with a desirability.csv beside it")
    push("dataset", parser, build, argv)


if __name__ == "__main__":
    main()
