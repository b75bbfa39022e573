"""`abc-fusenet sort`: judge a photo library of any size, and write a table of it.

Worker processes open photos and prepare them, batches of one shape go through the network meanwhile, and rows go to a
journal (`journal.py`).
"""

import contextlib
import hashlib
import itertools
import json
import logging
import os
import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .. import __version__
from ..common.files import check_results, sha256_of, write_bytes
from ..common.names import in_words
from ..common.text import photo_count
from ..configuration_abc_fusenet import DESIRABILITY
from ..inference.loading import load_pipeline
from ..photos import open_file
from ..report import BlurReport
from ..verdicts import THRESHOLD
from .assess import FULL, best_batch_size, by_shape, judge, model_folder, small_pictures
from .bursts import add_bursts
from .containers import sha256
from .find import EMPTY, Found, expand_names, find_photos
from .html_report import check_single_file, write_report
from .journal import ASIDE, Index, foreign_files, write_table
from .lock import only_job
from .shards import NOTED, PICTURES, SHARD_COLUMNS, Writer
from .table import read_table, thumbnail_files
from .undo_file import Moves
from .workers import JUDGES, Workers, judges

logger = logging.getLogger(__name__)

SUMMARY = "sort.json"
"""The name of the file that records the sources of the table; written last."""
FILES = "files"
"""Where that file says the checksums of the table and the report."""
OUTPUTS = ("photos.parquet", "photos.csv", "report.html")


def sort_library(sources: Iterable[str], out: str | os.PathLike, **options) -> int:
    """Judge the photos that are named (see `find_photos`) and write the table; options are those of `Sort`.

    Returns:
        the exit status: 0, 1 if a photo or a folder could not be read, or 130 if it was interrupted. Finished work is
        kept, and the same call resumes.
    """
    with Sort(out, **options) as job:
        job.load()
        job.find(sources)
        try:
            job.judge(job.todo(), job.index.count_todo())
            job.journal.close()
        except KeyboardInterrupt:
            job.stop()
            logger.info("Interrupted. The finished photos are kept; run the same command to go on.")
            return 130
        return job.finish(prune=True)


