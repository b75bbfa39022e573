"""hub/bundle.py puts weights into the package with the scores that README, card and demo are rendered from."""

import json
import shutil

import pytest

from hub import bundle
from tests.toy_photos import write_toy_split


@pytest.mark.slow
def test_scores_of_every_split_go_with_the_weights(tiny_folder, tmp_path, monkeypatch):
    shutil.copytree(tiny_folder, tmp_path / "run")
    history = [
        {"phase": "blur", "step": step, "selection": score} for step, score in enumerate((0.4, 0.6, 0.5))
    ]  # the second was kept
    history.append({"phase": "blur", "step": 3, "loss": 0.1})  # no scores
    account = {"code": "abc", "settings": {"output_dir": "/somewhere/run"}, "history": history}
    (tmp_path / "run" / "run.json").write_text(json.dumps(account))
    earlier = [{"code": "older", "settings": {}, "scores": {}}, {"code": "old", "settings": {}, "scores": {}}]
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "run.json").write_text(json.dumps({"runs": earlier}))
    for name in ("real", "synth"):
        data = write_toy_split(tmp_path / name, count=5) / "data"
        for split in ("train", "validation"):
            shutil.copy(data / "test-00000-of-00001.parquet", data / f"{split}-00000-of-00001.parquet")
    monkeypatch.setattr(bundle, "BUNDLED", tmp_path / "bundled")
    data = [str(tmp_path / "real"), str(tmp_path / "synth")]
    bundle.main([str(tmp_path / "run"), "--before", str(tmp_path / "earlier"), "--dataset", *data])

    record = json.loads((tmp_path / "bundled" / "run.json").read_text(), parse_constant=pytest.fail)
    *before, run = record["runs"]
    assert before == earlier
    assert run == {"code": "abc", "settings": {"output_dir": "run"}, "scores": {"blur": history[1]}}
    for part in ("validation", "cuhk", "synthetic"):
        assert {"blur_map", "levels", "attention", "desirability", "sharp"} <= set(record[part])
        assert not {"curves", "per_photo"} & set(record[part])
        assert record[part]["blur_map"]["all"]["photos"] == record[part]["desirability"]["photos"] == 4
    assert {"model.safetensors", "config.json"} <= {path.name for path in (tmp_path / "bundled").iterdir()}
    assert not list((tmp_path / "bundled").glob("*.py"))
