"""Write every figure of README.md and docs/ from JSON files.

Run `python -m hub.render_readme`. It reads run.json beside the bundled weights (written by hub/bundle.py) and, in
tests/benchmarks, the published figures and the results of the benchmarks there. The cards for the Hub are
written when something is uploaded (hub/cards.py).
"""

import json
import re
import textwrap
from pathlib import Path

from abc_hf.common.files import sha256_of
from abc_hf.common.text import markdown, number
from abc_hf.inference.loading import BUNDLED

ROOT = Path(__file__).parents[1]
RUN = BUNDLED / "run.json"
BENCHMARKS = ROOT / "tests" / "benchmarks"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
SCALE, NODES, NODE_CORES = 100_000_000, (10, 30, 100), 16
"""The photos, the machines and the cores of each for which docs/scale.md says how long they take."""
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
RANKS = ("rank_correlation", "rank_correlation_of_all")


def digest_of_weights(folder: Path) -> str:
    """A short hash of the weights."""
    return sha256_of(folder / "model.safetensors")[:12]


def sources() -> dict:
    """The JSON files that figures come from, by name, and the fingerprint of the bundled weights."""
    return {
        "run": json.loads(RUN.read_text()),
        "published": json.loads((BENCHMARKS / "published.json").read_text()),
        "peers": json.loads((BENCHMARKS / "results" / "peers.json").read_text()),
        "speed": json.loads((BENCHMARKS / "results" / "speed.json").read_text()),
        "radius": json.loads((BENCHMARKS / "results" / "blur_radius.json").read_text()),
        "engines": json.loads((BENCHMARKS / "results" / "engines.json").read_text()),
        "browser": json.loads((BENCHMARKS / "results" / "browser.json").read_text()),
        "ray": json.loads((BENCHMARKS / "results" / "ray.json").read_text()),
        "holiday": json.loads((BENCHMARKS / "results" / "holiday.json").read_text()),
        "ablation": json.loads((ROOT / "hub" / "figures" / "ablation" / "ablation.json").read_text()),
        "weights": digest_of_weights(RUN.parent),
    }


def results_table(run: dict, published: dict) -> str:
    """Maps and labels in full, as Markdown: for docs/evaluating.md and for the cards."""
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
    rows = [
        [title, str(row["photos"]), *(number(row[key]) for key in CLASS_MEASURES)] for title, row in verdicts.items()
    ]
    lines += ["", *markdown(["desirability", "photos", *CLASS_MEASURES.values()], rows)]
    first, second = (
        number(max(each["photos"] for each in row["per_class"].values()) / row["photos"]) for row in verdicts.values()
    )
    sharp = run["validation"]["sharp"]
    text = (
        f"Of {sharp['photos']} validation photos without blur, {sharp['above_0.2']:.1%} have a blur map of more than "
        f"0.2 on average; the mean is {sharp['mean']:.3f}, and 0 would be right."
    )
    lines += ["", f"One label for all photos, the most frequent, has an accuracy of {first} and {second} there."]
    return "\n".join([*lines, "", *textwrap.wrap(text, 120)])


def levels_table(scores: dict) -> list[str]:
    """Scores on computed blur, whose levels are known exactly."""
    maps, levels, row = scores["blur_map"]["all"], scores["levels"], ["SmartBlur-Synth, test split"]
    row += [str(maps["photos"]), *(number(maps[key]) for key in MAP_MEASURES)]
    row += [number(levels["mean_absolute_error"]), number(levels["weighted_kappa"])]
    return markdown(["blur levels, computed blur", "photos", *MAP_MEASURES.values(), "level error", "kappa"], [row])


def benchmark_table(peers: dict, engines: dict, ablation: dict, weights: str) -> str:
    """Our engines and other programs: their cost, measured in one call on the same photos, and their scores. The
    table says so if other weights were measured."""
    scores = {"all": "blurred places", "defocus": "of defocus", "motion": "of motion"}
    content = ablation["verdicts"]["1: C"]["accuracy"]
    verdicts = {"MobileNetV2 classifier": sum(content) / len(content)}
    for name, each in engines["engines"].items() if engines["weights"] == peers["weights"] else ():
        verdicts["ABC-FuseNet" if name == "torch" else f"ABC-FuseNet, {name}"] = each["accuracy"]
    rows = []
    for each in peers["methods"]:
        maps, right = each["blur_map"] or {}, verdicts.get(each["name"])
        measured = {kind: maps[kind]["pooled_ap" if kind == "all" else "curve_ap"] for kind in scores if kind in maps}
        figures = [number(measured[kind]) if kind in measured else "" for kind in scores]
        name = each["name"]
        if name.startswith("ABC-FuseNet") and weights != peers["weights"]:
            name += " (earlier weights)"
        cost = [f"{each['seconds']:.2g}", f"{each['megabytes']:.0f}" if "megabytes" in each else ""]
        rows.append([name, *cost, "" if right is None else number(right), *figures])
    header = [f"{peers['photos']} photos", "seconds a photo", "MB", "right verdicts", *scores.values()]
    return "\n".join([*markdown(header, rows), "", f"Seconds and megabytes: {peers['machine']}."])


