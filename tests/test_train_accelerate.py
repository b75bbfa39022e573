"""The training script, run as users run it, on a toy data set."""

import contextlib
import functools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import train_accelerate
from abc_hf.data.build import main as build_dataset
from abc_hf.data.kernels import KernelBank
from abc_hf.data.schema import FEATURES
from abc_hf.losses import UNKNOWN
from abc_hf.modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding
from abc_hf.training import fresh_photos
from abc_hf.training.checkpoints import digests
from abc_hf.training.recipes import OURS
from abc_hf.training.settings import TrainSettings
from tests.toy_photos import write_toy_photos

ROOT = Path(__file__).parents[1]

SMALL = ["--variant", "tiny", "--working_size", "96", "--crop_size", "64", "--dataloader_num_workers", "0"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    photos = write_toy_photos(folder / "photos")
    build_dataset(["folders", str(photos), "--out", str(folder / "real"), "--workers", "1"])
    build_dataset(["synth", str(photos), "--out", str(folder / "synth"), "--workers", "1", "--count", "10"])
    return [str(folder / "real"), str(folder / "synth")]


def command(dataset, out, *options):
    return [
        *("--dataset_name", *dataset, "--output_dir", str(out), "--cache_dir", str(Path(dataset[0]).parent / "cache")),
        *("--max_eval_samples", "2", "--per_device_train_batch_size", "2", *SMALL, *options),
    ]


def train(dataset, out, *options):
    train_accelerate.main(command(dataset, out, *options))
    return load_file(out / "model.safetensors")


def launch(arguments, processes=1, **popen):
    """The script in processes of its own, by `torchrun`: `accelerate launch --cpu` starts one whatever it is told."""
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
    whole = [sys.executable, *launcher, str(ROOT / "train_accelerate.py"), *arguments]
    return subprocess.Popen(whole, env=environment, process_group=0, **popen)


def assert_same(one: dict, other: dict, tolerance: float = 0.0):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(
            one[name], other[name], atol=tolerance, rtol=0, msg=lambda text, n=name: f"{n}: {text}"
        )


def logged(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole_run(dataset, tmp_path_factory):
    """A run of all phases, with its checkpoints."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(dataset, out, "--max_train_steps", "4", "--checkpointing_steps", "2", "--logging_steps", "3", "--seed", "1")
    return out


def test_all_phases_leave_weights_and_an_account(whole_run):
    model = ABCFuseNetForBlurUnderstanding.from_pretrained(whole_run)
    assert model.config.temperature != 1.0
    record = json.loads((whole_run / "run.json").read_text())
    assert list(record["scores"]) == ["saliency", "blur", "classifier", "joint"]
    assert record["settings"]["variant"] == "tiny" and record["code"] and record["versions"]["torch"]
    assert record["data"]["train"]["rows"] == 13 and len(record["data"]["train"]["digest"]) == 16
    assert record["processes"] == 1
    assert set(record["waiting_share"]) == {"saliency", "blur", "joint"}
    assert logged(whole_run) == record["history"]
    assert [entry["step"] for entry in record["history"] if entry["phase"] == "blur" and "loss" in entry] == [3, 4]
    for name in ("preprocessor_config.json", "curves.png", "samples/blur-000004.png", "README.md", "all_results.json"):
        assert (whole_run / name).stat().st_size > 100, name
    for name in ("best-blur", "last-blur", "best-joint", "last-joint"):
        assert (whole_run / name / "model.safetensors").exists(), name


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["blur", "joint", "start of joint"])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(dataset, whole_run, tmp_path, phase):
    """Weights, scores and log, bit for bit, with dropout, moving average and the phases that were done already."""
    resumed = tmp_path / "run"
    shutil.copytree(whole_run, resumed)
    later = ("blur", "joint") if phase == "blur" else ("joint",)
    for name in later:
        shutil.rmtree(resumed / "checkpoints" / name / "step-000004")
        shutil.rmtree(resumed / f"best-{name}")
    if phase == "blur":
        shutil.rmtree(resumed / "checkpoints" / "joint")
        shutil.rmtree(resumed / "best-classifier")
    if phase == "start of joint":
        shutil.rmtree(resumed / "checkpoints" / "joint" / "step-000002")
    else:
        (resumed / "checkpoints" / phase / "step-000003.partial").mkdir()  # the kill came while it was written
    (resumed / "model.safetensors").unlink()
    options = ["--max_train_steps", "4", "--checkpointing_steps", "2", "--logging_steps", "3", "--seed", "1"]
    weights = train(dataset, resumed, *options, "--resume_from_checkpoint", "latest")
    assert_same(weights, load_file(whole_run / "model.safetensors"))
    assert logged(resumed) == logged(whole_run)


@pytest.mark.slow
def test_photos_on_the_device_and_on_where_it_was_stopped(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(fresh_photos, "KernelBank", functools.partial(KernelBank, count=60))
    out = tmp_path / "run"
    options = ["--phase", "joint", "--recipe", "gpu", "--photos_on_device", "--max_train_steps", "4"]
    options += ["--logging_steps", "2", "--checkpointing_steps", "2"]
    straight = train(dataset, out, *options)
    lines, losses = logged(out), [entry["loss"] for entry in logged(out) if "loss" in entry]
    assert len(losses) == 2 and all(np.isfinite(losses))
    shutil.rmtree(out / "checkpoints" / "joint" / "step-000004")
    assert_same(straight, train(dataset, out, *options, "--resume_from_checkpoint", "latest"))
    assert logged(out) == lines


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the packages of Trackio
def test_trackio_has_the_course_and_asks_nobody(dataset, tmp_path, monkeypatch):
    """Its database is read without it. The fixture `no_network` fails a run that looks for another machine."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    out = tmp_path / "out"
    options = ["--phase", "blur", "--max_train_steps", "2", "--logging_steps", "1", "--report_to", "trackio", "--cpu"]
    train(dataset, out, *options)
    with contextlib.closing(sqlite3.connect(tmp_path / "trackio" / "abc-fusenet.db")) as database:
        rows = [json.loads(entry) for (entry,) in database.execute("SELECT metrics FROM metrics ORDER BY id")]
    losses = [entry["loss"] for entry in logged(out) if "loss" in entry]
    assert [row["blur/loss"] for row in rows if "blur/loss" in row] == pytest.approx(losses) and len(losses) == 2


@pytest.mark.slow
def test_epochs(dataset, tmp_path):
    """Half an epoch of 13 rows is 4 steps of 2 photos; a run of these, too, can be stopped."""
    out = tmp_path / "run"
    options = ["--phase", "blur", "--num_train_epochs", "0.5"]
    options += ["--lr_scheduler_type", "constant", "--logging_steps", "2", "--checkpointing_steps", "2"]
    straight = train(dataset, out, *options)
    lines, losses = logged(out), [entry for entry in logged(out) if "loss" in entry]
    assert [entry["step"] for entry in losses] == [2, 4]
    assert losses[0]["learning_rate"] == OURS["blur"].learning_rate
    shutil.rmtree(out / "checkpoints" / "blur" / "step-000004")
    assert_same(straight, train(dataset, out, *options, "--resume_from_checkpoint", "latest"))
    assert logged(out) == lines


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, from what compiling imports
def test_compiled_steps_learn_the_same_and_can_be_stopped(dataset, tmp_path, monkeypatch):
    """Traced and differentiated as for inductor, whose own compiling would take minutes."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    options = ["--phase", "blur", "--max_train_steps", "2", "--checkpointing_steps", "1", "--logging_steps", "1"]
    train(dataset, tmp_path / "eager", *options)
    compiled = train(dataset, tmp_path / "run", *options, "--torch_compile")
    first, other = logged(tmp_path / "eager")[0], logged(tmp_path / "run")[0]
    assert other["loss"] == pytest.approx(first["loss"], rel=1e-4)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "blur" / "step-000002")
    assert_same(
        compiled, train(dataset, tmp_path / "run", *options, "--torch_compile", "--resume_from_checkpoint", "latest")
    )


def test_the_paper_variant_starts_from_resnet_50(monkeypatch):
    asked = []
    monkeypatch.setattr(train_accelerate, "load_trunk_weights", lambda trunk, source: asked.append(source))
    with torch.device("meta"):
        for options in ({"variant": "paper"}, {"variant": "paper", "content_weights": "none"}, {"variant": "tiny"}):
            train_accelerate.build_model(TrainSettings(**options))
    assert asked == ["microsoft/resnet-50"]


def test_a_folder_that_holds_another_run_is_not_mixed_with_it(dataset, whole_run, capsys):
    with pytest.raises(SystemExit, match="holds checkpoints of another run: add --resume_from_checkpoint latest"):
        train(dataset, whole_run)
    assert logged(whole_run), "the other run's log is untouched"


def test_a_readme_of_the_users_is_not_replaced(dataset, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(SystemExit, match=r"README\.md is no result of this command; choose another folder"):
        train(dataset, tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("README.md", "mine")]


def test_a_checkpoint_without_an_average_is_one_sentence(dataset, whole_run, tmp_path):
    resumed = tmp_path / "run"
    shutil.copytree(whole_run, resumed)
    step = resumed / "checkpoints" / "joint" / "step-000004"
    torch.save(torch.load(step / "extra.pt", weights_only=True) | {"average": None}, step / "extra.pt")
    (step / "sha256.json").write_text(json.dumps(digests(step)))
    with pytest.raises(SystemExit, match="step-000004 holds no moving average: give --no_use_ema"):
        train(dataset, resumed, "--phase", "joint", "--max_train_steps", "4", "--resume_from_checkpoint", "latest")


@pytest.mark.slow
def test_a_stream_is_read_on_where_it_was(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.1)  # it waits 5 s at the end of a pass
    out = tmp_path / "run"
    options = ["--phase", "blur", "--streaming", "--max_train_steps", "2", "--checkpointing_steps", "1"]
    straight = train(dataset, out, *options)
    shutil.rmtree(out / "checkpoints" / "blur" / "step-000002")
    assert_same(straight, train(dataset, out, *options, "--resume_from_checkpoint", "latest"))
    assert json.loads((out / "run.json").read_text())["data"]["train"]["digest"] == "of a stream"


@pytest.fixture(scope="module")
def uneven(dataset):
    """The same photos, but of every other one the blur is known in a corner only."""
    folder = Path(dataset[0]).parent / "uneven"
    (folder / "data").mkdir(parents=True)
    cache = str(folder.parent / "cache")
    for split in ("train", "validation"):
        parts = [datasets.load_dataset(name, split=split, cache_dir=cache) for name in dataset]
        rows = list(datasets.concatenate_datasets(parts))
        for row in rows[::2]:
            levels = np.asarray(row["blur_map"]).copy()
            levels[8:], levels[:, 8:] = UNKNOWN, UNKNOWN
            row["blur_map"] = Image.fromarray(levels)
        whole = datasets.Dataset.from_list(rows, features=FEATURES)
        whole.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return [str(folder)]


STEADY = ["--phase", "joint", "--max_train_steps", "2", "--logging_steps", "1", "--freeze_batch_norm", "--dropout", "0"]
STEADY += ["--learning_rate", "1e-5"]  # because Adam makes full steps of rounding errors


@pytest.fixture(scope="module")
def one_batch(uneven, tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "run"
    train(uneven, out, *STEADY, "--per_device_train_batch_size", "4")
    return out


def assert_equals_one_batch(out: Path, one_batch: Path):
    mine, theirs = ([entry for entry in logged(run) if "loss" in entry] for run in (out, one_batch))
    assert len(mine) == 2
    for one, other in zip(mine, theirs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-4)


@pytest.mark.slow
def test_accumulation_is_the_larger_batch(uneven, one_batch, tmp_path):
    """Losses are divided by the labels of the whole step, though they are unevenly dealt out."""
    train(uneven, tmp_path / "2", *STEADY, "--gradient_accumulation_steps", "2")
    assert_equals_one_batch(tmp_path / "2", one_batch)


@pytest.mark.slow
def test_two_processes_are_one(uneven, one_batch, tmp_path):
    assert launch(command(uneven, tmp_path / "2", *STEADY), processes=2).wait() == 0
    assert json.loads((tmp_path / "2" / "run.json").read_text())["processes"] == 2
    assert_equals_one_batch(tmp_path / "2", one_batch)


@pytest.mark.slow
def test_killed_three_times_it_ends_as_if_it_had_not_been(dataset, tmp_path):
    options = ["--max_train_steps", "12", "--checkpointing_steps", "2", "--eval_steps", "5"]
    began = time.monotonic()
    assert launch(command(dataset, tmp_path / "straight", *options)).wait() == 0
    duration = time.monotonic() - began
    options += ["--resume_from_checkpoint", "latest"]
    moments = random.Random()
    killed = 0
    for _ in range(3):
        process = launch(command(dataset, tmp_path / "killed", *options))
        time.sleep(moments.uniform(0.4, 0.9) * duration)
        os.killpg(process.pid, signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert launch(command(dataset, tmp_path / "killed", *options)).wait() == 0
    assert killed
    straight, other = (load_file(tmp_path / name / "model.safetensors") for name in ("straight", "killed"))
    assert_same(straight, other)
    assert logged(tmp_path / "straight") == logged(tmp_path / "killed")


def test_a_broken_row_is_one_sentence(dataset, tmp_path):
    rows = datasets.load_dataset(dataset[0], split="train", cache_dir=str(tmp_path / "cache"))
    wrong = Image.fromarray(np.full((64, 96), 77, np.uint8))
    rows = rows.map(lambda row: {"blur_map": wrong}, features=rows.features)
    (tmp_path / "bad" / "data").mkdir(parents=True)
    for split in ("train", "validation"):
        rows.to_parquet(tmp_path / "bad" / "data" / f"{split}-00000-of-00001.parquet")
    with pytest.raises(
        SystemExit, match=r"^train_accelerate.py: Row \d of train \(.*\), column blur_map: the value 77 "
    ):
        train([str(tmp_path / "bad")], tmp_path / "out", "--phase", "blur", "--dataloader_num_workers", "1")


@pytest.mark.slow
def test_twenty_photos_are_learned_by_heart(tmp_path):
    """Maps and classes of 20 photos that look like their labels, without augmentation."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(20):
        label = index % 4
        levels = np.zeros((64, 64), np.uint8)
        levels[:, 32:] = label
        photo = rng.integers(60, 190, (64, 64, 3)).astype(np.float32)
        photo[:, 32:] = 40 + 60 * label + rng.normal(0, 4, (64, 32, 3))
        image, mask = Image.fromarray(photo.clip(0, 255).astype(np.uint8)), Image.fromarray(levels)
        rows.append(
            {"image": image, "blur_map": mask, "salient_mask": None, "desirability": label, "source": f"x/{index}"}
        )
    rows = [dict.fromkeys(FEATURES) | row for row in rows]
    folder = tmp_path / "twenty" / "data"
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        datasets.Dataset.from_list(rows, features=FEATURES).to_parquet(folder / f"{split}-00000-of-00001.parquet")
    options = ["--phase", "joint", "--recipe", "paper", "--content_weights", "none", "--variant", "tiny"]
    options += ["--no-augment", "--dropout", "0", "--max_train_steps", "170", "--learning_rate", "1e-2"]
    options += ["--per_device_train_batch_size", "10", "--freeze_batch_norm", "no", "--weight_decay", "0"]
    train_accelerate.main(
        [
            "--dataset_name",
            str(tmp_path / "twenty"),
            "--output_dir",
            str(tmp_path / "out"),
            "--working_size",
            "64",
            "--crop_size",
            "64",
            "--cache_dir",
            str(tmp_path / "cache"),
            "--ema_decay",
            "0.9",
            *options,
        ]
    )
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [entry["loss"] for entry in record["history"] if "loss" in entry][-1] < 0.01
    assert record["scores"]["joint"]["desirability_real"]["accuracy"] == 1.0


@pytest.mark.slow
def test_a_verdict_that_is_not_the_most_probable_class_sets_no_certainty(monkeypatch):
    """`judge` never calls such a verdict certain, so `calibrate` leaves it out."""
    photo = dict.fromkeys(FEATURES) | {"source": "a/b", "image": Image.new("RGB", (8, 8)), "desirability": 1}
    validation = datasets.Dataset.from_list([photo] * 4, features=FEATURES)
    attention, blur = np.zeros((8, 8)), np.ones((8, 8))
    attention[2:6, 2:6], blur[2:6, 2:6] = 1, 0  # a sharp subject: bad-blur is ruled out, good-blur is the label
    config = SimpleNamespace(temperature=1.0, certain_from=0.5)
    for logits, counts in (([0, 4, 0, 0], True), ([0, 3, 0, 4], False)):
        predicted = {"blur_map": blur, "attention_map": attention, "certain_from": 0.5}
        predicted |= {"logits": np.array(logits, np.float32), "kind_logits": np.array([4.0, 0, 0])}
        monkeypatch.setattr(train_accelerate, "predict", lambda *_, predicted=predicted: predicted)
        monkeypatch.setattr(train_accelerate, "fit_certainty", lambda confidence, right, allowed: float(allowed.any()))
        train_accelerate.calibrate(SimpleNamespace(config=config), None, validation)
        assert config.certain_from == counts
