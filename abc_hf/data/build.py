"""Write data sets in the SmartBlur schema: Parquet that `datasets.load_dataset` reads without a script.

    python -m abc_hf.data.build folders DATA --out OUT     photos, masks and labels as they are
    python -m abc_hf.data.build synth DATA --out OUT       SmartBlur-Synth from the photos labelled no-blur
    python -m abc_hf.data.build smartblur DATA --out OUT   the SmartBlur release
    python -m abc_hf.data.build cuhk DATA --out OUT        CUHK blur detection, for testing

folders, synth: DATA holds `desirability.csv` (file, desirability, blur_kind, split, ...) and, beside each folder
`NAME/images`, masks of salient objects (`NAME/masks` or `NAME/salient`; 255 = object) or, for `cuhk`, of blur
(`cuhk/masks`; 255 = blurred).

smartblur: DATA holds `images/`, `blur_maps/` (for each photo STEM.png, grey, of the photo's size: levels 0..3, or the
grey values that --levels names; 254 = blurred, amount unknown; 255 = unknown) and `labels.csv` (file, a name in
`images/`; desirability, one of no-blur, good-blur, ok-blur, bad-blur or empty; split, train, validation or test).

cuhk: DATA holds the photos in `images/` or `image/` and their masks (255 = blurred) in `masks/` or `gt/`.

A photo that cannot be read is reported and left out. README.md, the card of the data set, is written beside the
Parquet.
"""

import argparse
import collections
import hashlib
import json
import multiprocessing
import sys
from pathlib import Path

import datasets
import torch
from tqdm import tqdm

from ..common.files import check_results, replacing
from ..common.text import first_line
from ..losses import NUM_LEVELS
from ..photos import PhotoError
from .card import TEXTS, contact_sheet, write_card
from .regions import read_regions
from .schema import FEATURES, SPLITS
from .sources import (
    EMPTY,
    LICENSES,
    REDISTRIBUTABLE,
    cuhk_row,
    find_mask,
    read_labels,
    read_votes,
    real_row,
    smartblur_row,
    synthetic_row,
)

SHARD_ROWS = 250
MAKER = 2
"""The version of the row makers: shards of another version are made again."""


def write_shard(job: tuple) -> tuple[str, list[str]]:
    """Write one Parquet file from a row maker and its arguments. Returns its name and the errors of rows left out."""
    datasets.disable_progress_bars()  # of single files, in this process
    path, make, arguments = job
    rows, errors = [], []
    for argument in arguments:
        try:
            rows.append(make(*argument))
        except PhotoError as error:
            errors.append(str(error))
    table = datasets.Dataset.from_list([EMPTY | row for row in rows], features=FEATURES)
    with replacing(path) as file:
        table.to_parquet(file, write_page_checksum=True)
    return path.name, errors


def run_jobs(jobs: list[tuple], workers: int):
    """`write_shard` of each job, in the order they end; here if there is one worker, else in processes of their own."""
    if workers == 1:
        yield from map(write_shard, jobs)
    else:
        with multiprocessing.get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) as pool:
            yield from pool.imap_unordered(write_shard, jobs)
            pool.close()
            pool.join()  # a process that is killed instead complains of leaked semaphores


def write_split(out: Path, split: str, make, arguments: list[tuple], workers: int) -> None:
    """Write `out/data/SPLIT-0000i-of-0000n.parquet`. A killed run goes on: shards made of the same labels and photos
    are kept, as `out/data/.made.json` tells; all others are made again, and shards of an earlier number are removed.

    Raises ValueError for shards of the split that this program did not make.
    """
    folder = out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / ".made.json"
    made = json.loads(note.read_text()) if note.is_file() else {}
    parts = [arguments[start : start + SHARD_ROWS] for start in range(0, len(arguments), SHARD_ROWS)]
    names = [f"{split}-{index:05d}-of-{len(parts):05d}.parquet" for index in range(len(parts))]
    for path in folder.glob(f"{split}-*-of-*.parquet"):
        if path.name not in made:
            raise ValueError(f"{path} was not made by this command: choose another --out, or move the file away.")
        if path.name not in names:
            path.unlink()
            del made[path.name]
    wanted = dict(zip(names, map(digest_of_inputs, parts), strict=True))
    jobs = [
        (folder / name, make, part)
        for name, part in zip(names, parts, strict=True)
        if made.get(name) != wanted[name] or not (folder / name).is_file()
    ]
    left_out = []
    with tqdm(total=len(jobs), desc=split, unit="shard") as bar:
        for name, errors in run_jobs(jobs, workers):
            made[name] = wanted[name]
            note.write_text(json.dumps(made, indent=1) + "\n")
            left_out += errors
            bar.update()
    for error in left_out:
        print(f"left out: {error}", file=sys.stderr)
    if left_out:
        print(f"{split}: {len(left_out)} of {len(arguments)} left out", file=sys.stderr)


def digest_of_inputs(arguments: list[tuple]) -> str:
    """A digest of a shard's inputs: its arguments, and size and time of the photos and masks they name."""
    digest = hashlib.sha256(repr((MAKER, arguments)).encode())
    for path in sorted(path for path in files_of(arguments) if path.is_file()):
        digest.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def files_of(arguments: list[tuple]) -> set[Path]:
    """The files that arguments of a row maker name: a photo and its mask, or a folder and photos in it; with the masks
    that may lie beside those photos."""
    found = {entry for argument in arguments for entry in argument if isinstance(entry, Path)}
    entries = {id(entry): (argument[0], entry) for argument in arguments for entry in argument[1:]}
    for folder, entry in entries.values():  # the same list may be in each argument
        names = [entry["file"]] if isinstance(entry, dict) else entry if isinstance(entry, list) else []
        for name in (Path(name) for name in names if isinstance(name, str)):
            found |= {folder / name, folder / "images" / name, folder / "blur_maps" / f"{name.stem}.png"}
            found |= {folder / name.parts[0] / kind / f"{name.stem}.png" for kind in ("salient", "masks")}
    return found


