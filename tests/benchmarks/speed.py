"""How fast photos are judged, beside what their parts allow, other programs, and the machine's peak; in one call.

    python tests/benchmarks/speed.py --photos FOLDER --out tests/benchmarks/results

The folder's photos, with grain, are written as JPEGs of 1 and of 24 megapixels to a temporary folder. Everything is
measured on them: the stages alone, each on all cores; `abc-fusenet sort`, as it is launched, without its start; the
engines, photo by photo in turn; HiFST, and a U2NetP of random weights at the same working size. Seconds are a photo's.
Writes speed.json. Needs `pip install "abc-fusenet[benchmark]"`.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, ImageOps
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[2]))
from abc_hf import load_photo, load_pipeline
from abc_hf.evaluation.results import write_json
from abc_hf.inference.engines import ENGINES, fold_batch_norm, load_engine
from abc_hf.pipeline import prepare
from hub.render_readme import digest_of_weights
from tests.benchmarks.peers import METHODS
from tests.benchmarks.u2netp import U2NetP

SIZES = {"1 MP": (1224, 816), "24 MP": (6000, 4000)}
"""Width and height of the photos, of 3:2 [pixels]."""
HIFST = "HiFST (blur-detector)"
MATRIX = 1536
GRAIN, QUALITY = 6, 90
"""Standard deviation of the noise in photos, without which enlarged ones have no detail to decode, and the quality of
their JPEGs."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER", help="photos of any size")
    parser.add_argument("--count", type=int, default=96, help="photos of 1 megapixel; a quarter as many of 24")
    parser.add_argument("--repeats", type=int, default=12, help="photos that engines and peers judge")
    parser.add_argument("--model", help="ours (default: the weights in the package)")
    measured = [name for name in ENGINES if name != "auto"]
    parser.add_argument("--engine", choices=measured, default="torch", help="of the whole and of the stages")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)

    with tempfile.TemporaryDirectory() as folder:
        counts = {"1 MP": args.count, "24 MP": max(2, args.count // 4)}
        photos = {name: write_photos(args.photos, Path(folder) / name, SIZES[name], counts[name]) for name in SIZES}
        pipe = load_pipeline(args.model, device="cpu", engine=args.engine)
        peak = {str(dtype).split(".")[1]: matmul_peak(dtype) for dtype in (torch.float32, torch.bfloat16)}
        stages = measure_stages(pipe, photos)
        whole = {name: measure_sort(photos[name], args.model, args.engine) for name in SIZES}
        engines, others = measure_networks(pipe.model, photos["1 MP"][: args.repeats], peak)
        hifst = measure_hifst(pipe, photos["1 MP"][:3])
    result = {
        "machine": f"{cores()} CPU cores ({platform.machine()})",
        "torch": torch.__version__,
        "weights": digest_of_weights(Path(pipe.model.name_or_path)),
        "engine": args.engine,
        "photos": {name: {"count": counts[name], "size": list(SIZES[name])} for name in SIZES},
        "peak": peak,
        "stages": stages,
        "sort": whole,
        "engines": engines,
        "peers": {**others, HIFST: hifst},
        "targets": targets(stages, whole, engines[args.engine], others["U2NetP"], hifst),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "speed.json", result)
    for name, value in result["targets"].items():
        print(f"{name}: {value['value']:.2f} (wanted: {value['wanted']})")


def targets(stages: dict, whole: dict, ours: dict, u2netp: dict, hifst: dict) -> dict:
    """What issue #8 asks for, and what was found."""
    allowed = sum(stages["1 MP"].values())
    found = {
        "share of what the stages allow": (allowed / whole["1 MP"]["seconds"], "at least 0.8"),
        "times as fast as HiFST": (hifst["seconds"] / hifst["ours"], "at least 15"),
        "times as fast as U2NetP": (u2netp["seconds"] / ours["seconds"], "at least 3"),
        "cost of 24 megapixels in that of 1": (whole["24 MP"]["seconds"] / whole["1 MP"]["seconds"], "at most 2"),
    }
    return {name: {"value": value, "wanted": wanted} for name, (value, wanted) in found.items()}


def write_photos(source: Path, folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """`count` JPEGs of `size`, made of the photos of a folder in turn."""
    folder.mkdir(parents=True)
    given = sorted(path for path in source.iterdir() if path.is_file())
    files = []
    for number in range(count):
        if number < len(given):
            grain = Image.effect_noise(size, GRAIN).convert("RGB")
            photo = ImageChops.add(ImageOps.fit(load_photo(given[number]), size), grain, offset=-128)
            photo.save(folder / f"{number:04}.jpg", quality=QUALITY)
        else:
            (folder / f"{number:04}.jpg").write_bytes(files[number % len(given)].read_bytes())
        files.append(folder / f"{number:04}.jpg")
    return files


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def timed(function: Callable, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def matmul_peak(dtype: torch.dtype) -> float:
    """The most operations a second, in billions, of a product of two large matrices; an addition and a multiplication
    are two."""
    matrix = torch.randn(MATRIX, MATRIX, dtype=dtype)
    seconds = min(timed(torch.mm, matrix, matrix) for _ in range(8))
    return 2 * MATRIX**3 / seconds / 1e9


# ------------------------------------------------------------------------------------------------ stages and the whole


def start_worker(model: str) -> None:
    global processor
    torch.set_num_threads(1)
    processor = load_pipeline(model, device="cpu").image_processor


def decode(path: Path) -> None:
    load_photo(path, working_size=processor.size.longest_edge)


def decode_and_preprocess(path: Path) -> None:
    prepare(path, processor)


def measure_stages(pipe, photos: dict[str, list[Path]]) -> dict:
    """Seconds a photo of each stage alone on all cores: a process per core for the first two, threads for the model."""
    stages = {}
    with ProcessPoolExecutor(cores(), get_context("spawn"), start_worker, (pipe.model.name_or_path,)) as pool:
        for name, files in photos.items():

            def run(function: Callable, files: list[Path] = files) -> float:
                return timed(lambda: list(pool.map(function, files))) / len(files)

            run(decode)
            decoded, prepared = run(decode), run(decode_and_preprocess)
            inputs = [prepare(path, pipe.image_processor)["pixel_values"] for path in files[:12]]
            seconds = [timed(pipe.engine, each) for each in [inputs[0], *inputs]][1:]
            stages[name] = {"decode": decoded, "preprocess": prepared - decoded, "model": float(np.median(seconds))}
    return stages


def measure_sort(photos: list[Path], model: str | None, engine: str) -> dict:
    """Seconds a photo of `abc-fusenet sort`, and seconds it takes to start: what a call for all the photos takes beyond
    one for a few is the other photos'."""
    few = max(1, len(photos) // 12)
    with tempfile.TemporaryDirectory() as folder:

        def run(some: Iterable[Path], out: str) -> float:
            command = [sys.executable, "-m", "abc_hf", "sort", *map(str, some), "--out", f"{folder}/{out}"]
            command += ["--engine", engine, *(["--model", model] if model else [])]
            return timed(lambda: subprocess.run(command, check=True, capture_output=True))

        some, whole = run(photos[:few], "few"), run(photos, "all")
    seconds = (whole - some) / (len(photos) - few)
    return {"seconds": seconds, "start": some - few * seconds}


# --------------------------------------------------------------------------------------------------- engines and peers


def operations(model, pixel_values: torch.Tensor) -> float:
    """Billions of additions and multiplications in one call."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(pixel_values)
    return counter.get_total_flops() / 1e9


def measure_networks(model, photos: list[Path], peak: dict) -> tuple[dict, dict]:
    """Each engine, and a U2NetP run as the engine "torch" runs ours, photo by photo in turn."""
    inputs = [prepare(path, load_pipeline(model.name_or_path, device="cpu").image_processor) for path in photos]
    inputs = [each["pixel_values"] for each in inputs]
    u2netp = fold_batch_norm(U2NetP().eval()).to(memory_format=torch.channels_last)
    runs = {}
    for name in (name for name in ENGINES if name != "auto"):
        try:
            runs[name] = load_engine(name, model)
        except ImportError as error:
            print(f"{name} is left out: {error}")

    @torch.inference_mode()
    def run_u2netp(pixel_values: torch.Tensor) -> None:
        u2netp(pixel_values.to(memory_format=torch.channels_last))

    runs["U2NetP"] = run_u2netp
    seconds = {name: [] for name in runs}
    for run in runs.values():
        run(inputs[0])
    for pixel_values in inputs:
        for name, run in runs.items():
            seconds[name].append(timed(run, pixel_values))
    ours, theirs = operations(model, inputs[0]), operations(u2netp, inputs[0])
    entries = {}
    for name, values in seconds.items():
        entry = {"seconds": float(np.median(values)), "operations": theirs if name == "U2NetP" else ours}
        dtype = "bfloat16" if name == "bf16" else "float32"
        entries[name] = {**entry, "share_of_peak": entry["operations"] / entry["seconds"] / peak[dtype]}
    return entries, {"U2NetP": entries.pop("U2NetP")}


def measure_hifst(pipe, photos: list[Path]) -> dict:
    """From the decoded photo to the map; ours from the decoded photo to the report."""
    decoded = [load_photo(path) for path in photos]
    pipe(decoded[0])
    theirs, ours = zip(*((timed(METHODS[HIFST], photo), timed(pipe, photo)) for photo in decoded), strict=True)
    return {"seconds": float(np.median(theirs)), "ours": float(np.median(ours))}


if __name__ == "__main__":
    main()
