"""How fast a GPU judges photos, in which precision and batches, and whether `sort` keeps it busy.

    python tests/benchmarks/accelerator.py --photos FOLDER --count 2000 --out tests/benchmarks/results

The network alone first: each precision, eager and compiled, in batches of one shape that lie on the GPU; and how far
its probabilities are from float32. Then `sort` on photos of one megapixel and on a holiday's, whose processes open and
resize photos beside the GPU: how large a part of the time the network would need alone. Writes accelerator.json. Run it
on the machine in question; `--device cpu` tries the script itself.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from abc_hf import load_pipeline
from abc_hf.evaluation.results import write_json
from abc_hf.inference.engines import TorchEngine
from abc_hf.library.sort import sort_library
from hub.render_readme import digest_of_weights
from tests.benchmarks import holiday

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SHAPE = (352, 512)
"""Height and width of a photo of 3:2 at the working size [pixels]."""
SIZES = {"1 MP": ((1224, 816),), "12 to 24 MP": holiday.SIZES}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER", help="photos of any size")
    parser.add_argument("--count", type=int, default=2000, help="photos that `sort` judges")
    parser.add_argument("--device", help="default: an accelerator if there is one")
    parser.add_argument("--model", help="ours (default: the weights in the package)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 128], help="photos in a batch")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that open photos")
    parser.add_argument("--eager", action="store_true", help="leave out compiled networks, which take minutes to make")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)

    pipe = load_pipeline(args.model, device=args.device, engine="torch")
    device = pipe.model.device
    result = {"device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)}
    result |= {"torch": torch.__version__, "weights": digest_of_weights(Path(pipe.model.name_or_path))}
    result["network"] = []
    reference = None
    for dtype in DTYPES:
        for compiled in (False,) if args.eager else (False, True):
            entry = {"dtype": str(dtype).split(".")[1], "compiled": compiled}
            engine = TorchEngine(pipe.model, dtype)
            if compiled:
                engine.model = torch.compile(engine.model)
            for size in args.batches:
                pixels = torch.randn(size, 3, *SHAPE, generator=torch.Generator().manual_seed(0)).to(device)
                entry[f"photos a second, {size}"] = size / seconds_of(engine, pixels)
                found = engine(pixels[:1])["logits"].float().softmax(-1)
                reference = found if reference is None else reference
                entry["probabilities"] = float((found - reference).abs().max())
            result["network"].append(entry)
            print(entry, flush=True)
    fastest = max(value for entry in result["network"] for name, value in entry.items() if name.startswith("photos"))
    for name, sizes in SIZES.items():
        result[name] = measure_sort(args, str(device), sizes, fastest)
        print(f"{name}: {result[name]}", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "accelerator.json", result)


def seconds_of(engine: Callable, pixels: torch.Tensor, repeats: int = 5) -> float:
    """Seconds of a batch: the least of some repeats, after two calls that choose kernels and compile."""

    def run() -> float:
        start = time.perf_counter()
        engine(pixels)["logits"].cpu()  # waits for the device
        return time.perf_counter() - start

    return min([run() for _ in range(2 + repeats)][2:])


def measure_sort(args: argparse.Namespace, device: str, sizes: tuple, fastest: float) -> dict:
    """Photos a second of `sort` without its start, and the part of the time for which the network needs the GPU."""
    holiday.SIZES, before = sizes, holiday.SIZES
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = holiday.write_album(args.photos, Path(folder), args.count, 24, "jpeg")
            options = {"model": args.model, "device": device, "workers": args.workers}
            taken = []
            for number in (max(1, args.count // 6), args.count):
                start = time.perf_counter()
                sort_library([str(file) for file in files[:number]], f"{folder}/{number}", **options)
                taken.append((number, time.perf_counter() - start))
    finally:
        holiday.SIZES = before
    (few, first), (all_, whole) = taken
    rate = (all_ - few) / (whole - first)
    return {"photos a second": rate, "share of the network's fastest": rate / fastest, "workers": args.workers}


if __name__ == "__main__":
    main()
