"""What a training run says of itself."""

import math

import numpy as np
import pytest
from accelerate import Accelerator
from huggingface_hub import ModelCard
from PIL import Image

from abc_hf import ABCFuseNetForBlurUnderstanding, ABCFuseNetImageProcessor
from abc_hf.training import run_log

HISTORY = [
    {"phase": "blur", "step": 5, "loss": 0.5, "learning_rate": 0.1},
    {"phase": "blur", "step": 5, "selection": 0.0, "blur_real": {"pooled_auc": 0.0}},
    {"phase": "blur", "step": 10, "selection": -0.1},
    {"phase": "joint", "step": 5, "selection": float("nan")},
    {"phase": "joint", "step": 6, "selection": None},
    {"phase": "joint", "step": 7, "selection": 0.25, "desirability_real": {"kappa": 0.25, "confusion": [[1]]}},
]


def test_the_best_scores_are_those_of_the_weights_that_were_kept():
    best = run_log.best_scores(HISTORY)
    assert {phase: entry["step"] for phase, entry in best.items()} == {"blur": 5, "joint": 7}
    assert run_log.best_scores(HISTORY[:5])["joint"]["step"] == 6


def test_trackers_get_numbers_by_phase():
    assert run_log.flatten(HISTORY[5]) == {"joint/selection": 0.25, "joint/desirability_real/kappa": 0.25}


def test_json_has_no_nan():
    assert run_log.for_json({"a": [math.nan, 1.0], "b": (math.inf,)}) == {"a": [None, 1.0], "b": [None]}


@pytest.mark.parametrize(
    "token", [["--hub_token", "secret"], ["--hub_token=secret"], ["--hub-token", "secret"], ["--hub-token=secret"]]
)
def test_the_command_line_is_kept_without_the_token(token):
    kept = run_log.without_token(["--a", "1", *token, "--b"])
    assert not any("secret" in argument for argument in kept) and kept[:2] == ["--a", "1"] and kept[-1] == "--b"


def test_curves_show_every_phase():
    figure = run_log.curves(HISTORY)
    assert [axis.get_title() for axis in figure.axes] == [
        "blur: training loss", "joint: training loss", "blur: score on validation", "joint: score on validation",
    ]  # fmt: skip
    assert figure.axes[2].lines[0].get_xdata().tolist() == [5, 10]


def test_samples_show_photo_truth_and_map_on_the_full_scale(tiny_folder, photo):
    model = ABCFuseNetForBlurUnderstanding.from_pretrained(tiny_folder).eval()
    processor = ABCFuseNetImageProcessor.from_pretrained(tiny_folder)
    levels = np.zeros((48, 64), np.uint8)
    levels[:, 20:40], levels[:, 40:60], levels[:, 60:] = 1, 254, 255
    rows = [{"image": photo(), "blur_map": Image.fromarray(levels), "source": "a/b"}]
    rows.append(rows[0] | {"blur_map": None})
    figure = run_log.samples(model, processor, rows, ("blur",))
    assert [axis.get_title() for axis in figure.axes[:3]] == ["a/b", "blur_map, truth", "blur_map"]
    truth = figure.axes[1].images[0].get_array()
    assert truth[0, 0].tolist() == [13, 8, 135] and truth[0, 63].tolist() == [92, 102, 112]
    assert not figure.axes[4].images, "nobody labelled it"
    assert run_log.samples(model, processor, rows, ("content",)) is None


def test_a_model_card_reads_back():
    account = {
        "settings": {
            "variant": "tiny",
            "recipe": "ours",
            "phase": "all",
            "dataset_name": ["/home/me/photos", "me/set"],
        },
        "data": {"train": {"rows": 5, "digest": "0123"}},
        "code": "v1",
    }
    card = ModelCard(run_log.model_card(account, run_log.best_scores(HISTORY)))
    assert card.data.library_name == "transformers" and card.data.license == "apache-2.0"
    assert "/home/me" not in card.text and "photos, me/set (5 rows" in card.text
    assert "joint/desirability_real/kappa | 0.25 |" in card.text


def test_data_that_changed_are_named_by_both_digests(tmp_path, caplog):
    digests = {"train": {"rows": 3, "digest": "new1"}, "validation": {"rows": 2, "digest": "same"}}
    log = run_log.RunLog(Accelerator(cpu=True), tmp_path, {}, digests)
    log.say_changed_data({"train": {"rows": 3, "digest": "old1"}, "validation": {"rows": 2, "digest": "same"}})
    said = caplog.text
    assert "The train split is not the one the checkpoint was trained with" in said
    assert "old1" in said and "new1" in said and "validation" not in said
    caplog.clear()
    log.say_changed_data(digests)
    assert caplog.text == ""
