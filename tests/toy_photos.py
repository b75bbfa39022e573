"""A toy photo folder in the layout `abc_hf.data.build` reads."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

ROWS = [
    # file, desirability, blur_kind, split
    ("ecssd/images/a.png", "no-blur", "", "train"),
    ("ecssd/images/b.png", "good-blur", "defocus", "train"),
    ("kodak/images/c.png", "no-blur", "", "train"),
    ("ecssd/images/d.png", "no-blur", "", "validation"),
    ("ecssd/images/e.png", "good-blur", "defocus", "validation"),
    ("kodak/images/f.png", "not-a-photo", "", "validation"),
    ("cuhk/images/motion1.png", "bad-blur", "motion", "test"),
]


def write_toy_photos(folder: Path) -> Path:
    """Seven textured photos of 96 x 64, square salient objects, one CUHK blur mask, and their labels."""
    rng = np.random.default_rng(0)
    mask = np.zeros((64, 96), np.uint8)
    mask[16:48, 32:64] = 255
    for file, *_ in ROWS:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(path)
        if not file.startswith("kodak"):
            (path.parents[1] / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(path.parents[1] / "masks" / path.name)
    with (folder / "desirability.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "desirability", "blur_kind", "split"])
        writer.writerows(ROWS)
    return folder


def smooth_photo(width: int = 96, height: int = 64, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.uniform(0, 255, (height, width, 3)), (1.5, 1.5, 0))
    return Image.fromarray(np.clip((smooth - 127) * 3 + 127, 0, 255).astype(np.uint8))


def write_toy_split(folder: Path, count: int = 9, levels: tuple[int, ...] = (0, 1, 2, 3, 254, 255)) -> Path:
    """A data set of the SmartBlur schema with a split "test": photos of 96 x 64 with every label, blur maps of random
    blocks of `levels` at half that size, and one row without labels."""
    from datasets import Dataset

    from abc_hf.data.schema import FEATURES
    from abc_hf.data.sources import png

    rng = np.random.default_rng(1)
    rows = []
    for index in range(count):
        photo = rng.integers(0, 256, (64 // 2 ** (index % 3), 96 // 2 ** (index % 3), 3), dtype=np.uint8)
        photo = Image.fromarray(photo).resize((96, 64), Image.BICUBIC)
        blocks = rng.choice(levels, (4, 6)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        salient = np.zeros((64, 96), np.uint8)
        salient[8 + index : 40, 20 : 60 + index] = 255
        last = index == count - 1
        rows.append(
            dict.fromkeys(FEATURES)
            | {
                "image": png(np.asarray(photo)),
                "blur_map": None if last else png(blocks),
                "salient_mask": None if last else png(salient),
                "desirability": None if last else index % 4,
                "blur_kind": (None, "defocus", "defocus", "motion")[index % 4],
                "source": f"toy/photo{index}",
                "license": "CC0-1.0",
            }
        )
    (folder / "data").mkdir(parents=True)
    dataset = Dataset.from_list(rows, features=FEATURES)
    dataset.to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    return folder
