"""How well the radius of blur in native pixels is told: `python -m tests.benchmarks.blur_radius PHOTOS --out FOLDER`.

PHOTOS is a folder of photos that are sharp at 100 %. A square of each is blurred by kernels of known radius, of shapes
that training does not know; then come noise as of ISO 100 to 6400 and JPEG by Pillow. Each square goes the product's
way, from `close_ups` to `measure`. The baseline is the variance of the Laplacian, divided by the variance of grey.

Photos of 10 megapixels and more are blurred as a whole, too, and judged at several sizes: the radius must scale, and
the verdict must stay. With --labels and --labelled (photos with labels of blur on the subject, 0 to 3), the radius of
real photos is compared with what people see.
"""

import argparse
import csv
import io
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage, signal, stats
from tqdm.auto import tqdm

from abc_hf import load_photo, load_pipeline
from abc_hf.close_ups import close_ups
from abc_hf.data.kernels import path_kernel, scaled_path
from abc_hf.faces import find_faces
from abc_hf.formats import PHOTO_EXTENSIONS
from abc_hf.inference.blur_radius import measure

RADII = (1, 2, 3, 5, 8, 14)
MEGAPIXELS = (None, 6, 1)
"""Photos as they are, and reduced."""
NOISE = {100: 60_000, 800: 7_500, 6400: 940}
"""Electrons of a full well by ISO, for a sensor of 24 megapixels and 36 mm."""
QUALITIES = (95, 85, 70)
SIZES = (24, 12, 6, 1)
"""Megapixels at which a whole photo is judged; a smaller photo is not enlarged."""
SIDE = 448


