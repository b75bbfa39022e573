"""Upload a data set: `python -m hub.push_dataset DATA --repo USER/NAME`.

DATA is a folder that `python -m abc_hf.data.build` wrote. Only rows whose licence allows it are taken: CC0, CC BY-SA,
Unsplash and Kodak's. --permit adds another licence, for those who may. Rows that are left out are listed. If a photo
with computed blur has the subject of another photo, the terms of both count. A fresh interpreter loads the result, its
files are listed, and --yes uploads them.

With --labels-only, DATA is a desirability.csv. Names of files, labels, and the regions labelled by eye (hub/labels) are
uploaded, without photos.
"""

import argparse
import collections
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import DatasetCard, DatasetCardData

from abc_hf.common.text import markdown
from abc_hf.configuration_abc_fusenet import DESIRABILITY
from abc_hf.data.card import SCHEMA, SIZES, TEXTS, contact_sheet, count, count_table, shards, sources_of
from abc_hf.data.regions import read_regions
from abc_hf.data.schema import FEATURES, SPLITS, conform
from abc_hf.data.sources import REDISTRIBUTABLE, read_labels
from abc_hf.data.splits import open_splits
from hub import cards
from hub.uploading import parser_of, push, run_cold

HERE = Path(__file__).parent
ROW_GROUP = 100
"""Rows of a group. The viewer of the Hub and a stream read a group at once."""
FEWEST_FOR_SHARDS = 800
LARGEST_SHARD = 300e6
"""The approximate size of a Parquet file [bytes]."""
HUB_LICENSES = {"Apache-2.0": "apache-2.0", "CC0-1.0": "cc0-1.0", "CC-BY-SA-4.0": "cc-by-sa-4.0"}
"""The identifiers of licences on the Hub. All others are `other`."""
BENCHMARK = "Blur maps on photos with computed blur, whose levels are known exactly. The value is the pooled AP."
BENCHMARK_OF_LABELS = (
    "Is the blur of a photo wanted? The value is the share of verdicts that are the annotators' label."
)
LABELS = datasets.Features(
    {
        "file": datasets.Value("string"),
        "desirability": datasets.ClassLabel(names=list(DESIRABILITY)),
        "blur_kind": datasets.Value("string"),
        "annotators": datasets.Value("int32"),
        "agreeing": datasets.Value("int32"),
    }
)
REGIONS = datasets.Features(
    {"file": datasets.Value("string"), "cells": datasets.Value("string"), "annotator": datasets.Value("int32")}
)


def allowed(source: str, terms: str, has_subject: bool, permitted: set[str]) -> bool:
    """Whether the terms of a photo, and for computed blur those of its subject, too, allow passing the row on."""
    parts = terms.split(" + ")
    if source.startswith("synth/") and has_subject and len(parts) < 2:
        return False  # from a time when the terms of the subject were not kept
    return permitted.issuperset(parts)


def kept_rows(rows: datasets.Dataset, permitted: set[str]) -> tuple[datasets.Dataset, collections.Counter]:
    """The rows that may be passed on, and how many may not, by (source, licence)."""
    table = rows.select_columns(["source", "license", "salient_mask"]).with_format("arrow")[:]
    subjects = table["salient_mask"].is_valid().to_pylist()
    left_out: collections.Counter = collections.Counter()
    kept = []
    columns = table["source"].to_pylist(), table["license"].to_pylist(), subjects
    for index, (source, terms, has_subject) in enumerate(zip(*columns, strict=True)):
        terms = terms or "none stated"
        if allowed(source, terms, has_subject, permitted):
            kept.append(index)
        else:
            unknown = source.startswith("synth/") and has_subject and " + " not in terms
            left_out[source.split("/")[0], f"{terms}, subject's not kept" if unknown else terms] += 1
    return rows.select(kept), left_out


