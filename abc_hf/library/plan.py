"""The request to `abc-fusenet sort` to act on photos, and the steps of it (see `undo_file`)."""

import base64
import logging
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..verdicts import STARS, THRESHOLD
from .companions import Folder, renamed
from .containers import split_member
from .table import path_from_text, path_text, place_of
from .undo_file import bytes_of, reason, unchanged
from .xmp import XMP_COLORS, Marks, merge, sidecars

logger = logging.getLogger(__name__)

KEPT, REJECTED, REVIEW = "kept", "rejected", "review"
"""The folders of photos that are not sorted by their label."""


@dataclass(frozen=True)
class Request:
    """A request to act.

    Args:
        kind: "copy", "move" or "link", into folders named by label below `to`; None to leave photos where they are.
        xmp: write sidecars, beside the photos where they are then.
        decisions: "keep" or "reject" by path. Kept and rejected photos go to folders of these names, except that
            rejected ones are neither copied nor linked.
        threshold: photos that score less are flagged `reject`.
        reject_soft: so are photos whose eyes, or else subject, are less sharp at 100 %, 0..1; None flags none for it.
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
    reject_soft: float | None = None
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
        if unknown := {*self.only} - {*XMP_COLORS, KEPT, REJECTED, REVIEW}:
            raise ValueError(f"--only {min(unknown)}: choose from {', '.join((*XMP_COLORS, KEPT, REJECTED, REVIEW))}.")

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
        """Whether a photo is rejected. A person's stars come first; shots of a set, such as a bracket, are never
        rejected."""
        if row["rating"] or row["set"]:
            return row["rating"] == -1
        if self.best and (row["burst_rank"] or 0) > self.best:
            return True
        sharpness = row["subject_sharpness"] if row["eye_sharpness"] is None else row["eye_sharpness"]
        if self.reject_soft and sharpness is not None and sharpness < np.float32(self.reject_soft):
            return True
        return row["score"] < np.float32(self.threshold)  # the table holds scores of this precision

    def shape(self, path: str) -> Path:
        """The folders of a photo below the one that was named. They are kept below the folder of its verdict."""
        parent = Path(path_from_text(path)).parent
        tops = [top for top in self.tops if parent.is_relative_to(top)]
        return parent.relative_to(max(tops, key=lambda top: len(top.parts))) if tops else Path()


class Plan:
    """The steps of a request.

    `gone` holds the photos of the table that are not there now. Nothing is done with them.
    """

    def __init__(self, request: Request):
        self.request, self.gone = request, list[str]()
        self.taken: set[str] = set()  # names, in lower case: not every file system tells A from a
        self.moved: set[str] = set()
        self.owners: dict[Path, str] = {}  # the photo of each sidecar
        self.stay: list[Path] = []

    def steps(self, rows: Iterable[dict]) -> Iterator[dict]:
        """The steps for the rows of the table. At the end it logs which photos and files are left out."""
        elsewhere, decisions, beside, folder = 0, dict(self.request.decisions or {}), Folder(()), ""
        for row in rows:
            path = place_of(row)
            is_elsewhere = "://" in path or bool(split_member(path)[1])
            if row["label"] and not is_elsewhere and not os.path.exists(path):
                self.gone.append(path)
                continue
            decision = decisions.pop(row["path"], None)
            if not row["label"] or not self.request.concerns(row, decision):
                continue
            if is_elsewhere:
                elsewhere += 1
                continue
            if os.path.dirname(path) != folder:
                folder = os.path.dirname(path)
                beside = Folder.of(folder)
            yield from self.steps_of(row, decision, beside)
        for files, words in (
            (self.gone, "{} photos of the table are not there now, such as {}; nothing is done with them."),
            (self.stay, "{} files beside photos that move stay where they are, such as {}."),
            ([*decisions], "Decisions about photos that are not here: {}, such as {}."),
        ):
            if files:
                logger.warning(words.format(len(files), files[0]))
        if elsewhere:
            logger.warning(
                f"{elsewhere} photos lie in archives, in Parquet files or behind URLs; these are left as they are."
            )

    def steps_of(self, row: dict, decision: str | None, beside: Folder) -> Iterator[dict]:
        """The steps for one shot: the photo, its RAW file and the files beside them."""
        request, photo = self.request, Path(place_of(row))
        shot = [photo] + ([Path(path_from_text(row["raw_path"]))] if row["raw_path"] else [])
        names = {name for file in shot for name in beside.companions(file.name)} - {file.name for file in shot}
        files = [*shot, *(photo.parent / name for name in sorted(names))]
        places = {file: file for file in files}
        if request.kind and request.to and not (decision == "reject" and request.kind != "move"):
            if request.kind == "move" and any(file.is_symlink() for file in shot):
                logger.warning(f"{photo}: this is a symbolic link, and only files are moved.")
                return
            folder = request.folder(row, decision)
            places = self.places(request.to.absolute() / folder / request.shape(row["path"]), shot, files)
            for step in self.placing_steps(shot, places):
                yield step | ({"folder": folder} if step["from"] == path_text(str(photo)) else {})
            if request.kind == "move" and places[photo] != photo:
                self.stay += [photo.parent / name for name in beside.strangers(photo.name)]
        if request.xmp:
            marks = Marks.of(row, decision == "reject", request.stars)
            for file in shot:
                yield from self.sidecar_steps(file, shot, names, places, marks)

    def places(self, folder: Path, shot: list[Path], files: list[Path]) -> dict[Path, Path]:
        """Where the files of one shot go: into a folder, under their names, with a number that is free for all of them
        and for sidecars. Files that lie there already stay, and so do those that were copied before."""
        here, name = shot[0].parent, shot[0].name
        stay = {file: file for file in files}
        if here == folder:
            return stay
        number = 1
        while True:
            end = "" if number == 1 else f"-{number}"
            places = {file: folder / renamed(str(file.relative_to(here)), name, end) for file in files}
            own = {str(places[file]).lower() for file in shot}
            if self.request.kind != "move" and not own & self.taken and all(is_copied(f, places[f]) for f in shot):
                self.taken |= own
                return stay
            targets = {*places.values()}
            for target in [places[file] for file in shot]:
                targets |= {target.with_name(f"{target.name}.xmp"), target.with_suffix(".xmp")}
            lower = {str(target).lower() for target in targets}
            if not lower & self.taken and not any(map(os.path.lexists, targets)):
                self.taken |= lower
                return places
            number += 1

    def placing_steps(self, shot: list[Path], places: dict[Path, Path]) -> Iterator[dict]:
        """The steps that bring files to their places. Companions of linked photos are copied: they may change."""
        for old, new in places.items():
            kind = self.request.kind if old in shot or self.request.kind == "move" else "copy"
            if old == new or (old not in shot and not os.path.lexists(old)):
                continue
            if old not in shot and (os.path.islink(old) or not os.path.isfile(old)):
                logger.warning(f"{old}: this is a link or a pipe and no sidecar; it stays here.")
                continue
            start = path_text(str(old))
            if kind == "move" and start in self.moved:  # photo.xmp of photo.jpg and photo.png
                continue
            self.moved.add(start)
            status = old.stat() if os.path.exists(old) else None
            size_and_time = {"bytes": status and status.st_size, "modified": status and status.st_mtime_ns}
            yield {"do": kind, "from": start, "to": path_text(str(new)), **size_and_time}

    def sidecar_steps(
        self, file: Path, shot: list[Path], names: set[str], places: dict[Path, Path], marks: Marks
    ) -> Iterator[dict]:
        """The steps that write the sidecars of a file of a shot, merged with those there are, unless they would stay
        as they are."""
        found = sidecars(file.name, names)
        for name in found:
            old = shot[0].with_name(name)
            of_raw = len(shot) > 1 and file == shot[0] and not name.lower().startswith(file.name.lower())
            if of_raw or self.owners.setdefault(old, str(shot[0])) != str(shot[0]):  # of the RAW file, or another photo
                if len(found) > 1:
                    continue
                old = shot[0].with_name(f"{file.name}.xmp")
            place = places[file]
            new = places.get(old) or place.with_name(
                f"{place.name if old.name.startswith(file.name) else place.stem}.xmp"
            )
            try:
                data = bytes_of(old)
                if merge(data, marks) == data:
                    continue
                before = {"old": None, "modified": None}
                if data is not None:
                    before = {"old": base64.b64encode(data).decode(), "modified": old.stat().st_mtime_ns}
            except Exception as error:  # the other sidecars are written all the same
                logger.warning(f"{old}: this sidecar is left as it is ({reason(error)}).")
                continue
            paths = {"from": path_text(str(old)), "to": path_text(str(new))}
            yield {"do": "xmp", **paths, "marks": marks.to_dict(), **before}


def is_copied(old: Path, new: Path) -> bool:
    """Whether a file is there that has the size and the time of another."""
    try:
        return unchanged(new, {"bytes": old.stat().st_size, "modified": old.stat().st_mtime_ns})
    except OSError:
        return False
