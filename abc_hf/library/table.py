"""The table that `abc-fusenet sort` writes: one row per photo, in Parquet and CSV; and where its small pictures are."""

import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pyarrow as pa
import pyarrow.parquet as pq

from ..exif import SETTINGS
from ..verdicts import WORTH

PROBABILITIES = tuple(f"p_{label.replace('-', '_')}" for label in WORTH)
"""The columns of the classes' probabilities, in the classes' order."""
COLUMNS = pa.schema(
    [
        ("path", pa.string()),  # absolute, `a.zip!/a.jpg`, `a.parquet!/image/07`, or an fsspec URL; see `path_text`
        ("bytes", pa.int64()),
        ("modified", pa.float64()),  # [s since 1970]
        ("raw_path", pa.string()),  # the camera RAW file of the same shot, which counts once
        ("taken", pa.string()),  # EXIF DateTimeOriginal with its fraction of a second, ISO 8601
        ("camera", pa.string()),  # EXIF make and model
        ("body", pa.string()),  # EXIF serial number of the camera
        *((name, pa.float32()) for name in SETTINGS),
        ("rating", pa.int32()),  # a person's: 1 to 5 stars, -1 for rejected; from sidecars or the file itself
        ("color_label", pa.string()),  # a person's, as Lightroom spells it
        ("companions", pa.string()),  # files that belong to the photo, behind each other with "; " between them
        ("moved_to", pa.string()),  # where the photo is since `sort` moved it
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("label", pa.string()),
        ("certain", pa.bool_()),  # whether the label is sure enough to act on
        ("between", pa.string()),  # the two labels in question, "ok-blur or bad-blur"; null if the label is certain
        ("kind", pa.string()),  # of the blur: defocus, motion or camera-shake; null for no-blur
        *((name, pa.float32()) for name in PROBABILITIES),
        ("score", pa.float32()),
        ("blur_on_subject", pa.float32()),
        ("blur_on_background", pa.float32()),
        ("blur_fraction", pa.float32()),
        ("reason", pa.string()),
        ("subject_sharpness", pa.float32()),  # in the photo's own pixels: 1 = a perfect edge; null if not measured
        ("subject_blur_radius", pa.float32()),  # the same as a radius of blur [pixels of the photo]
        ("faces", pa.int32()),  # how many there are; null without the extra `faces`
        ("eye_sharpness", pa.float32()),  # as subject_sharpness, of the eyes that count; null without any
        ("closer_look", pa.string()),  # one sentence on these figures
        ("subject_x", pa.float32()),  # the middle of the eye, or of the sharpest part of the subject, as a part of
        ("subject_y", pa.float32()),  # the width and of the height
        ("perceptual_hash", pa.string()),  # 16 hexadecimal digits
        ("burst", pa.int32()),  # shots of one moment share a number; null for a photo on its own
        ("burst_rank", pa.int32()),  # 1 = the sharpest eyes, or else the sharpest subject, of its burst
        ("set", pa.int32()),  # shots that belong together share a number: a bracket, a focus stack, and so on
        ("set_kind", pa.string()),  # exposure bracket, focus stack, panorama or time lapse
        ("error", pa.string()),  # why there is no verdict, in one sentence; null if there is one
    ]
)
ESCAPED = "file:///"
"""How a path that is not UTF-8 begins in the table; no other does."""


def path_text(path: str) -> str:
    """A path as the table says it, always UTF-8: itself, or if it holds bytes that are not, a `file:` URI whose
    special characters are percent-encoded (RFC 8089), such as `file:///photos/%FF.jpg`."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return ESCAPED + quote_from_bytes(os.fsencode(path), safe=b"/!").removeprefix("/")
    return path


def path_from_text(text: str) -> str:
    """The path that `path_text` wrote, as `open` takes it."""
    return os.fsdecode(unquote_to_bytes(text[len(ESCAPED) - 1 :])) if text.startswith(ESCAPED) else text


def read_table(out: Path, columns: list[str] | None = None) -> Iterator[dict]:
    """The rows of `out/photos.parquet`, read a thousand at a time."""
    with pq.ParquetFile(out / "photos.parquet") as file:
        for part in file.iter_batches(1000, columns=columns):
            yield from part.to_pylist()


def place_of(row: dict) -> str:
    """Where the photo of a row is now, as `open` takes it."""
    return path_from_text(row["moved_to"] or row["path"])


def seconds_of(taken: str | None) -> float | None:
    """An ISO 8601 time as seconds, to be subtracted from another; None if it is none. Zones are not looked at: the
    shots of one camera share one."""
    try:
        return (datetime.fromisoformat(taken or "").replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
    except ValueError:
        return None


def thumbnail_files(out: str | os.PathLike, path: str) -> tuple[Path, Path]:
    """Where the small pictures of a photo are: the photo, a JPEG with a long side of at most 320 pixels, and its blur
    map, an 8-bit grey PNG of at most 160 (black = 0, sharp; white = 1, strongly blurred), in
    `thumbs/ab/abcd....jpg` and `thumbs/ab/abcd...._map.png`.

    Args:
        out: the folder that `abc-fusenet sort` writes to.
        path: as in the table; the files are named by its SHA-1.
    """
    name = hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()
    folder = Path(out) / "thumbs" / name[:2]
    return folder / f"{name}.jpg", folder / f"{name}_map.png"
