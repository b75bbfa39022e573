"""How a model behaves where no label says it: `python -m tests.benchmarks.behaviour DATA --out DIR [--model NAME]`.

DATA is a data set in the SmartBlur schema (`python -m abc_hf.data.build folders`). Of its validation split:

- growing: the same region blurred at six growing radii; on how many photos its mean map value rises at every step.
- bad_blur_synthetic: P(bad-blur) of blur on the subject or the frame against the same blur on the background, and
  against the untouched photo, all through one JPEG step: area under the ROC curve.
- sharp: mean blur map value of the photos labelled no-blur.
- hard: photos labelled no-blur that users complain about, chosen by a written rule before any model sees them.

And of its validation and test splits, bad_blur_real: P(bad-blur) of photos labelled so against the rest.
Everything goes through the public pipeline. Writes `behaviour.json` and the contact sheet `hard.png`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from abc_hf import load_photo, load_pipeline
from abc_hf.data.kernels import REACH, aperture_kernel, identity_kernel
from abc_hf.data.marks import RandomNumbers
from abc_hf.data.sources import encoded
from abc_hf.data.splits import open_splits
from abc_hf.data.synthesis import composite, convolve, layers_of, random_regions, soften, to_linear, to_srgb
from abc_hf.evaluation.metrics import auc

RADII = np.geomspace(0.002, 0.025, 6)
"""Radii of the growing blur, as a fraction of the long side."""
BAD_RADIUS = 0.010
"""Of the blur that spoils a subject: where high blur begins."""
JPEG_QUALITY = 90
HARD_PER_RULE = 15
DRAWS = 2000
LONG_SIDE = 512


def put_blur(photo: np.ndarray, region: torch.Tensor, radius: float, where: str) -> Image.Image:
    """Disc defocus of `radius` pixels on "region", "background" or "frame" of a photo (H, W, 3); "nowhere" is JPEG
    alone. region: (1, 1, H, W) in 0..1."""
    light = to_linear(torch.from_numpy(photo.transpose(2, 0, 1)[None].copy()) / 255)
    sharp, blurred = (
        torch.from_numpy(np.pad(kernel, REACH - len(kernel) // 2))[None]
        for kernel in (identity_kernel(), aperture_kernel(radius))
    )
    behind, front = layers_of(light, region if where in ("region", "background") else torch.zeros_like(region))
    behind = convolve(behind, blurred if where in ("background", "frame") else sharp)
    front = convolve(front, blurred if where == "region" else sharp)
    image = (255 * to_srgb(composite(behind, front)[0][0])).round().numpy().astype(np.uint8).transpose(1, 2, 0)
    return load_photo(encoded(image, "JPEG", quality=JPEG_QUALITY)["bytes"])


def arrays(row) -> tuple[np.ndarray, torch.Tensor | None]:
    """A row's photo at no more than `LONG_SIDE`, and its salient mask (1, 1, H, W) in 0..1, if any."""
    photo = row["image"].convert("RGB")
    photo.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    mask = row["salient_mask"]
    if mask is not None:
        mask = soften(torch.from_numpy(np.asarray(mask.resize(photo.size)) > 127)[None, None])
    return np.asarray(photo), mask


def growing(pipeline, sharp, count: int) -> dict:
    """On how many photos the mean map value inside the region rises with every radius."""
    rises, curves = 0, []
    chosen = np.linspace(0, len(sharp) - 1, min(count, len(sharp))).round().astype(int)
    for index in tqdm(chosen, desc="growing"):
        photo, subject = arrays(sharp[int(index)])
        height, width = photo.shape[:2]
        region = subject
        if region is None:
            region = random_regions(1, height, width, RandomNumbers(torch.Generator().manual_seed(int(index))))
        blurred = [put_blur(photo, region, radius * max(height, width), "region") for radius in RADII]
        curve = [report.blur_map[region[0, 0].numpy() > 0.5].mean() for report in pipeline(blurred)]
        curves.append(curve)
        rises += bool((np.diff(curve) > 0).all())
    return {
        "photos": len(chosen),
        "rising": rises,
        "radii": RADII.tolist(),
        "mean_map_value": np.mean(curves, 0).tolist(),
    }


def probability_auc(positive: list[float], negative: list[float]) -> float:
    """Area under the ROC curve of two lists of probabilities."""
    values, index = np.unique(positive + negative, return_inverse=True)
    counts = [np.bincount(part, minlength=len(values)) for part in np.split(index, [len(positive)])]
    return auc(*counts)


def bad_blur_synthetic(pipeline, sharp) -> dict:
    """P(bad-blur) by where the same blur is put, over the photos with a salient object of 3 to 60 % of the frame."""
    bad = {where: [] for where in ("nowhere", "background", "region", "frame")}
    for row in tqdm(sharp, desc="bad-blur"):
        photo, subject = arrays(row)
        if subject is None or not 0.03 <= subject.mean() <= 0.6:
            continue
        radius = BAD_RADIUS * max(photo.shape)
        for where, report in zip(
            bad, pipeline([put_blur(photo, subject, radius, where) for where in bad]), strict=True
        ):
            bad[where].append(report.probabilities["bad-blur"])
    return {
        "photos": len(bad["nowhere"]),
        **{
            f"{place}_against_{other}": probability_auc(bad[where], bad[other])
            for where, place in (("region", "subject"), ("frame", "frame"))
            for other in ("background", "nowhere")
        },
    }


