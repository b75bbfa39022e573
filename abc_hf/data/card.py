"""The files for people beside the Parquet of a data set: README.md with counts and sources, and a contact sheet."""

import collections
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from huggingface_hub import DatasetCard, DatasetCardData
from matplotlib.figure import Figure
from PIL import Image

from ..configuration_abc_fusenet import DESIRABILITY
from ..losses import AMOUNT_STEPS, AMOUNT_UNKNOWN, AT_LEAST_HIGH, NUM_LEVELS, UNKNOWN
from ..visualization import colorize
from .schema import FEATURES, MAP_COLUMNS, SPLITS

SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
)
"""The Hub's `size_categories`, each with the number of rows that it is below."""
TEXTS = {
    "folders": (
        "Blurred photos",
        "Photos with labels: where they are blurred, and whether the blur is wanted. Some labels are unknown.",
    ),
    "cuhk": (
        "CUHK blur detection",
        "Photos with masks of their blur (Shi, Xu and Jia, *Discriminative Blur Detection Features*, CVPR 2014), "
        "for testing only.",
    ),
    "smartblur": (
        "SmartBlur",
        "The photos of Zhang et al., *Learning to Understand Image Blur*, CVPR 2018, with the amount of blur of every "
        "region and the desirability of the blur.",
    ),
    "synth": (
        "SmartBlur-Synth",
        "Blur put into sharp photos, with its exact level per pixel and the desirability that follows from where it "
        "falls: defocus, motion of subjects and cameras, by layers in linear light (`abc_hf/data/synthesis.py`).",
    ),
}
SCHEMA = f"""| column | |
|---|---|
| `image` | the photo |
| `blur_map` | 8 bits: levels 0 (none), 1 (low), 2 (medium), 3 (high); {AMOUNT_UNKNOWN} blurred, amount unknown; {UNKNOWN} unknown |
| `blur_amount` | the same between the levels, {AMOUNT_STEPS} values to a level, as the radius of the blur has it, or two annotators on average; {AT_LEAST_HIGH} high or more |
| `salient_mask` | 255 = the subject of the photo, 0 = the rest |
| `desirability` | {", ".join(DESIRABILITY)} |
| `blur_kind` | defocus, motion, camera-shake |
| `source`, `license` | where the photo comes from, under which terms; of computed blur, terms of photo + subject |

Any label may be empty in a row."""  # noqa: E501


UNKNOWN_COLORS = {AMOUNT_UNKNOWN: "#a9c7d6", UNKNOWN: "#5c6670"}


def shards(out: Path, split: str) -> list[Path]:
    return sorted((out / "data").glob(f"{split}-*.parquet"))


def count(files: list[Path]) -> collections.Counter:
    """Of a split's files, the photos by class, by (source, licence), and those that have a map."""
    counts: collections.Counter = collections.Counter()
    for file in files:
        table = pq.read_table(file, columns=["desirability", "source", "license", *MAP_COLUMNS])
        counts["photos"] += len(table)
        for label in table["desirability"].to_pylist():
            counts["unlabelled" if label is None else DESIRABILITY[label]] += 1
        sources = (source.split("/")[0] for source in table["source"].to_pylist())
        counts.update(zip(sources, table["license"].to_pylist(), strict=True))
        for column in MAP_COLUMNS:
            counts[column] += len(table) - table[column].null_count
    return counts


def sources_of(counts: dict[str, collections.Counter]) -> collections.Counter:
    """The photos of all splits by (source, licence)."""
    sources: collections.Counter = collections.Counter()
    for each in counts.values():
        sources.update({key: number for key, number in each.items() if isinstance(key, tuple)})
    return sources


def count_table(counts: dict[str, collections.Counter]) -> str:
    """Photos of each split and class, and how many have maps, as a Markdown table."""
    names = ["photos", *DESIRABILITY, "unlabelled", *MAP_COLUMNS]
    lines = ["| split | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {split} | " + " | ".join(str(each[name]) for name in names) + " |" for split, each in counts.items()]
    return "\n".join(lines)


def write_card(out: Path, kind: str, command: str) -> str:
    """Write `out/README.md`, by which the Hub and `load_dataset` know the splits; returns the table of counts."""
    counts = {split: count(shards(out, split)) for split in SPLITS if shards(out, split)}
    title, text = TEXTS[kind]
    sources = sources_of(counts)
    total, terms = sum(each["photos"] for each in counts.values()), {terms for _, terms in sources}
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in counts]
    data = DatasetCardData(
        pretty_name=title,
        license="cc0-1.0" if terms == {"CC0-1.0"} else "other",
        task_categories=["image-segmentation", "image-classification"],
        tags=["blur-detection", "image-quality"],
        size_categories=[next(name for most, name in SIZES if total < most)],
        configs=[{"config_name": "default", "data_files": files}],
    )
    card = DatasetCard.from_template(
        data,
        template_path=str(Path(__file__).with_name("card.md")),
        title=title,
        text=text,
        schema=SCHEMA,
        table=count_table(counts),
        sources=[(*source, number) for source, number in sorted(sources.items())],
        command=command,
    )
    (out / "README.md").write_text(str(card).rstrip() + "\n")
    return count_table(counts)


def contact_sheet(out: Path, split: str = "train", most: int = 32) -> None:
    """Write `out/contact_sheet.png`: photos of a split, evenly spread, each above its level map and its label."""
    files = shards(out, split)
    ends = np.cumsum([pq.read_metadata(file).num_rows for file in files])
    wanted = sorted({round(i) for i in np.linspace(0, ends[-1] - 1, min(most, ends[-1]))})
    rows = []
    for file, end in zip(files, ends, strict=True):
        table = pq.read_table(file)
        rows += [table.slice(i - end + len(table), 1).to_pylist()[0] for i in wanted if end - len(table) <= i < end]
    rows = [FEATURES.decode_example(row) for row in rows]
    columns = 8
    lines = -(-len(rows) // columns)
    figure = Figure((columns * 2.2, lines * 3.3), dpi=75, layout="constrained")
    axes = figure.subplots(2 * lines, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, row in enumerate(rows):
        above, below = axes[2 * (index // columns) : 2 * (index // columns) + 2, index % columns]
        label = "no class" if row["desirability"] is None else DESIRABILITY[row["desirability"]]
        above.set_title(f"{label}\n{row['source'][-30:]}", fontsize=7)
        above.imshow(row["image"].convert("RGB"))
        if row["blur_map"] is not None:
            below.imshow(truth_colors(row["blur_map"], "blur_map"))
    figure.savefig(out / "contact_sheet.png")


def truth_colors(labels: Image.Image | np.ndarray, column: str) -> np.ndarray:
    """(H, W, 3): a map's labels in the colours of the predicted map; unknown ones have colours of their own."""
    labels = np.asarray(labels)
    if column == "salient_mask":
        return colorize(labels / 255)
    colors = colorize(labels / (NUM_LEVELS - 1))
    for value, color in UNKNOWN_COLORS.items():
        colors[labels == value] = list(bytes.fromhex(color[1:]))
    return colors
