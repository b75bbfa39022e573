"""Scores of whole photos against scikit-learn, the scorer of the literature, and what is right by construction."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as oracle

from abc_hf import load_pipeline
from abc_hf.cli import main
from abc_hf.configuration_abc_fusenet import DESIRABILITY
from abc_hf.evaluation.records import (
    MapFolder,
    PhotoRecord,
    open_split,
    photo_names,
    predict,
    read_map,
    score_photo,
    score_rows,
    spread,
)
from abc_hf.evaluation.results import read_results
from abc_hf.evaluation.scoring import evaluate, selection_score, verdict_scores
from abc_hf.verdicts import THRESHOLD, MapFacts, Verdict
from tests.toy_photos import write_toy_split


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A folder with the data set `set`, and rows() that reads it."""
    folder = tmp_path_factory.mktemp("toy")
    write_toy_split(folder / "set")
    return folder


@pytest.fixture(scope="module")
def rows(toy):
    return datasets.load_dataset(str(toy / "set"), split="test")


@pytest.fixture(scope="module")
def scored(toy, tiny_folder):
    """The toy split scored by the tiny model through the command: results, and the maps it saved."""
    out = toy / "scored"
    command = ["evaluate", str(tiny_folder), "--dataset", str(toy / "set"), "--device", "cpu"]
    assert main([*command, "--out", str(out), "--save-maps", str(toy / "maps")]) == 0
    return read_results(out / "results.json"), toy / "maps"


def test_maps_are_scored_as_the_literature_does(scored, rows, tmp_path):
    """The saved maps and binary masks through score_maps.py; it knows no unknown pixels, so here they have 255 = sharp
    and are compared on a split without them."""
    dataset = write_toy_split(tmp_path / "set", levels=(0, 254))
    masks = tmp_path / "masks"
    masks.mkdir()
    for index, row in enumerate(datasets.load_dataset(str(dataset), split="test")):
        if row["blur_map"] is not None:
            Image.fromarray(np.uint8(255) * (np.asarray(row["blur_map"]) > 0)).save(masks / f"photo{index}.png")
    maps = scored[1]
    assert main(["evaluate", "--predictions", str(maps), "--dataset", str(dataset), "--out", str(tmp_path / "o")]) == 0
    ours = read_results(tmp_path / "o" / "results.json")["blur_map"]["all"]
    scorer = [sys.executable, Path(__file__).parent / "score_maps.py", maps, masks]
    expected = json.loads(subprocess.run(scorer, check=True, capture_output=True).stdout)
    assert expected["photos"] == 8
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-6), name


def test_levels_and_attention_equal_scikit_learn(scored, rows, plain_pipe):
    results, _ = scored
    truths, nearest, areas, errors = [], [], [], []
    for row in rows:
        if row["blur_map"] is None:
            continue
        report = plain_pipe(row["image"])
        truth = np.asarray(row["blur_map"])
        small = Image.fromarray(report.small_blur_map).resize(truth.shape[::-1], Image.BILINEAR)
        truths.append(truth[truth < 4])
        nearest.append(np.rint(3 * np.asarray(small))[truth < 4].astype(int))
        salient = np.asarray(row["salient_mask"]) == 255
        values = np.asarray(report.attention_map)
        areas.append(oracle.roc_auc_score(salient.ravel(), np.rint(255 * values).ravel()))
        errors.append(oracle.mean_absolute_error(salient.ravel(), values.ravel()))
    truths, nearest = np.concatenate(truths), np.concatenate(nearest)
    levels = results["levels"]
    assert levels["pixels"] == len(truths)
    assert levels["confusion"] == oracle.confusion_matrix(truths, nearest, labels=range(4)).tolist()
    kappa = oracle.cohen_kappa_score(truths, nearest, labels=range(4), weights="quadratic")
    assert levels["weighted_kappa"] == pytest.approx(kappa, abs=1e-9)
    assert levels["mean_absolute_error"] == pytest.approx(oracle.mean_absolute_error(truths, nearest), abs=1e-9)
    assert results["attention"]["per_photo_auc"] == pytest.approx(np.mean(areas), abs=1e-6)
    assert results["attention"]["mae"] == pytest.approx(np.mean(errors), abs=1e-6)


