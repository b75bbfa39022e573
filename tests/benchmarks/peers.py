"""Ours beside classical blur detectors, on the same photos in one call: accuracy, and time per photo.

    python tests/benchmarks/peers.py --dataset FOLDER_OR_NAME --limit 60 --out tests/benchmarks/results

Each method maps a photo as it is to blur, 0 = sharp .. 1 = blurred; a method that finds sharpness is turned round. No
method is tuned to the data: parameters are the authors', or where there are none, stated below. Photo by photo, every
method runs in turn; time is from the decoded photo to the map. Writes peers.json, peers.md and peers.png. Needs
`pip install "abc-fusenet[benchmark]"`.
"""

import argparse
import os
import platform
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from skimage.filters import laplace
from tqdm import tqdm

from abc_hf import load_pipeline
from abc_hf.evaluation import plots
from abc_hf.evaluation.records import open_split, score_photo, spread
from abc_hf.evaluation.results import write_json
from abc_hf.evaluation.scoring import plain, summarize
from abc_hf.photos import load_photo

sys.path.insert(0, str(Path(__file__).parents[2]))
from hub.render_readme import digest_of_weights, peers_table

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


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dataset", required=True, help="a data set in the SmartBlur schema, with blur maps")
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", help="ours (default: the weights in the package)")
    parser.add_argument("--limit", type=int, help="photos, evenly spread over the split (default: all)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)

    rows = open_split(args.dataset, args.split, ("blur_map",))
    chosen = spread(list(range(len(rows))), args.limit)
    pipe = load_pipeline(args.model, device="cpu", dtype=torch.float32)
    methods = {"ABC-FuseNet": lambda photo: pipe(photo).blur_map, **METHODS}
    records: dict[str, list] = {name: [] for name in methods}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    warm_up = load_photo(rows[chosen[0]]["image"])
    for method in methods.values():
        method(warm_up)
    for index in tqdm(chosen, unit="photo", disable=None):
        row = rows[index]
        photo = load_photo(row["image"])
        for name, method in methods.items():
            start = time.perf_counter()
            values = method(photo)
            seconds[name].append(time.perf_counter() - start)
            records[name].append(score_photo(index, row, {"blur_map": values.astype(np.float32)}))

    entries = []
    for name in methods:
        scores = summarize(records[name])
        entries.append({"name": name, "seconds": float(np.median(seconds[name])), "blur_map": scores["blur_map"]})
    result = {
        "sources": sorted({source.split("/")[0] for source in rows.select(chosen)["source"]}),
        "split": args.split,
        "weights": digest_of_weights(Path(pipe.model.name_or_path)),
        "photos": len(chosen),
        "of": len(rows),
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()})",
        "methods": entries,
    }
    write(plain(result), args.out)


def accuracy_over_time(points: list[dict], title: str, note: str):
    """points: {"name", "seconds" a photo, "curve_ap"}."""
    figure, axes = plots.chart(7.0, 4.8)
    for index, point in enumerate(points):
        color = plots.METHOD_COLORS[index]
        axes.scatter(point["seconds"], point["curve_ap"], s=110, color=color, zorder=3)
        axes.annotate(
            f"{point['name']}\n{point['curve_ap']:.3f} at {point['seconds']:.2g} s",
            (point["seconds"], point["curve_ap"]), xytext=(9, 0), textcoords="offset points", va="center",
            fontsize=9, color=plots.INK, linespacing=1.3,
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
    (out / "peers.md").write_text(peers_table(result, result["weights"]) + "\n")
    points = [{**each, "curve_ap": each["blur_map"]["all"]["curve_ap"]} for each in result["methods"]]
    note = f"{result['photos']} photos of {', '.join(result['sources'])}; median time on {result['machine']}"
    accuracy_over_time(points, "Blur maps: accuracy and time", note).savefig(out / "peers.png")
    print(peers_table(result, result["weights"]))


if __name__ == "__main__":
    main()
