"""The cards of uploaded models, data sets and Spaces, from the templates beside this file and run.json."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import (
    EvalResult,
    EvalResultEntry,
    ModelCard,
    ModelCardData,
    RepoCard,
    SpaceCard,
    eval_result_entries_to_yaml,
    hf_hub_download,
)
from huggingface_hub.errors import EntryNotFoundError

from abc_hf.common.text import markdown
from abc_hf.data.sources import LICENSES
from abc_hf.inference.loading import BUNDLED
from hub.render_readme import BENCHMARKS, CLASS_MEASURES, CUHK_PARTS, MAP_MEASURES, results_table

HERE = Path(__file__).parent
SOURCES = {
    "bsds": "BSDS500 (Arbeláez et al., 2011), salient objects of SOD (Movahedi and Elder, 2010)",
    "cid22": "CID22 (Cloudinary, 2022)",
    "clic": "CLIC 2025, photos of Unsplash",
    "clothing": "Clothing dataset (Grigorev, 2020)",
    "consumer": "snapshots and stock photos of public research repositories",
    "cuhk": "CUHK blur detection (Shi, Xu and Jia, CVPR 2014)",
    "ecssd": "ECSSD (Shi, Yan, Xu and Jia, 2016)",
    "imagenet": "ImageNet (Deng et al., CVPR 2009), one photo a class",
    "kodak": "Kodak true-colour suite",
    "skimage": "pictures inside scikit-image",
    "sklearn": "pictures inside scikit-learn",
    "smartblur": "SmartBlur (Zhang et al., CVPR 2018)",
    "synth": "SmartBlur-Synth: blur computed into sharp photos",
}
NOT_SHOWN = {"output_dir", "resume_from_checkpoint", "dataloader_num_workers", "cache_dir", "report_to", "push_to_hub"}
"""Settings of a run that do not change its weights."""
PAPER = "https://openaccess.thecvf.com/content_cvpr_2018/html/Zhang_Learning_to_Understand_CVPR_2018_paper.html"
TASKS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "cuhk-verdicts": ("desirability", "test", ("cuhk", "desirability", "accuracy")),
    "validation-verdicts": ("desirability", "validation", ("validation", "desirability", "accuracy")),
    "computed-blur": ("default", "test", ("synthetic", "blur_map", "all", "pooled_ap")),
}
"""The benchmarks of our data sets: the configuration, the split, and where run.json has the score."""


def filled(kind: type[RepoCard], template: str, metadata: Any, /, **values) -> str:
    """The text of a card from one of the templates beside this file."""
    return str(kind.from_template(metadata, template_path=str(HERE / template), **values)).rstrip() + "\n"


def kind_and_name(link: str) -> tuple[str, str]:
    """The kind and the name of a repository, written as in addresses of the Hub: [datasets/ or spaces/]USER/NAME."""
    for kind in ("dataset", "space"):
        if link.startswith(f"{kind}s/"):
            return kind, link.removeprefix(f"{kind}s/")
    return "model", link


def linked(links: Sequence[str], kind: str) -> list[str] | None:
    """The names of the repositories of a kind; None without one, which leaves metadata out."""
    return [name for its_kind, name in map(kind_and_name, links) if its_kind == kind] or None


def see_also(links: Sequence[str]) -> str:
    """Links to the paper and to the repositories that belong together, as Markdown."""
    titles = {"model": "Model", "dataset": "Data set", "space": "Demo"}
    lines = [
        f"- {titles[kind_and_name(link)[0]]}: [{kind_and_name(link)[1]}](https://huggingface.co/{link})"
        for link in links
    ]
    return "\n".join([f"- Paper: [Learning to Understand Image Blur]({PAPER})", *lines])


def eval_yaml(title: str, text: str, tasks: Sequence[str]) -> str:
    """The file that makes a data set a benchmark on the Hub."""
    told = [{"id": name, "config": TASKS[name][0], "split": TASKS[name][1]} for name in tasks]
    about = {"name": title, "description": text, "evaluation_framework": "abc-fusenet", "tasks": told}
    return yaml.safe_dump(about, sort_keys=False, width=120)


def eval_results(run: dict, repo: str, links: Sequence[str]) -> dict[str, str]:
    """The files of `.eval_results`: the scores of run.json for each benchmark among the linked data sets, by name.

    Only the eval.yaml of a data set on the Hub says which benchmarks it has.
    """
    files = {}
    for name in linked(links, "dataset") or []:
        try:
            known = yaml.safe_load(Path(hf_hub_download(name, "eval.yaml", repo_type="dataset")).read_text())
        except EntryNotFoundError:
            print(f"{name} has no eval.yaml, so no score is listed for it.")
            continue
        entries = []
        for task in (each["id"] for each in known["tasks"]):
            score: Any = run
            for key in TASKS[task][2] if task in TASKS else ("unknown",):
                score = score.get(key, {})
            if score != {}:
                source = {"source_url": f"https://huggingface.co/{repo}/blob/main/run.json", "source_name": "run.json"}
                entries.append(EvalResultEntry(name, task, round(score, 4), **source))
        if entries:
            text = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False)
            files[f"{name.partition('/')[2]}.yaml"] = text
    return files


def model_index(run: dict) -> list[EvalResult]:
    """The scores of the model card's metadata."""
    blur: dict[str, Any] = {"task_type": "image-segmentation", "task_name": "Blur maps", "dataset_type": "cuhk-blur"}
    verdict: dict[str, Any] = {"task_type": "image-classification", "task_name": "Blur desirability"}
    parts = [
        # without a configuration, rows of one data set would be merged
        ({**blur, "dataset_name": title, "dataset_config": name}, MAP_MEASURES, run["cuhk"]["blur_map"][name])
        for name, title in CUHK_PARTS.items()
    ]
    for part, kind, title in (
        ("cuhk", "cuhk-blur", "CUHK, labels of this project"),
        ("validation", "smartblur-real", "real photos, validation split"),
    ):
        about = {**verdict, "dataset_type": kind, "dataset_name": title}
        parts.append((about, CLASS_MEASURES, run[part]["desirability"]))
    if "synthetic" in run:
        about = {**blur, "dataset_type": "smartblur-synth", "dataset_name": "SmartBlur-Synth, test split"}
        parts.append((about, MAP_MEASURES, run["synthetic"]["blur_map"]["all"]))
    return [
        EvalResult(**about, metric_type=key, metric_name=measures[key], metric_value=round(scores[key], 4))
        for about, measures, scores in parts
        for key in measures
    ]


