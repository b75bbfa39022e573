"""The table that `abc-fusenet sort` writes: one row per photo, in Parquet and CSV."""

import pyarrow as pa

from .configuration_abc_fusenet import DESIRABILITY

PROBABILITIES = tuple(f"p_{label.replace('-', '_')}" for label in DESIRABILITY)
"""The columns of the classes' probabilities, in the classes' order."""
COLUMNS = pa.schema(
    [
        ("path", pa.string()),  # as found: a path, `archive.zip!/member.jpg`, or an fsspec URL
        ("bytes", pa.int64()),
        ("modified", pa.float64()),  # [s since 1970]
        ("raw_path", pa.string()),  # the camera RAW file of the same shot, which counts once
        ("taken", pa.string()),  # EXIF DateTimeOriginal with its fraction of a second, ISO 8601
        ("camera", pa.string()),  # EXIF make and model
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("label", pa.string()),
        *((name, pa.float32()) for name in PROBABILITIES),
        ("score", pa.float32()),
        ("blur_on_subject", pa.float32()),
        ("blur_on_background", pa.float32()),
        ("blur_fraction", pa.float32()),
        ("reason", pa.string()),
        ("perceptual_hash", pa.string()),  # 16 hexadecimal digits
        ("burst", pa.int32()),  # shots of one moment share a number; null for a photo on its own
        ("burst_rank", pa.int32()),  # 1 = the sharpest subject of its burst
        ("sharpness", pa.float32()),  # of the subject in native pixels (abc_hf/sharpness.py); within bursts
        ("error", pa.string()),  # why there is no verdict, in one sentence; null if there is one
    ]
)


def probabilities(row: dict) -> dict[str, float]:
    """The classes' probabilities in a row of the table."""
    return {label: row[name] for label, name in zip(DESIRABILITY, PROBABILITIES, strict=True)}