class Sort:
    """One job.

    Args:
        out: the folder to write to.
        model, device, engine: as in `load_pipeline`.
        batch_size: the most photos judged at a time; the default suits the device.
        workers: processes that open photos, 0 for none but this one; one for every two cores, but two at least, unless
            given.
        verify_content: tell a changed photo by the SHA-256 of its file.
        single_file: write the report as a single file.
        reject_soft: the sharpness at 100 % below which the report flags photos, 0..1; None flags none for it.
        threshold: the score below which the report flags photos at first.
        prune: drop the rows of sources that are missing now, such as a disk that is not plugged in.
    """

    def __init__(
        self,
        out: str | os.PathLike,
        *,
        model: str | os.PathLike | None = None,
        device: str | None = None,
        engine: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        verify_content: bool = False,
        single_file: bool = False,
        reject_soft: float | None = None,
        threshold: float = THRESHOLD,
        prune: bool = False,
    ):
        self.out, self.device, self.engine, self.batch_size = Path(out), device, engine, batch_size
        self.verify_content = verify_content
        self.single_file, self.threshold, self.prune, self.reject_soft = single_file, threshold, prune, reject_soft
        self.model, self.complaints = model_folder(model), set[str]()
        self.pipe: Any = None
        columns = hashlib.sha256(" ".join(SHARD_COLUMNS.names).encode()).hexdigest()
        self.settings = {"model": fingerprint(self.model), "engine": engine, "columns": columns}
        with contextlib.ExitStack() as stack:
            check_results(self.out, "shards", [*OUTPUTS, SUMMARY, "report"])
            stack.enter_context(only_job(self.out))
            self.journal = Writer(self.out / "shards", self.settings)
            self.index = Index(self.journal.folder, self.settings)
            stack.callback(self.index.close)
            stack.callback(self.journal.close)
            self.workers = Workers(self.model, workers, verify_content)
            stack.callback(self.workers.stop)
            self.cleanup = stack.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if getattr(error, "errno", None) not in FULL and not isinstance(error, sqlite3.OperationalError):
            self.cleanup.close()
            return
        with contextlib.suppress(OSError):  # the rest has no room either
            self.cleanup.close()
        raise OSError(
            f"There is no room to write to {self.out} or for temporary files ({error}). Finished photos are kept: make "
            "room, and run the same command to go on."
        ) from error

    def load(self):
        if others := self.index.load():
            logger.info(
                f"{others} results of another model, engine or version do not count; those photos are judged again."
            )
        aside = self.journal.folder / ASIDE
        for stem, number in self.index.damaged.items():
            logger.warning(
                f"{self.journal.folder / stem}.jsonl: {number} of its lines are damaged or foreign; their photos are "
                f"judged again, and the file is kept in {aside}."
            )
        for path in foreign_files(self.journal.folder):
            logger.warning(f"{path}: this is no file of the journal; it is kept in {aside}.")

    def find(self, sources: Iterable[str]):
        """Find the photos."""
        self.look(sources)
        if self.single_file:
            check_single_file(self.index.count())
        if lost := self.index.lose_pictures(self.out, self.verify_content):
            logger.info(f"The small pictures of {lost} photos are missing or damaged; these photos are judged again.")
        if self.left_out:
            logger.info(f"Left out: {in_words(self.left_out)}.")
        labels = self.index.labels()
        known = labels.total() - labels[None]
        logger.info(f"{photo_count(self.index.count())}, of which {known} were judged before.")

    def look(self, sources: Iterable[str]):
        """Find the photos. The rows of a source that cannot be read now stay, unless `prune` is given."""
        missing: dict[str, str] = {}
        self.left_out: Counter[str] = Counter()
        sources, moves = list(sources), Moves(self.out)
        found = find_photos(sources, missing.__setitem__, skip=[str(self.out)], left_out=self.left_out)
        self.index.find(moves.followed(found))
        for name in expand_names(sources):
            if self.index.follow(name, moves) and missing.get(name) == EMPTY:
                del missing[name]
        for name, reason in missing.items():
            self.cannot_read(name, reason)
        if self.prune:
            return
        for name in [*missing, *self.index.gone()]:
            self.keep(name, "is missing")
        for source in expand_names(sources):
            for folder in sorted(self.index.lost_folders(source)):
                self.keep(folder, "is missing or empty")

    def keep(self, name: str, state: str):
        """Keep the rows of the photos in a folder or a source that cannot be read now."""
        if kept := self.index.keep(name):
            self.cannot_read(f"{name} {state}", f"{kept} photos of it stay in the table; --prune drops them.")

    def cannot_read(self, name: str, reason: str):
        """Complain once."""
        if name not in self.complaints:
            logger.warning(f"{name}: {reason}")
        self.complaints.add(name)

    def todo(self) -> Iterator[Found]:
        """The photos to judge. With `verify_content`, of those that were judged, the ones whose files differ."""
        for photo, row in self.index.todo(judged=self.verify_content):
            verifiable = self.verify_content and row and row["content"]
            if not row or not verifiable or self.workers.here.reader.sha256(photo.file) != verifiable:
                yield photo
            elif (photo.bytes, photo.modified) != (row["bytes"], row["modified"]):
                self.note([row | {"bytes": photo.bytes, "modified": photo.modified}])

    def judge(self, photos: Iterable[Found], total: int | None = None) -> int:
        """Judge photos, about `total` of them. Batches are noted in the journal in their order; threads judge a few
        more ahead. Returns the number of photos."""
        photos = iter(photos)
        first = next(photos, None)
        if first is None:
            return 0
        self.workers.start()
        at_once = min(JUDGES, torch.get_num_threads())
        if self.pipe is None:
            self.pipe = load_pipeline(self.model, device=self.device, engine=self.engine, at_once=at_once)
        size = self.batch_size or best_batch_size(self.pipe)
        start, number = time.monotonic(), 0
        bar = tqdm(total=total, unit="photo", smoothing=0.05, disable=None)
        with bar, judges(at_once if self.pipe.device.type == "cpu" else 1) as in_turn:
            prepared = self.workers.prepared(itertools.chain([first], photos))
            for rows in in_turn(self.judge_batch, by_shape(prepared, size)):
                self.note(rows)
                number += len(rows)
                bar.update(len(rows))
        seconds = time.monotonic() - start
        logger.info(f"Judged {photo_count(number)} in {seconds:.1f} s, {number / seconds:.1f} a second.")
        return number

    def note(self, rows: list[dict]):
        self.index.note(rows, self.journal.add(rows))

    def judge_batch(self, batch: list[tuple[Found, dict]]) -> list[dict]:
        """Judge photos of one shape, and write their small pictures."""
        rows = judge(self.pipe, batch, lambda *photo: write_thumbnails(self.out, *photo))
        for (photo, _), row in zip(batch, rows, strict=True):
            if row["error"]:
                logger.warning(f"{photo.file}: {row['error']}")
        return rows

    def finish(self, prune: bool = False, bursts: bool = True) -> int:
        """Write the table and the report, unless they would be the same as before. Returns the exit status. `prune`
        tidies up the journal, which nobody must be writing; `bursts` looks for bursts and sets."""
        if prune:
            self.index.prune()
        labels = self.index.labels()
        summary = {"settings": self.settings, "photos": labels.total(), "rows": self.index.digest()}
        summary |= {"bursts": bursts, "single_file": self.single_file, "version": __version__}
        summary |= {"threshold": self.threshold, "reject_soft": self.reject_soft}
        earlier = read_summary(self.out)
        files = earlier.pop(FILES, None)
        if summary != earlier or self.damaged(files):
            write_table(self.out, self.index.rows())
            if bursts:
                add_bursts(self.out)
            write_report(self.out, self.single_file, self.threshold, self.reject_soft)
            summary[FILES] = {name: checksum_of(self.out / name) for name in output_names(self.out)}
            write_bytes(self.out / SUMMARY, f"{json.dumps(summary, indent=2)}\n".encode())
        counts = [f"{labels[label]} {label}" for label in DESIRABILITY if labels[label]]
        if labels[None]:
            counts.append(f"{labels[None]} without a verdict, see the column `error`")
        logger.info(f"{self.out / 'photos.csv'}: {photo_count(labels.total())}; {', '.join(counts) or 'no verdicts'}.")
        if judged := labels.total() - labels[None]:
            unsure = self.index.count_uncertain()
            which = " The column `between` names the two labels in question." if unsure else ""
            logger.info(f"Certain: {judged - unsure}; not sure: {unsure}.{which}")
        if labels.total():
            logger.info(f"Open {self.out / 'report.html'} in a browser to see them.")
        return int(bool(labels[None] or self.complaints))

    def damaged(self, files) -> list[str]:
        """The files of the table and the report that are missing or damaged, by their checksums. The first is
        logged."""
        if not isinstance(files, dict) or not {*OUTPUTS} <= files.keys():
            return [SUMMARY]
        names = [name for name, checksum in files.items() if checksum_of(self.out / name) != checksum]
        if names:
            logger.info(f"{self.out / names[0]} is missing or damaged; table and report are written again.")
        return names

    def stop(self):
        """On an interruption: keep the finished photos, and write their table."""
        self.workers.stop()
        self.journal.close()
        self.finish(bursts=False)


