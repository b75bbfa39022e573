"""What stored weights and the page in the browser change, and how long a photo takes there.

    python -m tests.benchmarks.browser --dataset FOLDER_OR_NAME --photos 300 --out tests/benchmarks/results

Writes browser.json. The network with its weights in float16 and int8 is compared with the model on all photos of the
validation split. The page is written, opened in Chromium (the variable CHROMIUM names it), and asked about `--photos`
of them; it decodes the files itself. It is compared with the pipeline: verdicts, and maps by their mean and largest
differences. The page comes first. What was measured is kept in a file beside it until all is done, so that the same
command continues.
Times need a machine that does nothing else: `--times --photos 20` measures them alone, and keeps all else.
"""

import argparse
import base64
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from playwright.sync_api import sync_playwright
from tqdm import tqdm

from abc_hf import load_pipeline
from abc_hf.demo.static import write_static
from abc_hf.evaluation.records import open_split, spread
from abc_hf.evaluation.results import write_json
from abc_hf.inference import export
from abc_hf.pipeline import prepare
from hub.render_readme import digest_of_weights
from tests.served import served

ASK = """async base => {
  const photo = window.photos[base];
  while (!photo.answer && !photo.error) await new Promise(done => setTimeout(done, 20));
  if (photo.error) return {error: photo.error};
  const bytes = map => btoa(Array.from(map, value => String.fromCharCode(Math.round(255 * value))).join(""));
  const {blur, attention, ...told} = photo.answer;
  return {...told, blur: bytes(blur), attention: bytes(attention)};
}"""


class Measured:
    """Rows of figures by kind and photo, kept in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self.rows = {(row["kind"], row["index"]): row for row in map(json.loads, lines)}

    def add(self, kind: str, index: int, **figures) -> None:
        row = {"kind": kind, "index": index, **figures}
        self.rows[kind, index] = row
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def left(self, kind: str, indices: list[int]) -> list[int]:
        return [index for index in indices if (kind, index) not in self.rows]

    def of(self, kind: str, name: str) -> list:
        return [row[name] for row in self.rows.values() if row["kind"] == kind and name in row]


def compare_stored(pipe, images, indices: list[int], whole: Path, measured: Measured) -> None:
    """Whether the stored networks change the verdict of each photo and its certainty, and how far they move its maps.
    The network as it is decides what is right."""
    runs = {"whole": export.run_onnx(whole)}
    runs |= {kind: export.run_onnx(export.store_weights(whole, kind)) for kind in export.SMALL}
    for index in tqdm(indices, unit="photo"):
        prepared, told = prepare(images[index]["image"]["bytes"], pipe.image_processor), {}
        for kind, run in runs.items():
            pipe.engine = lambda values, run=run: dict(
                zip(export.OUTPUTS, map(torch.from_numpy, run(values.numpy())), strict=True)
            )
            told[kind] = pipe.postprocess(pipe._forward({"photo": dict(prepared)}))
        right, figures = told.pop("whole"), {}
        for kind, report in told.items():
            figures[kind] = int(report.label != right.label)
            figures[f"{kind}_certain"] = int(report.certain != right.certain)
            figures[f"{kind}_maps"] = max(
                float(np.abs(getattr(report, name) - getattr(right, name)).max())
                for name in ("small_blur_map", "small_attention_map")
            )
        measured.add("stored", index, **figures)
    pipe.engine = None


def ask_page(files: list[bytes], folder: Path) -> Iterator[dict]:
    """What the page says of each file; `loaded` and `engine` are of the page."""
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with served(folder) as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=flags
        )
        page = chromium.new_page()
        page.set_default_timeout(600_000)
        started = time.perf_counter()
        page.goto(address)
        page.wait_for_selector("html[data-engine][data-offline=ready]")
        about = {"loaded": time.perf_counter() - started, "engine": page.get_attribute("html", "data-engine")}
        for number, data in enumerate(tqdm(files, unit="photo")):
            kind = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png"}.get(data[:2], "image/webp")
            page.set_input_files("#files", [{"name": "photo", "mimeType": kind, "buffer": data}])
            yield about | page.evaluate(ASK, number)
        chromium.close()


def compare_page(pipe, files: dict[int, bytes], folder: Path, measured: Measured) -> None:
    """The page's verdicts and maps beside those of the pipeline."""
    for (index, data), told in zip(files.items(), ask_page([*files.values()], folder), strict=True):
        if "error" in told:
            measured.add("page", index, failed=index)
            continue
        report = pipe(data)
        off = []
        for key, ours in (("blur", report.small_blur_map), ("attention", report.small_attention_map)):
            values = np.frombuffer(base64.b64decode(told[key]), np.uint8).reshape(ours.shape) / 255
            off.append(np.abs(values - ours))
        same = {name: bool(told[name] == getattr(report, name)) for name in ("label", "certain")}
        mean, largest = np.mean([each.mean() for each in off]), np.max([each.max() for each in off])
        measured.add("page", index, **same, mean=float(mean), largest=float(largest))


