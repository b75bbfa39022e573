"""The actions of `abc-fusenet sort`: it copies, moves or links photos into a folder per label, and writes XMP
sidecars.

All steps are planned first and written to an undo file, which reaches the disk before the first step is taken; then
they are carried out from that file. So `undo` knows all steps that may have been taken. A name that is taken
gets a number. Only sidecars are overwritten; the undo file holds their earlier bytes.
"""

import contextlib
import errno
import filecmp
import logging
import os
import shutil
from collections import Counter
from datetime import datetime
from pathlib import Path

from ..common.files import rename_new, replacing, write_bytes
from ..photos import open_file
from .lock import only_job
from .plan import Plan, Request
from .table import read_table
from .undo_file import DONE, bytes_of, earlier, marks_of, paths_of, read_steps, reason, unchanged, write_ahead
from .xmp import merge

logger = logging.getLogger(__name__)


def act(out: Path, request: Request, dry_run: bool = False) -> int:
    """Carry a request out on the photos of `out/photos.parquet`; returns the exit status, 1 if a step failed. Raises
    ValueError if another job has the folder."""
    with contextlib.nullcontext() if dry_run else only_job(out):
        plan, undo_file = Plan(request), out / f"undo-{datetime.now():%Y%m%d-%H%M%S-%f}.jsonl"
        steps = plan.steps(read_table(out))
        if not dry_run:
            if not write_ahead(undo_file, steps):
                undo_file.unlink()
                logger.info("There is nothing to do.")
                return int(bool(plan.gone))
            logger.info(f"`abc-fusenet sort --undo {undo_file}` takes back these actions.")
            steps = read_steps(undo_file)
        counts: Counter[str] = Counter()
        folders: Counter[str] = Counter()
        failed = 0
        for step in steps:
            try:
                logger.info(step_line(step)) if dry_run else carry_out(step)
                counts[step["do"]] += 1
                folders[step.get("folder", "")] += 1
            except Exception as error:  # the other steps are taken all the same
                failed += 1
                logger.warning(f"{step['from']}: it was left as it is ({reason(error)}).")
                if getattr(error, "errno", None) == errno.ENOSPC:
                    break
        if numbers := [f"{count} {name}" for name, count in folders.most_common() if name]:
            logger.info(f"Photos by folder: {', '.join(numbers)}.")
        if dry_run:
            logger.info(f"Nothing was done (--dry-run). Without it: {summary(counts) or 'nothing to do'}.")
            return 0
        logger.info(f"Done: {summary(counts) or 'nothing'}{f'; {failed} failed' if failed else ''}.")
        return int(bool(failed or plan.gone))


def carry_out(step: dict):
    """Take one step. Raises OSError or ValueError if it cannot be taken; nothing has changed then."""
    old, new = paths_of(step)
    new.parent.mkdir(parents=True, exist_ok=True)
    if step["do"] == "xmp":
        if bytes_of(new) != earlier(step):
            raise ValueError("the sidecar has changed meanwhile")
        write_bytes(new, merge(earlier(step), marks_of(step)))
        return
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, "the name was taken meanwhile")
    if step["do"] == "copy":
        copy(old, new)
        return
    try:
        os.link(os.path.realpath(old), new) if step["do"] == "link" else rename_new(old, new)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        if step["do"] == "link":
            raise ValueError("hard links stay on one disk; use --copy-to") from None
        copy(old, new)
        old.unlink()


def copy(old: Path, new: Path):
    """Copy a file with its times and permissions; the copy is there whole or not at all, and replaces nothing."""
    with open_file(old) as source, replacing(new, overwrite=False) as file:
        shutil.copyfileobj(source, file)
        file.flush()  # a later write would change the time
        shutil.copystat(old, file.name)


def undo(path: Path, dry_run: bool = False) -> int:
    """Take the steps of an undo file back, the last first, as far as they were taken. A file stays, with a message, if
    it has changed since or its place is taken. Returns the exit status, 1 if something was left. Raises ValueError if
    it is no undo file, or another job has the folder; nothing is taken back then."""
    steps = list(read_steps(path))
    counts: Counter[str] = Counter()
    left = 0
    with contextlib.nullcontext() if dry_run else only_job(path.parent):
        for step in reversed(steps):
            try:
                if take_back(step, dry_run):
                    counts[step["do"]] += 1
                    if dry_run:
                        logger.info(f"undo: {step_line(step)}")
            except Exception as error:  # the other steps are taken back all the same
                left += 1
                logger.warning(f"{step['to']}: it is left as it is ({reason(error)}).")
        if not dry_run:
            for folder in sorted(set().union(*map(made_for, steps)), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()  # if it is empty
    ending = f"; {left} left as they are" if left else ""
    beginning = "Nothing was done (--dry-run). Without it, taken back" if dry_run else "Taken back"
    logger.info(f"{beginning}: {summary(counts) or 'nothing'}{ending}.")
    return int(left > 0)


def made_for(step: dict) -> list[Path]:
    """The folders of a sorted photo, from its own up to the one that holds the folders of the labels."""
    parents = list(paths_of(step)[1].parents)
    return parents[: [parent.name for parent in parents].index(step["folder"]) + 2] if "folder" in step else []


def take_back(step: dict, dry_run: bool = False) -> bool:
    """Take one step back; returns whether it had been taken. Raises ValueError if files have changed since."""
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
    if dry_run and new.suffix == ".xmp":  # nobody knows its bytes before the other steps are taken back
        return True
    if step["do"] == "link":
        same = os.path.samefile(old, new)
    else:
        same = (unchanged(old, step) and unchanged(new, step)) or filecmp.cmp(old, new, shallow=False)
    if not same:
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


def step_line(step: dict) -> str:
    return f"{step['do']}: {step['to']}" if step["do"] == "xmp" else f"{step['do']}: {step['from']} -> {step['to']}"


def summary(counts: Counter) -> str:
    return ", ".join(f"{counts[do]} {words}" for do, words in DONE.items() if counts[do])
