# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Write every figure of README.md from JSON: `python -m hub.render_readme`.

The JSON files are run.json beside the bundled weights (hub/bundle.py), and in tests/benchmarks the peers measured
beside ours (peers.py), how fast ours is (speed.py, engines.py), and the published ones. The README's picture is drawn
anew, too. The cards of what is uploaded to the Hub are made when it is (hub/cards.py).
"""

import hashlib
import json
import re
import textwrap
from pathlib import Path

from abc_hf.common.text import markdown, number
from abc_hf.inference.loading import BUNDLED

ROOT = Path(__file__).parents[1]
RUN = BUNDLED / "run.json"
BENCHMARKS = ROOT / "tests" / "benchmarks"
PICTURE = "bokeh"
CUHK_PARTS = {
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


def digest_of_weights(folder: Path) -> str:
    """What tells weights from others."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:12]


def sources() -> dict:
    """The JSON files that figures come from, by name, and the fingerprint of the bundled weights."""
    return {
        "run": json.loads(RUN.read_text()),
        "published": json.loads((BENCHMARKS / "published.json").read_text()),
        "peers": json.loads((BENCHMARKS / "results" / "peers.json").read_text()),
        "speed": json.loads((BENCHMARKS / "results" / "speed.json").read_text()),
        "engines": json.loads((BENCHMARKS / "results" / "engines.json").read_text()),
        "weights": digest_of_weights(RUN.parent),
    }


def results_table(run: dict, published: dict) -> str:
    """The README's results as Markdown."""
    rows = []
    for name, title in CUHK_PARTS.items():
        ours, theirs = run["cuhk"]["blur_map"][name], published["blur_map"][name]
        figures = [number(ours[key]) for key in MAP_MEASURES]
        rows.append([title, str(ours["photos"]), *figures, ", ".join(number(theirs[key]) for key in MAP_MEASURES)])
    header = [
        "blur maps, never trained on",
        "photos",
        *MAP_MEASURES.values(),
        f"{published['name']} on the full-size photos, the same three",
    ]
    lines = markdown(header, rows)
    if "synthetic" in run:
        lines += ["", *levels_table(run["synthetic"])]
    verdicts = {
        "validation split, real photos": run["validation"]["desirability"],
        "CUHK, never trained on": run["cuhk"]["desirability"],
    }
    measures = {key: name for key, name in CLASS_MEASURES.items() if all(key in row for row in verdicts.values())}
    rows = [[title, str(row["photos"]), *(number(row[key]) for key in measures)] for title, row in verdicts.items()]
    lines += ["", *markdown(["desirability", "photos", *measures.values()], rows)]
    if all("per_class" in row for row in verdicts.values()):
        first, second = [
            number(max(each["photos"] for each in row["per_class"].values()) / row["photos"])
            for row in verdicts.values()
        ]
        lines += ["", f"One label for all photos, the most frequent, has an accuracy of {first} and {second} there."]
    sharp = run["validation"].get("sharp")
    if sharp:
        text = (
            f"Of {sharp['photos']} validation photos without blur, {sharp['above_0.2']:.1%} have a blur map of more "
            f"than 0.2 on average; the mean is {sharp['mean']:.3f}, and 0 would be right."
        )
        lines += ["", *textwrap.wrap(text, 120)]
    return "\n".join(lines)


def levels_table(scores: dict) -> list[str]:
    """Blur put into sharp photos, whose levels are known exactly."""
    maps, levels, row = scores["blur_map"]["all"], scores["levels"], ["SmartBlur-Synth, test split"]
    row += [str(maps["photos"]), *(number(maps[key]) for key in MAP_MEASURES)]
    row += [number(levels["mean_absolute_error"]), number(levels["weighted_kappa"])]
    return markdown(["blur levels, computed blur", "photos", *MAP_MEASURES.values(), "level error", "kappa"], [row])


def peers_table(peers: dict, weights: str) -> str:
    """Ours beside peers, measured in one call on the same photos; it says so if that was with other weights."""
    columns = {"pooled_ap": "pooled AP", "curve_ap": "curve AP", "f_beta": "F_beta", "mae": "MAE", "iou": "IoU"}
    kinds = [kind for kind in ("defocus", "motion") if kind in peers["methods"][0]["blur_map"]]
    rows = []
    for each in peers["methods"]:
        maps = each["blur_map"]
        figures = [number(maps["all"][name]) for name in columns] + [number(maps[kind]["curve_ap"]) for kind in kinds]
        name = each["name"]
        if each == peers["methods"][0] and peers["weights"] != weights:
            name += " (earlier weights)"
        rows.append([name, *figures, f"{each['seconds']:.2g}"])
    header = [f"{peers['photos']} photos", *columns.values(), *(f"curve AP, {kind}" for kind in kinds)]
    return "\n".join(markdown([*header, "seconds a photo"], rows))


def speed_table(speed: dict, engines: dict, weights: str) -> str:
    """Engines, their time and what they change (it says so if that was with other weights); then the whole beside its
    parts and others."""
    changed = "verdicts changed" + ("" if engines["weights"] == weights else " (earlier weights)")
    header = ["`--engine`", "seconds a photo", "of the machine's peak", changed, "accuracy", "per-photo AP"]
    rows = []
    for name, each in engines["engines"].items():
        time, verdicts = speed["engines"][name], f"{each['changed_verdicts']} of {engines['photos']}"
        scores = [number(each["desirability"]["accuracy"]), number(each["blur_map"]["per_photo_ap"])]
        rows.append([f"`{name}`", f"{time['seconds']:.3f}", f"{time['share_of_peak']:.0%}", verdicts, *scores])
    lines = markdown(header, rows)
    rows = [[name, f"{each['value']:.2f}", each["wanted"]] for name, each in speed["targets"].items()]
    lines += ["", *markdown([f"with `--engine {speed['engine']}`", "measured", "aim"], rows)]
    return "\n".join(lines)


def render(readme: str, run: dict, published: dict, peers: dict, speed: dict, engines: dict, weights: str) -> str:
    """README.md with its sections as the JSON has them."""
    sections = {"results": results_table(run, published), "peers": peers_table(peers, weights)}
    sections["speed"] = speed_table(speed, engines, weights)
    for name, text in sections.items():
        section = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        readme = section.sub(lambda match, text=text: f"{match[1]}{text}\n{match[2]}", readme)
    return readme


def main() -> None:
    from abc_hf import load_pipeline

    given = sources()
    path = ROOT / "README.md"
    path.write_text(render(path.read_text(), **given))
    figures = ROOT / "hub" / "figures"
    figures.mkdir(exist_ok=True)
    report = load_pipeline()(ROOT / "abc_hf" / "examples" / f"{PICTURE}.jpg")
    report.figure().savefig(figures / f"{PICTURE}_figure.png")


if __name__ == "__main__":
    main()