def engines_table(engines: dict, weights: str) -> str:
    """The cost of each engine, and the verdicts that it changes. The table says so if other weights were measured."""
    note = "" if engines["weights"] == weights else " (earlier weights)"
    header = ["`--engine`", "CPU seconds a photo", "times as fast", "to start", f"same verdicts{note}"]
    header += ["probabilities differ at most", "right verdicts"]
    first, rows = engines["engines"]["torch"]["cpu_seconds"], []
    for name, each in engines["engines"].items():
        cost = [f"{each['cpu_seconds']:.3f}", f"{first / each['cpu_seconds']:.2f}", f"{each['start_cpu_seconds']:.1f}"]
        largest = f"{each['probabilities_largest']:.2g}"
        rows.append([f"`{name}`", *cost, f"{each['same_verdict']:.1%}", largest, number(each["accuracy"])])
    text = f"{engines['photos']} of {engines['of']} photos of the {engines['split']} split; {engines['machine']}."
    return "\n".join([*markdown(header, rows), "", text])


def scale_text(ray: dict, weights: str) -> str:
    """How many days `SCALE` photos take on clusters, from the parts of a photo measured on one thread and what Ray
    leaves of the speed. Says if other weights were measured."""
    left, rows = ray["real"]["share"], []
    for size, part in ray["parts"].items():
        seconds = part["prepare"] + part["openvino"]
        rate = NODE_CORES * min(1, left["rows_per_second"]) * left["cpu"] / seconds
        days = [SCALE / rate / nodes / 86400 for nodes in NODES]
        shares = [f"{part[name] / seconds:.0%}" for name in ("prepare", "openvino")]
        rows.append(
            [size, f"{rate:.0f}", *shares, f"{rate * part['megabytes'] / 125:.1f}", *map("{:.1f}".format, days)]
        )
    header = ["photos", "photos a second and node", "opening", "judging", "Gbit/s that a node reads"]
    lines = markdown([*header, *(f"days on {nodes} nodes" for nodes in NODES)], rows)
    if ray["weights"] != weights:
        lines.append("\nEarlier weights were measured.")
    for name, title in {"stub": "tiny photos and a network that costs nothing", "real": "real photos"}.items():
        each = ray[name]
        first, middle, last = (f"{megabytes:.0f} MB" for megabytes in each["ray"]["megabytes"])
        busy = each["ray"]["rows_per_second"] / each["ray"]["rows_per_cpu_second"]
        text = (
            f"{each['photos']:,} {title}, on {ray['machine']} with other work: an actor has {busy:.0%} of a core. It "
            f"judges {each['ray']['rows_per_second']:.1f} photos a second, {each['share']['rows_per_second']:.2f} of "
            f"what a process without Ray does at the same time. {each['share']['cpu']:.0%} of the job's CPU time is "
            f"the actors'. An actor has {first} after a tenth of its photos, {middle} after half of them, and {last} "
            f"at the end. The first batch begins after {each['seconds_to_the_first_batch']:.0f} s. Rows take "
            f"{each['bytes_a_row'] / 1000:.1f} KB a photo, so those of a hundred million "
            f"{SCALE * each['bytes_a_row'] / 1e12:.1f} TB."
        )
        lines += ["", *textwrap.wrap(text, 120)]
    return "\n".join(lines)


