"""What tests of `abc-fusenet sort` share: a table as it writes it, made up, and a file that counts what is read."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from abc_hf.configuration_abc_fusenet import DESIRABILITY
from abc_hf.library.table import COLUMNS, PROBABILITIES


class Counted(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, *arguments):
        data = super().read(*arguments)
        self.count += len(data)
        return data


def sort_row(path: str | Path, label: str | None = "good-blur", **others) -> dict:
    """A row about a photo; without a label, of one that could not be opened. The verdict is certain unless `between`
    says otherwise."""
    row = dict.fromkeys(COLUMNS.names) | {"path": str(path), "bytes": 1000, "modified": 1e9}
    if label is None:
        return row | {"error": "cannot be read; it is damaged."} | others
    share = others.pop("share", 0.7)
    probabilities = {name: share if name == label else (1 - share) / 3 for name in DESIRABILITY}
    score = probabilities["no-blur"] + probabilities["good-blur"] + 0.5 * probabilities["ok-blur"]
    row |= {"width": 6000, "height": 4000, "label": label, "score": score, "blur_on_subject": 0.1}
    row |= {"certain": "between" not in others, "kind": None if label == "no-blur" else "defocus"}
    row |= {"blur_on_background": 0.6, "blur_fraction": 0.5, "reason": "The subject is sharp: it stands out."}
    return row | dict(zip(PROBABILITIES, probabilities.values(), strict=True)) | others


def sort_table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=COLUMNS)


def write_sorted(out: Path, rows: list[dict], pictures: int | None = None) -> Path:
    """A folder as `sort` leaves it: the table, and thumbnails with maps for the first so many `pictures`."""
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(sort_table(rows), out / "photos.parquet")
    rng = np.random.default_rng(0)
    for index, row in enumerate(rows[:pictures]):
        if row["error"]:
            continue
        name = hashlib.sha1(row["path"].encode()).hexdigest()
        folder = out / "thumbs" / name[:2]
        folder.mkdir(parents=True, exist_ok=True)
        size = ((32, 21), (21, 32), (30, 30))[index % 3]
        photo = Image.fromarray(rng.integers(40, 230, (3, 3, 3), dtype=np.uint8)).resize(size, Image.BICUBIC)
        photo.save(folder / f"{name}.jpg")
        ramp = np.tile(np.linspace(0, 255, size[0]).astype(np.uint8), (size[1], 1))
        Image.fromarray(ramp).save(folder / f"{name}_map.png")
    return out
