"""Write data sets in the SmartBlur schema: Parquet that `datasets.load_dataset` reads without a script.

    python -m abc_hf.build_dataset folders DATA --out OUT     photos, masks and labels as they are
    python -m abc_hf.build_dataset synth DATA --out OUT       SmartBlur-Synth from the photos labelled no-blur
    python -m abc_hf.build_dataset smartblur DATA --out OUT   the SmartBlur release
    python -m abc_hf.build_dataset cuhk DATA --out OUT        CUHK blur detection, for testing

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
import csv
import hashlib
import json
import multiprocessing
import sys
from pathlib import Path

import datasets
import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from .configuration_abc_fusenet import DESIRABILITY
from .dataset_card import SPLITS, TEXTS, contact_sheet, write_card
from .losses import AMOUNT_STEPS, AMOUNT_UNKNOWN, AT_LEAST_HIGH, NUM_LEVELS, UNKNOWN
from .photos import PhotoError, load_photo
from .schema import FEATURES
from .synthesis import encode_jpeg, encode_png, render, soften

LICENSES = {
    "cid22": "CC-BY-SA-4.0",
    "clic": "Unsplash",
    "clothing": "CC0-1.0",
    "kodak": "unrestricted",
    "skimage": "public domain or CC0-1.0",
    "sklearn": "CC-BY-2.0",
}
REDISTRIBUTABLE = ("CC0-1.0", "CC-BY-SA-4.0", "Unsplash", "unrestricted")
"""Licences of photos that may be passed on."""
SHARD_ROWS = 250
EMPTY = dict.fromkeys(FEATURES)
"""A row without any label."""
LONG_SIDES = (352, 512)
"""Range of the long side of a synthetic photo [pixels]."""


def read_labels(path: Path, columns: tuple[str, ...] = ("file", "desirability", "blur_kind", "split")) -> list[dict]:
    """Rows of a CSV file of labels that are photos, with their `number` in it.

    Raises ValueError for a missing file or column, and for a class or split that is none, with row and column.
    """
    if not path.is_file():
        raise ValueError(f"{path.parent} holds no {path.name}: give the folder that holds it and the photos.")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path} lacks the column {', '.join(sorted(missing))}.")
        rows = [row | {"number": number} for number, row in enumerate(reader, start=2)]
    allowed = {"desirability": (*DESIRABILITY, "not-a-photo", ""), "split": SPLITS}
    for row in rows:
        for column, names in allowed.items():
            if row[column] not in names:
                raise ValueError(
                    f"{path}, row {row['number']}, column {column}: {row[column]!r} is not one of "
                    f"{', '.join(name for name in names if name)}."
                )
    return [row for row in rows if row["desirability"] != "not-a-photo"]


def read_votes(path: Path) -> dict[str, list[dict]]:
    """The single votes of `votes.csv` (file, desirability, blur_kind, ...) by file; none without such a file."""
    votes: dict[str, list[dict]] = {}
    if path.is_file():
        with path.open(newline="") as file:
            for vote in csv.DictReader(file):
                votes.setdefault(vote["file"], []).append(vote)
    return votes


def vote_columns(row: dict, votes: list[dict]) -> dict:
    """What annotators said of a photo, as columns of the schema.

    Args:
        row: of `desirability.csv`. Its `annotators` and `agreeing` count all votes and those for the majority's class.
        votes: single votes, which may be some of them: those against the majority say what the others chose.
    """
    if not row["desirability"] or not row.get("annotators"):
        return dict.fromkeys(("votes", "sure", "subject_blur", "rest_blur", "kind_agreed"))
    shares = np.zeros(len(DESIRABILITY))
    for vote in votes:
        if vote["desirability"] in DESIRABILITY and vote["desirability"] != row["desirability"]:
            shares[DESIRABILITY.index(vote["desirability"])] += 1
    shares[DESIRABILITY.index(row["desirability"])] = int(row["agreeing"])
    kinds = {vote["blur_kind"] for vote in votes}
    return {
        "votes": (shares / shares.sum()).tolist(),
        "sure": row.get("sure") == "1",
        "subject_blur": float(row["subject"]) if row.get("subject") else None,
        "rest_blur": float(row["rest"]) if row.get("rest") else None,
        "kind_agreed": bool(row["blur_kind"]) and kinds == {row["blur_kind"]},
    }


def find_mask(folder: Path, file: str, names: tuple[str, ...]) -> np.ndarray | None:
    """The mask beside NAME/images/STEM.*, NAME/<one of names>/STEM.png, as (H, W) bool; None if there is none."""
    photo = Path(file)
    for name in names:
        path = folder / photo.parts[0] / name / f"{photo.stem}.png"
        if path.is_file():
            return np.asarray(load_photo(path).convert("L")) > 127
    return None


def weak_blur_map(mask: np.ndarray) -> np.ndarray:
    """Levels of a photo with good defocus: its salient object is sharp, the rest blurred by an unknown amount, and a
    band along the outline is unknown."""
    band = max(3, round(max(mask.shape) / 60))
    inside = ndimage.binary_erosion(mask, iterations=band, border_value=1)
    outside = ~ndimage.binary_dilation(mask, iterations=band)
    return np.select([inside, outside], [0, AMOUNT_UNKNOWN], UNKNOWN).astype(np.uint8)


def read_regions(path: Path) -> dict[str, list[str]]:
    """Regions labelled by eye: a CSV of `file, cells`; by file, the rows of its grid.

    `cells` holds the rows of a grid laid over the photo, a character a cell: 0..3 are the levels of section 3.2, `?` is
    mixed or unsure. Raises ValueError for a missing column, uneven rows or another character, with the row.
    """
    regions = {}
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            if row.get("file") is None or row.get("cells") is None:
                raise ValueError(f"{path}, row {number}: the columns must be file and cells.")
            grid = row["cells"].split()
            if not grid or len({len(line) for line in grid}) > 1 or not set("".join(grid)) <= set("0123?"):
                raise ValueError(
                    f"{path}, row {number}, column cells: rows of the same length, of the characters 0, 1, 2, 3 and ?, "
                    f"were expected; got {row['cells']!r}."
                )
            regions[row["file"]] = grid
    return regions


def region_cells(grid: list[str]) -> np.ndarray:
    """The cells of a labelled grid as levels; `?` is `UNKNOWN`."""
    return np.array([[UNKNOWN if cell == "?" else int(cell) for cell in line] for line in grid])


def region_amounts(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """What two annotators' levels say together of each cell, as an amount.

    The mean where they are a level apart at most; high by both is `AT_LEAST_HIGH`; who is sure decides where the other
    is not; more than a level apart is unknown.
    """
    sure = np.where(first == UNKNOWN, second, first)
    other = np.where(second == UNKNOWN, sure, second)
    amounts = np.rint((sure + other) * (AMOUNT_STEPS / 2))
    amounts = np.where((sure == NUM_LEVELS - 1) & (other == NUM_LEVELS - 1), AT_LEAST_HIGH, amounts)
    return np.where((sure == UNKNOWN) | (abs(sure - other) > 1), UNKNOWN, amounts).astype(int)


def region_map(cells: np.ndarray, weak: np.ndarray | None, height: int, width: int) -> np.ndarray:
    """Levels or amounts of (height, width) pixels from those of the cells of a labelled grid and, where there is one,
    the weak map of the salient mask.

    A cell's label holds for at least 80 % of it: near cells on the other side of sharp | blurred it is taken as
    unknown, and so it is where the weak map says the opposite for less than 80 % of the cell. Where a cell is unknown,
    the weak map stays.
    """
    rows, columns = (np.arange(side) * count // side for side, count in zip((height, width), cells.shape, strict=True))
    levels = cells[rows][:, columns]
    side = tuple(round(0.3 * length / count) for length, count in zip((height, width), cells.shape, strict=True))
    blurred, known = (levels > 0) & (levels != UNKNOWN), levels != UNKNOWN
    near_blurred, near_sharp = (ndimage.maximum_filter(what, side) for what in (blurred, known & ~blurred))
    levels = np.where(near_blurred & near_sharp, UNKNOWN, levels)
    if weak is None:
        return levels.astype(np.uint8)
    opposite = known & (weak != UNKNOWN) & ((weak > 0) != blurred)
    share = np.zeros(cells.shape)
    np.add.at(share, (rows[:, None], columns[None]), opposite)
    share /= np.outer(np.bincount(rows), np.bincount(columns))
    doubtful = opposite & (share < 0.8)[rows][:, columns]
    return np.where(known, np.where(doubtful, UNKNOWN, levels), weak).astype(np.uint8)


def real_row(folder: Path, row: dict, grids: list[list[str]], votes: list[dict]) -> dict:
    """One photo as it is, with what is known of it. grids: its regions as one or two annotators labelled them."""
    file = row["file"]
    source = Path(file).parts[0]
    image = load_photo(folder / file)
    blur_map = blur_amount = None
    salient = None if source == "cuhk" else find_mask(folder, file, ("salient", "masks"))
    if source == "cuhk":
        blurred = find_mask(folder, file, ("masks",))
        blur_map = np.where(blurred, AMOUNT_UNKNOWN, 0).astype(np.uint8)
    elif row["desirability"] == "no-blur":
        blur_map = np.zeros((image.height, image.width), np.uint8)
    elif row["desirability"] == "good-blur" and row["blur_kind"] == "defocus" and salient is not None:
        blur_map = weak_blur_map(salient)
    if grids:
        weak, (first, *others) = blur_map, map(region_cells, grids)
        blur_map = region_map(first, weak, image.height, image.width)
        for second in others:
            blur_amount = region_map(region_amounts(first, second), weak, image.height, image.width)
    return {
        "image": {"bytes": (folder / file).read_bytes(), "path": Path(file).name},
        "blur_map": None if blur_map is None else {"bytes": encode_png(blur_map), "path": None},
        "blur_amount": None if blur_amount is None else {"bytes": encode_png(blur_amount), "path": None},
        "salient_mask": None if salient is None else {"bytes": encode_png(np.uint8(255) * salient), "path": None},
        "desirability": row["desirability"] or None,
        "blur_kind": row["blur_kind"] or None,
        "source": f"{source}/{Path(file).stem}",
        **vote_columns(row, votes),
        "license": LICENSES.get(source, "none stated"),
    }


def smartblur_row(folder: Path, row: dict, levels: tuple[int, ...]) -> dict:
    """One photo of the SmartBlur release; `levels` are the grey values of the four levels in its blur maps."""
    path = folder / "images" / row["file"]
    image, map_path, blur_map = load_photo(path), folder / "blur_maps" / f"{Path(row['file']).stem}.png", None
    if map_path.is_file():
        grey = np.asarray(load_photo(map_path).convert("L"))
        where = f"{folder / 'labels.csv'}, row {row['number']}, {map_path.name}"
        if grey.shape != (image.height, image.width):
            size = f"{grey.shape[1]}x{grey.shape[0]}"
            raise ValueError(f"{where}: the map is {size}, its photo {image.width}x{image.height}.")
        table = np.full(256, -1)
        table[[AMOUNT_UNKNOWN, UNKNOWN]] = AMOUNT_UNKNOWN, UNKNOWN
        table[list(levels)] = range(NUM_LEVELS)
        if (table[grey] < 0).any():
            raise ValueError(
                f"{where}: the value {grey[table[grey] < 0][0]} is none of the levels {', '.join(map(str, levels))}; "
                "name the grey values of the four levels with --levels."
            )
        blur_map = table[grey].astype(np.uint8)
    return {
        "image": {"bytes": path.read_bytes(), "path": path.name},
        "blur_map": None if blur_map is None else {"bytes": encode_png(blur_map), "path": None},
        "desirability": row["desirability"] or None,
        "blur_kind": row.get("blur_kind") or None,
        "source": f"smartblur/{path.stem}",
        "license": row.get("license") or "Creative Commons",
    }


def cuhk_row(photo: Path, mask: Path) -> dict:
    """One photo of CUHK; what is blurred is, by an unknown amount."""
    image, blurred = load_photo(photo), np.asarray(load_photo(mask).convert("L")) > 127
    if abs(blurred.shape[1] * image.height / (blurred.shape[0] * image.width) - 1) > 0.03:
        raise ValueError(
            f"{mask} is {blurred.shape[1]}x{blurred.shape[0]}, its photo {image.width}x{image.height}: not its mask."
        )
    return {
        "image": {"bytes": photo.read_bytes(), "path": photo.name},
        "blur_map": {"bytes": encode_png(np.where(blurred, AMOUNT_UNKNOWN, 0).astype(np.uint8)), "path": None},
        "desirability": None,
        "blur_kind": "motion" if photo.stem.startswith("motion") else "defocus",
        "source": f"cuhk/{photo.stem}",
        "license": "none stated",
    }


def photo_and_subject(folder: Path, file: str, size: tuple[int, int] | None, long_side: int):
    photo = load_photo(folder / file)
    if size is None:
        size = tuple(max(1, round(side * min(1, long_side / max(photo.size)))) for side in photo.size)
    mask = find_mask(folder, file, ("salient", "masks"))
    if mask is not None:
        mask = np.asarray(Image.fromarray(np.uint8(255) * mask).resize(size, Image.BILINEAR), np.float32) / 255
    return np.asarray(photo.resize(size, Image.LANCZOS)), mask


def synthetic_row(folder: Path, files: list[str], cutouts: list[str], key: tuple[int, ...], held_out: bool) -> dict:
    """One photo of SmartBlur-Synth; every choice is drawn from `key` (seed, split, index)."""
    rng = np.random.default_rng(key)
    file = files[rng.integers(len(files))]
    photo, subject = photo_and_subject(folder, file, None, int(rng.integers(*LONG_SIDES, endpoint=True)))
    cutout, subject_file = None, file
    if subject is None and cutouts and rng.random() < 0.5:
        subject_file = cutouts[rng.integers(len(cutouts))]
        front, mask = photo_and_subject(folder, subject_file, photo.shape[1::-1], 0)
        cutout = (front, soften(mask))
    sample = render(photo, subject, rng, cutout, held_out=held_out)
    licensed = [file] if sample.subject is None else [file, subject_file]
    subject_png = None if sample.subject is None else encode_png((255 * sample.subject).astype(np.uint8))
    return {
        "image": {"bytes": encode_jpeg(sample.image, int(rng.integers(70, 97))), "path": None},
        "blur_map": {"bytes": encode_png(sample.levels), "path": None},
        "blur_amount": {"bytes": encode_png(sample.amounts), "path": None},
        "salient_mask": None if subject_png is None else {"bytes": subject_png, "path": None},
        "desirability": DESIRABILITY[sample.desirability] if sample.desirability >= 0 else None,
        "blur_kind": sample.blur_kind or None,
        "source": f"synth/{sample.scene}/{Path(file).stem}",
        "license": " + ".join(LICENSES.get(Path(each).parts[0], "none stated") for each in licensed),
    }


def write_shard(job: tuple) -> tuple[str, list[str]]:
    """Write one Parquet file from a row maker and its arguments; returns its name, and what was left out and why."""
    path, make, arguments = job
    rows, errors = [], []
    for argument in arguments:
        try:
            rows.append(make(*argument))
        except PhotoError as error:
            errors.append(str(error))
    partial = path.with_suffix(".partial")
    datasets.Dataset.from_list([EMPTY | row for row in rows], features=FEATURES).to_parquet(
        partial, write_page_checksum=True
    )
    partial.rename(path)
    return path.name, errors


def run_jobs(jobs: list[tuple], workers: int):
    """`write_shard` of each job, in the order they end; here if there is one worker, else in processes of their own."""
    if workers == 1:
        yield from map(write_shard, jobs)
    else:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            yield from pool.imap_unordered(write_shard, jobs)


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
    """What tells a shard's inputs from others: its arguments, and size and time of the photos that they name."""
    digest = hashlib.sha256(repr(arguments).encode())
    for folder, *others in arguments:
        for row in others:
            path = folder / row["file"] if isinstance(row, dict) else None
            if path is not None and path.is_file():
                digest.update(f"{path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


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
        prog="python -m abc_hf.build_dataset",
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
    for name, function in options.items():
        command = commands.add_parser(name, help=TEXTS[name][1])
        command.add_argument("data", type=Path, help="the folder the photos are in")
        command.add_argument("--out", type=Path, required=True, help="the data set to write")
        command.add_argument("--workers", type=int, default=2)
        command.set_defaults(function=function)
        options[name] = command
    options["folders"].add_argument(
        "--regions",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        help="CSV of blurred regions labelled by eye (file, cells), and that of a second annotator",
    )
    options["synth"].add_argument(
        "--count", type=int, default=5000, help="photos in train; a tenth in validation and in test"
    )
    options["synth"].add_argument("--seed", type=int, default=0)
    options["synth"].add_argument(
        "--redistributable", action="store_true", help="only of photos whose licence lets the result be passed on"
    )
    options["smartblur"].add_argument(
        "--levels", type=int, nargs=NUM_LEVELS, default=range(NUM_LEVELS), help="grey values of no, low, medium, high"
    )
    args = parser.parse_args(argv)
    try:
        args.function(args)
        shown = f"{parser.prog} {args.command} {args.data.name} --out {args.out.name}"
        print(write_card(args.out, args.command, shown))
        if args.command == "synth":
            contact_sheet(args.out)
    except ValueError as error:
        parser.exit(1, f"{parser.prog}: {str(error).strip().splitlines()[-1]}\n")


if __name__ == "__main__":
    main()
