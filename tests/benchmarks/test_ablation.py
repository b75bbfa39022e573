"""tests/benchmarks/ablation.py: which channels each baseline stacks, and the command on toy photos."""

import json
import shutil

import pytest
import torch
from transformers import AutoModel

from abc_hf import ABCFuseNetForBlurUnderstanding
from abc_hf.configuration_abc_fusenet import MAPS
from tests.benchmarks import ablation
from tests.toy_photos import write_toy_split


@pytest.fixture
def run(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "run")
    scores = {"desirability_real": dict.fromkeys(ablation.VERDICT_MEASURES, 0.25)}
    scores |= {"blur_real": dict.fromkeys(ablation.MAP_MEASURES, 0.75)}
    history = [{"phase": "blur", "step": 1, **scores}, {"phase": "blur", "step": 2, "loss": 0.1}]
    (tmp_path / "run" / "run.json").write_text(json.dumps({"history": history}))
    return tmp_path / "run"


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ablation.BASELINES.values())
def test_a_baseline_stacks_what_the_network_would(tiny_folder, chosen):
    model = ABCFuseNetForBlurUnderstanding.from_pretrained(tiny_folder).eval()
    with torch.inference_mode():
        output = model.abc_fusenet(torch.rand(1, 3, 64, 96))
        model.config.fusion_inputs = MAPS
        everything, _ = model.fuse(output)
        model.config.fusion_inputs = chosen
        expected, _ = model.fuse(output)
    channels = ablation.channels_of(chosen, everything.shape[1] - 4)
    torch.testing.assert_close(everything[:, channels], expected, rtol=0, atol=0)


@pytest.mark.slow
def test_the_command_fits_each_baseline_and_adds_finished_runs(run, tmp_path, capsys, monkeypatch):
    data = write_toy_split(tmp_path / "real", count=9) / "data"
    for split in ("train", "validation"):
        shutil.copy(data / "test-00000-of-00001.parquet", data / f"{split}-00000-of-00001.parquet")
    starts = tmp_path / "starts"
    options = ["--seeds", "2", "--steps", "3", "--working_size", "64", "--out", str(tmp_path / "out")]
    command = [str(run), "--dataset", str(tmp_path / "real"), *options]
    ablation.main([*command, "--starts", str(starts)])
    first = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert not (tmp_path / "out" / "maps.png").exists()
    shutil.rmtree(starts / "2-1")
    seeds, fitted = [], ablation.fitted
    monkeypatch.setattr(ablation, "fitted", lambda *given: seeds.append(given[-1]) or fitted(*given))
    added = ["--verdicts", f"again={starts / '5-1'}", f"again={starts / '1-0'}", "--maps", f"no skip={run}"]
    ablation.main([*command, "--starts", str(starts), *added])
    assert seeds == [1]  # of 2, which was not there any more
    result = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert all(len(values) == 2 for row in result["verdicts"].values() for values in row.values())
    again = result["verdicts"].pop("again")
    assert result["verdicts"] == first["verdicts"] and list(first["verdicts"]) == list(ablation.BASELINES)
    for measure, values in again.items():
        assert values == [first["verdicts"]["5: B + A + C"][measure][1], first["verdicts"]["1: C"][measure][0]]
    assert result["maps"] == {"no skip": {key: [0.75] for key in ablation.MAP_MEASURES}}
    assert (result["photos"], result["train"], result["steps"], result["working_size"]) == (8, 8, 3, 64)
    assert all((tmp_path / "out" / name).stat().st_size > 5000 for name in ("verdicts.png", "maps.png"))
    assert "| no skip " in (tmp_path / "out" / "ablation.md").read_text()
    assert "2: B accuracy" in capsys.readouterr().out


def test_without_saliency_only_the_blur_branch_stays(tiny_folder, tmp_path):
    model = ABCFuseNetForBlurUnderstanding.from_pretrained(tiny_folder).eval()
    trunk = model.abc_fusenet.trunks["content"].backbone
    expected = {name: torch.rand_like(value) for name, value in trunk.state_dict().items() if value.is_floating_point()}
    downloaded = AutoModel.from_config(trunk.config)
    downloaded.load_state_dict(downloaded.state_dict() | expected)
    downloaded.save_pretrained(tmp_path)
    fresh = ablation.without_saliency(model, str(tmp_path)).eval()
    found = fresh.abc_fusenet.trunks["content"].backbone.state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    photo = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        before, after = (network(photo) for network in (model, fresh))
    torch.testing.assert_close(after.blur_map, before.blur_map)
    assert not torch.allclose(after.attention_map, before.attention_map, atol=1e-3)


def test_a_table_has_mean_and_spread():
    scores = {"one": {"kappa": [0.5]}, "three": {"kappa": [0.4, 0.5, 0.6]}}
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ablation.score_table(scores, ("kappa",))]
    assert lines[0] == ["", "seeds", "kappa"]
    assert lines[2:] == [["one", "1", "0.500"], ["three", "3", "0.500 ± 0.100"]]


def test_what_is_no_run_is_refused(run, tmp_path, capsys):
    for option in ("--maps", "--verdicts"):
        with pytest.raises(SystemExit):
            ablation.main([str(run), "--dataset", "x", "--out", str(tmp_path), option, f"a={tmp_path}"])
        assert "write NAME=RUN with the folder of a finished run" in capsys.readouterr().err
    with pytest.raises(ValueError, match="holds no attention"):
        ablation.last_scores(run, "attention", ("auc",))
