"""Rows of the SmartBlur schema from photos, masks and labels as their sources have them."""

import csv
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from ..configuration_abc_fusenet import DESIRABILITY, KINDS
from ..losses import AMOUNT_STEPS, AMOUNT_UNKNOWN, NUM_LEVELS, UNKNOWN
from ..photos import load_photo
from .kernels import NewKernels
from .regions import region_amounts, region_cells, region_map
from .schema import FEATURES, SPLITS
from .synthesis import HELD_OUT_SCENES, SCENES, FreshBlur, soften, to_srgb

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
    """The answers of the annotators of a photo, as columns of the schema.

    Args:
        row: of `desirability.csv`. Its `annotators` and `agreeing` count all votes and those for the majority's class.
        votes: single votes, perhaps not all. Votes against the majority tell which class the others chose.
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


def real_row(folder: Path, row: dict, grids: list[list[str]], votes: list[dict]) -> dict:
    """One photo as it is, with all its labels. grids: its regions as one or two annotators labelled them."""
    file = row["file"]
    source = Path(file).parts[0]
    image = load_photo(folder / file)
    blur_map = blur_amount = None
    salient = None if source == "cuhk" else find_mask(folder, file, ("salient", "masks"))
    if source == "cuhk":
        blurred = find_mask(folder, file, ("masks",))
        blur_map = np.where(blurred, AMOUNT_UNKNOWN, 0).astype(np.uint8)  # type: ignore[arg-type]  # CUHK has all masks
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
        "blur_map": png(blur_map),
        "blur_amount": png(blur_amount),
        "salient_mask": None if salient is None else png(np.uint8(255) * salient),
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
        "blur_map": png(blur_map),
        "desirability": row["desirability"] or None,
        "blur_kind": row.get("blur_kind") or None,
        "source": f"smartblur/{path.stem}",
        "license": row.get("license") or "Creative Commons",
    }


def cuhk_row(photo: Path, mask: Path) -> dict:
    """One photo of CUHK. Its mask says where it is blurred, and the amount is unknown."""
    image, blurred = load_photo(photo), np.asarray(load_photo(mask).convert("L")) > 127
    if abs(blurred.shape[1] * image.height / (blurred.shape[0] * image.width) - 1) > 0.03:
        raise ValueError(
            f"{mask} is {blurred.shape[1]}x{blurred.shape[0]}, its photo {image.width}x{image.height}: not its mask."
        )
    return {
        "image": {"bytes": photo.read_bytes(), "path": photo.name},
        "blur_map": png(np.where(blurred, AMOUNT_UNKNOWN, 0)),
        "desirability": None,
        "blur_kind": "motion" if photo.stem.startswith("motion") else "defocus",
        "source": f"cuhk/{photo.stem}",
        "license": "none stated",
    }


def photo_and_subject(folder: Path, file: str, size: tuple[int, int] | None, long_side: int):
    """A photo (1, 3, H, W) in 0..1 and its salient object (1, 1, H, W), if any, at a size or a long side."""
    photo = load_photo(folder / file)
    if size is None:
        scale = min(1, long_side / max(photo.size))
        size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    mask = find_mask(folder, file, ("salient", "masks"))
    subject = None
    if mask is not None:
        resized = Image.fromarray(np.uint8(255) * mask).resize(size, Image.Resampling.BILINEAR)
        subject = torch.from_numpy(np.asarray(resized, np.float32) / 255)[None, None]
    pixels = np.asarray(photo.resize(size, Image.Resampling.LANCZOS), np.float32).transpose(2, 0, 1) / 255
    return torch.from_numpy(pixels)[None], subject


def synthetic_row(folder: Path, files: list[str], cutouts: list[str], key: tuple[int, ...], held_out: bool) -> dict:
    """One photo of SmartBlur-Synth; every choice is drawn from `key` (seed, split, index). Half of the photos without a
    known subject get that of another photo."""
    rng = np.random.default_rng(key)
    file = files[rng.integers(len(files))]
    photo, subject = photo_and_subject(folder, file, None, int(rng.integers(*LONG_SIDES, endpoint=True)))
    licensed = [file] if subject is None else [file, file]
    if subject is None and cutouts and rng.random() < 0.5:
        licensed.append(cutouts[rng.integers(len(cutouts))])
        front, subject = photo_and_subject(folder, licensed[1], photo.shape[:1:-1], 0)
        photo = subject * front + (1 - subject) * photo
    names = HELD_OUT_SCENES if held_out else tuple(SCENES)
    chances = np.array([SCENES[name] for name in names])
    scene = str(rng.choice(names, p=chances / chances.sum()))
    mask = torch.zeros_like(photo[:, :1]) if subject is None else soften(subject > 0.5)
    known, long_side = torch.tensor([subject is not None]), torch.tensor([float(max(photo.shape))])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    made = FreshBlur(NewKernels(rng, held_out), {scene: 1.0})(photo, mask, known, long_side, generator)
    levels, label, kind = made.levels[0, 0].numpy(), int(made.labels), int(made.kinds)
    amounts = np.where(levels == UNKNOWN, UNKNOWN, np.rint(levels * AMOUNT_STEPS))
    pixels = (255 * to_srgb(made.light[0]).numpy().transpose(1, 2, 0)).round()
    return {
        "image": encoded(pixels, "JPEG", quality=int(rng.integers(70, 97))),
        "blur_map": png(np.rint(levels)),
        "blur_amount": png(amounts),
        "salient_mask": None if subject is None else png((255 * subject[0, 0]).numpy()),
        "desirability": DESIRABILITY[label] if label >= 0 else None,
        "blur_kind": KINDS[kind] if kind >= 0 else None,
        "source": f"synth/{scene}/{Path(file).stem}",
        "license": " + ".join(LICENSES.get(Path(each).parts[0], "none stated") for each in licensed),
    }


def encoded(values: np.ndarray, kind: str, **options) -> dict:
    """An image of 8 bits as `datasets.Image` stores it."""
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(buffer, kind, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def png(values: np.ndarray | None) -> dict | None:
    """A map of 8 bits, if there is one."""
    return None if values is None else encoded(values, "PNG")