def holiday_table(holiday: dict, weights: str) -> str:
    """What `sort` takes beside the sum of its parts, and for a holiday's photos. Says if weights are other ones."""
    note = "" if holiday["weights"] == weights else " (earlier weights)"
    titles = {"small": "JPEGs of 1 megapixel", "jpeg": "JPEGs of 12 to 24 megapixels", "raw": "previews of RAW files"}
    rows = []
    for kind, title in titles.items():
        stages = holiday[kind]["stages"]
        for engine, whole in ((name, holiday[kind][name]) for name in ("torch", "openvino")):
            figures = (stages["prepare"], stages[engine], stages["closely"], whole["cpu_seconds"])
            row = [f"{title}, `{engine}`", *(f"{value:.3f}" for value in figures)]
            rows.append([*row, f"{whole['share_of_stages']:.2f}", f"{whole['holiday_minutes']:.1f}"])
    header = [f"CPU seconds a photo{note}", "open and prepare", "judge", "look at the subject", "`sort` as a whole"]
    lines = markdown([*header, "stages / whole", "minutes for 3,000"], rows)
    return "\n".join([*lines, "", f"{holiday['machine']}; minutes are by the clock."])


def processor_text(speed: dict) -> str:
    """The cost of our image processor beside the network, in a sentence."""
    small, large = (speed["stages"][size] for size in ("1 MP", "24 MP"))
    text = (
        f"On two CPU cores it takes {1000 * small['preprocess']:.1f} ms for a photo of 1 megapixel and "
        f"{1000 * large['preprocess']:.1f} ms for one of 24 megapixels, which is decoded smaller; the network takes "
        f"{1000 * small['model']:.0f} ms."
    )
    return "\n".join(textwrap.wrap(text, 120))


def page_text(browser: dict, weights: str) -> str:
    """How far the page in the browser is from Python, and its cost. The text says so if other weights were measured."""
    page, sizes, times = browser["page"], browser["bytes"], browser["times"]
    earlier = "" if browser["weights"] == weights else ", with earlier weights"
    text = (
        f"The network is {sizes['network'] / 1e6:.1f} MB. A first visit loads {sizes['with_wasm'] / 1e6:.0f} MB, or "
        f"{sizes['with_webgpu'] / 1e6:.0f} MB with WebGPU; later visits load nothing. Of {page['photos']} validation "
        f"photos, the page gives {page['same_verdict']} the verdict that Python gives{earlier}. The maps differ by "
        f"{page['maps_mean']:.4f} on average and by {page['maps_largest']:.3f} at most. In Chromium on two cores "
        f"({times['engine']}), the page is ready after {times['load']:.1f} s, the first answer takes "
        f"{times['first']:.1f} s, and half of the photos take less than {times['median']:.1f} s."
    )
    return "\n".join(textwrap.wrap(text, 120))


def summary(run: dict, published: dict, peers: dict) -> str:
    """The results in one table, beside the simplest baselines, as Markdown."""
    rows = []
    for name, title in {"validation": "validation", "cuhk": "CUHK, never trained on"}.items():
        judged = run[name]["verdicts"]["all"]
        ours, other = judged["agreed"]["accuracy"], judged["always_one_label"]
        note = "always the same label" + (", better than ours" if other > ours else "")
        title = f"{title}: right verdicts where all annotators agree"
        rows.append([title, str(judged["agreed"]["photos"]), number(ours), f"{number(other)} ({note})"])
    first, *others = (each for each in peers["methods"] if each["blur_map"])
    simplest = min(others, key=lambda each: each["seconds"])
    photos = str(peers["photos"])
    scores = [number(each["blur_map"]["all"]["pooled_ap"]) for each in (first, simplest)]
    rows.append(["CUHK: blurred places, pooled AP", photos, scores[0], f"{scores[1]} ({simplest['name']})"])
    ours, theirs = run["cuhk"]["blur_map"]["all"], published["blur_map"]["all"]
    peer = f"{number(theirs['pooled_ap'])} ({published['name']})"
    rows.append(["CUHK: blurred places, pooled AP", str(ours["photos"]), number(ours["pooled_ap"]), peer])
    lines = markdown(["", "photos", "ABC-FuseNet", "baseline"], rows)
    return "\n".join([*lines, "", *textwrap.wrap(certainty(run), 120)])


def certainty(run: dict) -> str:
    """How many verdicts are certain, and how far to trust these."""
    scores = run["validation"]["verdicts"]["all"]
    sure, missed, kind = scores["certain"], scores["false_bad"], scores["kind"]
    return (
        f"On validation {percent(sure['share'])} of the verdicts are certain, and {percent(sure['accuracy'])} of these "
        f"are right. {percent(missed['share'])} of the photos that no annotator calls bad-blur are called so. The kind "
        f"of blur is right on {percent(kind['accuracy'])} of {kind['photos']} photos."
    )


def percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"


