"""The files that belong to a photo and lie beside it: sidecars of raw developers, live pictures, notes of phones."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..common.names import is_photo
from ..formats import PHOTO_EXTENSIONS

EXTENSIONS = (
    ".xmp",  # Lightroom, Bridge, darktable, digiKam
    *(".pp3", ".arp", ".dop", ".acr", ".on1", ".onphoto", ".vrd", ".dr4", ".nksc"),  # other raw developers
    *(".cos", ".comask"),  # Capture One
    *(".aae", ".thm", ".json"),  # edits of Apple Photos, thumbnails of cameras, Google Takeout
    *(".mov", ".mp4", ".mp", ".lrv", ".wav"),  # live pictures and voice notes
    *(".jpg_original", ".jpeg_original", ".xmp_original", ".dng_original"),  # backups of exiftool
)
"""Extensions, in lower case, of files that belong to the photo of the same name."""
FOLDERS = ("CaptureOne/Settings*", "NKSC_PARAM")
"""Folders beside photos in which Capture One and Nikon keep their sidecars."""
PAIR = re.compile(r"\.[\w-]+-\d\d\.(cover|original)$", re.IGNORECASE)
"""The ends that Pixel phones add to the stems of the two files of one shot, as in `PXL_1.RAW-01.COVER.jpg`."""
VERSION = re.compile(r"_\d\d(?=\.\w+$)")
"""The end that darktable adds to the name of a photo's further versions: `IMG_1_01.JPG.xmp` is one of `IMG_1.JPG`."""
TAKEOUT = re.compile(r"\.supp[a-z-]*$")
"""The end that Google adds to the names of its notes, often cut short: `IMG_1.jpg.supplemental-metadata.json`."""
APPLE_ORIGINAL = re.compile(r"^(img_)o(\d+)$")


def core(name: str) -> str:
    """The part of a photo's name that all files of the shot begin with."""
    return PAIR.sub("", os.path.splitext(name)[0])


def owners(name: str) -> Iterator[str]:
    """The photos that a file may belong to: names with or without extension, in lower case."""
    base, extension = os.path.splitext(os.path.basename(name).lower())
    if PAIR.search(base) and base.endswith(".original"):
        yield PAIR.sub("", base)
    if extension not in EXTENSIONS:
        return
    base = TAKEOUT.sub("", base) if extension == ".json" else base
    if extension.endswith("_original"):
        base += extension.removesuffix("_original")
    yield from {base, VERSION.sub("", base), APPLE_ORIGINAL.sub(r"\1\2", base)}
    if extension == ".mp":  # PXL_1.MP belongs to PXL_1.MP.jpg
        yield base + extension


class Folder:
    """The files of a folder, by the photo that they may belong to. Their names are relative to the folder."""

    def __init__(self, names: Iterable[str]):
        self.files, self.others = defaultdict(set), defaultdict(list)
        for name in names:
            for owner in owners(name):
                self.files[owner].add(name)
            if not is_photo(name, PHOTO_EXTENSIONS) and not name.lower().endswith(EXTENSIONS):
                self.others[name.split(".")[0].lower()].append(name)

    @classmethod
    def of(cls, folder: str | os.PathLike) -> "Folder":
        """The folder on the disk; empty if it cannot be read."""
        try:
            names = os.listdir(folder)
            more = [file for pattern in FOLDERS for file in Path(folder).glob(f"{pattern}/*")]
        except OSError:
            return cls(())
        return cls([*names, *(str(file.relative_to(folder)) for file in more)])

    def companions(self, photo: str) -> list[str]:
        """The names of the files that belong to a photo of that name, without itself."""
        stem = os.path.splitext(photo)[0]
        keys = {photo.lower(), stem.lower(), core(photo).lower()}
        return sorted({name for key in keys for name in self.files.get(key, ())} - {photo})

    def strangers(self, photo: str) -> list[str]:
        """The names of files that begin like a photo and are neither photos nor known to belong to one."""
        return self.others.get(photo.split(".")[0].lower(), [])


def renamed(name: str, photo: str, end: str) -> str:
    """The name of a file of a photo's shot, if the photo's own name gets an end such as `-2`."""
    folder, base = os.path.split(name)
    start = core(photo)
    length = len(start) if base.lower().startswith(start.lower()) else len(base.split(".")[0])
    return os.path.join(folder, base[:length] + end + base[length:])
