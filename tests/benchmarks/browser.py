"""What stored weights and the page in the browser change, and how long a photo takes there.

    python -m tests.benchmarks.browser --dataset FOLDER_OR_NAME --photos 300 --out tests/benchmarks/results

Writes browser.json. The network with its weights in float16 and int8 is compared with the model on all photos of the
validation split. The page is written, opened in Chromium (the variable CHROMIUM names it), and asked about `--photos`
of them; it decodes the files itself. It is compared with the pipeline: verdicts, and maps by their mean and largest
differences.
"""

import argparse
import base64
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright
from tqdm import tqdm

from abc_hf import load_photo, load_pipeline
from abc_hf.demo.static import write_static
from abc_hf.evaluation.records import open_split, spread
from abc_hf.evaluation.results import write_json
from abc_hf.inference import export
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


def ask_page(folder: Path, files: list[tuple[str, bytes]], reports: list) -> dict:
    """The page's verdicts and maps beside those of the reports, and its times."""
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    same, certain, failed, seconds, means, largest = 0, 0, [], [], [], []
    with served(folder) as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=flags
        )
        page = chromium.new_page()
        page.set_default_timeout(600_000)
        started = time.perf_counter()
        page.goto(address)
        page.wait_for_selector("html[data-engine][data-offline=ready]")
        loaded = time.perf_counter() - started
        engine = page.get_attribute("html", "data-engine")
        for index, ((name, data), report) in enumerate(tqdm(list(zip(files, reports, strict=True)), disable=None)):
            kind = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png"}.get(data[:2], "image/webp")
            page.set_input_files("#files", [{"name": name, "mimeType": kind, "buffer": data}])
            told = page.evaluate(ASK, index)
            if "error" in told:
                failed.append(name)
                continue
            seconds.append(told["seconds"])
            same += told["label"] == report.label
            certain += told["certain"] == report.certain
            for key, ours in (("blur", report.small_blur_map), ("attention", report.small_attention_map)):
                values = np.frombuffer(base64.b64decode(told[key]), np.uint8).reshape(ours.shape) / 255
                off = np.abs(values - ours)
                means.append(float(off.mean()))
                largest.append(float(off.max()))
        chromium.close()
    return {
        "engine": engine,
        "photos": len(files),
        "failed": failed,
        "same_verdict": same,
        "same_certainty": certain,
        "maps_mean": float(np.mean(means)),
        "maps_mean_worst_photo": float(np.max(means)),
        "maps_largest": float(np.max(largest)),
        "load_seconds": loaded,
        "first_seconds": seconds[0],
        "median_seconds": float(np.median(seconds)),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dataset", required=True, help="a data set in the SmartBlur schema")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--photos", type=int, default=300, help="for the page (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="photos for the stored networks (default: all)")
    parser.add_argument("--model", help="ours (default: the weights in the package)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)

    rows = open_split(args.dataset, args.split)
    pipe = load_pipeline(args.model, device="cpu")
    chosen = spread(list(range(len(rows))), args.limit)
    changed = dict.fromkeys(export.SMALL, 0)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "page"
        write_static(pipe, folder)
        whole = Path(made) / "model.onnx"
        export.write_onnx(pipe.model, whole)
        runs = {"whole": export.run_onnx(whole)}
        runs |= {kind: export.run_onnx(export.store_weights(whole, kind)) for kind in export.SMALL}
        for index in tqdm(chosen, unit="photo", disable=None):
            photo = load_photo(rows[index]["image"])
            values = pipe.image_processor(photo, return_tensors="pt")["pixel_values"].numpy()
            labels = {kind: run(values)[0].argmax() for kind, run in runs.items()}
            for kind in changed:
                changed[kind] += int(labels[kind] != labels["whole"])
        asked = spread(chosen, args.photos)
        files, reports = [], []
        for index in asked:
            image = rows.cast_column("image", rows.features["image"].__class__(decode=False))[index]["image"]
            files.append((f"{index}-{Path(image['path'] or 'photo').name}", image["bytes"]))
            reports.append(pipe(image["bytes"]))
        page = ask_page(folder, files, reports)
        sizes = {
            path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()
        }
    result = {
        "weights": digest_of_weights(Path(str(pipe.model.name_or_path))),
        "split": args.split,
        "photos": len(chosen),
        "changed": changed,
        "page": page,
        "bytes": {"network": sizes["network.onnx"], "all": sum(sizes.values())}
        | {
            name: sum(size for path, size in sizes.items() if left not in path)
            for name, left in (("with_wasm", "jspi"), ("with_webgpu", "simd-threaded.wasm"))
        },
    }
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "browser.json", result)
    print(result)


if __name__ == "__main__":
    main()
