"""Put a trained model into the package, with its scores: `python -m hub.bundle RUN --dataset DATA ...`.

RUN is the folder that train_accelerate.py wrote. `--before` names the runs that RUN continued, oldest first; their
settings and scores are kept, too. A copy of earlier bundled weights counts as all runs that made them. DATA are the
data sets of the training. The test split of the first is CUHK. A test split of another holds computed blur, from
kernels that training did not see.
"""

import argparse
import collections
import json
import re
import shutil
from pathlib import Path

import torch

from abc_hf.data.splits import open_splits
from abc_hf.evaluation.scoring import score_split
from abc_hf.image_processing_abc_fusenet import ABCFuseNetImageProcessor
from abc_hf.inference.loading import BUNDLED
from abc_hf.modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding


def count_sources(dataset) -> dict[str, int]:
    """Photos and licence of each source of a split."""
    columns = dataset.select_columns(["source", "license"])
    counts = collections.Counter((re.sub(r"/.*", "", row["source"]), row["license"]) for row in columns)
    return {f"{source} ({licence})": photos for (source, licence), photos in sorted(counts.items())}


def accounts_of(run: Path) -> list[dict]:
    """The account of a run: its code, its settings (folders by name), and the scores of the weights kept of each phase.
    A folder of bundled weights has the accounts of all runs behind them, oldest first."""
    record = json.loads((run / "run.json").read_text())
    if "runs" in record:
        return record["runs"]
    scored = [entry for entry in record["history"] if "selection" in entry]  # other entries have only the loss
    kept = {
        phase: max((entry for entry in scored if entry["phase"] == phase), key=lambda entry: entry["selection"] or 0)
        for phase in dict.fromkeys(entry["phase"] for entry in scored)
    }
    return [{"code": record["code"], "settings": without_folders(record["settings"]), "scores": kept}]


def without_folders(value):
    """Shorten absolute paths to their last name: elsewhere the rest means nothing."""
    if isinstance(value, dict):
        return {key: without_folders(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_folders(entry) for entry in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m hub.bundle", description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--dataset", required=True, nargs="+", help="those trained on; the first has the test split")
    parser.add_argument("--before", type=Path, nargs="*", default=[])
    args = parser.parse_args(argv)

    model = ABCFuseNetForBlurUnderstanding.from_pretrained(args.run, dtype=torch.float32).eval()
    model = model.to(memory_format=torch.channels_last)
    processor = ABCFuseNetImageProcessor.from_pretrained(args.run)
    splits, *more = [open_splits(name) for name in args.dataset]
    sources: collections.Counter = collections.Counter()
    for part in (splits, *more):
        sources.update(count_sources(part["train"]))
    record = {
        "runs": [account for run in [*args.before, args.run] for account in accounts_of(run)],
        "train": dict(sources),
        "validation": score_split(model, processor, splits["validation"]),
        "cuhk": score_split(model, processor, splits["test"]),
    }
    computed = [part["test"] for part in more if "test" in part]
    if computed:
        record["synthetic"] = score_split(model, processor, computed[0])
    shutil.rmtree(BUNDLED, ignore_errors=True)
    model.save_pretrained(BUNDLED)
    processor.save_pretrained(BUNDLED)
    for copied in BUNDLED.glob("*.py"):  # the package already has the code
        copied.unlink()
    (BUNDLED / "run.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
