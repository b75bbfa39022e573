"""The data set that training is tried with."""

import datasets
import numpy as np
import pytest
from PIL import Image

from abc_hf.data.sample import FOLDER, build_sample, sample_settings, write_photos
from abc_hf.training.settings import TrainSettings


@pytest.mark.slow
def test_it_is_made_of_pictures_at_hand(tmp_path):
    """No network (conftest.py sees to it), every split, and what every phase needs."""
    real, synth = (datasets.load_dataset(name, cache_dir=str(tmp_path / "cache")) for name in build_sample(tmp_path, 4))
    assert (len(synth["train"]), len(real["train"]), len(real["validation"])) == (4, 4, 2)
    assert {row["license"] for row in real["train"]} == {"public domain or CC0-1.0", "CC-BY-2.0"}
    for rows in (real["train"], real["validation"]):
        assert {0, 1} == set(rows["desirability"])
        for row in rows:
            subject = np.asarray(row["salient_mask"]) > 127
            assert 0.01 < subject.mean() < 0.8 and row["blur_map"] is not None


def test_the_flower_is_its_subject(tmp_path):
    write_photos(tmp_path)

    photo = np.asarray(Image.open(tmp_path / "sklearn/images/flower.jpg").convert("RGB")).astype(float)
    mask = np.asarray(Image.open(tmp_path / "sklearn/masks/flower.png")) > 127
    orange = photo[..., 0] > photo[..., 2] + 60
    assert orange[mask].mean() > 0.9 and orange[~mask].mean() < 0.1


def test_what_was_asked_for_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("abc_hf.data.sample.build_sample", lambda out: [str(out)])
    settings = sample_settings(TrainSettings(max_train_steps=3), tmp_path)
    assert (settings.variant, settings.max_train_steps, settings.crop_size) == ("tiny", 3, 160)
    assert settings.dataset_name == [str(tmp_path / FOLDER)]
