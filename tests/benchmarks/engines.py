"""What engines change: their maps and verdicts beside PyTorch's, and their scores, on a data set.

    python tests/benchmarks/engines.py --dataset FOLDER_OR_NAME --split validation --out tests/benchmarks/results

Writes engines.json. Engines are chosen by a validation split, never by CUHK. How fast they are: speed.py.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from abc_hf import load_photo, load_pipeline
from abc_hf.evaluation.records import open_split, score_photo, spread
from abc_hf.evaluation.results import write_json
from abc_hf.evaluation.scoring import plain, summarize
from abc_hf.image_processing_abc_fusenet import working_shape
from abc_hf.inference.engines import ENGINES, load_engine

sys.path.insert(0, str(Path(__file__).parents[2]))
from hub.render_readme import digest_of_weights

MAPS = ("blur_map", "attention_map")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--dataset", required=True, help="a data set in the SmartBlur schema")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--model", help="ours (default: the weights in the package)")
    parser.add_argument("--limit", type=int, help="photos, evenly spread over the split (default: all)")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)

    rows = open_split(args.dataset, args.split)
    chosen = spread(list(range(len(rows))), args.limit)
    pipe = load_pipeline(args.model, device="cpu", dtype=torch.float32)
    runs = {"model": torch.inference_mode()(pipe.model)}
    for name in ENGINES:
        try:
            runs[name] = load_engine(name, pipe.model)
        except ImportError as error:
            print(f"{name} is left out: {error}")
    records: dict[str, list] = {name: [] for name in runs}
    differences: dict[str, list] = {name: [] for name in runs}
    for index in tqdm(chosen, unit="photo", disable=None):
        row = rows[index]
        photo = load_photo(row["image"])
        pixel_values = pipe.image_processor(photo, return_tensors="pt")["pixel_values"]
        height, width = working_shape(photo.height, photo.width, pipe.image_processor.size["longest_edge"])
        for name, run in runs.items():
            outputs = run(pixel_values)
            found = {key: outputs[key][0, 0, :height, :width].float().numpy() for key in MAPS}
            found |= {key: outputs[key][0].float().numpy() for key in ("logits", "kind_logits")}
            found["certain_from"] = pipe.model.config.certain_from
            records[name].append(score_photo(index, {"desirability": None, **row}, found))
            if name == "model":
                expected = found
            off = {key: np.abs(found[key] - expected[key]) for key in MAPS}
            changed = found["logits"].argmax() != expected["logits"].argmax()
            differences[name].append(
                [off["blur_map"].max(), off["blur_map"].mean(), off["attention_map"].max(), changed]
            )

    result = {
        "split": args.split,
        "weights": digest_of_weights(Path(pipe.model.name_or_path)),
        "photos": len(chosen),
        "of": len(rows),
        "engines": {name: entry(records[name], np.array(differences[name])) for name in runs if name != "model"},
        "model": entry(records["model"], np.array(differences["model"])),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    write_json(args.out / "engines.json", plain(result))
    for name, each in result["engines"].items():
        print(
            f"{name}: {each['changed_verdicts']} verdicts changed, blur maps by {each['blur_map_largest']:.2g} at most"
        )


def entry(records: list, differences: np.ndarray) -> dict:
    """Scores, and differences to the model: the largest of all photos, and of blur maps the mean of all pixels too."""
    scores = summarize(records)
    return {
        "blur_map_largest": float(differences[:, 0].max()),
        "blur_map_mean": float(differences[:, 1].mean()),
        "attention_map_largest": float(differences[:, 2].max()),
        "changed_verdicts": int(differences[:, 3].sum()),
        "blur_map": scores["blur_map"]["all"],
        "desirability": scores["desirability"],
    }


if __name__ == "__main__":
    main()
