"""Learning from decisions by hand: a threshold of one's own, and a data set to evaluate and train with."""

import csv
import hashlib
import io
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..common.files import replacing
from ..formats import FORMATS
from ..photos import load_photo, open_file
from ..verdicts import WORTH
from .containers import Reader
from .table import PROBABILITIES, place_of, read_table
from .undo_file import reason

logger = logging.getLogger(__name__)

SHARES = {"test": 0.2, "validation": 0.1, "train": 0.7}
"""The shares of the splits."""
FEATURES = {"image": {"_type": "Image"}, "desirability": {"names": list(WORTH), "_type": "ClassLabel"}}
"""The columns of the data set, as `datasets` notes them in its Parquet files."""
SCHEMA = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("desirability", pa.int64()),
        ("source", pa.string()),
    ],
    {"huggingface": json.dumps({"info": {"features": FEATURES | {"source": {"dtype": "string", "_type": "Value"}}}})},
)
KNOWN = tuple(extension for name in ("JPEG", "PNG", "WEBP") for extension in FORMATS[name])
"""Extensions of photos whose files are taken as they are; others are written as JPEG."""


def read_decisions(path: Path) -> dict[str, str]:
    """ "keep" or "reject" by path, from the report's export: CSV with the columns path and decision, or JSON. Raises
    ValueError if it holds no decisions."""
    try:
        with open_file(path) as file:
            text = file.read().decode("utf-8-sig")
        if text.lstrip().startswith("["):
            rows = json.loads(text)
        else:
            rows = csv.DictReader(io.StringIO(text, newline=""))
            if not {"path", "decision"} <= set(rows.fieldnames or ()):
                raise KeyError
        decisions = {row["path"]: row["decision"] for row in rows}
        if not set(decisions.values()) <= {"keep", "reject"} or not all(isinstance(path, str) for path in decisions):
            raise KeyError
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({reason(error)}).") from None
    except (KeyError, TypeError, ValueError, RecursionError, csv.Error):
        raise ValueError(f"{path} holds no decisions; export them as CSV or JSON from the report.") from None
    return decisions


def decided(out: Path, decisions: dict[str, str], columns: Iterable[str]) -> Iterator[tuple[dict, bool]]:
    """The rows of a table with a verdict that somebody decided on, and whether the photo is kept. Raises ValueError if
    there is no table, or no decision is about a photo of it."""
    if not (out / "photos.parquet").exists():
        raise ValueError(f"{out} has no photos.parquet; sort the photos first, and export decisions from the report.")
    found = False
    for row in read_table(out, ["path", "label", *columns]):
        if row["path"] in decisions and row["label"]:
            found = True
            yield row, decisions[row["path"]] == "keep"
    if not found:
        raise ValueError(f"None of the decisions is about a photo of {out / 'photos.parquet'}.")


def learned_threshold(out: Path, decisions: dict[str, str]) -> tuple[float, str]:
    """The threshold that gets the fewest decisions wrong, the lowest of several, and a sentence about it."""
    rows = sorted((row["score"], kept) for row, kept in decided(out, decisions, ["score"]))
    scores, kept = (np.array(values) for values in zip(*rows, strict=True))
    below = np.concatenate([[0], np.cumsum(kept)])  # kept photos below the threshold, by how many lie there
    above = np.concatenate([np.cumsum(~kept[::-1])[::-1], [0]])  # rejected photos above it
    edges = np.concatenate([[True], np.diff(scores) > 0, [True]])  # equal scores stay together
    number = int(np.where(edges, below + above, len(kept) + 1).argmin())
    around = np.concatenate([[scores[0]], scores, [scores[-1] + 0.02]])
    threshold = round(float(around[number : number + 2].mean()), 4)
    if number == 0:
        threshold = 0.0
    return threshold, (
        f"Threshold {threshold:g}, learned from {len(kept)} decisions: it gets {below[number] + above[number]} of them "
        f"wrong ({below[number]} kept photos are below it, {above[number]} rejected ones are not)."
    )


def write_dataset(out: Path, decisions: dict[str, str], folder: Path) -> Counter:
    """Write the photos that were decided on as a data set in the SmartBlur schema; returns the rows of each split.

    A rejected photo is labelled bad-blur. A kept one is labelled as the most probable of the other labels. Raises
    ValueError as `decided` does, and if the folder holds something."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"--dataset {folder} is not empty; choose a new folder.")
    rows, reader = decided(out, decisions, [*PROBABILITIES, "moved_to", "burst"]), Reader()
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        writers: dict[str, pq.ParquetWriter] = {}
        for row, kept in rows:
            try:
                data = file_of(reader, place_of(row))
            except (OSError, ValueError) as error:
                logger.warning(f"{row['path']}: it is left out of the data set ({error}).")
                continue
            split = split_of(f"burst {row['burst']}" if row["burst"] else row["path"])
            if split not in writers:
                (folder / "data").mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(replacing(folder / "data" / f"{split}-00000-of-00001.parquet"))
                writers[split] = stack.enter_context(pq.ParquetWriter(file, SCHEMA, write_page_checksum=True))
            labels = [*WORTH][:3] if kept else ["bad-blur"]
            label = max(labels, key=lambda name: row[f"p_{name.replace('-', '_')}"])
            source = f"decisions/{hashlib.sha1(row['path'].encode(), usedforsecurity=False).hexdigest()}"
            value = {"image": {"bytes": data, "path": None}, "desirability": [*WORTH].index(label), "source": source}
            writers[split].write_table(pa.Table.from_pylist([value], SCHEMA))
            counts[split] += 1
    return counts


def split_of(name: str) -> str:
    """The split of a photo, by a checksum; shots of a burst have one."""
    place = int(hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()[:8], 16) / 16**8
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    return "train"


def file_of(reader: Reader, path: str) -> bytes:
    """The file of a photo, or a JPEG of it if other programs may not open it."""
    with reader.photo(path) as photo:
        if path.lower().endswith(KNOWN):
            if isinstance(photo, bytes):
                return photo
            with open_file(os.fspath(photo)) as source:
                return source.read()
        file = io.BytesIO()
        load_photo(photo).save(file, "jpeg", quality=95)
        return file.getvalue()
