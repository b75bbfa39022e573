# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Write the figures of README.md from the bundled weights' run.json, and its picture: `python -m hub.render_readme`."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN = ROOT / "abc_hf" / "pretrained" / "mobile" / "run.json"
PICTURE = "bokeh"
MAPS = (
    ("cuhk/out_of_focus", "CUHK, defocus"),
    ("cuhk/motion", "CUHK, motion (256 px copies)"),
    ("all", "CUHK, both"),
)
PEERS = {"cuhk/out_of_focus": (0.932, 0.922, 0.869), "cuhk/motion": (0.725, 0.598, 0.619), "all": (0.896, 0.845, 0.811)}
"""HiFST (CVPR 2017), its published maps on the same photos: pooled AP, curve AP, F_beta."""


def results_table(run: dict) -> str:
    """The README's results as Markdown."""
    scores, chosen = run["cuhk"], run["validation"]
    lines = [
        "| blur maps, never trained on | photos | pooled AP | curve AP | F_beta | HiFST, the same three |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in MAPS:
        row = scores["blur_map"][name]
        figures = " | ".join(f"{row[key]:.3f}" for key in ("pooled_ap", "curve_ap", "f_beta"))
        peer = ", ".join(f"{figure:.3f}" for figure in PEERS[name])
        lines.append(f"| {title} | {row['photos']} | {figures} | {peer} |")
    lines += ["", "| desirability | photos | accuracy | kappa | macro-F1 |", "|---|---|---|---|---|"]
    for title, row in (
        ("validation split, real photos", chosen["desirability"]),
        ("CUHK, never trained on", scores["desirability"]),
    ):
        figures = " | ".join(f"{row[key]:.3f}" for key in ("accuracy", "kappa", "macro_f1"))
        lines.append(f"| {title} | {row['photos']} | {figures} |")
    return "\n".join(lines)


def render(readme: str, run: dict) -> str:
    """README.md with its results section as `run` has it."""
    section = re.compile(r"(<!-- results: .*? -->\n).*?(<!-- end of results -->)", re.DOTALL)
    return section.sub(lambda match: f"{match[1]}{results_table(run)}\n{match[2]}", readme)


def main() -> None:
    from abc_hf import load_pipeline

    path = ROOT / "README.md"
    path.write_text(render(path.read_text(), json.loads(RUN.read_text())))
    figures = ROOT / "hub" / "figures"
    figures.mkdir(exist_ok=True)
    report = load_pipeline()(ROOT / "abc_hf" / "examples" / f"{PICTURE}.jpg")
    report.figure().savefig(figures / f"{PICTURE}_figure.png")


if __name__ == "__main__":
    main()