def test_classes_equal_scikit_learn(scored, rows, tiny_folder):
    scores = scored[0]["desirability"]
    pipe = load_pipeline(tiny_folder, device="cpu")
    labelled = [row for row in rows if row["desirability"] is not None]
    truth = np.array([row["desirability"] for row in labelled])
    chances = np.array([list(pipe(row["image"]).probabilities.values()) for row in labelled])
    predicted = chances.argmax(1)
    assert scores["photos"] == 8
    assert scores["accuracy"] == pytest.approx(oracle.accuracy_score(truth, predicted))
    assert scores["balanced_accuracy"] == pytest.approx(oracle.balanced_accuracy_score(truth, predicted))
    assert scores["macro_f1"] == pytest.approx(oracle.f1_score(truth, predicted, average="macro"))
    assert scores["kappa"] == pytest.approx(oracle.cohen_kappa_score(truth, predicted))
    assert scores["confusion"] == oracle.confusion_matrix(truth, predicted, labels=range(4)).tolist()
    for index, name in enumerate(DESIRABILITY):
        area = oracle.average_precision_score(truth == index, chances[:, index])
        assert scores["per_class"][name]["average_precision"] == pytest.approx(area, abs=1e-6)


def test_what_results_hold(scored):
    results, _ = scored
    assert {"all", "defocus", "motion", "toy"} == set(results["blur_map"]) == set(results["curves"]["blur_map"])
    assert [results["blur_map"][kind]["photos"] for kind in ("all", "defocus", "motion")] == [8, 4, 2]
    assert results["photos"] == len(results["per_photo"]) == 9
    assert results["processes"] == 1
    written = {path.name for path in (scored[1].parent / "scored").iterdir()}
    assert written == {
        "results.json",
        *(f"precision_recall_{kind}.png" for kind in ("all", "defocus", "motion")),
        *(f"desirability_{name}.png" for name in ("confusion", "reliability", "precision_recall")),
        "levels_confusion.png",
        *(f"gallery_{name}.png" for name in ("best", "median", "worst")),
    }


@pytest.mark.slow
def test_the_same_numbers_on_two_processes(scored, toy, tiny_folder, tmp_path):
    """Nine rows, an odd number: nothing may be counted twice to fill a batch."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "abc_hf", "evaluate", tiny_folder, "--dataset", toy / "set", "--out", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    shared = read_results(tmp_path / "results.json")
    assert shared.pop("processes") == 2
    alone = {key: value for key, value in scored[0].items() if key != "processes"}
    assert flat(shared) == pytest.approx(flat(alone), abs=1e-6)
    assert run.stdout.count("| blur maps") == 1


def flat(value, path="") -> dict:
    """Every figure by the path to it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        return {path: value}
    return {key: entry for name, inner in items for key, entry in flat(inner, f"{path}/{name}").items()}


@pytest.mark.slow
def test_maps_of_another_program_are_scored_alike(scored, toy, rows, tmp_path):
    results, maps = scored
    png = tmp_path / "png"
    png.mkdir()
    for index in range(len(rows)):
        values = np.load(maps / f"photo{index}.npy")
        Image.fromarray(np.rint(65535 * values).astype(np.uint16)).save(png / f"photo{index}.png")
    for folder, tolerance in ((maps, 1e-12), (png, 1e-3)):
        out = tmp_path / f"of_{folder.name}"
        assert main(["evaluate", "--predictions", str(folder), "--dataset", str(toy / "set"), "--out", str(out)]) == 0
        theirs = read_results(out / "results.json")
        assert theirs["name"] == folder.name and "desirability" not in theirs
        assert flat(theirs["blur_map"]) == pytest.approx(flat(results["blur_map"]), abs=tolerance)
        assert theirs["levels"]["weighted_kappa"] == pytest.approx(results["levels"]["weighted_kappa"], abs=tolerance)


