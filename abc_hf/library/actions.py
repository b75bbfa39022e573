# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""What `abc-fusenet sort` does with photos when it is told to: copies, moves or links them into a folder per label,
and writes XMP sidecars.

All steps are planned first and written to an undo file, which reaches the disk before the first step is taken; then
they are carried out from that file. So whatever happens, `undo` knows what may have been done. A name that is taken
gets a number; nothing is ever overwritten but sidecars, whose earlier bytes are in the undo file.
"""

import base64
import contextlib
import csv
import errno
import io
import json
import logging
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from ..common.files import rename_new, replacing, write_bytes
from ..photos import PhotoError, open_file
from ..verdicts import STARS, THRESHOLD
from .companions import Folder, renamed
from .find import Found, split_member
from .lock import only_job
from .table import path_from_text, path_text, place_of
from .xmp import LABELS, MAX_SIDECAR, Marks, XmpError, merge, sidecars

logger = logging.getLogger(__name__)

KEPT, REJECTED, REVIEW = "kept", "rejected", "review"
"""The folders of photos that are not sorted by their label."""
DONE = {"copy": "copied", "move": "moved", "link": "linked", "xmp": "sidecars written"}


@dataclass(frozen=True)
class Request:
    """What to do.

    Args:
        kind: "copy", "move" or "link", into folders named by label below `to`; None to leave photos where they are.
        xmp: write sidecars, beside the photos where they are then.
        decisions: "keep" or "reject" by path. Kept and rejected photos go to folders of these names, except that
            rejected ones are neither copied nor linked.
        threshold: photos that score less are flagged `reject`.
        review: photos whose verdict is not certain go to `review`.
        rejects: flagged photos go to `rejected`, unless their verdict is not certain and `review` is set.
        only: names of folders; nothing is done with photos that would go elsewhere.
        only_certain: nothing is done with photos whose verdict is not certain.
        best: so many of a burst are kept, the others flagged.
        stars: the scores from which a photo has 2, 3, 4 and 5 stars.
        tops: folders whose folders are kept below `to`.
    """

    kind: str | None = None
    to: Path | None = None
    xmp: bool = False
    decisions: dict[str, str] | None = None
    threshold: float = THRESHOLD
    review: bool = False
    rejects: bool = False
    only: tuple[str, ...] = ()
    only_certain: bool = False
    best: int | None = None
    stars: tuple[float, ...] = STARS
    tops: tuple[Path, ...] = ()

    def __post_init__(self):
        if not isinstance(self.threshold, int | float) or not math.isfinite(self.threshold):
            raise ValueError(f"The threshold must be a number such as {THRESHOLD}; got {self.threshold}.")
        if unknown := {*self.only} - {*LABELS, KEPT, REJECTED, REVIEW}:
            raise ValueError(f"--only {min(unknown)}: there are {', '.join((*LABELS, KEPT, REJECTED, REVIEW))}.")

    def concerns(self, row: dict, decision: str | None) -> bool:
        """Whether anything is done with the photo of a row."""
        if self.only_certain and not row["certain"] and not decision:
            return False
        return not self.only or self.folder(row, decision) in self.only

    def folder(self, row: dict, decision: str | None) -> str:
        """The name of the folder for a row of the table: a decision by hand comes before the verdict."""
        if decision:
            return {"keep": KEPT, "reject": REJECTED}[decision]
        if self.review and not row["certain"]:
            return REVIEW
        return REJECTED if self.rejects and self.is_flagged(row) else row["label"]

    def is_flagged(self, row: dict) -> bool:
        """Whether a photo is to be rejected. A person's stars come first; shots of a set, such as a bracket, are never
        rejected."""
        if row["rating"] or row["set"]:
            return row["rating"] == -1
        if self.best and (row["burst_rank"] or 0) > self.best:
            return True
        return row["score"] < np.float32(self.threshold)  # the table holds scores of this precision

    def shape(self, path: str) -> Path:
        """The folders of a photo below the one that was named, which are kept below the folder of its verdict."""
        parent = Path(path_from_text(path)).parent
        tops = [top for top in self.tops if parent.is_relative_to(top)]
        return parent.relative_to(max(tops, key=lambda top: len(top.parts))) if tops else Path()


def act(out: Path, request: Request, dry_run: bool = False) -> int:
    """Carry a request out on the photos of `out/photos.parquet`; returns the exit status, 1 if a step failed.

    Raises:
        ValueError: if another job has the folder.
    """
    with contextlib.nullcontext() if dry_run else only_job(out):
        return act_alone(out, request, dry_run)


def act_alone(out: Path, request: Request, dry_run: bool) -> int:
    rows = (row for part in pq.ParquetFile(out / "photos.parquet").iter_batches(1000) for row in part.to_pylist())
    gone: list[str] = []
    steps = planned(present(rows, gone), request)
    counts: Counter[str] = Counter()
    folders: Counter[str] = Counter()
    failed = 0
    if dry_run:
        for step in steps:
            counts[step["do"]] += 1
            folders[step.get("folder", "")] += 1
            logger.info(in_words(step))
        complain_of(gone)
        say_folders(folders)
        logger.info(f"Nothing was done (--dry-run): {summary(counts) or 'there is nothing to do'}.")
        return 0
    undo_file = out / f"undo-{datetime.now():%Y%m%d-%H%M%S-%f}.jsonl"
    if not write_ahead(undo_file, steps):
        undo_file.unlink()
        complain_of(gone)
        logger.info("There is nothing to do.")
        return int(bool(gone))
    logger.info(f"`abc-fusenet sort --undo {undo_file}` takes back what follows.")
    for step in read_steps(undo_file):
        try:
            carry_out(step)
            counts[step["do"]] += 1
            folders[step.get("folder", "")] += 1
        except Exception as error:  # whatever it is, the other steps are taken
            failed += 1
            logger.warning(f"{step['from']}: it was left as it is ({reason(error)}).")
            if getattr(error, "errno", None) == errno.ENOSPC:
                break
    complain_of(gone)
    say_folders(folders)
    logger.info(f"Done: {summary(counts) or 'nothing'}{f'; {failed} failed' if failed else ''}.")
    return int(bool(failed or gone))


def say_folders(folders: Counter):
    """Say how many photos go to each folder."""
    if counts := [f"{count} {name}" for name, count in folders.most_common() if name]:
        logger.info(f"Photos by folder: {', '.join(counts)}.")


class Moves:
    """Where the actions of a folder of results have put photos, as its undo files say.

    Args:
        out: the folder of results.
    """

    def __init__(self, out: Path):
        self.moved, self.copied, self.origins = {}, {}, {}
        for undo_file in sorted(out.glob("undo-*.jsonl")):
            with contextlib.suppress(ValueError):  # damaged: `undo` says so
                for step in read_steps(undo_file):
                    if step["do"] == "move":
                        self.moved[step["from"]] = step["to"]
                    elif step["do"] in ("copy", "link"):
                        self.copied[step["to"]] = step["from"]
        for path in self.moved.keys() - {*self.moved.values()}:
            if (place := self.place(path)) != path:
                self.origins[place] = path

    def place(self, path: str) -> str:
        """Where a file is now; both as in the table."""
        if path not in self.moved:
            return path
        place, seen = path, set()
        while place in self.moved and place not in seen and not os.path.lexists(path_from_text(place)):
            seen.add(place)
            place = self.moved[place]
        return place if os.path.lexists(path_from_text(place)) else path

    def places(self, row: dict) -> dict:
        """The columns of a row that say where its files are."""
        place, raw_path = self.place(row["path"]), row["raw_path"] and self.place(row["raw_path"])
        return {"moved_to": place if place != row["path"] else None, "raw_path": raw_path}

    def followed(self, photos: Iterable[Found]) -> Iterator[Found]:
        """Photos as they were found, without copies, and those that were moved under the paths they had before."""
        for photo in photos:
            path = path_text(photo.path)
            original = self.copied.get(path)
            if original and os.path.lexists(path_from_text(self.place(original))):
                continue
            if origin := self.origins.get(path):
                photo = photo._replace(path=path_from_text(origin), moved_to=photo.path)
            yield photo


def present(rows: Iterable[dict], gone: list[str]) -> Iterator[dict]:
    """The rows, but for those of files that are not there now, whose paths are added to `gone`."""
    for row in rows:
        path = place_of(row)
        if row["label"] is None or is_elsewhere(path) or os.path.exists(path):
            yield row
        else:
            gone.append(path)


def is_elsewhere(path: str) -> bool:
    """Whether a photo lies in an archive, in a Parquet file or behind a URL."""
    return "://" in path or bool(split_member(path)[1])


def complain_of(gone: list[str]):
    if gone:
        logger.warning(
            f"{len(gone)} photos of the table are not there now, such as {gone[0]}; nothing is done with them."
        )


def planned(rows: Iterable[dict], request: Request) -> Iterator[dict]:
    """The steps, each a dict: `do` ("copy", "move", "link" or "xmp"), `from`, `to`; for photos `bytes`, `modified` and
    `folder`; for sidecars `marks`, and `old`, the bytes of the one there is. Paths are as in the table (see
    `path_text`)."""
    taken: set[str] = set()
    moved: set[str] = set()
    owned: dict[Path, str] = {}
    stay: list[Path] = []
    elsewhere, decisions, beside, where = 0, dict(request.decisions or {}), Folder(()), ""
    for row in rows:
        decision = decisions.pop(row["path"], None)
        if row["label"] is None or not request.concerns(row, decision):
            continue
        path = place_of(row)
        if is_elsewhere(path):
            elsewhere += 1
            continue
        if os.path.dirname(path) != where:
            where = os.path.dirname(path)
            beside = Folder.of(where)
        shot = [Path(path)] + ([Path(path_from_text(row["raw_path"]))] if row["raw_path"] else [])
        names = {name for file in shot for name in beside.companions(file.name)} - {file.name for file in shot}
        places = {file: file for file in (*shot, *(Path(where, name) for name in sorted(names)))}
        if request.kind and request.to and not (decision == "reject" and request.kind != "move"):
            if request.kind == "move" and any(file.is_symlink() for file in shot):
                logger.warning(f"{path}: this is a symbolic link, and only files are moved.")
                continue
            name = request.folder(row, decision)
            target = request.to.absolute() / name / request.shape(row["path"])
            places = places_in(target, shot, [file for file in places if file not in shot], taken, request.kind)
            for step in placing_steps(request.kind, places, shot):
                if request.kind != "move" or step["from"] not in moved:  # photo.xmp of photo.jpg and photo.png
                    moved.add(step["from"])
                    yield step | ({"folder": name} if step["from"] == path_text(path) else {})
            if request.kind == "move" and places[shot[0]] != shot[0]:
                stay += [Path(where, name) for name in beside.strangers(shot[0].name)]
        if request.xmp:
            marks = Marks.of(row, decision == "reject", request.stars)
            for file in shot:
                for name in sidecars(file.name, names):
                    old = Path(where, name)
                    pair = len(shot) > 1 and file == shot[0] and not name.lower().startswith(file.name.lower())
                    if pair or owned.setdefault(old, path) != path:  # photo.xmp is that of the RAW file, or of another
                        if len(sidecars(file.name, names)) > 1:
                            continue
                        old = Path(where, f"{file.name}.xmp")
                    try:
                        yield from sidecar_step(old, places.get(old) or beside_of(places[file], old, file), marks)
                    except Exception as error:  # whatever it is, the other sidecars are written
                        logger.warning(f"{old}: this sidecar is left as it is ({reason(error)}).")
    if stay:
        logger.warning(f"{len(stay)} files beside photos that move stay where they are, such as {stay[0]}.")
    if elsewhere:
        logger.warning(
            f"{elsewhere} photos lie in archives, in Parquet files or behind URLs; these are left as they are."
        )
    if decisions:
        logger.warning(f"Decisions about photos that are not here: {len(decisions)}, such as {next(iter(decisions))}.")


def beside_of(place: Path, sidecar: Path, photo: Path) -> Path:
    """Where a sidecar of a photo belongs if the photo has another place."""
    return place.with_name(place.name + ".xmp" if sidecar.name.startswith(photo.name) else place.stem + ".xmp")


def placing_steps(kind: str, places: dict[Path, Path], shot: list[Path]) -> Iterator[dict]:
    """The steps that bring files to their places: those of the shot, and their companions, which are copied where
    photos are linked, because they may change."""
    for old, new in places.items():
        if old == new:
            continue
        if old in shot:
            yield file_step(kind, old, new)
        elif os.path.islink(old) or (os.path.exists(old) and not os.path.isfile(old)):
            logger.warning(f"{old}: this is a link or a pipe and no sidecar; it stays here.")
        elif os.path.exists(old):
            yield file_step("move" if kind == "move" else "copy", old, new)


def places_in(folder: Path, shot: list[Path], beside: list[Path], taken: set[str], kind: str) -> dict[Path, Path]:
    """Where the files of one shot and those beside it go: into a folder, under their names, with a number that is free
    for all of them and for sidecars. Files that lie there already stay, and so do those that were copied before."""
    here, name = shot[0].parent, shot[0].name
    stay = {file: file for file in (*shot, *beside)}
    if here == folder:
        return stay
    number = 1
    while True:
        end = "" if number == 1 else f"-{number}"
        places = {file: folder / renamed(str(file.relative_to(here)), name, end) for file in (*shot, *beside)}
        own = {str(places[file]).lower() for file in shot}
        if kind != "move" and not own & taken and all(is_copied(file, places[file]) for file in shot):
            taken |= own
            return stay
        names = {str(place) for place in places.values()}
        names |= {str(places[file].with_name(s)) for file in shot for s in possible_sidecars(places[file])}
        lower = {name.lower() for name in names}  # not every file system tells A from a
        if not lower & taken and not any(map(os.path.lexists, names)):
            taken |= lower
            return places
        number += 1


def possible_sidecars(file: Path) -> tuple[str, str]:
    return f"{file.name}.xmp", f"{file.stem}.xmp"


def is_copied(old: Path, new: Path) -> bool:
    """Whether a file is there that has the size and the time of another."""
    try:
        return unchanged(new, {"bytes": old.stat().st_size, "modified": old.stat().st_mtime_ns})
    except OSError:
        return False


def file_step(do: str, old: Path, new: Path) -> dict:
    status = old.stat() if os.path.exists(old) else None
    return {
        "do": do,
        "from": path_text(str(old)),
        "to": path_text(str(new)),
        "bytes": status and status.st_size,
        "modified": status and status.st_mtime_ns,
    }


def sidecar_step(old: Path, new: Path, marks: Marks) -> Iterator[dict]:
    """The step that writes a sidecar, unless it would stay as it is. It is merged with the one at its old place."""
    data = bytes_of(old)
    if merge(data, marks) != data:
        step = {"do": "xmp", "from": path_text(str(old)), "to": path_text(str(new)), "marks": marks.to_dict()}
        modified = None if data is None else old.stat().st_mtime_ns
        yield step | {"old": None if data is None else base64.b64encode(data).decode(), "modified": modified}


def write_ahead(path: Path, steps: Iterable[dict]) -> int:
    """Write steps to a new undo file, down to the disk; returns their number."""
    number = 0
    with path.open("x", encoding="ascii") as file:
        for step in steps:
            file.write(json.dumps(step) + "\n")
            number += 1
        file.flush()
        os.fsync(file.fileno())
    return number


def read_steps(path: Path) -> Iterator[dict]:
    """The steps of an undo file; its last line may be cut short, if the plan was never finished: none was taken then.

    Raises:
        ValueError: if it is no such file, or damaged.
    """
    number = 0
    try:
        with open_file(path) as file:
            for line in file:
                number += 1
                if line.endswith(b"\n"):
                    yield checked(json.loads(line.decode("ascii")))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({reason(error)}).") from None
    except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise ValueError(f"{path} is no undo file of `abc-fusenet sort`, or line {number} of it is damaged.") from None


def checked(step: dict) -> dict:
    """A step of an undo file.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: if it is none.
    """
    numbers = [step["modified"]] if step["do"] == "xmp" else [step["bytes"], step["modified"]]
    valid = step["do"] in DONE and all(os.path.isabs(path) for path in paths_of(step))
    valid = valid and all(number is None or type(number) is int for number in numbers)
    if step["do"] == "xmp":
        merge(None, marks_of(step))
        valid = valid and (earlier(step) is None) == (step["modified"] is None)
    if not valid:
        raise ValueError
    return step


def carry_out(step: dict):
    """Take one step.

    Raises:
        OSError, ValueError: if it cannot be taken; nothing has changed then.
    """
    old, new = paths_of(step)
    new.parent.mkdir(parents=True, exist_ok=True)
    if step["do"] == "xmp":
        if bytes_of(new) != earlier(step):
            raise ValueError("the sidecar has changed meanwhile")
        write_bytes(new, merge(earlier(step), marks_of(step)))
        return
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, "the name was taken meanwhile")
    if step["do"] == "link":
        try:
            os.link(os.path.realpath(old), new)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise ValueError("hard links stay on one disk; use --copy-to") from None
            raise
    elif step["do"] == "copy":
        copy(old, new)
    else:
        try:
            rename_new(old, new)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            copy(old, new)
            old.unlink()


def copy(old: Path, new: Path):
    """Copy a file with its times and permissions; the copy is there whole or not at all, and replaces nothing."""
    with open_file(old) as source, replacing(new, overwrite=False) as file:
        shutil.copyfileobj(source, file)
        file.flush()  # a later write would change the time
        shutil.copystat(old, file.name)


def undo(path: Path, dry_run: bool = False) -> int:
    """Take the steps of an undo file back, the last first, as far as they were taken. A file that has changed since, or
    whose place is taken, is left, and said to be. Returns the exit status, 1 if something was left.

    Raises:
        ValueError: if it is no undo file, or another job has the folder; nothing is taken back then.
    """
    steps = list(read_steps(path))
    with contextlib.nullcontext() if dry_run else only_job(path.parent):
        return undo_alone(steps, dry_run)


def undo_alone(steps: list[dict], dry_run: bool) -> int:
    counts: Counter[str] = Counter()
    left = 0
    for step in reversed(steps):
        try:
            if take_back(step, dry_run):
                counts[step["do"]] += 1
                if dry_run:
                    logger.info(f"undo: {in_words(step)}")
        except Exception as error:  # whatever it is, the other steps are taken back
            left += 1
            logger.warning(f"{step['to']}: it is left as it is ({reason(error)}).")
    if not dry_run:
        groups = {paths_of(step)[1].parent for step in steps if step["do"] != "xmp"}
        for folder in sorted(groups | {group.parent for group in groups}, reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()  # if it is empty
    ending = f"; {left} left as they are" if left else ""
    logger.info(f"{'Nothing was done (--dry-run)' if dry_run else 'Undone'}: {summary(counts) or 'nothing'}{ending}.")
    return int(left > 0)


def take_back(step: dict, dry_run: bool = False) -> bool:
    """Take one step back; returns whether it had been taken.

    Raises:
        ValueError: if files have changed since, such that it cannot be.
    """
    old, new = paths_of(step)
    if step["do"] == "xmp":
        return take_sidecar_back(step, new, dry_run)
    if not os.path.lexists(new):
        if step["do"] == "move" and not os.path.lexists(old):
            raise ValueError("it is neither here nor where it came from")
        return False
    if step["do"] == "move" and not os.path.lexists(old):
        if not unchanged(new, step) and not (dry_run and new.suffix == ".xmp"):
            raise ValueError("it has changed since")
        if not dry_run:
            old.parent.mkdir(parents=True, exist_ok=True)
            carry_out({**step, "from": step["to"], "to": step["from"]})
        return True
    if not os.path.lexists(old):
        raise ValueError("its original is gone, so this is the last copy")
    if dry_run and new.suffix == ".xmp":  # what it will hold then is not known now
        return True
    if not (os.path.samefile(old, new) if step["do"] == "link" else same_file_content(old, new, step)):
        raise ValueError("it has changed since, or its original has")
    if not dry_run:
        new.unlink()
    return True


def take_sidecar_back(step: dict, path: Path, dry_run: bool) -> bool:
    present, before = bytes_of(path), earlier(step)
    if present == before or (present is None and step["from"] != step["to"]):  # or the old one is not there yet
        return False
    if present != merge(before, marks_of(step)):
        raise ValueError("the sidecar has changed since")
    if not dry_run:
        if before is None:
            path.unlink()
        else:
            write_bytes(path, before)
            os.utime(path, ns=(step["modified"], step["modified"]))
    return True


def unchanged(path: Path, step: dict) -> bool:
    """Whether a file has the size and time it had; some disks keep times to two seconds only."""
    status = path.stat()
    return status.st_size == step["bytes"] and abs(status.st_mtime_ns - step["modified"]) <= 2e9


def same_file_content(old: Path, new: Path, step: dict) -> bool:
    """Whether two files hold the same; they are read where their times do not say so."""
    return (unchanged(old, step) and unchanged(new, step)) or same_bytes(old, new)


def read_decisions(path: Path) -> dict[str, str]:
    """ "keep" or "reject" by path, from what the report exports: CSV with the columns path and decision, or JSON.

    Raises:
        ValueError: if it holds no decisions.
    """
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


def paths_of(step: dict) -> tuple[Path, Path]:
    return Path(path_from_text(step["from"])), Path(path_from_text(step["to"]))


def marks_of(step: dict) -> Marks:
    return Marks(**{**step["marks"], "keywords": tuple(step["marks"]["keywords"])})


def earlier(step: dict) -> bytes | None:
    return None if step["old"] is None else base64.b64decode(step["old"], validate=True)


def bytes_of(sidecar: Path) -> bytes | None:
    """The bytes of a sidecar; None if there is none.

    Raises:
        XmpError: if it is no file, or too large for a sidecar.
    """
    if os.path.islink(sidecar):
        raise XmpError("it is a symbolic link, which is not written through; put a file in its place")
    try:
        with open_file(sidecar) as file:
            data = file.read(MAX_SIDECAR + 1)
    except FileNotFoundError:
        return None
    except PhotoError as error:
        raise XmpError(str(error)) from None
    if len(data) > MAX_SIDECAR:
        raise XmpError(f"it is larger than {MAX_SIDECAR >> 20} MB")
    return data


def same_bytes(a: Path, b: Path, size: int = 1 << 20) -> bool:
    with a.open("rb") as first, b.open("rb") as second:
        while True:
            parts = first.read(size), second.read(size)
            if parts[0] != parts[1]:
                return False
            if not parts[0]:
                return True


def in_words(step: dict) -> str:
    return f"{step['do']}: {step['to']}" if step["do"] == "xmp" else f"{step['do']}: {step['from']} -> {step['to']}"


def summary(counts: Counter) -> str:
    return ", ".join(f"{counts[do]} {words}" for do, words in DONE.items() if counts[do])


def reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