def bad_blur_real(pipeline, splits: list) -> dict:
    """P(bad-blur) of real photos labelled so against all others, with a 95 % bootstrap interval."""
    bad, rest = [], []
    for split in splits:
        for row in tqdm(split, desc="bad-blur, real"):
            if row["desirability"] is not None:
                answer = pipeline(row["image"]).probabilities["bad-blur"]
                (bad if row["desirability"] == 3 else rest).append(answer)
    rng = np.random.default_rng(0)
    drawn = [probability_auc(list(rng.choice(bad, len(bad))), list(rng.choice(rest, len(rest)))) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"bad": len(bad), "rest": len(rest), "auc": probability_auc(bad, rest), "interval": [low, high]}


def hardness(photo: Image.Image) -> dict[str, float]:
    """What the rules for hard photos rank by, highest first: little texture, darkness, little colour, likeness to text
    (share of strong edges that meet a strong edge of the other sign within 4 pixels)."""
    small = photo.copy()
    small.thumbnail((256, 256))
    pixels = np.asarray(small, np.float32) / 255
    grey = pixels.mean(-1)
    dx = ndimage.sobel(grey, 1)
    rising, falling = (ndimage.maximum_filter(sign * dx > 1.2, (1, 9)) for sign in (1, -1))
    return {
        "plain": -float(np.hypot(dx, ndimage.sobel(grey, 0)).mean()),
        "dark": -float(grey.mean()),
        "colourless": -float(np.ptp(pixels, -1).mean()),
        "text": float((rising & falling).mean()),
    }


def choose_hard(sharp) -> dict[str, list[int]]:
    """Rows by rule: each rule takes its first `HARD_PER_RULE` that no rule before it took."""
    ranks = [hardness(row["image"].convert("RGB")) for row in tqdm(sharp, desc="choosing")]
    chosen: dict[str, list[int]] = {}
    for rule in ranks[0]:
        taken = {index for rows in chosen.values() for index in rows}
        order = sorted(range(len(ranks)), key=lambda index: -ranks[index][rule])
        chosen[rule] = [index for index in order if index not in taken][:HARD_PER_RULE]
    return chosen


def hard(pipeline, sharp, sheet: Path) -> dict:
    """False alarms on hard photos: a label other than no-blur, or a mean map value above 0.2."""
    cell, columns = 160, HARD_PER_RULE
    chosen = choose_hard(sharp)
    canvas = Image.new("RGB", (columns * cell, 2 * len(chosen) * cell), "white")
    alarms, listed = [], []
    for line, (rule, rows) in enumerate(chosen.items()):
        for column, index in enumerate(rows):
            row = sharp[index]
            report = pipeline(row["image"])
            mean = float(report.small_blur_map.mean())
            listed.append({"rule": rule, "source": row["source"], "label": report.label, "mean": mean})
            if report.label != "no-blur" or mean > 0.2:
                alarms.append(row["source"])
            blur = Image.fromarray(np.rint(report.small_blur_map * 255).astype(np.uint8)).convert("RGB")
            for below, picture in enumerate((report.preview.copy(), blur)):
                picture.thumbnail((cell - 4, cell - 4))
                canvas.paste(picture, (column * cell + 2, (2 * line + below) * cell + 2))
    canvas.save(sheet)
    return {
        "photos": len(listed),
        "alarms": len(alarms),
        "label_alarms": sum(entry["label"] != "no-blur" for entry in listed),
        "map_alarms": sum(entry["mean"] > 0.2 for entry in listed),
        "listed": listed,
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.behaviour", description=__doc__.split("\n\n")[0])
    parser.add_argument("data", help="a data set in the SmartBlur schema: a folder or a Hub name")
    parser.add_argument("--model", help="a folder or a Hub name (default: the bundled weights)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100, help="photos of the growing blur (default: %(default)s)")
    parser.add_argument("--no-test", action="store_true", help="leave the test split alone")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    pipeline = load_pipeline(args.model)
    splits = open_splits(args.data)
    validation = splits["validation"]
    labels = validation["desirability"]
    sharp = validation.select([index for index, label in enumerate(labels) if label == 0])
    means = [float(pipeline(row["image"]).small_blur_map.mean()) for row in tqdm(sharp, desc="sharp")]
    result = {
        "sharp": {
            "photos": len(means),
            "mean": float(np.mean(means)),
            "above_0.2": float(np.mean(np.array(means) > 0.2)),
        },
        "growing": growing(pipeline, sharp, args.count),
        "bad_blur_synthetic": bad_blur_synthetic(pipeline, sharp),
        "hard": hard(pipeline, sharp, args.out / "hard.png"),
    }
    tested = [validation] if args.no_test else [validation, splits["test"]]
    result["bad_blur_real"] = bad_blur_real(pipeline, tested)
    (args.out / "behaviour.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({**result, "hard": {k: v for k, v in result["hard"].items() if k != "listed"}}, indent=2))


if __name__ == "__main__":
    main()