def test_a_right_map_gets_full_marks(rows):
    """254 counts as blurred, 255 does not count at all."""
    row = rows[1]
    truth = np.asarray(row["blur_map"])
    perfect = np.where(truth == 255, 0.5, np.minimum(truth, 3) / 3).astype(np.float32)
    record = score_photo(1, row, {"blur_map": perfect})
    assert record.blur.average_precision == record.blur.auc == 1
    assert record.blur.positive.sum() + record.blur.negative.sum() == (truth != 255).sum()
    assert record.blur.positive.sum() == ((truth > 0) & (truth != 255)).sum()
    assert (record.levels == np.diag(np.bincount(truth[truth < 4], minlength=4))).all()


def test_a_prediction_is_what_the_pipeline_reports(rows, tiny_folder):
    """But for rounding: the pipeline's engine has BatchNorm folded into the convolutions."""
    pipe = load_pipeline(tiny_folder, device="cpu")
    report, predicted = pipe(rows[0]["image"]), predict(pipe.model, pipe.image_processor, rows[0]["image"])
    assert predicted["blur_map"] == pytest.approx(report.small_blur_map, abs=5e-5)
    assert predicted["attention_map"] == pytest.approx(report.small_attention_map, abs=5e-5)
    chances = torch.from_numpy(predicted["logits"]).softmax(-1).tolist()
    assert chances == pytest.approx(list(report.probabilities.values()), abs=5e-5)


def test_training_sees_the_same_scores(scored, rows, tiny_folder):
    pipe = load_pipeline(tiny_folder, device="cpu")
    scores = evaluate(pipe.model, pipe.image_processor, rows, progress=False)
    assert scores["blur_real"] == pytest.approx(scored[0]["blur_map"]["all"])
    assert scores["desirability_real"]["kappa"] == scored[0]["desirability"]["kappa"]
    real, synthetic = scores["blur_real"], scores["blur_synthetic"]
    aucs = [
        part[key]
        for part, key in ((real, "pooled_auc"), (real, "per_photo_auc"), (synthetic, "pooled_auc"))
        if key in part
    ]
    assert selection_score(scores, ("blur",)) == pytest.approx(np.mean(aucs))
    expected = scores["desirability_real"]["kappa"] + np.mean(aucs)
    assert selection_score(scores, ("blur", "attention", "content")) == pytest.approx(expected)
    few = evaluate(pipe.model, pipe.image_processor, rows, ("attention",), per_group=2, progress=False)
    assert few["photos"] == 4 and set(few) == {"photos", "attention"}
    assert selection_score(few, ("attention",)) == few["attention"]["per_photo_auc"]


def test_rows_are_spread_evenly():
    assert spread(list(range(9)), 3) == [0, 4, 8]
    assert spread([3, 5], None) == spread([3, 5], 9) == [3, 5]


def test_names_of_files():
    table = datasets.Dataset.from_dict({"source": ["a/x", "b/x", "c/y.z", "a/x"]})
    assert photo_names(table) == ["x", "x-2", "y.z", "x-3"]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.full((4, 4), 2.0), "must hold one channel of values in 0..1"),
        (np.full((4, 4), np.nan), "must hold one channel of values in 0..1"),
        (np.zeros((4, 4, 3)), "must hold one channel"),
        (None, "cannot be read as a map"),
    ],
)
def test_a_map_that_is_none_is_one_sentence(tmp_path, array, said):
    path = tmp_path / "map.npy"
    path.write_bytes(b"no map") if array is None else np.save(path, array)
    with pytest.raises(ValueError, match=f"{path.name}.*{said}"):
        read_map(path)


def test_maps_must_be_there_and_fit(tmp_path, rows):
    names = photo_names(rows)
    with pytest.raises(ValueError, match="nowhere: there is no such folder"):
        MapFolder(tmp_path / "nowhere", names, [0])
    np.save(tmp_path / "photo0.npy", np.zeros((64, 64)))
    with pytest.raises(ValueError, match="lacks the blur maps of 2 of 3 photos, among them photo1.npy"):
        MapFolder(tmp_path, names, [0, 1, 2])
    with pytest.raises(ValueError, match="photo0.npy is 64 x 64 and its photo 96 x 64: the map must cover"):
        MapFolder(tmp_path, names, [0])(0, rows[0])


