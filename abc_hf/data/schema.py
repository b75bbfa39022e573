"""The SmartBlur schema: its columns and the meaning of the values in its maps."""

import datasets
import numpy as np
from PIL import Image

from ..configuration_abc_fusenet import DESIRABILITY
from ..losses import AMOUNT_STEPS, AMOUNT_UNKNOWN, AT_LEAST_HIGH, NUM_LEVELS, UNKNOWN

FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "blur_map": datasets.Image(mode="L"),
        "blur_amount": datasets.Image(mode="L"),
        "salient_mask": datasets.Image(mode="L"),
        "desirability": datasets.ClassLabel(names=list(DESIRABILITY)),
        "votes": datasets.List(datasets.Value("float32"), length=len(DESIRABILITY)),
        "sure": datasets.Value("bool"),
        "subject_blur": datasets.Value("float32"),
        "rest_blur": datasets.Value("float32"),
        "blur_kind": datasets.Value("string"),
        "kind_agreed": datasets.Value("bool"),
        "source": datasets.Value("string"),
        "license": datasets.Value("string"),
    }
)
"""The SmartBlur schema, with columns finer than its levels. blur_map: levels 0..3; 254 = blurred, amount unknown; 255 =
unknown. blur_amount: the same between the levels, `losses.AMOUNT_STEPS` to a level; 253 = high or more. votes: the
share of annotators who chose each class; sure: all of them chose the same and were sure; subject_blur, rest_blur: the
annotators' mean level on the subject and on the rest, 0..3; kind_agreed: all of them named `blur_kind`. Any label may
be None."""
MAP_COLUMNS = ("blur_map", "blur_amount", "salient_mask")
"""The columns that are maps of the photo."""


class DamagedDataError(ValueError):
    """A file of a data set is damaged."""


def conform(rows, name: str, split: str):
    """The rows with the columns of the schema in its order; labels that they do not have are None.

    `desirability` may be a ClassLabel of the four classes or their names.
    """
    if "image" not in (rows.column_names or ()):
        raise ValueError(f"{name}, split {split}: there is no column image among {', '.join(rows.column_names)}.")
    for column in ("image", *MAP_COLUMNS):
        if column in rows.column_names and not isinstance(rows.features[column], datasets.Image):
            kind = rows.features[column]
            raise ValueError(f"{name}, split {split}, column {column}: images were expected, not {kind}.")
    if "desirability" in rows.column_names:
        check_classes(rows, f"{name}, split {split}")
    if missing := set(FEATURES) - set(rows.column_names):

        def fill(indices):
            columns: dict[str, list] = {column: [None] * len(indices) for column in missing}
            if "source" in missing:
                columns["source"] = [f"row/{index}" for index in indices]
            return columns

        features = datasets.Features({**rows.features, **{column: FEATURES[column] for column in missing}})
        rows = rows.map(lambda batch, indices: fill(indices), batched=True, with_indices=True, features=features)
    return rows.select_columns(list(FEATURES)).cast(FEATURES)


def check_classes(rows, name: str) -> None:
    feature = rows.features["desirability"]
    if getattr(feature, "names", None) == list(DESIRABILITY):
        return
    allowed = f"must be a ClassLabel or the names of {', '.join(DESIRABILITY)}"
    if getattr(feature, "dtype", None) != "string":
        raise ValueError(f"{name}, column desirability: it {allowed}, in this order.")
    if isinstance(rows, datasets.IterableDataset):
        return  # the cast refuses a wrong one when it is read
    for number, value in enumerate(rows["desirability"]):
        if value is not None and value not in DESIRABILITY:
            raise ValueError(f"{name}, row {number}, column desirability: {value!r}; it {allowed}.")


def group_of(row: dict) -> str:
    """Where a row's truth comes from: "synthetic" blur, "sharp" photos, or real photos that are neither."""
    if row["source"].startswith("synth/"):
        return "synthetic"
    return "sharp" if row.get("desirability") == 0 else "blurred"


def level_table(steps: int, *kept: int) -> np.ndarray:
    """(256,) the level of each value of a column, `steps` values to a level. Values in `kept` stay; others are NaN."""
    values = np.arange(256, dtype=np.float32)
    levels = np.where(values <= steps * (NUM_LEVELS - 1), values / steps, np.nan)
    levels[[*kept]] = kept
    return levels.astype(np.float32)


LEVELS_OF = {
    "blur_map": level_table(1, AMOUNT_UNKNOWN, UNKNOWN),
    "blur_amount": level_table(AMOUNT_STEPS, AT_LEAST_HIGH, AMOUNT_UNKNOWN, UNKNOWN),
}
KNOWN_CODES = {
    "blur_map": f"0..{NUM_LEVELS - 1} (levels)",
    "blur_amount": f"0..{AMOUNT_STEPS * (NUM_LEVELS - 1)} (amounts), {AT_LEAST_HIGH} (high or more)",
}


def levels_from(codes: np.ndarray, column: str, name: str) -> np.ndarray:
    """The values of "blur_map" or "blur_amount" as levels; raises ValueError for one that is none."""
    levels = LEVELS_OF[column][codes]
    if np.isnan(levels).any():
        raise ValueError(
            f"{name}, column {column}: the value {codes[np.isnan(levels)][0]} is none of {KNOWN_CODES[column]}, "
            f"{AMOUNT_UNKNOWN} (blurred, amount unknown) and {UNKNOWN} (unknown)."
        )
    return levels


def check_map(labels: Image.Image, photo: Image.Image, name: str) -> None:
    """Raise ValueError for a map that is not grey or has not the photo's shape (its size may differ)."""
    if labels.mode != "L":
        raise ValueError(f"{name}: a grey map of 8 bits was expected; got the mode {labels.mode}.")
    if abs(labels.width * photo.height / (labels.height * photo.width) - 1) > 0.03:
        raise ValueError(f"{name}: the map is {labels.width}x{labels.height}, its photo {photo.width}x{photo.height}.")


def has_blur(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Binary truth of a level map, level > 0 with 254 counted as blurred, and where it is known."""
    return (levels > 0) & (levels <= AMOUNT_UNKNOWN), levels != UNKNOWN


SPLITS = ("train", "validation", "test")
