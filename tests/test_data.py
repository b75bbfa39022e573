"""From rows to training batches."""

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from toy_photos import write_toy_photos

from abc_hf.build_dataset import main
from abc_hf.data import StepSampler, TrainingPhotos, has_blur, rows_by_group
from abc_hf.image_processing_abc_fusenet import ABCFuseNetImageProcessor
from abc_hf.losses import NO_LABEL, UNKNOWN


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    photos = write_toy_photos(folder / "photos")
    main(["folders", str(photos), "--out", str(folder / "real"), "--workers", "1"])
    return datasets.load_dataset(str(folder / "real"), split="train", cache_dir=str(folder / "cache"))


def training_photos(rows, crop=48, scales=(1.0, 1.0)):
    return TrainingPhotos(rows, ABCFuseNetImageProcessor(), "blur", crop, scales, seed=0)


def test_rows_take_part_where_they_have_a_label(rows):
    mix = {"sharp": 0.5, "blurred": 0.5, "synthetic": 1.0}
    assert {k: len(v) for k, v in rows_by_group(rows, "blur", mix).items()} == {"sharp": 2, "blurred": 1}
    assert {k: len(v) for k, v in rows_by_group(rows, "saliency", mix).items()} == {"sharp": 1, "blurred": 1}
    with pytest.raises(ValueError, match="lacks the column blur_map"):
        rows_by_group(rows.remove_columns("blur_map"), "blur", mix)
    with pytest.raises(ValueError, match="No row"):
        rows_by_group(rows, "blur", {"synthetic": 1.0})


def test_a_sampler_that_starts_later_draws_the_same():
    groups, mix = {"a": np.arange(10), "b": np.arange(10, 40)}, {"a": 0.9, "b": 0.1}
    whole = list(StepSampler(groups, mix, 3, 0, 500))
    assert list(StepSampler(groups, mix, 3, 200, 500)) == whole[200:]
    share = np.mean([row < 10 for _, row in whole])
    assert share == pytest.approx(0.9, abs=0.05)


def test_a_sample_depends_on_its_draw_alone(rows):
    photos = training_photos(rows, scales=(0.7, 1.0))
    first, again, other = photos[7, 1], photos[7, 1], photos[8, 1]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["pixel_values"], other["pixel_values"])


def test_labels_follow_the_photo(rows):
    """The object's outline, painted into the photo, must coincide with the mask after flip, scale and crop."""
    row = dict(rows[1])
    photo = np.asarray(row["image"]).copy()
    photo[...] = np.asarray(row["salient_mask"])[..., None] // 2 + 64

    row["image"] = Image.fromarray(photo)

    class One:
        def __getitem__(self, index):
            return row

    photos = training_photos(One(), crop=64, scales=(0.6, 1.0))
    for draw in range(12):
        sample = photos[draw, 0]
        bright = sample["pixel_values"][0] > sample["pixel_values"][0].mean()
        labelled = sample["attention_labels"] != UNKNOWN
        agree = bright[labelled] == (sample["attention_labels"][labelled] == 3)
        assert agree.float().mean() > 0.93


def test_beyond_the_photo_nothing_is_known(rows):
    sample = training_photos(rows, crop=128)[0, 0]
    assert sample["pixel_values"].shape == (3, 128, 128)
    assert (sample["blur_labels"][64:] == UNKNOWN).all() and (sample["attention_labels"][:, 96:] == UNKNOWN).all()
    assert (sample["blur_labels"][:64, :96] == 0).all()
    assert sample["pixel_values"].abs().max() <= 1


def test_missing_labels_cost_nothing(rows):
    sample = training_photos(rows.map(lambda row: {"desirability": None, "blur_map": None}, features=rows.features))[
        0, 0
    ]
    assert sample["labels"] == NO_LABEL and (sample["blur_labels"] == UNKNOWN).all()


def test_binary_truth_of_levels():
    blurred, known = has_blur(np.array([0, 1, 3, 254, 255]))
    assert blurred.tolist()[:4] == [False, True, True, True]
    assert known.tolist() == [True, True, True, True, False]