def region_agreement(path: Path = HERE / "labels" / "agreement.json") -> str:
    """The results of tests/benchmarks/agreement.py in a sentence."""
    figures = json.loads(path.read_text())
    return (
        f"Of {figures['photos']} photos whose regions two of them labelled, they agree on blurred or not with a kappa "
        f"of {figures['blurred_kappa']:.2f}, on levels with {figures['level_kappa']:.2f}, where both were sure "
        f"({figures['sure']:.0%} of the regions)."
    )


def published() -> dict:
    return json.loads((BENCHMARKS / "published.json").read_text())


def source_table(counts: dict[tuple[str, str], int], unit: str = "photos") -> str:
    """Photos by (source, licence), as a Markdown table. For computed blur, the licence names the data sets."""
    rows = []
    for (source, terms), count in sorted(counts.items()):
        of = [SOURCES[name].split(" (")[0] for name, known in LICENSES.items() if known in terms]
        told = f"{SOURCES[source]}, of {', '.join(of)}" if source == "synth" and of else SOURCES.get(source, "")
        rows.append([source, told, terms, str(count)])
    return "\n".join(markdown(["source", "", "licence", unit], rows))


def by_source(train: dict[str, int]) -> dict[tuple[str, str], int]:
    """`train` of run.json, whose keys are `source (licence)`."""
    named = ((key.removesuffix(")").partition(" ("), count) for key, count in train.items())
    return {(source, terms): count for (source, _, terms), count in named}


def recipe(runs: list[dict]) -> str:
    """A list of the commands of all runs, without default settings. A run of another program gives its note."""
    lines = []
    for number, run in enumerate(runs, start=1):
        words = []
        if "note" in run["settings"]:
            lines.append(f"{number}. {run['settings']['note']} (code {run['code']})")
            continue
        for name, value in run["settings"].items():
            if name in NOT_SHOWN or value is None or value is False:
                continue
            values = [] if value is True else value if isinstance(value, list) else [value]
            words += [f"--{name}", *map(str, values)]
        lines.append(f"{number}. `accelerate launch train_accelerate.py {' '.join(words)}` (code {run['code']})")
    return "\n".join(lines)