def build_folders(args: argparse.Namespace) -> None:
    rows, regions = read_labels(args.data / "desirability.csv"), collections.defaultdict(list)
    votes = read_votes(args.data / "votes.csv")
    for path in args.regions:
        for file, grid in read_regions(path).items():
            regions[file].append(grid)
    for file, grids in regions.items():
        shapes = {(len(grid), len(grid[0])) for grid in grids}
        if len(shapes) > 1:
            raise ValueError(f"--regions: the grids of {file} have different shapes, {' and '.join(map(str, shapes))}.")
    for split in SPLITS:
        arguments = [
            (args.data, row, regions.get(row["file"], []), votes.get(row["file"], []))
            for row in rows
            if row["split"] == split
        ]
        if arguments:
            write_split(args.out, split, real_row, arguments, args.workers)


def build_synth(args: argparse.Namespace) -> None:
    rows = [
        row for row in read_labels(args.data / "desirability.csv") if row["desirability"] in ("no-blur", "good-blur")
    ]
    if args.redistributable:
        rows = [row for row in rows if LICENSES.get(Path(row["file"]).parts[0]) in REDISTRIBUTABLE]
    tenth = args.count // 10
    for number, (split, count) in enumerate((("train", args.count), ("validation", tenth), ("test", tenth))):
        held_out = split == "test"  # photos of the validation split, kernels and paths of its own
        own = [row for row in rows if row["split"] == ("validation" if held_out else split)]
        files = [row["file"] for row in own if row["desirability"] == "no-blur"]
        cutouts = [row["file"] for row in own if find_mask(args.data, row["file"], ("salient", "masks")) is not None]
        if not files:
            raise ValueError(f"no photo of the {split} split is labelled no-blur: there is nothing to put blur into.")
        arguments = [(args.data, files, cutouts, (args.seed, number, index), held_out) for index in range(count)]
        write_split(args.out, split, synthetic_row, arguments, args.workers)


def build_smartblur(args: argparse.Namespace) -> None:
    rows = read_labels(args.data / "labels.csv", ("file", "desirability", "split"))
    for split in SPLITS:
        arguments = [(args.data, row, tuple(args.levels)) for row in rows if row["split"] == split]
        if arguments:
            write_split(args.out, split, smartblur_row, arguments, args.workers)
    print("The paper's Table 2: 8,400 for training (its classes add up to 8,350), 800 for validation, 800 for testing.")


def build_cuhk(args: argparse.Namespace) -> None:
    photos, masks = (
        next((args.data / name for name in names if (args.data / name).is_dir()), None)
        for names in (("images", "image"), ("masks", "gt"))
    )
    if photos is None or masks is None:
        raise ValueError(f"{args.data} must hold the photos in images/ or image/ and the masks in masks/ or gt/.")
    pairs = [
        (photo, masks / f"{photo.stem}.png") for photo in sorted(photos.iterdir()) if not photo.name.startswith(".")
    ]
    missing = [photo.name for photo, mask in pairs if not mask.is_file()]
    if missing:
        raise ValueError(f"{len(missing)} of {len(pairs)} photos have no mask in {masks}, the first is {missing[0]}.")
    write_split(args.out, "test", cuhk_row, pairs, args.workers)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m abc_hf.data.build",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, dest="command")
    options = {
        "folders": build_folders,
        "synth": build_synth,
        "smartblur": build_smartblur,
        "cuhk": build_cuhk,
    }
    parsers = {}
    for name, function in options.items():
        command = commands.add_parser(name, help=TEXTS[name][1])
        command.add_argument("data", type=Path, help="the folder the photos are in")
        command.add_argument("--out", type=Path, required=True, help="the data set to write")
        command.add_argument("--workers", type=int, default=2)
        command.set_defaults(function=function)
        parsers[name] = command
    parsers["folders"].add_argument(
        "--regions",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        help="CSV of blurred regions labelled by eye (file, cells), and that of a second annotator",
    )
    parsers["synth"].add_argument(
        "--count", type=int, default=5000, help="photos in train; a tenth in validation and in test"
    )
    parsers["synth"].add_argument("--seed", type=int, default=0)
    parsers["synth"].add_argument(
        "--redistributable", action="store_true", help="only of photos whose licence lets the result be passed on"
    )
    parsers["smartblur"].add_argument(
        "--levels", type=int, nargs=NUM_LEVELS, default=range(NUM_LEVELS), help="grey values of no, low, medium, high"
    )
    args = parser.parse_args(argv)
    try:
        check_results(args.out, "data/.made.json", ["README.md", "contact_sheet.png"])
        args.function(args)
        shown = f"{parser.prog} {args.command} {args.data.name} --out {args.out.name}"
        print(write_card(args.out, args.command, shown))
        if args.command == "synth":
            contact_sheet(args.out)
    except OSError as error:
        parser.exit(1, f"{parser.prog}: {first_line(error)}.\n")
    except ValueError as error:
        parser.exit(1, f"{parser.prog}: {str(error).strip().splitlines()[-1]}\n")


if __name__ == "__main__":
    main()
