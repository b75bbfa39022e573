"""From rows to training batches."""

import dataclasses

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from abc_hf.configuration_abc_fusenet import KINDS
from abc_hf.data.build import main
from abc_hf.data.schema import has_blur
from abc_hf.image_processing_abc_fusenet import ABCFuseNetImageProcessor
from abc_hf.losses import NO_LABEL, UNKNOWN
from abc_hf.training.batches import (
    StepSampler,
    StreamedPhotos,
    TrainingPhotos,
    class_labels,
    classifier_rows,
    rows_by_group,
)
from abc_hf.training.recipes import OURS
from tests.toy_photos import write_toy_photos


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    photos = write_toy_photos(folder / "photos")
    main(["folders", str(photos), "--out", str(folder / "real"), "--workers", "1"])
    return datasets.load_dataset(str(folder / "real"), split="train", cache_dir=str(folder / "cache"))


def training_photos(rows, crop=48, scales=(1.0, 1.0)):
    return TrainingPhotos(rows, ABCFuseNetImageProcessor(), crop, scales, seed=0)


def test_rows_take_part_where_they_have_a_label(rows):
    mix = {"sharp": 0.5, "blurred": 0.5, "synthetic": 1.0}
    assert {k: len(v) for k, v in rows_by_group(rows, "blur", mix).items()} == {"sharp": 2, "blurred": 1}
    assert {k: len(v) for k, v in rows_by_group(rows, "saliency", mix).items()} == {"sharp": 1, "blurred": 1}
    with pytest.raises(ValueError, match="lacks the column blur_map"):
        rows_by_group(rows.remove_columns("blur_map"), "blur", mix)
    with pytest.raises(ValueError, match="No row"):
        rows_by_group(rows, "blur", {"synthetic": 1.0})


def test_a_row_stands_in_its_group_as_often_as_it_is_drawn(rows):
    sources = rows["source"]
    group = rows_by_group(rows, "blur", {"sharp": 1.0})["sharp"]
    emphasis = {sources[group[0]]: 2.5, sources[group[1]]: 0.5}
    drawn = rows_by_group(rows, "blur", {"sharp": 1.0}, emphasis)["sharp"]
    assert [(drawn == row).sum() for row in group] == [5, 1]
    chosen, weights = classifier_rows(
        rows, dataclasses.replace(OURS["classifier"], mix={"sharp": 0.6}, emphasis=emphasis), 9
    )
    shares = dict(zip(chosen, weights, strict=True))
    assert sum(weights) == pytest.approx(0.6)
    assert shares[group[0]] == pytest.approx(5 * shares[group[1]])


def test_a_sampler_that_starts_later_draws_the_same():
    groups, mix = {"a": np.arange(10), "b": np.arange(10, 40)}, {"a": 0.9, "b": 0.1}
    whole = list(StepSampler(groups, mix, 3, 0, 250, batch_size=2))
    assert list(StepSampler(groups, mix, 3, 100, 250, batch_size=2)) == whole[100:]
    share = np.mean([row < 10 for batch in whole for _, row in batch])
    assert share == pytest.approx(0.9, abs=0.05)


def test_the_photos_of_a_step_do_not_depend_on_how_they_are_shared():
    groups, mix = {"a": np.arange(10), "b": np.arange(10, 40)}, {"a": 0.5, "b": 0.5}
    whole = list(StepSampler(groups, mix, 3, 0, 6, batch_size=12))
    assert [draw for batch in whole for draw, _ in batch] == list(range(72))
    shares = [StepSampler(groups, mix, 3, 0, 12, 3, process, 2) for process in (0, 1)]  # two batches a step
    dealt = [sum(batches, []) for batches in zip(*shares, strict=True)]
    assert [dealt[i] + dealt[i + 1] for i in range(0, 12, 2)] == whole


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


def test_a_mask_is_salient_above_half_whatever_its_values(rows):
    values = np.repeat(np.uint8([0, 127, 128, 254, 255]), 20)[None].repeat(64, 0)
    row = rows[0] | {"image": Image.new("RGB", (100, 64)), "blur_map": None, "salient_mask": Image.fromarray(values)}
    photos = TrainingPhotos(rows, ABCFuseNetImageProcessor(), 128, (1.0, 1.0), seed=0, augment=False)
    labels = photos.sample(0, row, "R")["attention_labels"]
    assert labels[0].tolist() == [0] * 40 + [3] * 60 + [UNKNOWN] * 28
    assert (labels[64:] == UNKNOWN).all()


