"""One row a photo: the same for `abc-fusenet sort` and for `Assess`, which Ray Data, Daft, Spark and `datasets` run."""

import errno
import functools
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from ..common.text import first_line
from ..image_processing_abc_fusenet import resize_map, working_shape
from ..inference.loading import BUNDLED, download, load_pipeline, no_model
from ..photos import PhotoError
from ..pipeline import BlurUnderstandingPipeline
from ..report import BlurReport
from ..visualization import grey_image
from .containers import split_member
from .find import Found, local_files
from .shards import SHARD_COLUMNS
from .table import COLUMNS, PROBABILITIES, path_from_text, path_text
from .workers import Workers, failed

BATCH_SIZES = {"cpu": 1}
"""The most photos judged at a time, by kind of device; `BATCH_SIZE` on others. On a CPU more gain nothing."""
BATCH_SIZE = 16
MAP_SIDE, ATTENTION_SIDE = 160, 64
"""The long sides of the small blur map and of the small attention map [pixels]."""
PICTURES = ("thumbnail", "blur_map", "attention_map")
"""The columns of small pictures: a JPEG, and two 8-bit grey PNGs (see `thumbnail_files`)."""
ROWS = pa.schema([*COLUMNS, *((name, pa.binary()) for name in PICTURES)])
SOURCES = {"image", "bytes", "path"}
"""The columns of photos."""
FIGURES = ("score", "blur_on_subject", "blur_on_background", "blur_fraction")
CLOSER = ("subject_sharpness", "subject_blur_radius", "eye_sharpness")
"""Figures of the photo in its own pixels, which may be missing."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors that mean there is no room."""