def test_masks_that_are_not_levels_are_refused(rows):
    row = {**rows[0], "blur_map": Image.new("L", (8, 8), 128)}
    with pytest.raises(ValueError, match=r"Row 0 \(toy/photo0\), column blur_map: the value 128 is none of 0\.\.3"):
        score_photo(0, row, {"blur_map": np.zeros((8, 8), np.float32)})


def saved(folder: Path, table, split: str = "test") -> str:
    (folder / "data").mkdir(parents=True)
    table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return str(folder)


def test_data_sets_that_cannot_be_scored_are_one_sentence(rows, tmp_path):
    def refused(said: str, name: str, **options):
        with pytest.raises(ValueError, match=said) as error:
            open_split(name, options.pop("split", "test"), **options)
        assert "\n" not in str(error.value)

    whole = saved(tmp_path / "whole", rows)
    assert len(open_split(whole, "test")) == 9
    refused("No data set can be loaded from .*nothing", str(tmp_path / "nothing"))
    refused("has no split train; it has test", whole, split="train")
    refused("The split test of .* is empty", saved(tmp_path / "empty", rows.select([])))
    refused("there is no column image", saved(tmp_path / "photos", rows.remove_columns("image")))
    nameless = open_split(saved(tmp_path / "source", rows.remove_columns("source")), "test")
    assert nameless["source"][:2] == ["row/0", "row/1"]
    bare = saved(tmp_path / "bare", rows.remove_columns("blur_map"))
    refused(
        "No row of the split test of .* has a blur_map: there is nothing to score against", bare, needed=("blur_map",)
    )
    assert len(open_split(bare, "test")) == 9
    unlabelled = saved(tmp_path / "unlabelled", rows.select([8]))
    refused("No row of the split test of .* has a blur_map or salient_mask or desirability", unlabelled)
    names = saved(tmp_path / "names", rows.cast_column("desirability", datasets.Value("int64")))
    refused("column desirability: it must be a ClassLabel or the names of no-blur, good-blur, ok-blur", names)
    numbers = rows.remove_columns("blur_map").add_column("blur_map", [0] * 9)
    refused("column blur_map: images were expected", saved(tmp_path / "numbers", numbers))


def test_a_photo_that_is_damaged_is_one_sentence(rows, tmp_path):
    row = {"image": {"bytes": b"no photo", "path": None}, "source": "toy/damaged"}
    features = datasets.Features({"image": datasets.Image(), "source": datasets.Value("string")})
    table = datasets.Dataset.from_list([row], features=features)
    with pytest.raises(ValueError, match=r"Row 0 of the data set cannot be read \(.*\); repair it or leave it out"):
        score_rows(table, [0], lambda index, row: {})


def test_precision_and_recall_of_the_photos_rejected_at_the_threshold():
    """Of three photos below it two are bad-blur; of three photos of bad-blur it finds two."""
    facts = MapFacts(subject=0.5, background=0.5, blurred=0.5, background_blurred=0.5, core=0.5)
    photos = [("bad-blur", 0.1), ("bad-blur", 0.2), ("no-blur", 0.3), ("bad-blur", 0.4), ("good-blur", 0.9)]
    records = [
        PhotoRecord(
            index=index,
            source="toy/a",
            group="blurred",
            desirability=DESIRABILITY.index(label),
            probabilities=np.full(4, 0.25),
            verdict=Verdict(label, None, True, score, (label, "ok-blur")),
            facts=facts,
        )
        for index, (label, score) in enumerate(photos)
    ]
    rejected = verdict_scores(records)["rejected"]
    assert rejected == {"threshold": THRESHOLD, "share": 3 / 5, "precision": 2 / 3, "recall": 2 / 3}
