"""Upload a model: `python -m hub.push_model [MODEL] --repo USER/NAME`.

The folder holds weights (safetensors), configuration, code, run.json, a card, and in `onnx` the network for
transformers.js. It is checked where this project cannot be imported: the Auto classes and the pipeline of transformers,
with `trust_remote_code=True`, must give the answers of the original. Then the files are listed, and --yes uploads them.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers.utils import logging

from abc_hf import BlurUnderstandingPipeline, load_photo, load_pipeline
from abc_hf.inference import export
from abc_hf.inference.loading import BUNDLED
from abc_hf.training.run_log import model_card as card_of_run
from hub import cards
from hub.render_readme import digest_of_weights
from hub.uploading import parser_of, push, run_cold

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "abc_hf" / "examples" / "bokeh.jpg"
FIGURE = "figure.png"
TOLERANCE = 1e-4
"""The largest allowed difference of answers: another memory format changes the order of sums."""


def build(args: argparse.Namespace, folder: Path) -> None:
    """Write the folder, and compare its answers with those of the original.

    Raises ValueError if MODEL is no model, lacks its run.json, or does not work as a folder on the Hub.
    """
    run = args.model / "run.json"
    pipeline = load_pipeline(args.model, device="cpu")
    if not run.is_file():
        raise ValueError(f"{args.model} holds no run.json, and the card needs one: give a folder of a training run.")
    record = json.loads(run.read_text())
    pipeline.save_pretrained(folder)
    shutil.copy(run, folder)
    shutil.copy(ROOT / "LICENSE", folder)
    pipeline(PHOTO).figure().savefig(folder / FIGURE)
    if "cuhk" in record:
        size = pipeline.image_processor.size.longest_edge
        parameters, weights = pipeline.model.num_parameters(), digest_of_weights(args.model)
        card = cards.model_card(record, args.repo, FIGURE, parameters, size, args.links, weights)
        for name, text in cards.eval_results(record, args.repo, args.links).items():
            (folder / ".eval_results").mkdir(exist_ok=True)
            (folder / ".eval_results" / name).write_text(text)
    else:  # hub/bundle.py has not scored this run
        card = card_of_run(record, record.get("scores", {}), args.repo)
    (folder / "README.md").write_text(card)
    worst = check(pipeline, folder)
    write_networks(pipeline, folder / "onnx")
    print(f"Checked where this project cannot be imported: answers differ by {worst:.1g} at most.")


def write_networks(pipeline: BlurUnderstandingPipeline, folder: Path) -> None:
    """Write the network for transformers.js, with the weights in float32, float16 and int8, under the names it expects.

    Raises ImportError without the packages for ONNX, and ValueError if a network does not agree with the model.
    """
    folder.mkdir()
    export.write_onnx(pipeline.model, folder / "model.onnx")
    export.check_export(pipeline.model, pipeline.image_processor, export.run_onnx, folder / "model.onnx")
    for kind in export.SMALL:
        export.store_weights(folder / "model.onnx", kind)


def check(pipeline: BlurUnderstandingPipeline, folder: Path) -> float:
    """The largest difference between the original's answers and those of the folder, loaded with remote code.

    Raises ValueError if the difference is above `TOLERANCE`, or if a label or reason differs.
    """
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "answers.npz"
        told = run_cold("model", folder.resolve(), PHOTO, path)
        with np.load(path) as file:
            answers = dict(file)
    inputs = pipeline.image_processor(load_photo(PHOTO), return_tensors="pt")
    with torch.inference_mode():
        output = pipeline.model(**inputs)
    report = pipeline(PHOTO)
    expected = {name: output[name].numpy() for name in ("logits", "blur_map", "attention_map")}
    expected |= {f"branches_{name}": expected[name] for name in ("blur_map", "attention_map")}
    expected |= {"report_blur_map": report.blur_map, "report_attention_map": report.attention_map}
    worst = max(float(np.abs(answers[name] - expected[name]).max()) for name in expected)
    if worst > TOLERANCE or (told["label"], told["reason"]) != (report.label, report.reason):
        raise ValueError(f"Loaded with remote code, answers differ by {worst:.2g}; nothing was uploaded.")
    return worst


def main(argv: list[str] | None = None) -> None:
    logging.disable_progress_bar()  # of loading and writing weights
    parser = parser_of("push_model", __doc__)
    parser.add_argument("model", type=Path, nargs="?", default=BUNDLED, help="a folder; else the bundled weights")
    push("model", parser, build, argv)


if __name__ == "__main__":
    main()
