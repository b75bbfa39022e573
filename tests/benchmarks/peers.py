"""Ours beside other programs, on the same photos in one call: accuracy, CPU time per photo, and memory.

    python tests/benchmarks/peers.py --dataset FOLDER_OR_NAME --limit 60 --out tests/benchmarks/results

Each method maps a photo as it is to blur, 0 = sharp .. 1 = blurred; a method that finds sharpness is turned round. No
method is tuned to the data: parameters are the authors', or where there are none, stated below. Photo by photo, every
program answers in turn, each in a process of its own with one thread; time is CPU time from the decoded photo to the
map, so other work on the machine hardly changes the ratios. Ctrl-C ends the run and keeps the photos judged so far;
they are in random order. Writes peers.json and peers.png. Needs
`pip install "abc-fusenet[benchmark]"`.
"""

import argparse
import contextlib
import importlib.metadata
import os
import platform
import resource
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from skimage.filters import laplace
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[2]))
from abc_hf import ABCFuseNetConfig, ABCFuseNetImageProcessor, load_photo, load_pipeline
from abc_hf.evaluation import plots
from abc_hf.evaluation.records import open_split, score_photo, spread
from abc_hf.evaluation.results import write_json
from abc_hf.evaluation.scoring import for_json, summarize
from abc_hf.inference.engines import fold_batch_norm
from abc_hf.inference.loading import BUNDLED
from abc_hf.modeling_abc_fusenet import DesirabilityClassifier
from abc_hf.trunks import MobileNetV2Trunk
from hub.render_readme import digest_of_weights
from tests.benchmarks.u2netp import U2NetP

LAPLACIAN_WINDOW, LAPLACIAN_SCALE = 15, 0.05
"""Side of the window [pixels], and the standard deviation of the Laplacian (of grey in 0..1) that counts as half sharp;
the second does not change the order of the pixels."""
LBP_THRESHOLD, LBP_WINDOWS = 0.016, (11, 15, 21)
"""Section 3 of the paper: the difference that counts, of grey in 0..1, and the sides of the windows [pixels]."""


def grey(photo: Image.Image) -> np.ndarray:
    """(H, W) float64 in 0..1."""
    return np.asarray(photo.convert("L")) / 255


def variance_of_laplacian(photo: Image.Image) -> np.ndarray:
    """The classical measure, in a window around each pixel."""
    edges = laplace(grey(photo))
    mean = ndimage.uniform_filter(edges, LAPLACIAN_WINDOW)
    variance = ndimage.uniform_filter(edges**2, LAPLACIAN_WINDOW) - mean**2
    return 1 / (1 + np.sqrt(np.maximum(variance, 0)) / LAPLACIAN_SCALE)


def uniform_patterns(values: np.ndarray, threshold: float) -> np.ndarray:
    """Rotation-invariant uniform local binary patterns of 8 neighbours at radius 1, 0..9; a neighbour counts where it
    differs by at least `threshold`, in either direction, which is what the paper changes in the usual ones."""
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]]
    bits = []
    for angle in np.arange(8) * np.pi / 4:
        at = (rows - np.sin(angle), columns + np.cos(angle))
        neighbour = ndimage.map_coordinates(values, at, order=1, mode="nearest")
        bits.append(np.abs(neighbour - values) >= threshold)
    bits = np.array(bits)
    changes = (bits != np.roll(bits, 1, axis=0)).sum(0)
    return np.where(changes <= 2, bits.sum(0), 9)


def local_binary_patterns(photo: Image.Image) -> np.ndarray:
    """Yi and Eramian, LBP-based segmentation of defocus blur, TIP 2016: sharp where many patterns are 6 to 9; the mean
    of its three scales, without the alpha matting that follows in the paper."""
    edges = (uniform_patterns(grey(photo), LBP_THRESHOLD) >= 6).astype(float)
    return 1 - np.mean([ndimage.uniform_filter(edges, side) for side in LBP_WINDOWS], axis=0)