@pytest.mark.parametrize(("amounts", "expected"), [(True, [0.5, 3, 253, 254, UNKNOWN]), (False, [1, 1, 1, 1, 1])])
def test_amounts_are_what_a_phase_that_wants_them_learns(rows, amounts, expected):
    levels = Image.fromarray(np.full((64, 100), 1, np.uint8))
    values = Image.fromarray(np.repeat(np.uint8([30, 180, 253, 254, 255]), 20)[None].repeat(64, 0))
    row = rows[0] | {
        "image": Image.new("RGB", (100, 64)),
        "blur_map": levels,
        "blur_amount": values,
        "salient_mask": None,
    }
    photos = TrainingPhotos(rows, ABCFuseNetImageProcessor(), 100, (1.0, 1.0), 0, augment=False, amounts=amounts)
    assert photos.sample(0, row, "R")["blur_labels"][0, 10::20].tolist() == expected
    with pytest.raises(ValueError, match="column blur_amount: the value 200 is none of 0..180"):
        TrainingPhotos(rows, ABCFuseNetImageProcessor(), 64, (1.0, 1.0), 0, amounts=True).sample(
            0, row | {"blur_amount": Image.new("L", (100, 64), 200)}, "R"
        )


def test_beyond_the_photo_nothing_is_known(rows):
    sample = training_photos(rows, crop=128)[0, 0]
    assert sample["pixel_values"].shape == (3, 128, 128)
    assert (sample["blur_labels"][64:] == UNKNOWN).all() and (sample["attention_labels"][64:] == UNKNOWN).all()
    for levels in (sample["blur_labels"][:64], sample["blur_labels"][:64].flip(-1)):
        if (levels[:, 96:] == UNKNOWN).all():  # the crop may be flipped
            assert (levels[:, :96] == 0).all()
            break
    else:
        pytest.fail("a known label beyond the photo")
    assert sample["pixel_values"].abs().max() <= 1 + 1e-6


def test_missing_labels_cost_nothing(rows):
    sample = training_photos(rows.map(lambda row: {"desirability": None, "blur_map": None}, features=rows.features))[
        0, 0
    ]
    assert not sample["labels"].any() and sample["kind_labels"] == NO_LABEL
    assert (sample["blur_labels"] == UNKNOWN).all()


@pytest.mark.parametrize(
    ("row", "labels", "kind"),
    [
        ({"desirability": 2, "blur_kind": "camera-shake"}, [0, 0, 1, 0], KINDS.index("camera-shake")),
        ({"desirability": 2, "votes": [0, 0.25, 0.75, 0], "blur_kind": None}, [0, 0.25, 0.75, 0], NO_LABEL),
        ({"desirability": None}, [0, 0, 0, 0], NO_LABEL),
    ],
)
def test_the_classifier_learns_votes_where_they_are_known(row, labels, kind):
    found = class_labels(row)
    assert found["labels"].tolist() == labels and found["kind_labels"] == kind


def test_binary_truth_of_levels():
    blurred, known = has_blur(np.array([0, 1, 3, 254, 255]))
    assert blurred.tolist()[:4] == [False, True, True, True]
    assert known.tolist() == [True, True, True, True, False]


def test_without_augmentation_a_photo_is_as_it_is(rows):
    photos = TrainingPhotos(rows, ABCFuseNetImageProcessor(), 96, (0.5, 1.0), seed=0, augment=False)
    first, other = photos[0, 0], photos[1, 0]
    assert torch.equal(first["pixel_values"], other["pixel_values"])
    whole = ABCFuseNetImageProcessor()(rows[0]["image"], return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(first["pixel_values"][:, :64], whole[:, :64], atol=1e-6, rtol=0)


@pytest.mark.parametrize("start", [0, 2, 5])
def test_a_stream_goes_on_where_it_was(rows, start):
    stream = rows.to_iterable_dataset(num_shards=2)
    samples = iter(StreamedPhotos(stream, training_photos(rows), "blur_map", first=0))
    whole = [next(samples) for _ in range(8)]  # more than a pass
    later = iter(StreamedPhotos(stream, training_photos(rows), "blur_map", first=start))
    for sample in whole[start:]:
        again = next(later)
        assert all(torch.equal(sample[name], again[name]) for name in sample)


def test_the_processes_of_a_stream_share_its_rows(rows):
    from datasets.distributed import split_dataset_by_node

    stream = rows.to_iterable_dataset(num_shards=2)
    seen = []
    for process in (0, 1):
        part = split_dataset_by_node(stream, process, 2)
        seen.append({row["source"] for row in part})
    assert seen[0] | seen[1] == set(rows["source"]) and not seen[0] & seen[1]


def test_a_map_that_is_none_is_named_with_its_row(rows):
    photos = training_photos(rows)
    row = rows[0]
    for column, wrong, said in (
        ("blur_map", Image.new("L", (96, 64), 7), "R, column blur_map: the value 7 is none of 0..3"),
        ("blur_map", Image.new("L", (64, 96)), "R, column blur_map: the map is 64x96, its photo 96x64"),
        ("salient_mask", Image.new("RGB", (96, 64)), "R, column salient_mask: a grey map"),
    ):
        with pytest.raises(ValueError, match=said):
            photos.sample(0, row | {column: wrong}, "R")