def model_card(
    run: dict,
    repo: str,
    figure: str,
    parameters: int,
    working_size: int,
    links: Sequence[str] = (),
    weights: str = "",
) -> str:
    """The card of weights that hub/bundle.py scored. `figure` is a picture beside the card, `weights` the digest of
    the weights."""
    verdicts = run["validation"]["desirability"]
    phases = {phase: entry["step"] for each in run["runs"] for phase, entry in each["scores"].items()}
    ok_blur = verdicts["per_class"].get("ok-blur")
    maps, sharp = run["cuhk"]["blur_map"], run["validation"]["sharp"]["above_0.2"]
    return filled(
        ModelCard,
        "model_card.md",
        ModelCardData(
            license="apache-2.0",
            library_name="transformers",
            pipeline_tag="image-classification",
            tags=["blur-detection", "bokeh", "image-quality", "photo-culling", "custom_code"],
            metrics=["accuracy"],
            datasets=linked(links, "dataset"),
            model_name="ABC-FuseNet",
            eval_results=model_index(run),
        ),
        repo=repo,
        figure=figure,
        results=results_table(run, published()),
        data=source_table(by_source(run["train"])),
        recipe=recipe(run["runs"]),
        phases=", ".join(f"{phase} ({step} steps)" for phase, step in phases.items()),
        agreement=region_agreement(),
        ok_blur={"of": ok_blur["photos"], "found": round(ok_blur["photos"] * ok_blur["recall"])} if ok_blur else None,
        bad_blur={"of": verdicts["photos"], "photos": verdicts["per_class"]["bad-blur"]["photos"]},
        motion_is_worse=maps["cuhk/motion"]["curve_ap"] < maps["cuhk/out_of_focus"]["curve_ap"],
        called_blurred=f"{sharp:.1%}",
        parameters=f"{parameters:,}",
        working_size=working_size,
        see_also=see_also(links),
        networks=networks(weights),
    )


def networks(weights: str) -> str:
    """How many verdicts the stored networks change, from the benchmark `tests.benchmarks.browser`, in a sentence."""
    path = BENCHMARKS / "results" / "browser.json"
    told = json.loads(path.read_text()) if path.is_file() else {}
    if not told or told["weights"] != weights:
        return "How many verdicts the int8 weights of this network change was not measured."
    kinds = {"int8": "int8 (`q8`)", "fp16": "float16 (`fp16`)"}
    parts = [f"{1 - told['changed'][kind] / told['photos']:.1%} with {name}" for kind, name in kinds.items()]
    text = f"On {told['photos']} validation photos the verdict is that of float32 for {' and '.join(parts)}."
    if maps := told.get("changed_maps"):
        text += f" Values of maps move by up to {maps['int8']:.2f} with int8 and {maps['fp16']:.3f} with float16."
    return text


def space_card(template: str, weights: Path, repo: str | None = None, links: Sequence[str] = ()) -> str:
    """The card of the Space `repo` that shows `weights`: space/README.md or static_card.md, filled in."""
    run = weights / "run.json"
    record = json.loads(run.read_text()) if run.is_file() else {}
    processor = json.loads((weights / "preprocessor_config.json").read_text())
    parts = template.split("---\n", 2)
    data: Any = SpaceCard(f"---\n{parts[1]}---\n").data
    data.models, data.datasets = linked(links, "model"), linked(links, "dataset")
    data.thumbnail = f"https://huggingface.co/spaces/{repo}/resolve/main/{data.thumbnail}" if repo else None
    card = SpaceCard.from_template(
        data,
        template_str=f"---\n{{{{ card_data }}}}\n---\n{parts[2]}",
        results=results_table(record, published()) if "cuhk" in record else "",
        working_size=processor["size"]["longest_edge"],
        see_also=see_also(links),
        address=f"https://{re.sub(r'[^a-z0-9]+', '-', repo.lower())}.hf.space" if repo else "",
    )
    return str(card).rstrip() + "\n"


def baseline(run: dict | None = None) -> str:
    """The scores of the bundled weights on the test split of SmartBlur-Synth. Empty if there are none."""
    run = json.loads((BUNDLED / "run.json").read_text()) if run is None else run
    if "synthetic" not in run:
        return ""
    maps, levels = run["synthetic"]["blur_map"]["all"], run["synthetic"]["levels"]
    return (
        f"the project's weights have a pooled AP of {maps['pooled_ap']:.3f} and a kappa of levels of "
        f"{levels['weighted_kappa']:.3f} on the test split of the SmartBlur-Synth they were measured on "
        f"({maps['photos']} photos)."
    )
