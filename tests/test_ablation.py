"""hub/ablation.py: which channels each baseline stacks, and the command on toy photos."""

import json
import shutil

import pytest
import torch
from toy_photos import write_toy_split

from abc_hf import ABCFuseNetForBlurUnderstanding
from abc_hf.configuration_abc_fusenet import MAPS
from hub import ablation


@pytest.fixture
def run(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "run")
    scores = {"desirability_real": dict.fromkeys(ablation.VERDICT_MEASURES, 0.25)}
    scores |= {"blur_real": dict.fromkeys(ablation.MAP_MEASURES, 0.75)}
    history = [{"phase": "blur", "step": 1, **scores}, {"phase": "blur", "step": 2, "loss": 0.1}]
    (tmp_path / "run" / "run.json").write_text(json.dumps({"history": history}))
    return tmp_path / "run"


@pytest.mark.parametrize("chosen", ablation.BASELINES.values())
def test_a_baseline_stacks_what_the_network_would(tiny_folder, chosen):
    model = ABCFuseNetForBlurUnderstanding.from_pretrained(tiny_folder).eval()
    with torch.inference_mode():
        output = model.abc_fusenet(torch.rand(1, 3, 64, 96))
        model.config.fusion_inputs = MAPS
        everything = model.fuse(output)
        model.config.fusion_inputs = chosen
        expected = model.fuse(output)
    channels = ablation.channels_of(chosen, everything.shape[1] - 4)
    torch.testing.assert_close(everything[:, channels], expected, rtol=0, atol=0)


def test_the_command_fits_each_baseline_and_adds_finished_runs(run, tmp_path, capsys):
    data = write_toy_split(tmp_path / "real", count=9) / "data"
    for split in ("train", "validation"):
        shutil.copy(data / "test-00000-of-00001.parquet", data / f"{split}-00000-of-00001.parquet")
    options = ["--seeds", "2", "--steps", "3", "--verdicts", f"joint={run}", f"joint={run}", "--maps", f"no skip={run}"]
    ablation.main([str(run), "--dataset", str(tmp_path / "real"), "--out", str(tmp_path / "out"), *options])
    result = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert list(result["verdicts"]) == [*ablation.BASELINES, "joint"]
    assert all(len(values) == 2 for row in result["verdicts"].values() for values in row.values())
    assert result["verdicts"]["joint"]["kappa"] == [0.25, 0.25]
    assert result["maps"] == {"no skip": dict.fromkeys(ablation.MAP_MEASURES, 0.75)}
    assert (result["photos"], result["train"], result["steps"]) == (8, 8, 3)
    assert (tmp_path / "out" / "ablation.png").stat().st_size > 5000
    assert "2: B accuracy" in capsys.readouterr().out


def test_what_is_no_run_is_refused(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        ablation.main([str(run), "--dataset", "x", "--out", str(tmp_path), "--maps", f"a={tmp_path}"])
    assert "write NAME=RUN with the folder of a finished run" in capsys.readouterr().err
    with pytest.raises(ValueError, match="holds no attention"):
        ablation.last_scores(run, "attention", ("auc",))
