"""Writes results.json and the figures of an evaluation, and compares several evaluations."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

from .. import __version__
from ..common.files import check_results
from ..common.text import markdown, number
from ..configuration_abc_fusenet import DESIRABILITY
from ..inference.loading import load_pipeline
from ..photos import load_photo
from ..visualization import LEVELS
from . import plots
from .records import LABEL_COLUMNS, MapFolder, model_predictor, open_split, photo_names, read_row, score_rows, spread
from .scoring import for_json, summarize

KINDS = {"all": "all photos", "defocus": "defocus", "motion": "motion", "camera-shake": "camera shake"}
"""Kinds of blur that have a precision-recall figure of their own."""
GALLERY_ROWS = 4
MAP_COLUMNS = {
    "photos": "photos",
    "pooled_ap": "pooled AP",
    "per_photo_ap": "per-photo AP",
    "curve_ap": "curve AP",
    "f_beta": "F_beta",
    "mae": "MAE",
    "iou": "IoU",
    "iou_low": "IoU at 1/6",
}
OTHER_COLUMNS = {
    ("levels", "mean_absolute_error"): "level error",
    ("levels", "weighted_kappa"): "level kappa",
    ("attention", "per_photo_auc"): "attention AUC",
    ("attention", "f_beta"): "attention F_beta",
    ("attention", "mae"): "attention MAE",
    ("desirability", "photos"): "classified",
    ("desirability", "accuracy"): "accuracy",
    ("desirability", "balanced_accuracy"): "balanced",
    ("desirability", "macro_f1"): "macro-F1",
    ("desirability", "kappa"): "kappa",
    ("desirability", "ece"): "ECE",
}


def evaluate_to_folder(
    model: str | None,
    dataset: str,
    split: str,
    out: Path,
    predictions: Path | None = None,
    peer_curves: Path | None = None,
    save_maps: Path | None = None,
    max_samples: int | None = None,
    device: str | None = None,
) -> list[dict]:
    """Score a model, blur maps in a folder of `predictions`, or both, and write results and figures.

    Scores of the model go to results.json; if both are scored, those of the predictions go to peer.json. Every process
    of an Accelerate launch calls this function. The processes share the photos, and the main process writes.
    `max_samples` rows are taken, evenly spread.

    Returns:
        the written results on the main process, nothing on the others.

    Raises:
        ValueError: in one sentence, for anything that is missing or does not fit.
    """
    state = PartialState(cpu=device == "cpu" or not torch.accelerator.is_available())
    published = plots.read_curves(peer_curves) if peer_curves else {}
    with state.main_process_first():
        rows = open_split(dataset, split, LABEL_COLUMNS if model else LABEL_COLUMNS[:1])
    chosen, names = spread(list(range(len(rows))), max_samples), photo_names(rows)
    methods: dict[str, Callable] = {}
    if predictions:
        methods[predictions.resolve().name] = MapFolder(predictions, names, chosen)
    if model:
        pipe = load_pipeline(None if model == "bundled" else model, device=device or state.device, dtype=torch.float32)
        own = model_predictor(pipe.model.eval(), pipe.image_processor)
        name = "ABC-FuseNet" if model == "bundled" else Path(model).name
        methods = {name: saving(own, save_maps, names) if save_maps else own, **methods}
    for path in (out / "results.json", out / "peer.json"):
        if path.exists():
            read_results(path)  # a file of the user's is not replaced
    out.mkdir(parents=True, exist_ok=True)
    head = {"dataset": Path(dataset).name, "split": split, "processes": state.num_processes, "version": __version__}
    results = []
    for name, predictor in methods.items():
        records = score_rows(rows, chosen, predictor)
        if state.is_main_process:
            results.append(for_json({"name": name, **head, **summarize(records)}))
            write_json(out / ("peer.json" if len(results) > 1 else "results.json"), results[-1])
    if state.is_main_process:
        draw(out, results, published)
        draw_galleries(out, rows, results[0], methods)
    return results


def saving(predictor: Callable, folder: Path, names: list[str]) -> Callable:
    """A predictor that also writes its blur maps to the folder, as NAME.npy at the working size."""
    folder.mkdir(parents=True, exist_ok=True)

    def predict_and_save(index: int, row: dict) -> dict[str, np.ndarray]:
        predicted = predictor(index, row)
        np.save(folder / f"{names[index]}.npy", predicted["blur_map"])
        return predicted

    return predict_and_save


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_results(path: Path) -> dict:
    """Read a file that `evaluate_to_folder` wrote. Raises ValueError for any other file."""
    try:
        results = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file; give the results.json of an evaluation.") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error}); give the results.json of an evaluation.") from None
    if not isinstance(results, dict) or not {"name", "dataset", "split", "curves", "per_photo"} <= set(results):
        raise ValueError(f"{path} is not the results.json of an evaluation; choose another file or folder.")
    return results


def draw(out: Path, results: list[dict], published: dict[str, dict]) -> None:
    """Draw the charts: curves of all results, all other charts of the first result only."""
    first = results[0]
    where = f"{first['dataset']}, {first['split']} split"
    for kind, title in KINDS.items():
        if kind in first.get("blur_map", {}):
            figure = kind_figure(results, kind, f"Blur maps, {title}", published if kind == "all" else {})
            figure.savefig(out / f"precision_recall_{kind}.png")
    if "levels" in first:
        levels, note = first["levels"], f"{where}. Rounded to the nearest level; pixels whose level is labelled."
        title = f"Blur levels, {first['name']}: weighted kappa {levels['weighted_kappa']:.3f}"
        figure = plots.confusion_matrix(levels["confusion"], list(LEVELS), title, note)
        figure.savefig(out / "levels_confusion.png")
    if "desirability" in first:
        scores, note = first["desirability"], f"{where}, {first['desirability']['photos']} photos."
        title = f"Desirability, {first['name']}: accuracy {scores['accuracy']:.3f}"
        figure = plots.confusion_matrix(scores["confusion"], list(DESIRABILITY), title, note)
        figure.savefig(out / "desirability_confusion.png")
        figure = plots.reliability_diagram(scores["reliability"], scores["ece"], "Calibration of the verdicts", note)
        figure.savefig(out / "desirability_reliability.png")
        curves, title = first["curves"]["desirability"], "Desirability, each class against the rest"
        figure = plots.class_precision_recall(curves, scores["per_class"], title, note)
        figure.savefig(out / "desirability_precision_recall.png")


def kind_figure(results: list[dict], kind: str, title: str, published: dict[str, dict]):
    """The precision-recall curves of one kind of blur, and published ones."""
    scored = [each for each in results if kind in each.get("blur_map", {})]
    photos = scored[0]["blur_map"][kind]["photos"]
    note = f"{scored[0]['dataset']}, {scored[0]['split']} split, {photos} photos; blurred = level > 0. "
    note += "Every map stretched to its own range, curves averaged over photos."
    if published:
        note += f"\nDashed: published, all 1000 photos; ours on {photos}."
    curves = {each["name"]: each["curves"]["blur_map"][kind] for each in scored}
    return plots.precision_recall(curves, title, note, published)


def draw_galleries(out: Path, rows, results: dict, methods: dict[str, Callable]) -> None:
    """The photos with the best, median and worst blur maps, by the area under each photo's own ROC curve."""
    ranked = [entry for entry in results["per_photo"] if entry.get("auc") is not None]
    ranked.sort(key=lambda entry: -entry["auc"])
    if not ranked:
        return
    count = int(np.clip(len(ranked) // 3, 1, GALLERY_ROWS))
    middle = (len(ranked) - count) // 2
    parts = {"best": ranked[:count], "median": ranked[middle : middle + count], "worst": ranked[-count:]}
    for name, entries in parts.items():
        drawn = []
        for entry in entries:
            row = read_row(rows, entry["row"])
            photo = load_photo(row["image"])
            predicted = [predictor(entry["row"], row) for predictor in methods.values()]
            maps = [each["blur_map"] for each in predicted]
            maps += [predicted[0]["attention_map"]] if "attention_map" in predicted[0] else []
            images = plots.gallery_images(np.asarray(row["blur_map"]), maps, photo.size)
            drawn.append({"photo": photo, "images": images, "caption": gallery_caption(entry)})
        columns = ["Photo", "Truth", *methods]
        columns += ["Attention"] if len(images) > 1 + len(methods) else []
        title = f"{name.capitalize()} blur maps: {results['dataset']}, {results['split']} split"
        figure = plots.gallery(title, drawn, columns)
        figure.savefig(out / f"gallery_{name}.png")


def gallery_caption(entry: dict) -> str:
    caption = f"{entry['source']}: ROC area {entry['auc']:.3f}, mean absolute error {entry['mae']:.2f}"
    if "predicted" in entry:
        caption += f"; labelled {entry['desirability']}, "
        caption += f"judged {entry['predicted']} ({max(entry['probabilities']):.0%})"
    return caption


def compare(files: list[Path], out: Path, peer_curves: Path | None = None) -> str:
    """Compare several results on the same photos: comparison.md is a table, comparison.png shows the curves. Returns
    the table. Raises ValueError for a file that holds no results, and for results on different photos."""
    results = [read_results(path) for path in files]
    published = plots.read_curves(peer_curves) if peer_curves else {}
    photos = [sorted(entry["source"] for entry in each["per_photo"] if "auc" in entry) for each in results]
    for path, each, sources in zip(files[1:], results[1:], photos[1:], strict=True):
        if sources != photos[0]:
            raise ValueError(
                f"{files[0]} ({results[0]['dataset']}, {len(photos[0])} photos) and {path} ({each['dataset']}, "
                f"{len(sources)} photos) are not of the same photos; evaluate both on the same ones."
            )
    if not photos[0]:
        raise ValueError(f"{files[0]} has no scores of blur maps to compare.")
    taken: set[str] = set()
    for each in results:
        name, number = each["name"], 2
        while each["name"] in taken:
            each["name"], number = f"{name} ({number})", number + 1
        taken.add(each["name"])
    check_results(out, "comparison.png", ["comparison.md"])
    out.mkdir(parents=True, exist_ok=True)
    text = table(results)
    (out / "comparison.md").write_text(text + "\n")
    kind_figure(results, "all", "Blur maps, all photos", published).savefig(out / "comparison.png")
    return text


def table(results: list[dict]) -> str:
    """Scores as Markdown: blur maps by method and kind of blur, then the rest by method."""
    lines = []
    rows = [
        [each["name"], kind, *(number(each["blur_map"][kind][name]) for name in MAP_COLUMNS)]
        for kind in KINDS
        for each in results
        if kind in each.get("blur_map", {})
    ]
    if rows:
        lines += markdown(["blur maps", "blur", *MAP_COLUMNS.values()], rows)
    columns = [key for key in OTHER_COLUMNS if any(key[0] in each for each in results)]
    if columns:
        rows = [
            [each["name"], *(number(each.get(part, {}).get(name)) for part, name in columns)]
            for each in results
            if any(part in each for part, _ in columns)
        ]
        lines += [""] if lines else []
        lines += markdown(["other scores", *(OTHER_COLUMNS[key] for key in columns)], rows)
    return "\n".join(lines)