def threshold_text(run: dict) -> str:
    """Precision and recall of bad-blur at the default threshold, in a sentence for each split."""
    sentences = []
    for name, title in {"validation": "validation", "cuhk": "CUHK"}.items():
        rejected, bad = run[name]["verdicts"]["all"]["rejected"], run[name]["desirability"]["per_class"]["bad-blur"]
        sentences.append(
            f"On {title}, {percent(rejected['share'])} of the photos score below {rejected['threshold']}. For "
            f"bad-blur, this threshold has a precision of {percent(rejected['precision'])} and a recall of "
            f"{percent(rejected['recall'])}; {bad['photos']} photos have bad-blur."
        )
    return "\n".join(textwrap.wrap(" ".join(sentences), 120))


def verdicts_table(run: dict) -> str:
    """How far to trust verdicts, by source, as Markdown."""
    rows = []
    for name, title in {"validation": "validation", "cuhk": "CUHK"}.items():
        for source, scores in run[name]["verdicts"].items():
            agreed, certain = scores["agreed"], scores["certain"]
            figures = [agreed["accuracy"], agreed["kappa"], scores["always_one_label"]]
            shares = [scores[key]["share"] for key in ("false_bad", "bad_found")]
            shares += [certain["share"], certain["accuracy"], scores["kind"]["accuracy"]]
            row = [f"{title}, {source}", str(agreed["photos"]), *map(number, figures), *map(percent, shares)]
            rows.append(row)
    header = ["photos on which all annotators agree", "photos", "accuracy", "kappa", "always one label"]
    header += ["false bad", "bad found", "certain", "certain and right", "kind right"]
    return "\n".join(markdown(header, rows))


def sharpness_table(radius: dict) -> str:
    """How well the radius of blur in native pixels is told, by what the camera did, as Markdown; then, in sentences,
    whole photos at several sizes and real photos."""
    rows = []
    for name, each in radius.items():
        if isinstance(each, dict) and "rank_correlation_of_all" in each:
            ranks = [f"{number(each[key])} ({number(each[f'baseline_{key}'])})" for key in RANKS]
            rows.append([name, str(each["series"]), percent(each["told"]), *ranks, percent(each["median_error"])])
    header = ["six radii each", "series", "told", "rank correlation within (Laplacian)", "of all (Laplacian)"]
    text = ["In brackets the baseline, the variance of the Laplacian, divided by the variance of grey."]
    if sizes := radius["sizes"]:
        low, middle, high = sizes["radius_over_expected"]
        text.append(
            f"{sizes['photos']} whole photos under a blur of 16 pixels, at 24, 12, 6 and 1 megapixels: the radius is "
            f"{middle:.2f} times the expected one ({low:.2f} to {high:.2f} for four in five); sharp and blurred, "
            f"{percent(sizes['same_verdict_at_all_sizes'])} of them get the same verdict at all sizes."
        )
    if spent := radius["cost"]:
        text.append(
            f"With faces, all of this adds {percent(spent['torch']['added'])} to the CPU time of a JPEG of 24 "
            f"megapixels and {spent['megabytes']:.0f} MB with `--engine torch`, and "
            f"{percent(spent['openvino']['added'])} with `openvino`."
        )
    if real := radius["labelled"]:
        text.append(
            f"On {real['photos']} real photos the radius, as a share of the long side, has a rank correlation of "
            f"{number(real['rank_correlation'])} with the blur that people see on the subject (Laplacian: "
            f"{number(real['baseline_rank_correlation'])})."
        )
    lines = markdown([*header, "median error"], rows)
    return "\n".join([*lines, "", *textwrap.wrap(" ".join(text), 120)])


def render(
    page: str, *, run, published, peers, speed, radius, engines, ray, holiday, ablation, browser, weights
) -> str:
    """Fill the sections of a page whose figures come from JSON."""
    sections = {
        "results": summary(run, published, peers),
        "threshold": threshold_text(run),
        "scores": results_table(run, published),
        "verdicts": verdicts_table(run),
        "benchmark": benchmark_table(peers, engines, ablation, weights),
        "engines": engines_table(engines, weights),
        "sharpness": sharpness_table(radius),
        "scale": scale_text(ray, weights),
        "holiday": holiday_table(holiday, weights),
        "processor": processor_text(speed),
        "page": page_text(browser, weights),
    }
    for name, text in sections.items():
        section = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        escaped = text.replace("\\", r"\\")
        page = section.sub(rf"\g<1>{escaped}\n\g<2>", page)
    return page


def main() -> None:
    given = sources()
    for path in PAGES:
        path.write_text(render(path.read_text(), **given))


if __name__ == "__main__":
    main()
