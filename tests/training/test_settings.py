"""The options of train_accelerate.py."""

import dataclasses
import typing

import pytest

from abc_hf.configuration_abc_fusenet import VARIANTS
from abc_hf.training.recipes import OURS, PAPER
from abc_hf.training.settings import TrainSettings, parse_settings

DATA = ["--dataset_name", "x"]


def test_every_field_is_an_option_and_no_other_is():
    settings = parse_settings([])
    assert settings == TrainSettings()
    options = ["--no_use_ema", "--learning_rate", "0.5", "--freeze", "blur_trunk", "--streaming", "--phase", "blur"]
    given = parse_settings([*DATA, "y", *options])
    assert given.dataset_name == ["x", "y"] and given.learning_rate == 0.5 and given.freeze == ["blur_trunk"]
    assert given.use_ema is False and given.streaming is True
    assert parse_settings(["--no-use_ema"]).use_ema is False, "hyphens and underscores are the same"
    assert [parse_settings(["--freeze_batch_norm", *word]).freeze_batch_norm for word in ([], ["no"])] == [True, False]
    assert all(field.metadata["help"] for field in dataclasses.fields(TrainSettings))


def test_the_variants_are_options():
    assert set(typing.get_args(typing.get_type_hints(TrainSettings)["variant"])) == set(VARIANTS)


def test_help_names_every_option_with_its_default(capsys):
    with pytest.raises(SystemExit):
        parse_settings(["--help"], "Train it.")
    text = " ".join(capsys.readouterr().out.split())
    assert "Train it." in text and "of that average (default: 0.998)" in text
    assert all(f"--{field.name}" in text for field in dataclasses.fields(TrainSettings))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--variant", "huge"], "argument --variant: invalid choice: 'huge' (choose from 'paper', 'mobile', 'tiny')"),
        (["--learning_rate", "fast"], "argument --learning_rate/--learning-rate: invalid float value: 'fast'"),
        (["--learning_rat", "1"], "unknown option --learning_rat; did you mean --learning_rate?"),
        (["--learningrate=1"], "unknown option --learningrate; did you mean --learning_rate?"),
        (["--zzz"], "unknown option --zzz; see --help."),
        (["--phase", "blurr"], "invalid choice: 'blurr'"),
        (["--train_val_split", "1.5"], "--train_val_split 1.5: must be below 1."),
        (["--max_train_steps", "0"], "--max_train_steps 0: must be at least 1."),
        (["--crop_size", "100"], "must be a multiple of 32"),
        (["--freeze", "blur_trnk"], "--freeze blur_trnk: did you mean blur_trunk?"),
        (["--recipe", "paper", "--phase", "classifier"], "has no phase classifier; it has saliency, blur, joint."),
        (["--phase", "blur", "--freeze", "blur_trunk", "blur_branch"], "leaves the blur phase nothing to train"),
        (["--model_name_or_path", "m", "--variant", "tiny"], "--model_name_or_path and --variant contradict"),
        (["--no_use_ema", "--ema_decay", "0.9"], "--no_use_ema and --ema_decay contradict each other: drop one."),
        (["--report_to", "tensorbord"], "--report_to tensorbord: give none, or some of the installed"),
        (["--architecture", "refinement_layer=0"], "refinement_layer=0: did you mean refinement_layers?"),
        (["--architecture", "refinement_layers=-1"], "refinement_layers must be 0 or more; got -1."),
        (["--architecture", "refinement_layers=two"], "refinement_layers"),
        (["--model_name_or_path", "m", "--architecture", "temperature=2"], "and --architecture contradict"),
        (["--hub_model_id", "me/it"], "Options of the Hub need --push_to_hub"),
        (["--report_to", "none", "none"], "--report_to none none: give none, or some of"),
        (["--resume_from_checkpoint", "nowhere"], "this is no checkpoint folder; give one, or latest."),
        (["--streaming", "--phase", "blur", "--train_val_split", "0.2"], "contradict each other"),
        (["--streaming", "--phase", "blur", "--photos_on_device"], "--streaming and --photos_on_device contradict"),
        (
            ["--photos_on_device", "--no-augment"],
            "--photos_on_device and --no_augment contradict each other: drop one.",
        ),
        (["--streaming"], "The classifier phase cannot stream"),
        (["--num_train_epochs", "2", "--max_train_steps", "9"], "--num_train_epochs and --max_train_steps contradict"),
        (["--num_train_epochs", "0"], "--num_train_epochs 0.0: must be above 0."),
        (
            ["--streaming", "--phase", "blur", "--num_train_epochs", "1"],
            "--streaming and --num_train_epochs contradict",
        ),
    ],
)
def test_wrong_options_are_refused_in_one_sentence(capsys, options, said):
    with pytest.raises(SystemExit) as refused:
        parse_settings([*DATA, *options])
    message = capsys.readouterr().err
    assert refused.value.code == 2 and said in message and len(message.strip().splitlines()) == 2


def test_options_of_data_need_data(capsys):
    with pytest.raises(SystemExit):
        parse_settings(["--streaming", "--phase", "blur"])
    assert "--streaming and --dataset_revision need a --dataset_name" in capsys.readouterr().err


def test_a_preset_changes_only_where_it_is_told():
    settings = TrainSettings(recipe="paper")
    assert {name: settings.preset(name) for name in settings.phases()} == PAPER
    changed = TrainSettings(
        learning_rate=0.5, weight_decay=0.0, max_train_steps=3, crop_size=64, freeze=["blur_trunk"],
        freeze_batch_norm=True,
    ).preset("blur")  # fmt: skip
    assert changed == dataclasses.replace(
        OURS["blur"], learning_rate=0.5, weight_decay=0.0, steps=3, crop=64, parts={"blur_branch": 1.0},
        freeze_batch_norm=True,
    )  # fmt: skip


def test_the_architecture_is_changed_by_key():
    given = ['fusion_inputs=["content"]', "skip_strides=[2]", "content_trunk=resnet", "refinement_layers=0"]
    overrides = TrainSettings(architecture=given, variant="paper").overrides()
    assert overrides == {
        "fusion_inputs": ["content"], "skip_strides": [2], "content_trunk": "resnet", "refinement_layers": 0
    }  # fmt: skip
    assert TrainSettings().overrides() == {}


@pytest.mark.parametrize(
    ("processes", "accumulation", "given", "batch"),
    [(1, 1, None, 12), (2, 1, None, 6), (4, 3, None, 1), (8, 1, None, 2), (8, 1, 5, 5)],
)
def test_the_batch_of_the_preset_is_that_of_all_processes(processes, accumulation, given, batch):
    settings = TrainSettings(gradient_accumulation_steps=accumulation, per_device_train_batch_size=given)
    assert settings.device_batch(PAPER["blur"], processes) == batch


@pytest.mark.parametrize(("epochs", "steps"), [(None, 30_000), (2, 5), (2.4, 5), (2.5, 6), (0.01, 1)])
def test_an_epoch_draws_as_many_photos_as_there_are_rows(epochs, steps):
    """25 rows, 12 photos a step."""
    phase = TrainSettings(num_train_epochs=epochs).with_epochs(PAPER["blur"], rows=25, photos=12)
    assert phase == dataclasses.replace(PAPER["blur"], steps=steps)


def test_the_token_is_not_kept():
    assert "hub_token" not in TrainSettings(hub_token="secret").record()