def hifst(photo: Image.Image) -> np.ndarray:
    """The Python version of HiFST (Golestaneh and Karam, CVPR 2017) with the parameters its README has."""
    from blur_detector import detectBlur  # the one method that is not in the extra `train`

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sharp = detectBlur(
            np.asarray(photo.convert("L")),
            downsampling_factor=4,
            num_scales=4,
            scale_start=2,
            num_iterations_RF_filter=3,
            show_progress=False,
        )
    return 1 - np.clip(sharp, 0, 1)


METHODS = {
    "variance of Laplacian": variance_of_laplacian,
    "LBP (Yi and Eramian)": local_binary_patterns,
    "HiFST (blur-detector)": hifst,
}


# ------------------------------------------------------------------------------------------------------------ programs


def ours(model: str, engine: str) -> Callable:
    pipe = load_pipeline(model, device="cpu", dtype=torch.float32, engine=engine)
    return lambda photo: pipe(photo).blur_map


def without_maps(model: str, network: torch.nn.Module) -> Callable:
    """A network run as our engine "torch" runs ours, on the same pixels. Its answers are not scored."""
    processor = ABCFuseNetImageProcessor.from_pretrained(model)
    network = fold_batch_norm(network.eval()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(photo: Image.Image) -> None:
        small = load_photo(photo, working_size=processor.size.longest_edge, resample=processor.resample)
        network(processor(small, return_tensors="pt")["pixel_values"].to(memory_format=torch.channels_last))

    return run


class ContentClassifier(torch.nn.Module):
    """MobileNetV2 and our classifier on its features alone: baseline 1 of the paper's ablation."""

    def __init__(self, config):
        super().__init__()
        self.trunk = MobileNetV2Trunk(config, config.content_output_stride)
        changed = config.to_diff_dict() | {"fusion_inputs": ("content",), "blur_profile": False}
        self.classifier = DesirabilityClassifier(type(config)(**changed), self.trunk.channels["last"], 0)

    def forward(self, pixel_values):
        return self.classifier(self.trunk(pixel_values)["last"], None)


PROGRAMS: dict[str, Callable[[str], Callable]] = {
    "ABC-FuseNet": lambda model: ours(model, "torch"),
    "ABC-FuseNet, openvino": lambda model: ours(model, "openvino"),
    "ABC-FuseNet, bf16": lambda model: ours(model, "bf16"),
    **{name: lambda model, method=method: method for name, method in METHODS.items()},
    "U2NetP": lambda model: without_maps(model, U2NetP()),
    "MobileNetV2 classifier": lambda model: without_maps(
        model, ContentClassifier(ABCFuseNetConfig.from_pretrained(model))
    ),
}
"""By name, functions that start a program, given the folder of our model. The program makes a blur map of a photo, or
None. U2NetP and the classifier have random weights here: their time does not depend on weights."""


def begin(name: str, model: str) -> None:
    """What the process of a program does first."""
    global program
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    program = PROGRAMS[name](model)


def judge(photo: Image.Image) -> tuple[np.ndarray | None, float]:
    """The map of a photo, and seconds of CPU time."""
    start = time.process_time()
    values = program(photo)
    return values, time.process_time() - start


def megabytes() -> float:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def installed(package: str) -> float | None:
    """Megabytes that a package takes on the disk; None without it."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return sum(Path(str(file.locate())).stat().st_size for file in files if Path(str(file.locate())).exists()) / 1e6


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dataset", required=True, help="a data set in the SmartBlur schema, with blur maps")
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", type=Path, default=BUNDLED, help="ours (default: the weights in the package)")
    parser.add_argument("--programs", nargs="+", choices=list(PROGRAMS), default=list(PROGRAMS))
    parser.add_argument("--limit", type=int, help="photos, evenly spread over the split (default: all)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)

    rows = open_split(args.dataset, args.split, ("blur_map",))
    chosen = np.random.default_rng(0).permutation(spread(list(range(len(rows))), args.limit)).tolist()
    records: dict[str, list] = {name: [] for name in args.programs}
    seconds: dict[str, list[float]] = {name: [] for name in args.programs}
    with contextlib.ExitStack() as stack:
        pools = {}
        for name in args.programs:
            alone = ProcessPoolExecutor(1, get_context("spawn"), begin, (name, str(args.model)))
            pools[name] = stack.enter_context(alone)
            pools[name].submit(judge, load_photo(rows[chosen[0]]["image"])).result()
        with contextlib.suppress(KeyboardInterrupt):
            for done, index in enumerate(tqdm(chosen, unit="photo", disable=None), 1):
                row = rows[index]
                photo = load_photo(row["image"])
                for name, pool in pools.items():
                    values, taken = pool.submit(judge, photo).result()
                    seconds[name].append(taken)
                    if values is not None:
                        records[name].append(score_photo(index, row, {"blur_map": values.astype(np.float32)}))
                judged = chosen[:done]
        memory = {name: pool.submit(megabytes).result() for name, pool in pools.items()}

    entries = []
    for name in args.programs:
        del records[name][len(judged) :]
        entries.append({"name": name, "seconds": float(np.median(seconds[name])), "megabytes": memory[name]})
        entries[-1]["blur_map"] = summarize(records[name])["blur_map"] if records[name] else None
    result = {
        "sources": sorted({source.split("/")[0] for source in rows.select(judged)["source"]}),
        "split": args.split,
        "weights": digest_of_weights(args.model),
        "photos": len(judged),
        "of": len(rows),
        "installed_megabytes": {name: installed(name) for name in ("torch", "openvino", "onnxruntime")},
        "machine": f"CPU time of one thread of {os.cpu_count()} ({platform.machine()}), memory of the whole process",
        "methods": entries,
    }
    write(for_json(result), args.out)


def accuracy_over_time(points: list[dict], title: str, note: str):
    """points: {"name", "seconds" a photo, "curve_ap"}."""
    figure, axes = plots.chart(7.0, 4.8)
    for index, point in enumerate(points):
        color = plots.METHOD_COLORS[index]
        axes.scatter(point["seconds"], point["curve_ap"], s=110, color=color, zorder=3)
        near = [other for other in points if abs(other["curve_ap"] - point["curve_ap"]) < 0.01]
        rightmost, lower = max(other["seconds"] for other in near), near.index(point) - (len(near) - 1) / 2
        axes.annotate(
            f"{point['name']}: {point['curve_ap']:.3f} at {point['seconds']:.2g} s",
            (rightmost, point["curve_ap"]), xytext=(9, -14 * lower), textcoords="offset points", va="center",
            fontsize=9, color=color,
        )  # fmt: skip
    axes.set_xscale("log")
    low, high = min(point["seconds"] for point in points), max(point["seconds"] for point in points)
    axes.set(xlim=(low / 2, high * 8), ylim=(0.5, 1), xlabel="seconds a photo", ylabel="curve AP")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(color=plots.LINE, lw=0.6, alpha=0.6)
    axes.minorticks_off()
    plots.styled(figure, axes, title, note)
    return figure


def write(result: dict, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "peers.json", result)
    points = [
        {**each, "curve_ap": each["blur_map"]["all"]["curve_ap"]} for each in result["methods"] if each["blur_map"]
    ]
    note = f"{result['photos']} photos of {', '.join(result['sources'])}; median, {result['machine']}"
    accuracy_over_time(points, "Blur maps: accuracy and time", note).savefig(out / "peers.png")
    for each in result["methods"]:
        print(f"{each['name']}: {each['seconds']:.3f} s of CPU time a photo, {each['megabytes']:.0f} MB")


if __name__ == "__main__":
    main()
