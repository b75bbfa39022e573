"""How fast `abc-fusenet sort` judges a holiday's photos, beside what its parts allow; and how fast RAW files' previews.

    python tests/benchmarks/holiday.py --photos FOLDER --count 3000 --out tests/benchmarks/results

The command makes JPEGs of 12 to 24 megapixels, and of 1 megapixel, of the folder's photos, each pixel as it was: a
photo is mirrored at its borders until it is large enough. `sort` is run as users launch it, on a few of the photos and
on all; the difference is the others'. CPU seconds are of all its processes together, so other work on the machine
hardly changes their ratios. Only Linux can count these. The minutes that a holiday takes are by the clock: nothing else
should run. Writes holiday.json.
"""

import argparse
import io
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))
from abc_hf import load_photo, load_pipeline
from abc_hf.evaluation.results import write_json
from abc_hf.inference import processes
from abc_hf.inference.engines import load_engine
from abc_hf.library.workers import Preparer
from hub.render_readme import digest_of_weights
from tests.test_photos import dng

SIZES = ((4000, 3000), (4608, 3456), (5184, 3888), (6000, 4000))
"""Width and height of the photos, in turn, of 12 to 24 megapixels. Every fifth photo stands upright."""
SMALL = ((1224, 816),)
"""Those of the photos of 1 megapixel."""
PREVIEW = (1620, 1080)
"""Width and height of the preview in a RAW file, as many cameras have it."""
HOLIDAY = 3000
"""The photos of a long holiday."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER", help="photos of any size")
    parser.add_argument("--count", type=int, default=HOLIDAY, help="JPEGs, and as many RAW files")
    parser.add_argument("--distinct", type=int, default=24, help="photos that differ; the others are links to them")
    parser.add_argument("--model", help="ours (default: the weights in the package)")
    parser.add_argument(
        "--engines", nargs="+", default=["torch", "openvino"], help="of `sort`; PyTorch judges beside them"
    )
    parser.add_argument("--kinds", nargs="+", choices=list(WRITERS), default=list(WRITERS))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)

    pipe = load_pipeline(args.model, device="cpu", engine="torch")
    result = {"machine": f"{os.cpu_count()} CPU cores ({platform.machine()})", "torch": torch.__version__}
    result |= {"weights": digest_of_weights(Path(pipe.model.name_or_path)), "count": args.count}
    args.out.mkdir(parents=True, exist_ok=True)
    for kind in args.kinds:
        with tempfile.TemporaryDirectory() as folder:
            files = write_album(args.photos, Path(folder), args.count, args.distinct, kind)
            distinct = files[: args.distinct]
            result[kind] = {"megabytes": sum(file.stat().st_size for file in distinct) / len(distinct) / 1e6}
            result[kind]["stages"] = stages = measure_stages(pipe, distinct, args.engines)
            for engine in args.engines:
                sort = measure_sort(files, args.model, engine)
                allowed = stages["prepare"] + stages[engine] + stages["closely"]
                sort |= {"share_of_stages": allowed / sort["cpu_seconds"]}
                sort |= {"holiday_minutes": (sort["start"] + HOLIDAY * sort["seconds"]) / 60}
                result[kind][engine] = sort
                print(f"{kind}, {engine}: {sort}", flush=True)
        write_json(args.out / "holiday.json", result)


# --------------------------------------------------------------------------------------------------------------- photos


def pieces(photos: Path, sizes: Sequence[tuple[int, int]]) -> Iterator[Image.Image]:
    """Photos without end: those of a folder in turn, each mirrored at its borders, and cut to size at another place."""
    files, rng, number = sorted(path for path in photos.iterdir() if path.is_file()), np.random.default_rng(0), 0
    while True:
        pixels = np.asarray(load_photo(files[number % len(files)]))
        width, height = sizes[number % len(sizes)]
        if number % 5 == 4:
            width, height = height, width
        top, left = (int(rng.integers(side)) for side in pixels.shape[:2])
        rows, columns = (
            mirrored(first, length, side)
            for first, length, side in zip((top, left), (height, width), pixels.shape[:2], strict=True)
        )
        yield Image.fromarray(pixels[rows][:, columns])
        number += 1


def mirrored(first: int, length: int, side: int) -> np.ndarray:
    """`length` places from `first` on, in a row of `side` places that is mirrored at its ends."""
    places = np.arange(first, first + length) % (2 * side)
    return np.where(places < side, places, 2 * side - 1 - places)


def write_jpegs(photos: Path, count: int, sizes: Sequence[tuple[int, int]] | None = None) -> Iterator[bytes]:
    """JPEGs without a time: `sort` would take links to one photo for a burst, and measure these again."""
    for number, piece in zip(range(count), pieces(photos, sizes or SIZES), strict=False):
        file = io.BytesIO()
        piece.save(file, "jpeg", quality=92, subsampling=("4:2:0", "4:2:2")[number % 2])
        yield file.getvalue()


def write_small_jpegs(photos: Path, count: int) -> Iterator[bytes]:
    return write_jpegs(photos, count, SMALL)


def write_raws(photos: Path, count: int) -> Iterator[bytes]:
    """DNG files whose Bayer pixels are few: only the preview is read, whatever else is there."""
    for _, piece in zip(range(count), pieces(photos, [PREVIEW]), strict=False):
        file = io.BytesIO()
        piece.save(file, "jpeg", quality=92)
        yield dng(file.getvalue(), piece.size, 7, 1)


WRITERS: dict[str, tuple[Callable, str]] = {
    "small": (write_small_jpegs, "jpg"),
    "jpeg": (write_jpegs, "jpg"),
    "raw": (write_raws, "dng"),
}


def write_album(photos: Path, folder: Path, count: int, distinct: int, kind: str) -> list[Path]:
    """`count` files of a kind. `sort` opens each, also those that are links to the first `distinct` ones."""
    write, ending = WRITERS[kind]
    files = [folder / f"{number:05}.{ending}" for number in range(count)]
    for file, data in zip(files, write(photos, min(count, distinct)), strict=False):
        file.write_bytes(data)
    for number, file in enumerate(files[distinct:]):
        os.link(files[number % distinct], file)
    return files


# ------------------------------------------------------------------------------------------------------------ measuring


def measure_stages(pipe, files: list[Path], engines: list[str]) -> dict:
    """CPU seconds a photo of each stage alone, on one thread: to open a photo and prepare it for network, report and
    bursts; of that, the image processor; to judge the photo, with PyTorch and each engine in turn; and to look at its
    subject closely."""
    torch.set_num_threads(1)
    preparer = Preparer(pipe.model.name_or_path)
    runs = {"torch": pipe.engine} | {name: load_engine(name, pipe.model) for name in engines}
    seconds: dict[str, list[float]] = {name: [] for name in ("prepare", "process", *runs, "closely")}
    processes.WITHIN_LIMITS, before = True, processes.WITHIN_LIMITS  # photos are opened in this process
    try:
        for file in [files[0], *files]:
            prepared, taken = timed(preparer, str(file))
            seconds["prepare"].append(taken)
            seconds["process"].append(timed(pipe.image_processor, prepared["preview"])[1])
            for name, run in runs.items():
                outputs, taken = timed(run, torch.from_numpy(prepared["pixel_values"]))
                seconds[name].append(taken)
            sizes = [prepared["preview"].size[::-1]]
            maps = pipe.image_processor.post_process_blur_understanding(outputs, sizes)[0]
            maps = [maps[name].numpy() for name in ("blur_map", "attention_map")]
            seconds["closely"].append(timed(pipe.measure, prepared["close_ups"], *maps)[1])
    finally:
        processes.WITHIN_LIMITS = before
    return {name: float(np.mean(values[1:])) for name, values in seconds.items()}


def timed(function: Callable, *arguments) -> tuple:
    start = time.process_time()
    answer = function(*arguments)
    return answer, time.process_time() - start


def measure_sort(files: list[Path], model: str | None, engine: str) -> dict:
    """CPU seconds a photo of `abc-fusenet sort`; the seconds a photo, and of its start, by the clock."""
    few = max(1, len(files) // 6)
    with tempfile.TemporaryDirectory() as folder:

        def run(some: list[Path], out: str) -> np.ndarray:
            command = [sys.executable, "-m", "abc_hf", "sort", *map(str, some), "--out", f"{folder}/{out}"]
            return cost([*command, "--engine", engine, *(["--model", model] if model else [])])

        some, whole = run(files[:few], "few"), run(files, "all")
    each = (whole - some) / (len(files) - few)
    return {"cpu_seconds": each[0], "seconds": each[1], "start": some[1] - few * each[1]}


COST = """
import ctypes, os, resource, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: processes that outlive their parent become children of this
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - start
try:
    while True:
        os.waitpid(-1, 0)
except ChildProcessError:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(usage.ru_utime + usage.ru_stime, seconds)
"""


def cost(command: list[str]) -> np.ndarray:
    """CPU seconds of a command and of all processes that it starts, and seconds by the clock."""
    done = subprocess.run([sys.executable, "-c", COST, *command], check=True, capture_output=True, text=True)
    return np.array(done.stdout.split(), float)


if __name__ == "__main__":
    main()