class Assess:
    """Judges batches of photos: the columns of `photos.parquet` come out, a row for each photo, in its place. A photo
    that cannot be opened or judged is a row whose `error` says why; no photo raises an exception.

    `Assess` is the class that `map_batches` of Ray Data takes, and an `Assess()` is the function that
    `datasets.map`, Spark's `predict_batch_udf` and Daft call. docs/scale.md shows all four.

    Args:
        model, device, engine: as in `load_pipeline`.
        batch_size: the most photos judged at a time; the default suits the device.
        workers: processes that open photos ahead of the network; 0 opens them one after the other.
        columns: those that come out, such as `path`, `label` and `error`; `PICTURES` may be among them. The default is
            the columns of `photos.parquet`.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        *,
        device: str | None = None,
        engine: str = "auto",
        batch_size: int | None = None,
        workers: int = 0,
        columns: Iterable[str] = COLUMNS.names,
    ):
        self.schema = pa.schema([ROWS.field(name) for name in columns])
        options: dict[str, Any] = {"device": device, "engine": engine, "batch_size": batch_size, "workers": workers}
        self.made = functools.partial(Assess, model, **options, columns=self.schema.names)
        folder = model_folder(model)
        self.workers = Workers(folder, workers)
        self.pipe = load_pipeline(folder, device=device, engine=engine)
        self.batch_size = batch_size or best_batch_size(self.pipe)
        self.keep = (lambda *_: {}) if {*PICTURES}.isdisjoint(self.schema.names) else small_pictures

    def __reduce__(self):
        """Processes are sent the arguments, and load the weights themselves."""
        return self.made, ()

    def __call__(self, batch):
        """
        Args:
            batch: columns by name, as a dict, a pandas DataFrame or a `pyarrow.Table`: `path`, a file, a member of an
                archive or a URL; or `bytes`, the files of photos, or `image`, whatever else `load_pipeline()` takes,
                with `path` as their names, if they have names. An array alone is the paths, or the files of photos.

        Returns:
            the columns in the form of the batch: a dict of arrays for an array, and of lists for a dict of lists.
        """
        names, contents = given(batch)
        photos = [found(name, content) for name, content in zip(names, contents, strict=True)]
        prepared = (
            (photo, answer | {"number": number})
            for number, (photo, answer) in enumerate(self.workers.prepared(photos, contents))
        )
        rows: list = [None] * len(photos)
        for group in by_shape(prepared, self.batch_size):
            for (_, answer), row in zip(group, self.rows(group), strict=True):
                rows[answer["number"]] = row | {"path": names[answer["number"]]}
        table = pa.Table.from_pylist(rows, self.schema)
        if isinstance(batch, pa.Table):
            return table
        if hasattr(batch, "iloc"):
            return table.to_pandas()
        if isinstance(batch, np.ndarray) or any(
            isinstance(batch[name], np.ndarray) for name in SOURCES & getattr(batch, "keys", set)()
        ):
            return {name: table[name].to_numpy() for name in table.column_names}
        return table.to_pydict()

    def rows(self, group: list[tuple[Found, dict]]) -> list[dict]:
        """The rows of photos of one shape. If they cannot be judged together, such as for lack of memory, they are
        judged one after the other."""
        try:
            return judge(self.pipe, group, self.keep)
        except Exception as error:
            if len(group) == 1:
                return [row_of(group[0][0], failed(error))]
            return [self.rows([one])[0] for one in group]


def given(batch) -> tuple[list[str | None], list]:
    """The names of the photos of a batch, and their contents; None for a photo that is read by its name."""
    if not hasattr(batch, "keys") and not isinstance(batch, pa.Table):
        values = list(batch)
        batch = {"bytes" if values and isinstance(values[0], bytes | bytearray) else "path": values}
    columns = {
        name: batch[name].to_pylist() if isinstance(batch, pa.Table) else list(batch[name])
        for name in SOURCES
        if name in (batch.column_names if isinstance(batch, pa.Table) else batch.keys())
    }
    if not columns:
        raise ValueError("A batch for Assess has a column `path`, `bytes` or `image`.")
    contents = columns.get("image", columns.get("bytes"))
    names = columns.get("path") or [each.get("path") if isinstance(each, dict) else None for each in contents or ()]
    return [None if name is None else str(name) for name in names], contents or [None] * len(names)


def found(name: str | None, content) -> Found:
    """A photo of a batch."""
    path = path_from_text(name or "")
    if isinstance(content, dict):
        content = content.get("bytes")
    if content is not None:
        return Found(path, len(content) if isinstance(content, bytes) else None, None)
    if "://" in path or split_member(path)[1]:
        return Found(path, None, None)
    return next(local_files([path]), Found(path, None, None))


def judge(
    pipe: BlurUnderstandingPipeline,
    batch: list[tuple[Found, dict]],
    keep: Callable[[str, bytes, BlurReport], dict],
) -> list[dict]:
    """The rows of photos of one shape, as `Workers.prepared` gives them.

    Args:
        keep: a function of path, thumbnail and report of each photo; its result is added to the row.
    """
    if "error" in batch[0][1]:
        return [row_of(*one) for one in batch]
    inputs = [
        {name: p[name] for name in ("preview", "size", "close_ups")}
        | {"pixel_values": torch.from_numpy(p["pixel_values"])}
        for _, p in batch
    ]
    outputs = pipe.forward({"photo": inputs})["photo"]
    rows = []
    for (photo, prepared), output in zip(batch, outputs, strict=True):
        try:
            report: Any = pipe.postprocess({"photo": output})
            row = row_of(photo, prepared, report)
            row |= keep(row["path"], prepared["thumbnail"], report)
        except Exception as error:  # whatever it is, the other photos go on
            if getattr(error, "errno", None) in FULL:
                raise
            if not isinstance(error, PhotoError):
                error = PhotoError(f"its small pictures cannot be written ({first_line(error)}).")
            row = row_of(photo, failed(error))
        rows.append(row)
    return rows


def row_of(photo: Found, prepared: dict, report: BlurReport | None = None) -> dict:
    """A row of the journal; figures are rounded to those that the table can hold."""
    row = dict.fromkeys(SHARD_COLUMNS.names) | {"bytes": photo.bytes, "modified": photo.modified}
    row |= {name: prepared[name] for name in row.keys() & prepared.keys()}
    row |= {"path": path_text(photo.path), "raw_path": photo.raw_path and path_text(photo.raw_path)}
    if report:
        row |= {"width": report.size[0], "height": report.size[1], "label": report.label, "reason": report.reason}
        between = None if report.certain else " or ".join(report.verdict.between)
        row |= {"certain": report.certain, "between": between, "kind": report.kind}
        figures = {name: getattr(report, name) for name in FIGURES}
        figures |= dict(zip(PROBABILITIES, report.probabilities.values(), strict=True))
        figures |= {name: getattr(report, name) for name in CLOSER}
        figures |= dict(zip(("subject_x", "subject_y"), report.focus or (None, None), strict=True))
        row |= {name: None if value is None else float(np.float32(value)) for name, value in figures.items()}
        row |= {"faces": report.faces, "closer_look": report.closer_look}
    return row


def small_pictures(path: str, thumbnail: bytes, report: BlurReport) -> dict[str, bytes]:
    """The columns `PICTURES` of a photo."""
    pictures = [thumbnail]
    for values, side in ((report.small_blur_map, MAP_SIDE), (report.small_attention_map, ATTENTION_SIDE)):
        file = io.BytesIO()
        small = resize_map(values, working_shape(values.shape[0], values.shape[1], side))
        grey_image(small).save(file, "png", compress_level=3)
        pictures.append(file.getvalue())
    return dict(zip(PICTURES, pictures, strict=True))


def by_shape(photos: Iterable[tuple[Found, dict]], size: int, waiting: int = 8) -> Iterator[list[tuple[Found, dict]]]:
    """Batches of photos of one shape, at most `size`. A photo that could not be opened is a batch of its own. No more
    than `waiting` * `size` photos wait for others of their shape."""
    groups: dict[tuple, list] = {}
    for photo, prepared in photos:
        if "error" in prepared:
            yield [(photo, prepared)]
            continue
        shape = prepared["pixel_values"].shape
        groups.setdefault(shape, []).append((photo, prepared))
        if len(groups[shape]) == size:
            yield groups.pop(shape)
        elif sum(len(group) for group in groups.values()) >= waiting * size:
            yield groups.pop(next(iter(groups)))
    yield from groups.values()


def best_batch_size(pipe: BlurUnderstandingPipeline) -> int:
    return BATCH_SIZES.get(pipe.device.type, BATCH_SIZE)


def model_folder(model: str | os.PathLike | None) -> Path:
    """A folder of the model, fetched from the Hub if it has to be.

    Raises:
        ValueError: if there is none.
    """
    if model is None or os.path.isdir(model):
        return Path(model or BUNDLED)
    try:
        return download(str(model))
    except Exception as error:
        raise no_model(model, error) from error
