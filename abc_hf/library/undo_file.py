"""The undo files of `abc-fusenet sort`: the steps of its actions, one JSON object a line.

A step has `do` ("copy", "move", "link" or "xmp"), `from` and `to`, paths as in the table (see `path_text`). The step of
a file has `bytes`, `modified` [ns] and `folder`; that of a sidecar has `marks`, and the bytes (`old`, in base64) and
the time of the sidecar that was there.
"""

import base64
import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..photos import PhotoError, open_file
from .find import Found
from .table import path_from_text, path_text
from .xmp import MAX_SIDECAR, Marks, XmpError, merge

DONE = {"copy": "copied", "move": "moved", "link": "linked", "xmp": "sidecars written"}


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
    Raises ValueError if it is no such file, or damaged."""
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
    """A step of an undo file. Raises AttributeError, KeyError, TypeError or ValueError if it is none."""
    numbers = [step["modified"]] if step["do"] == "xmp" else [step["bytes"], step["modified"]]
    valid = step["do"] in DONE and all(os.path.isabs(path) for path in paths_of(step))
    valid = valid and all(number is None or type(number) is int for number in numbers)
    if step["do"] == "xmp":
        merge(None, marks_of(step))
        valid = valid and (earlier(step) is None) == (step["modified"] is None)
    if not valid:
        raise ValueError
    return step


def paths_of(step: dict) -> tuple[Path, Path]:
    return Path(path_from_text(step["from"])), Path(path_from_text(step["to"]))


def marks_of(step: dict) -> Marks:
    return Marks(**{**step["marks"], "keywords": tuple(step["marks"]["keywords"])})


def earlier(step: dict) -> bytes | None:
    """The bytes of the sidecar that was there."""
    return None if step["old"] is None else base64.b64decode(step["old"], validate=True)


def unchanged(path: Path, step: dict) -> bool:
    """Whether a file has the size and time it had; some disks keep times to two seconds only."""
    status = path.stat()
    return status.st_size == step["bytes"] and abs(status.st_mtime_ns - step["modified"]) <= 2e9


def bytes_of(sidecar: Path) -> bytes | None:
    """The bytes of a sidecar; None if there is none. Raises XmpError if it is no file, or too large for a sidecar."""
    if os.path.islink(sidecar):
        raise XmpError("it is a symbolic link; put a file in its place")
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


def reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


class Moves:
    """Where the actions of a folder of results have put photos, as its undo files say."""

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
