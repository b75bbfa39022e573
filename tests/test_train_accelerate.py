"""The training script, run as users run it, on a toy data set."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy_photos import write_toy_photos

from abc_hf.build_dataset import main as build_dataset
from abc_hf.modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding

sys.path.insert(0, str(Path(__file__).parents[1]))
import train_accelerate  # noqa: E402


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    photos = write_toy_photos(folder / "photos")
    build_dataset(["folders", str(photos), "--out", str(folder / "real"), "--workers", "1"])
    build_dataset(["synth", str(photos), "--out", str(folder / "synth"), "--workers", "1", "--count", "10"])
    return [str(folder / "real"), str(folder / "synth")]


def train(dataset, out, *options):
    train_accelerate.main(
        ["--dataset_name", *dataset, "--output_dir", str(out), "--variant", "tiny", "--mixed_precision", "no"]
        + ["--per_device_train_batch_size", "2", "--dataloader_num_workers", "0", *options]
    )
    return load_file(out / "model.safetensors")


def test_all_phases_leave_weights_and_an_account(dataset, tmp_path):
    train(dataset, tmp_path, "--max_train_steps", "2", "--eval_steps", "2", "--max_eval_samples", "2")
    model = ABCFuseNetForBlurUnderstanding.from_pretrained(tmp_path)
    assert model.config.temperature != 1.0
    record = json.loads((tmp_path / "run.json").read_text())
    assert [entry["phase"] for entry in record["history"]] == ["saliency", "blur", "classifier", "joint"]
    assert record["settings"]["variant"] == "tiny" and record["code"]
    assert (tmp_path / "preprocessor_config.json").exists()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


def test_a_run_that_was_stopped_goes_on_where_it_was(dataset, tmp_path):
    options = ["--phase", "blur", "--max_train_steps", "4", "--eval_steps", "4", "--checkpointing_steps", "2"]
    straight = train(dataset, tmp_path / "straight", *options)
    checkpoint = str(tmp_path / "straight/checkpoints/blur/step-000002")
    resumed = train(dataset, tmp_path / "resumed", *options, "--resume_from_checkpoint", checkpoint)
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--variant", "huge"], "choose one of paper, mobile, tiny"), (["--learning_rat", "1"], "unrecognized arguments")],
)
def test_wrong_options_are_refused(capsys, options, said):
    with pytest.raises(SystemExit):
        train_accelerate.parse_settings(["--dataset_name", "x", "--output_dir", "y", *options])
    assert said in capsys.readouterr().err
