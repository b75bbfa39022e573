"""`abc-fusenet assess`."""

import argparse
import json
import os
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from ..common.files import check_results, unique_stems
from ..common.names import in_words, is_left_out, is_photo, kind_of
from ..common.text import first_line, printable
from ..formats import PHOTO_EXTENSIONS
from ..photos import PhotoError, reason
from .output import LINE, complain, table_row


def assess(args: argparse.Namespace) -> int:
    from ..inference import opening

    photos, empty, left_out = expand(args.photos)
    if args.save and any(photo.parent.resolve() == args.save.resolve() for photo in photos):
        raise ValueError(f"--save {args.save} is a folder of photos to assess; choose another one.")
    if args.save and args.save.exists() and not args.save.is_dir():
        raise ValueError(f"--save {args.save} is a file; choose a folder.")
    opening.start()  # beside the imports of the next line
    from ..inference.loading import load_pipeline

    pipe = load_pipeline(args.model, device=args.device, engine=args.engine)
    reports = pipe((photo for photo in photos), batch_size=args.batch_size, on_error="return")
    stems = unique_stems(photos)
    width = min(40, max((len(printable(photo)) for photo in photos), default=5))
    objects = [{"file": str(folder), "error": f"{folder}: {reason}"} for folder, reason in empty.items()]
    for entry in objects:
        complain(entry["error"])
    if not args.json:
        print(LINE.format("photo", "verdict", "score", "subject", "background", width=width))
    reports = tqdm(reports, total=len(photos), unit="photo", disable=None)
    for photo, stem, report in zip(photos, stems, reports, strict=True):
        try:
            if isinstance(report, PhotoError):
                raise report
            entry = {"file": str(photo), **report.to_dict()}
            line = table_row(photo, report, width)
            if args.save:
                check_results(args.save, f"{stem}_blur.png", [f"{stem}.json", f"{stem}_figure.png"])
                report.save(args.save, stem)
        except Exception as error:  # the other photos are judged all the same
            sentence = str(error) if isinstance(error, PhotoError) else f"{photo}: {reason(error)}"
            if isinstance(error, OSError):
                sentence = f"{photo}: its results cannot be written ({first_line(error)})."
            objects.append({"file": str(photo), "error": sentence})
            complain(sentence)
            continue
        objects.append(entry)
        if not args.json:
            tqdm.write(line)
    if left_out:
        complain(f"Left out: {in_words(left_out)}.")
    if args.json:
        print(json.dumps(objects, indent=2))
    return int(any("error" in entry for entry in objects))


def expand(names: list[str]) -> tuple[list[Path], dict[Path, str], Counter[str]]:
    """The named photos, and the photos in named folders, but not in folders below. Also the folders without photos,
    each with a reason, and how many files of which kind are left out.

    Hidden files of a folder do not count: beside IMG.jpg, macOS keeps a file ._IMG.jpg that is no photo.
    """
    photos, empty = [], {}
    left_out: Counter[str] = Counter()
    for path in map(Path, names):
        if not os.path.isdir(path):  # False, too, for names that no file can have
            photos.append(path)
            continue
        try:
            files = sorted(file for file in path.iterdir() if not file.is_dir())
        except OSError as error:
            empty[path] = f"the folder cannot be read ({error.strerror})."
            continue
        found = [file for file in files if is_photo(file.name, PHOTO_EXTENSIONS)]
        photos += found
        left_out.update(kind_of(file.name) for file in files if file not in found and not is_left_out(file.name))
        if not found:
            empty[path] = "the folder holds no photos."
    return photos, empty, left_out