def page_times(files: list[bytes], folder: Path) -> dict:
    told = [*ask_page(files, folder)]
    seconds = [each["seconds"] for each in told]
    figures = {"load": told[0]["loaded"], "first": seconds[0], "median": float(np.median(seconds))}
    return {"engine": told[0]["engine"], "photos": len(files), **figures}


def page_figures(measured: Measured) -> dict:
    means, failed = measured.of("page", "mean"), measured.of("page", "failed")
    return {
        "photos": len(means) + len(failed),
        "failed": len(failed),
        "same_verdict": sum(measured.of("page", "label")),
        "same_certainty": sum(measured.of("page", "certain")),
        "maps_mean": float(np.mean(means)),
        "maps_mean_worst_photo": max(means),
        "maps_largest": max(measured.of("page", "largest")),
    }


def sizes_of(folder: Path) -> dict:
    """The bytes of the page: of the network, of all, and what a browser loads."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return {"network": sizes["network.onnx"], "all": sum(sizes.values())} | {
        name: sum(size for path, size in sizes.items() if left not in path)
        for name, left in (("with_wasm", "jspi"), ("with_webgpu", "simd-threaded.wasm"))
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dataset", required=True, help="a data set in the SmartBlur schema")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--photos", type=int, default=300, help="for the page (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="photos for the stored networks (default: all)")
    parser.add_argument("--times", action="store_true", help="measure only how long the page takes")
    parser.add_argument("--model", help="ours (default: the weights in the package)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)

    rows = open_split(args.dataset, args.split)
    pipe = load_pipeline(args.model, device="cpu")
    weights = digest_of_weights(Path(str(pipe.model.name_or_path)))
    args.out.mkdir(parents=True, exist_ok=True)
    out, measured = args.out / "browser.json", Measured(args.out / f"browser-{weights}.jsonl")
    known = json.loads(out.read_text()) if out.is_file() else {}
    chosen = spread(list(range(len(rows))), args.limit)
    asked = spread(chosen, args.photos)
    images = rows.cast_column("image", rows.features["image"].__class__(decode=False))
    with tempfile.TemporaryDirectory() as made:
        folder, whole = Path(made) / "page", Path(made) / "model.onnx"
        write_static(pipe, folder)
        if args.times:
            times = page_times([images[index]["image"]["bytes"] for index in asked], folder)
            write_json(out, known | {"times": times})
            return
        if left := measured.left("page", asked):
            compare_page(pipe, {index: images[index]["image"]["bytes"] for index in left}, folder, measured)
        known |= {"weights": weights, "split": args.split, "page": page_figures(measured), "bytes": sizes_of(folder)}
        write_json(out, known)
        if left := measured.left("stored", chosen):
            export.write_onnx(pipe.model, whole)
            compare_stored(pipe, images, left, whole, measured)
    ends = {"changed": ("", sum), "changed_certainty": ("_certain", sum), "changed_maps": ("_maps", max)}
    known["photos"] = len(measured.of("stored", "int8"))
    for name, (end, total) in ends.items():
        known[name] = {kind: total(measured.of("stored", kind + end)) for kind in export.SMALL}
    write_json(out, known)
    measured.path.unlink()


if __name__ == "__main__":
    main()