def write_shards(rows: datasets.Dataset, folder: Path, split: str) -> None:
    """Write `folder/SPLIT-0000i-of-0000n.parquet`. With enough photos, n is a multiple of eight."""
    datasets.disable_progress_bars()  # of single files
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    if "image" in rows.features and len(rows) >= FEWEST_FOR_SHARDS:
        number = 8 * -int(-rows.data.nbytes * len(rows) / max(1, rows.data.num_rows) // (8 * LARGEST_SHARD))
    for index in range(number):
        shard = rows.shard(number, index, contiguous=True)
        shard.to_parquet(
            folder / f"{split}-{index:05d}-of-{number:05d}.parquet", batch_size=ROW_GROUP, write_page_checksum=True
        )


def build_photos(args: argparse.Namespace, folder: Path) -> None:
    """Write the folder of a data set with photos. Raises ValueError without a data set or without a permitted row."""
    permitted = {*REDISTRIBUTABLE, *args.permit}
    left_out: collections.Counter = collections.Counter()
    kept = {}
    if not list((args.data / "data").glob("*.parquet")):
        raise ValueError(f"{args.data} holds no data/*.parquet: give a folder that `abc_hf.data.build` wrote.")
    with tempfile.TemporaryDirectory() as cache:
        for split, rows in open_splits(str(args.data), cache_dir=cache).items():
            rows = conform(rows, args.data.name, split)
            taken, left = kept_rows(rows, permitted)
            left_out.update(left)
            if len(taken):
                write_shards(taken, folder / "data", split)
                kept[split] = len(taken)
    if not kept:
        terms = ", ".join(sorted(permitted))
        raise ValueError(f"No row of {args.data} may be passed on. These licences may: {terms}. --permit adds others.")
    splits = [split for split in SPLITS if split in kept]
    contact_sheet(folder, splits[0])
    write_photo_card(folder, args.repo, splits, left_out, args.links)
    check(folder, {"default": kept})
    print(f"Kept {sum(kept.values())} rows ({', '.join(f'{split} {kept[split]}' for split in splits)}).")
    for (source, terms), number in sorted(left_out.items()):
        print(f"Left out {number} rows: {source}, {terms}")


def write_photo_card(
    folder: Path, repo: str, splits: list[str], left_out: collections.Counter, links: Sequence[str] = ()
) -> None:
    """Write README.md and LICENSE.md of a folder with its shards; eval.yaml, too, for a test split of computed blur."""
    counts = {split: count(shards(folder, split)) for split in splits}
    sources = sources_of(counts)
    kinds = {source for source, _ in sources}
    kind = next((name for name in ("synth", "smartblur", "cuhk") if kinds == {name}), "folders")
    terms = sorted({part for _, each in sources for part in each.split(" + ")})
    table = cards.source_table(sources)
    title, text = TEXTS[kind]
    missing = [label for label in DESIRABILITY if not any(each[label] for each in counts.values())]
    data = card_data(terms, title, sum(each["photos"] for each in counts.values()))
    data.task_categories = ["image-segmentation", "image-classification"]
    data.configs = [config("default", "data", splits)]
    info(folder, "data", FEATURES, {split: counts[split]["photos"] for split in splits}, data, "default")
    card = cards.filled(
        DatasetCard,
        "dataset_card.md",
        data,
        repo=repo,
        title=title,
        text=text,
        split=splits[0],
        schema=SCHEMA,
        synthetic=kind == "synth",
        baseline=cards.baseline() if kind == "synth" else "",
        missing=" or ".join(missing),
        counts=count_table(counts),
        sources=table,
        left_out=cards.source_table(left_out, "rows") if left_out else "",
        see_also=cards.see_also(links),
    )
    if kind == "synth" and "test" in splits:
        (folder / "eval.yaml").write_text(cards.eval_yaml(title, BENCHMARK, ["computed-blur"]))
    (folder / "README.md").write_text(card)
    (folder / "LICENSE.md").write_text(f"Each row has terms of its own, in its column `license`:\n\n{table}\n")


def card_data(terms: list[str], title: str, rows: int) -> Any:
    names = sorted({HUB_LICENSES.get(each, "other") for each in terms})
    other: dict[str, Any] = {"license_name": "of-each-row", "license_link": "LICENSE.md"} if "other" in names else {}
    return DatasetCardData(
        pretty_name=title,
        license=names[0] if len(names) == 1 else names,
        tags=["blur-detection", "bokeh", "image-quality"],
        size_categories=[next(name for most, name in SIZES if rows < most)],
        source_datasets=["extended"],
        annotations_creators=["machine-generated"],
        **other,
    )


def config(name: str, folder: str, splits: list[str]) -> dict:
    files = [{"split": split, "path": f"{folder}/{split}-*.parquet"} for split in splits]
    return {"config_name": name, "data_files": files, **({"default": True} if name == "desirability" else {})}


def info(folder: Path, data: str, features, rows: dict[str, int], card: DatasetCardData, name: str) -> None:
    """Put the features and sizes of a configuration into the metadata. Loading fails if it finds other numbers."""
    bytes_of = {split: sum(p.stat().st_size for p in (folder / data).glob(f"{split}-*.parquet")) for split in rows}
    splits = datasets.SplitDict()
    for split, number in rows.items():
        splits.add(datasets.SplitInfo(split, num_bytes=bytes_of[split], num_examples=number))
    total = sum(bytes_of.values())
    about = datasets.DatasetInfo(features=features, splits=splits, download_size=total, dataset_size=total)
    datasets.info.DatasetInfosDict({name: about}).to_dataset_card_data(card)


def check(folder: Path, rows: dict[str, dict[str, int]]) -> None:
    """Load configurations in a fresh interpreter, whole and as a stream. `rows` has their numbers of rows, by split.

    Raises ValueError if that fails, or rows are missing.
    """
    found = run_cold("dataset", folder.resolve(), *rows)
    if found != rows:
        raise ValueError(f"The folder was loaded as {found} rows instead of {rows}.")
    print(f"Checked in a fresh interpreter: {', '.join(rows)}, whole and as a stream.")


def build_labels(args: argparse.Namespace, folder: Path) -> None:
    """Write the folder of labels without photos. Raises ValueError for a CSV that is not one of labels."""
    rows = read_labels(args.data)
    if extra := [row["file"] for row in rows if Path(row["file"]).is_absolute() or ".." in Path(row["file"]).parts]:
        raise ValueError(f"{args.data}: {extra[0]} is not a path in a data set.")
    split_of = {row["file"]: row["split"] for row in rows}
    parts = {"desirability": (LABELS, label_rows(rows)), "regions": (REGIONS, region_rows(args.regions, split_of))}
    counts, configs = {}, []
    data = card_data(["Apache-2.0"], "Blur desirability labels", len(rows))
    data.task_categories = ["image-classification", "image-segmentation"]
    for name, (features, by_split) in parts.items():
        counts[name] = {split: len(by_split[split]) for split in SPLITS if by_split[split]}
        for split in counts[name]:
            write_shards(datasets.Dataset.from_list(by_split[split], features=features), folder / name, split)
        configs.append(config(name, name, list(counts[name])))
        info(folder, name, features, counts[name], data, name)
    data.configs = configs
    sources = collections.Counter((row["file"].split("/")[0], row["split"]) for row in rows)
    card = cards.filled(
        DatasetCard,
        "labels_card.md",
        data,
        repo=args.repo,
        counts=class_table(rows, counts["regions"]),
        sources=labels_sources(sources),
        agreement=agreement(rows, args.regions),
        see_also=cards.see_also(args.links),
    )
    tasks = [
        name
        for name, (_, split, _) in cards.TASKS.items()
        if name.endswith("verdicts") and counts["desirability"].get(split)
    ]
    if tasks:
        (folder / "eval.yaml").write_text(cards.eval_yaml(str(data.pretty_name), BENCHMARK_OF_LABELS, tasks))
    (folder / "README.md").write_text(card)
    check(folder, counts)


def label_rows(rows: list[dict]) -> dict[str, list[dict]]:
    by_split: dict[str, list[dict]] = {split: [] for split in SPLITS}
    for row in rows:
        numbers = {key: int(row[key]) if row.get(key) else None for key in ("annotators", "agreeing")}
        words = {key: row[key] or None for key in ("file", "desirability", "blur_kind")}
        by_split[row["split"]].append(words | numbers)
    return by_split


def region_rows(files: list[Path], split_of: dict[str, str]) -> dict[str, list[dict]]:
    """Regions of the photos that have a split, of each annotator's file."""
    by_split: dict[str, list[dict]] = {split: [] for split in SPLITS}
    for annotator, path in enumerate(files, start=1):
        for file, grid in read_regions(path).items():
            if file in split_of:
                by_split[split_of[file]].append({"file": file, "cells": " ".join(grid), "annotator": annotator})
    return by_split


def class_table(rows: list[dict], regions: dict[str, int]) -> str:
    counts = collections.Counter((row["split"], row["desirability"]) for row in rows)
    lines = [
        [split, *(str(counts[split, label]) for label in DESIRABILITY), str(regions.get(split, 0))]
        for split in SPLITS
        if any(counts[split, label] for label in DESIRABILITY)
    ]
    return "\n".join(markdown(["split", *DESIRABILITY, "grids of regions"], lines))


def labels_sources(counts: collections.Counter, unit: str = "labels") -> str:
    totals: collections.Counter = collections.Counter()
    for (source, _), number in counts.items():
        totals[source] += number
    rows = [[source, cards.SOURCES.get(source, ""), str(number)] for source, number in sorted(totals.items())]
    return "\n".join(markdown(["begins with", "data set", unit], rows))


def agreement(rows: list[dict], regions: list[Path]) -> str:
    """How well annotators agree, if files beside the labels say so."""
    told = [row for row in rows if row.get("annotators")]
    said = ""
    if told:
        two = sum(row["annotators"] == row["agreeing"] for row in told)
        said = f"Of {len(told)} photos the first two agree on {two / len(told):.1%}."
    path = regions[0].parent / "agreement.json" if regions else None
    if path is not None and path.is_file():
        said += " " + cards.region_agreement(path)
    return said.strip()


def build(args: argparse.Namespace, folder: Path) -> None:
    if args.labels_only:
        if args.permit:
            raise ValueError("--permit is about photos, and --labels-only uploads none.")
        build_labels(args, folder)
    else:
        build_photos(args, folder)


def main(argv: list[str] | None = None) -> None:
    parser = parser_of("push_dataset", __doc__)
    parser.add_argument("data", type=Path, help="a folder, or with --labels-only a desirability.csv")
    parser.add_argument(
        "--permit", nargs="+", default=[], metavar="LICENCE", help="other values of `license` that you may pass on"
    )
    parser.add_argument("--labels-only", action="store_true", help="names of files and labels, without photos")
    names = ("blur_regions.csv", "blur_regions_second.csv")
    regions = [HERE / "labels" / name for name in names]
    parser.add_argument("--regions", type=Path, nargs="*", default=regions, help="CSV files of regions, by annotator")
    push("dataset", parser, build, argv)


if __name__ == "__main__":
    main()