def fingerprint(model: Path) -> str:
    """The SHA-256 of the files of a model and of its image processor."""
    sha = hashlib.sha256()
    for path in sorted([*model.glob("*config.json"), *model.glob("*.safetensors")]):
        sha.update(f"{path.name} {sha256_of(path)}\n".encode())
    return sha.hexdigest()


def write_thumbnails(out: Path, path: str, thumbnail: bytes, report: BlurReport) -> dict:
    """Write the small pictures of a photo (see `thumbnail_files`); returns their columns of the journal."""
    photo, blur = thumbnail_files(out, path)
    pictures = [*small_pictures(path, thumbnail, report).values()][:2]
    photo.parent.mkdir(parents=True, exist_ok=True)
    for file, data in zip((photo, blur), pictures, strict=True):
        write_bytes(file, data, sync=False)  # a picture that is lost is made again
    return {PICTURES: [[len(data), zlib.crc32(data)] for data in pictures], NOTED: time.time()}


def refresh(out: Path):
    """Note in table and report where photos are, after an action has moved them."""
    moves, summary = Moves(out), read_summary(out)
    if not (out / "photos.parquet").exists():
        return
    write_table(out, (row | moves.places(row) for row in read_table(out)))
    how = {name: summary[name] for name in ("threshold", "reject_soft") if name in summary}
    write_report(out, bool(summary.get("single_file")), **how)


def read_summary(out: Path) -> dict:
    """The record of the sources of the present table; empty without one."""
    try:
        with open_file(out / SUMMARY) as file:
            summary = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    return summary if isinstance(summary, dict) else {}


def output_names(out: Path) -> list[str]:
    """The files of the table and the report."""
    return [*OUTPUTS, *(f"report/{path.name}" for path in sorted((out / "report").glob("*")))]


def checksum_of(path: Path) -> str | None:
    """The SHA-256 of a file; None if it cannot be read."""
    try:
        return sha256(str(path))
    except (OSError, ValueError):
        return None
