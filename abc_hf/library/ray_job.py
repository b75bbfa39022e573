"""`abc-fusenet sort --ray`: one job on all machines of a Ray cluster, and the report of a part of its rows.

Ray Data reads the names of photos, actors judge them (`Assess`), and rows go to Parquet files. Ray's own checkpoint
says which paths are done. The rows are the truth: before a job starts, the checkpoint is made anew from them.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
from ray.data.block import BlockMetadata
from ray.data.checkpoint import CheckpointConfig

from .. import __version__
from ..common.files import check_results, replacing, write_bytes
from ..common.names import in_words
from ..common.text import first_line
from ..configuration_abc_fusenet import DESIRABILITY
from ..inference.processes import cores
from ..verdicts import THRESHOLD
from .assess import PICTURES, ROWS, Assess, model_folder
from .bursts import add_bursts
from .containers import CONTAINERS, LANCE, PARQUET, open_archive
from .find import Found, find_photos, in_container
from .html_report import write_report
from .journal import write_table
from .lock import only_job
from .sort import OUTPUTS, fingerprint
from .table import COLUMNS, path_from_text, path_text, thumbnail_files
from .xmp import marks_beside

logger = logging.getLogger(__name__)

TASK, SHARD = 200, 2000
"""Photos that an actor is given at a time, and the least in a file of rows. A job that is killed loses what is in no
file yet."""
MANIFEST = "manifest.json"
NAMES = pa.schema([*(COLUMNS.field(name) for name in ("path", "bytes", "modified", "raw_path", "companions", "error"))])
"""What is known of a photo before it is judged; `error` of an archive that cannot be read."""
ACTOR, TASKS = 0.9, 0.05
"""The CPUs that an actor asks for, and a task that reads or writes. Ray's checkpoint has an actor that asks for a whole
one: if the others took all, the job would wait for it for ever."""


def sort_on_ray(
    sources: Iterable[str],
    out: str | os.PathLike,
    address: str | None = None,
    *,
    model: str | os.PathLike | None = None,
    device: str | None = None,
    engine: str = "auto",
    batch_size: int | None = None,
    workers: int | None = None,
) -> int:
    """Judge the photos that are named (see `find_photos`) on a Ray cluster. The rows are those of `sort_library`, but
    for bursts and sets, which the report finds.

    Args:
        out: a folder that all machines see. `out/photos-DIGEST` holds the rows, DIGEST tells model and engine from
            others; `out/manifest.json`, written last, names the files.
        address: of the cluster; None starts Ray on this machine, and ends it.
        model, device, engine, batch_size, workers: as in `Assess`; all machines see a folder of a model.

    Returns:
        the exit status: 0, or 1 if a photo or a folder could not be read. The same call goes on with a killed job.

    Raises:
        ValueError: if no job can run there, or it ended.
    """
    out = Path(out).absolute()
    folder = model_folder(model)
    settings = {"model": fingerprint(folder), "engine": engine, "columns": ROWS.names}
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
    rows, checkpoint = out / f"photos-{digest}", out / f"checkpoint-{digest}"
    complaints: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    with only_job(out):
        photos = find_photos(sources, complaints.__setitem__, [str(out)], left_out, look_into=as_one)
        tasks = list(tasks_of(photos))
        for name, reason in complaints.items():
            logger.warning(f"{name}: {reason}")
        if left_out:
            logger.info(f"{left_out.total()} files left out: {in_words(left_out)}.")
        known = tidy(rows, checkpoint)
        logger.info(f"{known.total()} photos were judged before.")
        if tasks:
            try:
                start(address)
                options = {"model": model, "device": device, "engine": engine, "batch_size": batch_size}
                run(tasks, rows, checkpoint, bool(known), options | {"workers": workers})
            except ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[-1].rstrip(".")  # the end of a traceback
                raise ValueError(f"The job ended on Ray ({reason}). The same command goes on with it.") from error
            finally:
                if address is None:
                    ray.shutdown()
        labels = tidy(rows)
        files = {path.name: pq.read_metadata(path).num_rows for path in shards(rows)}
        manifest = {"settings": settings, "version": __version__, "folder": rows.name, "photos": labels.total()}
        numbers = {label or "error": labels[label] for label in (*DESIRABILITY, None)}
        manifest |= {"labels": numbers, "files": files}
        write_bytes(out / MANIFEST, f"{json.dumps(manifest, indent=2)}\n".encode())
    counts = ", ".join(f"{number} {label}" for label, number in numbers.items() if number)
    logger.info(f"{rows}: {labels.total()} photos; {counts or 'no verdicts'}.")
    logger.info(f"`abc-fusenet sort --report {out}` makes the report.")
    return int(bool(labels[None] or complaints))


def start(address: str | None) -> None:
    """Connect to a cluster, or start Ray here: two CPUs at least, for the checkpoint's actor and one of ours.

    Raises:
        ValueError: if there is no cluster, or Ray does not start.
    """
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}  # ours are sentences
    options: dict = {"log_to_driver": False, "logging_level": "critical", "ignore_reinit_error": True}
    if address is None:
        options |= {"num_cpus": max(2, cores()), "include_dashboard": False}
    try:
        if address and ":" in address:  # Ray would wait for it without end
            host, _, port = address.rpartition(":")
            socket.create_connection((host.rpartition("/")[2], int(port)), 10).close()
        ray.init(address or "local", **options)
    except Exception as error:  # of many kinds
        place = f"No Ray cluster answers at {address}" if address else "Ray does not start on this machine"
        raise ValueError(f"{place} ({first_line(error)}).") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def run(tasks: list, rows: Path, checkpoint: Path, resumed: bool, options: dict) -> None:
    """Judge the photos that have no row.

    Args:
        resumed: whether the checkpoint's actor takes a CPU.
        options: of `Assess`.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    context.checkpoint_config = CheckpointConfig(
        id_column="path", checkpoint_path=str(checkpoint), delete_checkpoint_on_success=False
    )
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0)) if options["device"] is None else 0
    cpus = int(resources.get("CPU", 0)) - resumed
    if cpus < 1:
        raise ValueError("The Ray cluster has too few CPUs; the job takes one, and one more to go on.")
    if options["workers"] is None:
        options["workers"] = max(1, cpus // gpus - 1) if gpus else 0
    most = gpus or max(1, cpus // max(1, options["workers"]))
    few = max(1, cpus // 4)  # names are read fast, but each process that reads some imports torch first
    ray.data.read_datasource(
        Photos(tasks), num_cpus=TASKS, concurrency=few, override_num_blocks=len(tasks)
    ).map_batches(
        Judge,
        fn_constructor_kwargs=options,
        batch_size=TASK,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=min(most, len(tasks)), max_size=most),  # of few CPUs Ray leaves some idle
        num_cpus=ACTOR * max(1, options["workers"]),
        num_gpus=1 if gpus else None,
    ).write_parquet(str(rows), min_rows_per_file=SHARD, ray_remote_args={"num_cpus": TASKS})


def as_one(path: str, _) -> Iterator[Found]:
    """A Parquet file or an archive is looked into on the cluster."""
    yield Found(path, None, None)


def tasks_of(photos: Iterable[Found]) -> Iterator[tuple[list[Found], int, int | None]]:
    """What one task reads: some photos; or an archive, and which of its photos, the first of them and the one behind
    the last. The rows of a Parquet file or a Lance data set are known without reading them, and shared out."""
    waiting: list[Found] = []
    for photo in photos:
        path = photo.path.lower()
        if path.endswith((*PARQUET, *LANCE)):
            rows = 1
            with contextlib.suppress(Exception), open_archive(photo.path) as table:  # the task says what is wrong
                rows = table.rows
            yield from (([photo], start, start + TASK) for start in range(0, max(1, rows), TASK))
        elif path.endswith(CONTAINERS):
            yield [photo], 0, None
        else:
            waiting.append(photo)
            if len(waiting) == TASK:
                yield waiting, 0, None
                waiting = []
    if waiting:
        yield waiting, 0, None


class Photos(Datasource):
    """The names of photos, as `tasks_of` shares them out."""

    def __init__(self, tasks: list[tuple]):
        self.tasks = tasks

    def estimate_inmemory_data_size(self) -> None:
        return None

    def get_read_tasks(self, parallelism, per_task_row_limit=None, data_context=None) -> list[ReadTask]:
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(functools.partial(names, *task), unknown) for task in self.tasks]


def names(photos: list[Found], start: int, stop: int | None) -> Iterator[pa.Table]:
    """Tables with the columns `NAMES`; arguments as `tasks_of` gives them."""
    errors: dict[str, str] = {}
    there = found_in(photos, start, stop, errors)
    while some := list(itertools.islice(there, 10_000)):
        rows = [
            {
                "path": path_text(photo.path),
                "bytes": photo.bytes,
                "modified": photo.modified,
                "raw_path": photo.raw_path and path_text(photo.raw_path),
                "companions": "; ".join(map(path_text, photo.companions)) or None,
                "error": errors.get(photo.path),
            }
            for photo in some
        ]
        yield pa.Table.from_pylist(rows, NAMES)


def found_in(photos: list[Found], start: int, stop: int | None, errors: dict[str, str]) -> Iterator[Found]:
    """The photos of a task; and an archive that cannot be read, as a photo that cannot be opened."""
    if not photos[0].path.lower().endswith(CONTAINERS):
        yield from photos
        return
    yield from itertools.islice(in_container(photos[0].path, errors.__setitem__), start, stop)
    yield from (Found(path, None, None) for path in errors)


class Judge:
    """What an actor does: tables with the columns `NAMES` in, `ROWS` out.

    Args:
        options: of `Assess`.
    """

    def __init__(self, **options):
        self.assess = Assess(**options, columns=ROWS.names)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = []
        for known, row in zip(table.to_pylist(), self.assess(table.select(["path"])).to_pylist(), strict=True):
            error, beside = known.pop("error"), (known["companions"] or "").split("; ")
            row |= known | marks_beside(path_from_text(known["path"]), filter(None, beside))
            rows.append(row | {"error": error or row["error"]})
        return pa.Table.from_pylist(rows, ROWS)


def shards(rows: Path) -> list[Path]:
    return sorted(rows.glob("*.parquet"))


def tidy(rows: Path, checkpoint: Path | None = None) -> Counter:
    """Have each photo once in the rows; Ray may write a photo twice when a machine is lost. Returns how many photos
    have which label; None is for those that could not be opened.

    Args:
        checkpoint: a job is about to start: note what is done there, and drop the rows of photos that could not be
            opened, so that they are tried again, and files that were cut short.
    """
    labels: Counter = Counter()
    hashes = [np.empty(0, np.uint64)]
    for path in shards(rows) if checkpoint else ():
        try:
            table = read_table(path, ["path", "label"])
        except (pa.ArrowException, OSError):
            logger.warning(f"{path}: the file was cut short; its photos are judged again.")
            path.unlink()
            continue
        if table["label"].null_count:
            rewrite(path, pc.is_valid(table["label"]))
    for path in shards(rows):
        hashes.append(pd.util.hash_array(read_table(path, ["path"])["path"].to_numpy()))
    values, counts = np.unique(np.concatenate(hashes), return_counts=True)
    twice, seen = values[counts > 1], set()
    if checkpoint:
        checkpoint.mkdir(exist_ok=True)
        for path in checkpoint.glob("*"):
            path.unlink()
    for path, those in zip(shards(rows), hashes[1:], strict=True):
        table = read_table(path, ["path", "label"])
        if (suspects := np.isin(those, twice)).any():
            keep = np.ones(len(those), bool)
            for number in np.flatnonzero(suspects):
                name = table["path"][int(number)].as_py()
                keep[number] = name not in seen
                seen.add(name)
            if not keep.all():
                rewrite(path, pa.array(keep))
                table = table.filter(pa.array(keep))
        labels.update(table["label"].to_pylist())
        if checkpoint and table.num_rows:
            with replacing(checkpoint / path.name) as file:
                pq.write_table(table.select(["path"]), file)
    return labels


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A file of rows; folders named `a=b` above it are no column."""
    return pq.read_table(path, columns=columns, partitioning=None)


def rewrite(path: Path, keep: pa.Array) -> None:
    """Keep these rows of a file."""
    table = read_table(path).filter(keep)
    if not table.num_rows:
        path.unlink()
        return
    with replacing(path) as file:
        pq.write_table(table, file)


def report_rows(
    out: str | os.PathLike, most: int, threshold: float = THRESHOLD, reject_soft: float | None = None
) -> int:
    """Write the table, the CSV file and the report of up to `most` photos of `sort_on_ray` into its folder.

    Raises:
        ValueError: if no job has finished there.
    """
    out = Path(out)
    try:
        manifest = json.loads((out / MANIFEST).read_text())
        files = [out / manifest["folder"] / name for name in manifest["files"]]
    except (OSError, ValueError, KeyError):
        raise ValueError(f"{out} holds no finished `sort --ray`; run that first, or name its --out.") from None
    check_results(out, "report/settings.js", OUTPUTS)
    with only_job(out):
        kept = list(itertools.islice(some_rows(out, files), most))
        kept.sort(key=lambda row: row["path"])
        write_table(out, kept)
        add_bursts(out)
        write_report(out, threshold=threshold, reject_soft=reject_soft)
    if len(kept) < manifest["photos"]:
        logger.info(f"The report shows {len(kept)} of {manifest['photos']} photos; --most changes the number.")
    logger.info(f"{out / 'report.html'} shows {len(kept)} photos in a browser; {out / 'photos.csv'} lists them.")
    return int(any(row["error"] for row in kept))


def some_rows(out: Path, files: list[Path]) -> Iterator[dict]:
    """The rows in files, their small pictures written beside the report."""
    for path in files:
        with pq.ParquetFile(path) as file:
            for part in file.iter_batches(500):
                for row in part.to_pylist():
                    pictures = [row.pop(name) for name in PICTURES]
                    for place, data in zip(thumbnail_files(out, row["path"]), pictures[:2], strict=True):
                        if data is not None:
                            place.parent.mkdir(parents=True, exist_ok=True)
                            write_bytes(place, data, sync=False)
                    yield row
