"""Training photos in the memory of the device, drawn and blurred there."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from abc_hf.data.kernels import KernelBank
from abc_hf.data.marks import MarkBank
from abc_hf.data.schema import FEATURES
from abc_hf.image_processing_abc_fusenet import ABCFuseNetImageProcessor
from abc_hf.losses import AT_LEAST_HIGH, NO_LABEL, UNKNOWN
from abc_hf.training import fresh_photos
from abc_hf.training.batches import rows_by_group
from abc_hf.training.fresh_photos import FreshPhotos
from abc_hf.training.recipes import GPU
from tests.toy_photos import smooth_photo


def row(seed, label, blur=0, subject=False, **size):
    image = smooth_photo(seed=seed, **size)
    mask = np.zeros(image.size[::-1], np.uint8)
    mask[16:48, 16:48] = 255
    return dict.fromkeys(FEATURES) | {
        "image": image,
        "blur_map": Image.fromarray(np.full(image.size[::-1], blur, np.uint8)),
        "salient_mask": Image.fromarray(mask) if subject else None,
        "desirability": label,
        "blur_kind": "",
        "source": f"toy/{seed}",
        "license": "CC0",
    }


ROWS = [
    *(row(number, 0, subject=number % 2 == 0) for number in range(6)),
    *(row(number, 1, blur=2) for number in range(6, 9)),
    *(row(number, 0, width=64, height=96) for number in range(9, 12)),
]
PHASE = dataclasses.replace(GPU["blur"], crop=64)


def photos(phase=PHASE, rows=ROWS, seed=0, first=0, last=4, batch_size=8, name="blur", **share):
    data = Dataset.from_list(rows, features=FEATURES)
    processor = ABCFuseNetImageProcessor(size={"longest_edge": 96})
    groups = rows_by_group(data, name, phase.mix)
    return FreshPhotos(data, groups, phase, processor, torch.device("cpu"), seed, first, last, batch_size, **share)


@pytest.fixture(scope="module", autouse=True)
def few_kernels():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fresh_photos, "KernelBank", functools.partial(KernelBank, count=60))
        patch.setattr(fresh_photos, "MarkBank", functools.partial(MarkBank, count=8, side=128))
        yield


@pytest.fixture(scope="module")
def made(few_kernels):
    return list(photos())


def test_a_map_of_another_shape_is_refused():
    wrong = row(0, 1) | {"blur_map": Image.new("L", (64, 96))}
    with pytest.raises(ValueError, match=r"Row 0 of train \(toy/0\), column blur_map: the map is 64x96"):
        photos(rows=[wrong, *ROWS])


@pytest.mark.parametrize(("column", "value"), [("blur_map", 7), ("blur_amount", 200)])
def test_a_value_that_is_no_level_is_refused(column, value):
    wrong = row(0, 1) | {column: Image.new("L", (96, 64), value)}
    with pytest.raises(ValueError, match=rf"Row 0 of train \(toy/0\), column {column}: the value {value} is none of 0"):
        photos(rows=[wrong, *ROWS])


def test_without_photos_to_blur_there_is_a_sentence():
    with pytest.raises(ValueError, match="--photos_on_device needs photos to put blur into"):
        photos(rows=[each | {"source": f"synth/{each['source']}"} for each in ROWS])


def test_batches_are_as_the_loop_wants_them(made):
    for batch in made:
        shape = batch["pixel_values"].shape[-2:]
        assert shape == (64, 64) and batch["pixel_values"].shape == (8, 3, *shape)
        assert batch["blur_labels"].shape == batch["attention_labels"].shape == (8, *shape)
        assert batch["pixel_values"].abs().max() <= 1 + 1e-6
        assert set(batch["attention_labels"].unique().tolist()) <= {0, 3, UNKNOWN}
        levels = batch["blur_labels"]
        assert ((levels <= 3) | (levels >= AT_LEAST_HIGH)).all()
        assert batch["labels"].shape == (8, 4) and set(batch["labels"].sum(1).tolist()) <= {0, 1}
        assert batch["kind_labels"].dtype == torch.int64


def test_what_a_batch_holds_depends_on_seed_and_number_alone(made):
    later = list(photos(first=2))
    assert len(later) == 2
    for one, two in zip(made[2:], later, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)
    other = next(iter(photos(seed=1)))
    assert not torch.equal(other["pixel_values"], made[0]["pixel_values"])


def test_processes_share_the_batches(made):
    first, second = (list(photos(last=2, process=process, processes=2)) for process in (0, 1))
    for one, two in zip(made, [first[0], second[0], first[1], second[1]], strict=True):
        assert torch.equal(one["pixel_values"], two["pixel_values"])


def test_a_batch_is_of_landscape_or_of_portrait_photos():
    phase = dataclasses.replace(PHASE, crop=96, scales=(1.0, 1.0))
    shapes = {tuple(batch["pixel_values"].shape[-2:]) for batch in photos(phase, last=2)}
    assert shapes == {(96, 96)}, "three quarters of 96, rounded up to the stride"
    phase = dataclasses.replace(PHASE, crop=128, scales=(1.0, 1.0))
    batches = list(photos(phase, last=8))
    assert {tuple(batch["pixel_values"].shape[-2:]) for batch in batches} == {(96, 128), (128, 96)}
    for batch in batches:  # nothing beyond the photo has a label
        height, width = (64, 96) if batch["pixel_values"].shape[-1] == 128 else (96, 64)
        inside = torch.zeros_like(batch["blur_labels"], dtype=torch.bool)
        inside[:, :height, :width] = True
        inside |= inside.flip(-1)
        assert (batch["blur_labels"][~inside] == UNKNOWN).all()


def test_only_sharp_photos_get_fresh_blur():
    phase = dataclasses.replace(PHASE, mix={"sharp": 1.0})
    assert all(((b["blur_labels"] == 0) | (b["blur_labels"] == UNKNOWN)).all() for b in photos(phase))
    phase = dataclasses.replace(PHASE, mix={"blurred": 1.0})
    assert all(((b["blur_labels"] == 2) | (b["blur_labels"] == UNKNOWN)).all() for b in photos(phase))
    phase = dataclasses.replace(PHASE, mix={"synthetic": 1.0, "sharp": 0.0})
    levels = torch.cat([batch["blur_labels"].flatten() for batch in photos(phase)])
    known = levels[levels <= 3]
    assert known.unique().numel() > 10, "levels with what lies between them"


def classes(batches) -> set[int]:
    return {int(votes.argmax()) for batch in batches for votes in batch["labels"] if votes.any()}


def test_verdicts_of_fresh_blur_and_of_stored_photos():
    phase = dataclasses.replace(GPU["joint"], crop=64, mix={"blurred": 1.0})
    assert classes(photos(phase, name="joint")) == {1}
    phase = dataclasses.replace(phase, mix={"synthetic": 1.0, "sharp": 0.0})
    found = classes(photos(phase, name="joint", last=6))
    assert {1, 2, 3} <= found


def test_wanted_blur_under_fresh_blur_is_spoilt_or_has_no_class():
    mix = {"spoilt": 1.0, "blurred": 0.0}
    batch = next(iter(photos(dataclasses.replace(PHASE, mix=mix), batch_size=16)))
    assert {tuple(each) for each in batch["labels"].tolist()} <= {(0, 0, 0, 1), (0, 0, 0, 0)}
    bad = batch["labels"][:, 3] == 1
    assert bad.any()
    assert (batch["blur_labels"] >= 2).all(), "blur that was there stays"
    assert (batch["blur_labels"][bad] > 2).any()
    assert set(batch["kind_labels"][bad].tolist()) <= {0, 2} and (batch["kind_labels"][~bad] == NO_LABEL).all()
    untouched = next(iter(photos(dataclasses.replace(PHASE, mix={"blurred": 1.0}), batch_size=16)))
    roughness = [each["pixel_values"].diff(dim=-1).abs().mean() for each in (batch, untouched)]
    assert roughness[0] < roughness[1]