def sharp_square(photo: Image.Image, megapixels: float | None) -> np.ndarray | None:
    """The part with the strongest fine edges, linear light (S, S) with a margin of 40 pixels; None if the photo is
    smaller than asked for."""
    pixels = photo.width * photo.height / 1e6
    if megapixels and pixels < 1.2 * megapixels:
        return None
    scale = (megapixels / pixels) ** 0.5 if megapixels else 1
    size = [round(side * scale) for side in photo.size]
    grey = np.asarray(photo.resize(size, Image.Resampling.LANCZOS).convert("L"), np.float32) / 255
    side = SIDE + 80
    if min(grey.shape) < side:
        return None
    fine = np.abs(grey - ndimage.gaussian_filter(grey, 1.5))
    fullness = ndimage.uniform_filter(np.minimum(fine, 0.15), SIDE // 2)
    fullness = fullness[side // 2 : grey.shape[0] - side // 2, side // 2 : grey.shape[1] - side // 2]
    row, column = divmod(int(fullness.argmax()), fullness.shape[1])
    return grey[row : row + side, column : column + side] ** 2.2


def lens_kernel(radius: float, rng: np.random.Generator) -> np.ndarray:
    """A disc with a bright rim, a disc that fades outwards, or a cat's eye, of an equivalent radius [pixels]."""
    reach, finer = 38, 5
    steps = (np.arange((2 * reach + 1) * finer) + 0.5) / finer - reach - 0.5
    x, y = np.meshgrid(steps, steps)
    shape, angle = rng.integers(3), rng.uniform(0, np.pi)
    size, kernel = radius, x
    for _ in range(4):  # the size at which the second moment is right
        distance, aside = np.hypot(x, y) / size, (x * np.cos(angle) + y * np.sin(angle)) / size
        kernel = (distance <= 1) * np.stack([1 + (distance > 0.85), 1 - distance**2, aside > -0.3])[shape]
        kernel = kernel / kernel.sum()
        middle = (kernel * x).sum(), (kernel * y).sum()
        size *= radius / np.sqrt(2 * (kernel * ((x - middle[0]) ** 2 + (y - middle[1]) ** 2)).sum())
    return kernel.reshape(2 * reach + 1, finer, 2 * reach + 1, finer).sum((1, 3))


def hook_kernel(radius: float, rng: np.random.Generator) -> np.ndarray:
    """A camera that moves, and moves on in another direction."""
    along = np.concatenate([np.linspace(-1, 0, 100), np.zeros(60)])
    aside = np.concatenate([np.zeros(100), np.linspace(0, rng.uniform(0.3, 1), 60)])
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return path_kernel(scaled_path(np.stack([along, aside], 1) @ turn, radius))


def photographed(light: np.ndarray, kernel: np.ndarray, iso: int, quality: int, rng) -> Image.Image:
    """The blurred square as a camera saves it."""
    light = signal.fftconvolve(light, kernel, mode="same")[40:-40, 40:-40].clip(0)
    noise = rng.normal(size=light.shape) * np.sqrt(light / NOISE[iso] + (3 / NOISE[iso]) ** 2)
    grey = 255 * np.clip(light + noise, 0, 1) ** (1 / 2.2)
    file = io.BytesIO()
    Image.fromarray(np.rint(grey).astype(np.uint8)).save(file, "jpeg", quality=quality)
    return Image.open(file)


def told(square: Image.Image) -> tuple[float, float]:
    """The radius, NaN if it cannot be told, and the baseline's figure, which falls with blur."""
    everywhere = np.ones((32, 32), np.float32)
    found = measure(close_ups(square), 0 * everywhere, everywhere)
    return found.blur_radius if found else np.nan, told_by_laplace(square)


def summary(found: np.ndarray, plain: np.ndarray) -> dict:
    """Figures of (N, radii) radii and baselines."""

    def rank(values):
        return float(np.mean([np.nan_to_num(stats.spearmanr(RADII, row, nan_policy="omit")[0]) for row in values]))

    radii = np.tile(RADII, len(found))
    error = np.abs(found / np.array(RADII) - 1)
    return {
        "series": len(found),
        "told": float(np.isfinite(found).mean()),
        "rank_correlation": rank(found),
        "baseline_rank_correlation": rank(-plain),
        "median_error": float(np.nanmedian(error)),
        "median_error_by_radius": dict(zip(map(str, RADII), np.nanmedian(error, 0).round(3).tolist(), strict=True)),
        "median_by_radius": dict(zip(map(str, RADII), np.nanmedian(found, 0).round(2).tolist(), strict=True)),
        "rank_correlation_of_all": float(
            stats.spearmanr(np.tile(RADII, len(found)), found.ravel(), nan_policy="omit")[0]
        ),
        "baseline_rank_correlation_of_all": float(stats.spearmanr(radii, -plain.ravel())[0]),
    }


def by_size(photo: Image.Image, pipe, rng: np.random.Generator) -> dict:
    """A photo as it is and under a blur of 16 pixels, at several sizes: radii, expected radii, verdicts."""
    kernel, answer = lens_kernel(16, rng), {}
    light = (np.asarray(photo.convert("RGB"), np.float32) / 255) ** 2.2
    soft = np.stack([signal.oaconvolve(plane, kernel, mode="same") for plane in light.transpose(2, 0, 1)], 2)
    blurred = Image.fromarray(np.uint8(255 * soft.clip(0, 1) ** (1 / 2.2)))
    for name, image in (("sharp", photo), ("blurred", blurred)):
        found = []
        for megapixels in SIZES:
            scale = min(1, (megapixels * 1e6 / photo.width / photo.height) ** 0.5)
            report = pipe(image.resize([round(side * scale) for side in photo.size], Image.Resampling.LANCZOS))
            expected = 16 * scale if name == "blurred" else None
            found.append([scale, report.subject_blur_radius, expected, report.label])
        answer[name] = found
    return answer


def sizes_summary(series: list[dict]) -> dict:
    pairs = [(r, e) for each in series for _, r, e, _ in each["blurred"] if r]
    found, expected = np.array(pairs).T
    labels = [{row[3] for row in each[name]} for each in series for name in ("sharp", "blurred")]
    return {
        "photos": len(series),
        "radius_over_expected": [round(float(q), 3) for q in np.quantile(found / expected, (0.1, 0.5, 0.9))],
        "same_verdict_at_all_sizes": float(np.mean([len(each) == 1 for each in labels])),
        "series": series,
    }


def labelled(folder: Path, labels: Path, pipe) -> dict:
    """The radius, as a share of the long side, against blur on the subject as people see it."""
    with labels.open() as file:
        rows = [row for row in csv.DictReader(file) if row["subject"] and (folder / row["file"]).exists()]
    files = [folder / row["file"] for row in rows]
    reports = [pipe(str(path), on_error="return") for path in tqdm(files, "labelled")]
    radius = np.array([(getattr(r, "subject_blur_radius", None) or np.nan) / max(r.size) for r in reports])
    level, told = np.array([float(row["subject"]) for row in rows]), np.isfinite(radius)
    baseline = -np.array([told_by_laplace(load_photo(path)) for path in files])

    def area(values):  # chance that a blurred subject has the larger value
        soft, sharp = values[told & (level >= 1.5)], values[told & (level <= 0.5)]
        return float((soft[:, None] > sharp[None]).mean())

    return {
        "photos": len(rows),
        "told": float(told.mean()),
        "rank_correlation": float(stats.spearmanr(radius[told], level[told])[0]),
        "baseline_rank_correlation": float(stats.spearmanr(baseline[told], level[told])[0]),
        "area_soft_against_sharp": area(radius),
        "baseline_area": area(baseline),
    }


def cost(photo: Image.Image, times: int = 5) -> dict:
    """CPU seconds of a photo of 24 megapixels, a JPEG of quality 92, with and without a look at its own pixels, by
    engine; in turn, in one process. The median of `times`."""
    width, height = 6000, 4000
    scale = max(width / photo.width, height / photo.height)
    large = photo.resize([round(side * scale) for side in photo.size]).crop((0, 0, width, height))
    file, answer = io.BytesIO(), {}
    large.convert("RGB").save(file, "jpeg", quality=92)
    for engine in ("torch", "openvino"):
        pipe = load_pipeline(device="cpu", engine=engine)
        pipe.open_photo = load_photo  # in this process, whose time is taken
        spent: dict[str, list[float]] = {"without": [], "with": []}
        for _ in range(times + 1):
            for name, look in (("without", None), ("with", measure)):
                pipe.measure = look
                start = time.process_time()
                pipe(file.getvalue())
                spent[name].append(time.process_time() - start)
        seconds = {name: float(np.median(values[1:])) for name, values in spent.items()}
        answer[engine] = seconds | {"added": seconds["with"] / seconds["without"] - 1}
    return answer | {"megabytes": len(file.getvalue()) / 1e6, "faces": find_faces(photo) is not None}


def told_by_laplace(photo: Image.Image) -> float:
    grey = np.asarray(photo.convert("L"), np.float32)
    return float(ndimage.laplace(grey).var() / max(grey.var(), 1))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.blur_radius", description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labelled", type=Path, help="the folder that the files of --labels are in")
    parser.add_argument("--labels", type=Path, help="a CSV file with the columns file and subject")
    args = parser.parse_args(arguments)
    pipe = load_pipeline(device="cpu")
    rng = np.random.default_rng(7)
    series, large = [], []
    files = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in PHOTO_EXTENSIONS)
    for path in tqdm(files, "photos"):
        photo = load_photo(path)
        if photo.width * photo.height >= 10e6:
            large.append({"photo": path.name} | by_size(photo, pipe, rng))
        for megapixels in MEGAPIXELS:
            light = sharp_square(photo, megapixels)
            if light is None:
                continue
            for iso in NOISE:
                for quality in QUALITIES:
                    kind, make = ("shake", hook_kernel) if rng.random() < 0.25 else ("defocus", lens_kernel)
                    kernels = [make(radius, rng) for radius in RADII]
                    answers = [told(photographed(light, kernel, iso, quality, rng)) for kernel in kernels]
                    key = {"photo": path.name, "megapixels": megapixels or "native", "iso": iso, "quality": quality}
                    series.append(key | {"kind": kind, "answers": answers})
    answers = np.array([each["answers"] for each in series])
    result = {"photos": len(files), "radii": RADII, "all": summary(*np.moveaxis(answers, 2, 0))}
    for key in ("megapixels", "iso", "quality", "kind"):
        for value in dict.fromkeys(each[key] for each in series):
            chosen = [each[key] == value for each in series]
            result[f"{key} {value}"] = summary(*np.moveaxis(answers[chosen], 2, 0))
    result["sizes"] = sizes_summary(large) if large else None
    result["cost"] = cost(load_photo(files[0]))
    result["labelled"] = labelled(args.labelled, args.labels, pipe) if args.labels else None
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "blur_radius.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["all"], indent=2))


if __name__ == "__main__":
    main()
