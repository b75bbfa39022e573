"""A toy photo folder in the layout `abc_hf.build_dataset` reads."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

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
