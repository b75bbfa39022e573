"""A small data set to try training with: blur put into the pictures that come inside scikit-image and scikit-learn."""

import csv
import dataclasses
import shutil
from pathlib import Path

from PIL import Image, ImageDraw

from ..photos import load_photo
from .build import main as build_dataset

PHOTOS = (
    # package, file, class, kind of blur, split, outline of the subject: polygon of (x, y), or boxes of ellipses
    ("skimage", "astronaut.png", "no-blur", "", "train",
     "154,85 222,14 293,45 305,83 270,140 262,175 300,220 345,280 364,347 430,350 490,420 505,512 45,512 19,400 50,280 "
     "113,208 130,160 182,134"),
    ("skimage", "coffee.png", "no-blur", "", "validation", "77,75 479,387; 173,17 410,205"),
    ("sklearn", "china.jpg", "no-blur", "", "train",
     "206,29 233,84 323,122 299,159 330,183 323,221 354,258 342,302 370,338 317,373 193,364 193,333 89,314 66,276 "
     "97,234 89,177 125,159 97,122 162,79 193,42"),
    ("sklearn", "flower.jpg", "good-blur", "defocus", "train", "169,85 447,361;"),
    ("skimage", "rocket.jpg", "no-blur", "", "train",
     "322,126 310,177 308,406 332,406 336,183"),
    ("skimage", "chelsea.png", "good-blur", "defocus", "validation",
     "30,0 385,0 362,60 360,140 340,220 300,262 330,300 0,300 0,60"),
)  # fmt: skip
FOLDER = "sample-data"
NEXT_COMMAND = """
That was a demonstration on a few pictures: its scores mean nothing. This is how to train on photos of your own. DATA is
their folder, as docs/training.md describes it:

  python -m abc_hf.data.build folders DATA --out data/real
  python -m abc_hf.data.build synth DATA --out data/synth
  accelerate launch train_accelerate.py --dataset_name data/real data/synth --output_dir run

Judge a photo with the result of the demonstration: abc-fusenet assess PHOTO --model {out}"""


def write_photos(folder: Path) -> None:
    """The pictures, masks of their subjects and `desirability.csv`, as `abc_hf.data.build` reads them."""
    import skimage
    import sklearn

    homes = {
        "skimage": Path(skimage.__file__).parent / "data",
        "sklearn": Path(sklearn.__file__).parent / "datasets/images",
    }
    labels = [("file", "desirability", "blur_kind", "split")]
    for package, name, desirability, kind, split, outline in PHOTOS:
        for sort in ("images", "masks"):
            (folder / package / sort).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(homes[package] / name, folder / package / "images" / name)
        mask = Image.new("L", load_photo(homes[package] / name).size)
        shapes = [[tuple(map(int, point.split(","))) for point in shape.split()] for shape in outline.split(";")]
        for points in filter(None, shapes):
            draw = ImageDraw.Draw(mask)
            draw.ellipse(points, fill=255) if len(points) == 2 else draw.polygon(points, fill=255)
        mask.save(folder / package / "masks" / f"{Path(name).stem}.png")
        labels.append((f"{package}/images/{name}", desirability, kind, split))
    with (folder / "desirability.csv").open("w", newline="") as file:
        csv.writer(file).writerows(labels)


def build_sample(out: Path, count: int = 64) -> list[str]:
    """Write the data sets, if they are not there yet; returns their folders."""
    write_photos(out / "photos")
    for command, options in (("folders", []), ("synth", ["--count", str(count)])):
        build_dataset([command, str(out / "photos"), "--out", str(out / command), "--workers", "1", *options])
    return [str(out / "folders"), str(out / "synth")]


def sample_settings(settings, out: Path):
    """The settings of a run of about a minute on a CPU on that data set. Settings that the user gave stay."""
    small = {
        "variant": "tiny", "working_size": 256, "crop_size": 160, "max_train_steps": 80, "eval_steps": 40,
        "warmup_steps": 10, "ema_decay": 0.9, "max_eval_samples": 8, "per_device_train_batch_size": 6,
    }  # fmt: skip
    if settings.num_train_epochs is not None:
        del small["max_train_steps"]
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    small = {name: value for name, value in small.items() if getattr(settings, name) == defaults[name]}
    return dataclasses.replace(settings, dataset_name=build_sample(out / FOLDER), **small)
