"""The splits of any data set, brought into the SmartBlur schema."""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..common.files import sha256_of
from ..configuration_abc_fusenet import DESIRABILITY
from .schema import FEATURES, MAP_COLUMNS, DamagedDataError, conform

KEPT = 10
"""How many caches of earlier contents of data sets are kept."""


def load_splits(settings):
    """The train split of the data sets that `TrainSettings` names, all together, and their validation split.

    Where no data set has a validation split, a share of train becomes it. With `streaming`, train is an
    `IterableDataset`.

    Raises ValueError, in one sentence, if a data set cannot be loaded or its rows or columns do not fit the schema.
    """
    options = {"revision": settings.dataset_revision, "cache_dir": settings.cache_dir, "streaming": settings.streaming}
    loaded = [(name, open_splits(name, **options)) for name in settings.dataset_name]
    parts = {
        split: [conform(splits[split], name, split) for name, splits in loaded if split in splits]
        for split in ("train", "validation")
    }
    if not parts["train"]:
        raise ValueError(f"There is no split named train in {', '.join(settings.dataset_name)}.")
    if settings.streaming:
        if not parts["validation"]:
            raise ValueError("--streaming needs a split named validation: no part of a stream can be held out.")
        train = parts["train"][0] if len(parts["train"]) == 1 else datasets.interleave_datasets(parts["train"])
        most = 4 * settings.max_eval_samples
        rows = [row for part in parts["validation"] for row in part.decode(False).take(most)]
        validation = datasets.Dataset.from_list(rows, features=FEATURES)
        return (train.take(settings.max_train_samples) if settings.max_train_samples else train), validation

    train = datasets.concatenate_datasets(parts["train"])
    if parts["validation"]:
        validation = datasets.concatenate_datasets(parts["validation"])
    else:
        if len(train) < 2:
            raise ValueError("The data has one row; there must be some to train on and some to validate on.")
        split = train.train_test_split(test_size=settings.train_val_split, seed=settings.seed)
        train, validation = split["train"], split["test"]
    if settings.max_train_samples and settings.max_train_samples < len(train):
        train = train.shuffle(seed=settings.seed).select(range(settings.max_train_samples))
    return train, validation


def open_splits(name: str, *, cache_dir: str | None = None, **options):
    """The splits of a data set, by name, read from its files as they are now. Training and scoring open all data here.

    `datasets.load_dataset` knows a local folder by its name, and returns the rows that it read before even if the files
    have changed. So each content of a folder has its own cache here, named by the digest of the bytes.

    Args:
        name: a folder or a Hub name (the Hub names each content by its commit).
        options: as in `datasets.load_dataset`, such as `revision` and `streaming`.
        cache_dir: the folder to keep decoded data in, instead of that of `datasets`.

    Raises:
        ValueError: in one sentence, if nothing can be loaded from there, or a Parquet file is damaged or has a label
            out of range: the sentence names the file and the row.
    """
    folder = Path(name)
    try:
        if folder.is_dir():
            files = data_files(folder)
            for file in files:
                if file.suffix == ".parquet":
                    check_parquet(file)
            cache_dir = str(own_cache(Path(cache_dir or datasets.config.HF_DATASETS_CACHE), digest_of(files, folder)))
        source = str(folder.resolve()) if folder.is_dir() else name
        return datasets.load_dataset(source, cache_dir=cache_dir, **options)
    except DamagedDataError:
        raise
    except Exception as error:  # of a dozen kinds, from folders, network, Parquet and YAML
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ValueError(f"No data set can be loaded from {name} ({reason}); give a folder or a Hub name.") from error


def own_cache(cache_dir: Path, digest: str) -> Path:
    """The cache of a content. Beside it, the `KEPT` caches that were used last stay; others are deleted."""
    own = cache_dir / "by-content" / digest
    own.mkdir(parents=True, exist_ok=True)
    os.utime(own)
    times = {}
    for folder in own.parent.iterdir():
        with contextlib.suppress(OSError):  # another process has deleted it
            times[folder] = folder.stat().st_mtime
    times.pop(own, None)
    for folder in sorted(times, key=times.__getitem__, reverse=True)[KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)
    return own


def data_files(folder: Path) -> list[Path]:
    """All files of a data set's folder in the order of their names; hidden ones are left out, as `datasets` does. Links
    are followed."""
    found = []
    for top, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] not in "._"]
        found += [Path(top, name) for name in names if name[0] not in "._"]
    return sorted(path for path in found if path.is_file())


def digest_of(files: list[Path], folder: Path) -> str:
    """The SHA-256 of the paths and the bytes of the files of a folder. It changes if the content changes."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256_of(path)}\n".encode())
    return digest.hexdigest()[:32]


def check_parquet(path: Path) -> None:
    """Raise `DamagedDataError` for a Parquet file that is cut short, has flipped bits (where its pages have checksums,
    as those of `abc_hf.data.build` do) or holds a desirability that is no class."""
    again = "build or download the data set again"
    first = 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                table = file.read_row_group(group)
                check_class_range(table, path, first)
                first += rows
    except (OSError, pa.ArrowException) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise DamagedDataError(f"{path} is damaged at row {first} or after it ({reason}): {again}.") from error


def check_class_range(table: pa.Table, path: Path, first: int) -> None:
    """Raise `DamagedDataError` for a whole number in the column desirability that is no class; `first` is the row of
    the file that the table begins with."""
    if "desirability" not in table.column_names or not pa.types.is_integer(table.schema.field("desirability").type):
        return
    for row, value in enumerate(table["desirability"].to_pylist(), start=first):
        if value is not None and not 0 <= value < len(DESIRABILITY):
            raise DamagedDataError(
                f"{path}, row {row}, column desirability: {value} is none of the classes 0 to {len(DESIRABILITY) - 1} "
                f"({', '.join(DESIRABILITY)}). Correct the label, or leave the row out."
            )


def digest_of_rows(rows) -> dict:
    """The number of rows of a split, and a digest of all their values."""
    if isinstance(rows, datasets.IterableDataset):
        return {"rows": None, "digest": "of a stream"}
    digest = hashlib.sha256()
    for table in rows.with_format("arrow").iter(batch_size=500):
        for column in ("image", *MAP_COLUMNS):
            for value in pc.struct_field(table[column], "bytes"):
                digest.update(b"-" if not value.is_valid else hashlib.sha256(value.as_buffer()).digest())
        labels = [column for column in FEATURES if column not in ("image", *MAP_COLUMNS)]
        digest.update(repr(table.select(labels).to_pydict()).encode())
    return {"rows": len(rows), "digest": digest.hexdigest()[:16]}
