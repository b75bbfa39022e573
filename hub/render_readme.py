# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Write every figure of README.md and of the model card from JSON: `python -m hub.render_readme`.

The JSON files are run.json beside the bundled weights (hub/bundle.py), and in tests/benchmarks the peers measured
beside ours (peers.py) and the published ones. The README's picture is drawn anew, too.
"""

import json
import re
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard

from abc_hf.results import markdown, number

ROOT = Path(__file__).parents[1]
RUN = ROOT / "abc_hf" / "pretrained" / "mobile" / "run.json"
BENCHMARKS = ROOT / "tests" / "benchmarks"
CARD = ROOT / "hub" / "model_card.md"
PICTURE = "bokeh"
MAPS = {
    "cuhk/out_of_focus": "CUHK, defocus",
    "cuhk/motion": "CUHK, motion (256 px copies)",
    "all": "CUHK, both",
}
MAP_MEASURES = {"pooled_ap": "pooled AP", "curve_ap": "curve AP", "f_beta": "F_beta"}
CLASS_MEASURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "kappa": "kappa",
    "ece": "ECE",
}
"""Of these, the ones that every row of run.json has are shown."""


def sources() -> dict[str, dict]:
    """The JSON files that figures come from, by name."""
    return {
        "run": json.loads(RUN.read_text()),
        "published": json.loads((BENCHMARKS / "published.json").read_text()),
        "peers": json.loads((BENCHMARKS / "results" / "peers.json").read_text()),
    }


def results_table(run: dict, published: dict) -> str:
    """The README's results as Markdown."""
    rows = []
    for name, title in MAPS.items():
        ours, theirs = run["cuhk"]["blur_map"][name], published["blur_map"][name]
        figures = [number(ours[key]) for key in MAP_MEASURES]
        rows.append([title, str(ours["photos"]), *figures, ", ".join(number(theirs[key]) for key in MAP_MEASURES)])
    header = ["blur maps, never trained on", "photos", *MAP_MEASURES.values(), f"{published['name']}, the same three"]
    lines = markdown(header, rows)
    if "synthetic" in run:
        lines += ["", *levels_table(run["synthetic"])]
    verdicts = {
        "validation split, real photos": run["validation"]["desirability"],
        "CUHK, never trained on": run["cuhk"]["desirability"],
    }
    measures = {key: name for key, name in CLASS_MEASURES.items() if all(key in row for row in verdicts.values())}
    rows = [[title, str(row["photos"]), *(number(row[key]) for key in measures)] for title, row in verdicts.items()]
    return "\n".join([*lines, "", *markdown(["desirability", "photos", *measures.values()], rows)])


def levels_table(scores: dict) -> list[str]:
    """Blur put into sharp photos, whose levels are known exactly."""
    maps, levels, row = scores["blur_map"]["all"], scores["levels"], ["SmartBlur-Synth, test split"]
    row += [str(maps["photos"]), *(number(maps[key]) for key in MAP_MEASURES)]
    row += [number(levels["mean_absolute_error"]), number(levels["weighted_kappa"])]
    return markdown(["blur levels, computed blur", "photos", *MAP_MEASURES.values(), "level error", "kappa"], [row])


def peers_table(peers: dict) -> str:
    """Ours beside peers, measured in one call on the same photos."""
    columns = {"pooled_ap": "pooled AP", "curve_ap": "curve AP", "f_beta": "F_beta", "mae": "MAE", "iou": "IoU"}
    kinds = [kind for kind in ("defocus", "motion") if kind in peers["methods"][0]["blur_map"]]
    rows = []
    for each in peers["methods"]:
        maps = each["blur_map"]
        figures = [number(maps["all"][name]) for name in columns] + [number(maps[kind]["curve_ap"]) for kind in kinds]
        rows.append([each["name"], *figures, f"{each['seconds']:.3g}"])
    header = [f"{peers['photos']} photos", *columns.values(), *(f"curve AP, {kind}" for kind in kinds)]
    return "\n".join(markdown([*header, "seconds a photo"], rows))


def render(readme: str, run: dict, published: dict, peers: dict) -> str:
    """README.md with its sections as the JSON has them."""
    sections = {"results": results_table(run, published), "peers": peers_table(peers)}
    for name, text in sections.items():
        section = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        readme = section.sub(lambda match, text=text: f"{match[1]}{text}\n{match[2]}", readme)
    return readme


def model_index(run: dict) -> list[EvalResult]:
    """The scores of the model card's metadata."""
    cuhk, validation = run["cuhk"], run["validation"]["desirability"]
    blur = {"task_type": "image-segmentation", "task_name": "Blur maps", "dataset_type": "cuhk-blur"}
    verdict = {"task_type": "image-classification", "task_name": "Blur desirability"}
    results = []
    for name, title in MAPS.items():
        for key, measure in MAP_MEASURES.items():
            value = round(cuhk["blur_map"][name][key], 4)
            results.append(
                EvalResult(**blur, dataset_name=title, metric_type=key, metric_name=measure, metric_value=value)
            )
    for kind, title, scores in (
        ("cuhk-blur", "CUHK, labels of this project", cuhk["desirability"]),
        ("smartblur-real", "real photos, validation split", validation),
    ):
        for key, measure in CLASS_MEASURES.items():
            if key in scores:
                value = round(scores[key], 4)
                metric = {"metric_type": key, "metric_name": measure, "metric_value": value}
                results.append(EvalResult(**verdict, dataset_type=kind, dataset_name=title, **metric))
    return results


def render_card(card: str, run: dict, published: dict) -> str:
    """The model card with its `model-index` and results as the JSON has them."""
    section = re.compile(r"(<!-- results: .*? -->\n).*?(<!-- end of results -->)", re.DOTALL)
    card = section.sub(lambda match: f"{match[1]}{results_table(run, published)}\n{match[2]}", card)
    parsed = ModelCard(card, ignore_metadata_errors=True)
    parsed.data.model_name, parsed.data.eval_results = "ABC-FuseNet", model_index(run)
    return str(parsed)


def main() -> None:
    from abc_hf import load_pipeline

    given = sources()
    path = ROOT / "README.md"
    path.write_text(render(path.read_text(), **given))
    CARD.write_text(render_card(CARD.read_text(), given["run"], given["published"]))
    figures = ROOT / "hub" / "figures"
    figures.mkdir(exist_ok=True)
    report = load_pipeline()(ROOT / "abc_hf" / "examples" / f"{PICTURE}.jpg")
    report.figure().savefig(figures / f"{PICTURE}_figure.png")


if __name__ == "__main__":
    main()
