"""Training photos on the device: what is stored, drawn, cropped and processed, against Pillow and SciPy."""

import dataclasses
import functools
import io

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image, ImageFilter
from scipy import ndimage

from abc_hf.data.device_blur import Dice, KernelBank
from abc_hf.data.schema import FEATURES
from abc_hf.image_processing_abc_fusenet import ABCFuseNetImageProcessor
from abc_hf.losses import AT_LEAST_HIGH, UNKNOWN
from abc_hf.training import device_photos
from abc_hf.training.batches import rows_by_group
from abc_hf.training.device_photos import DevicePhotos, stored
from abc_hf.training.recipes import GPU


def photo(width=96, height=64, seed=0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.uniform(0, 255, (height, width, 3)), (1.5, 1.5, 0))
    return Image.fromarray(np.clip((smooth - 127) * 3 + 127, 0, 255).astype(np.uint8))


def row(seed, label, blur=0, subject=False, **size):
    image = photo(seed=seed, **size)
    mask = np.zeros(image.size[::-1], np.uint8)
    mask[16:48, 16:48] = 255
    return {
        "image": image,
        "blur_map": Image.fromarray(np.full(image.size[::-1], blur, np.uint8)),
        "blur_amount": None,
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
    return DevicePhotos(data, groups, phase, processor, torch.device("cpu"), seed, first, last, batch_size, **share)


@pytest.fixture(scope="module", autouse=True)
def few_kernels():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_photos, "KernelBank", functools.partial(KernelBank, count=60))
        yield


@pytest.fixture(scope="module")
def made(few_kernels):
    return list(photos())


def test_what_is_stored_of_a_row():
    each = row(0, 1, blur=2, subject=True)
    kept = stored(each, "Row 0", 128)
    assert kept["photo"].shape == (3, 128, 128) and kept["size"] == (64, 96) and kept["label"] == 1
    assert np.array_equal(kept["photo"][:, :64, :96], np.asarray(each["image"]).transpose(2, 0, 1))
    assert torch.equal(kept["photo"][:, 64, :], kept["photo"][:, 63, :]), "it goes on by reflection"
    assert (kept["blur"][:64, :96] == 120).all() and (kept["blur"][64:] == UNKNOWN).all()
    assert kept["subject"][20, 20] == 1 and kept["subject"][0, 0] == 0 and kept["subject"][0, 100] == UNKNOWN
    kept = stored(each | {"blur_amount": Image.new("L", (96, 64), AT_LEAST_HIGH)}, "Row 0", 48)
    assert kept["size"] == (32, 48) and (kept["blur"][:32] == AT_LEAST_HIGH).all()


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
        assert batch["labels"].dtype == torch.int64


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


def test_verdicts_of_fresh_blur_and_of_stored_photos():
    phase = dataclasses.replace(GPU["joint"], crop=64, mix={"blurred": 1.0})
    assert {int(label) for batch in photos(phase, name="joint") for label in batch["labels"]} == {1}
    phase = dataclasses.replace(phase, mix={"synthetic": 1.0, "sharp": 0.0})
    found = {int(label) for batch in photos(phase, name="joint", last=6) for label in batch["labels"]}
    assert {1, 2, 3} <= found


@pytest.mark.parametrize("quality", [50, 75, 92])
def test_jpeg_is_pillows(quality):
    image = photo(128, 96)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    pillow = np.asarray(Image.open(buffer)).astype(float)
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1)[None].copy()).float()
    mine = device_photos.jpeg(pixels, torch.tensor([float(quality)]))[0].numpy().transpose(1, 2, 0)
    lost = np.abs(pillow - np.asarray(image)).mean()
    assert np.abs(mine - pillow).mean() < 0.25 * lost
    assert np.abs(mine - np.asarray(image)).mean() == pytest.approx(lost, rel=0.1)


def test_gaussians_are_scipys():
    pixels = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    mine = device_photos.gaussian(pixels, torch.tensor([0.6, 1.4]).view(-1, 1, 1, 1))
    for image, sigma, found in zip(pixels, (0.6, 1.4), mine, strict=True):
        wanted = ndimage.gaussian_filter(image.numpy(), (0, sigma, sigma), mode="mirror", radius=(0, 4, 4))
        assert np.allclose(found, wanted, atol=1e-5)


def test_sharpening_is_an_unsharp_mask():
    """Pillow's mask is a box approximation of the same Gaussian."""
    image = photo()
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1)[None].copy()).float()
    blurred = device_photos.gaussian(pixels, torch.full((1, 1, 1, 1), 1.0))
    mine = (pixels + 0.8 * (pixels - blurred)).clamp(0, 255)[0].numpy().transpose(1, 2, 0)
    pillow = np.asarray(image.filter(ImageFilter.UnsharpMask(1.0, 80, 0))).astype(float)
    assert np.abs(mine - pillow).mean() < 3


def test_processing_depends_on_its_generators_alone():
    pixels = torch.full((16, 3, 64, 64), 128.0)
    pixels[:, :, ::2] = 60

    def processed(seed):
        dice = Dice(torch.Generator().manual_seed(seed))
        return device_photos.jitter(device_photos.develop(pixels.clone(), dice, np.random.default_rng(seed)), dice)

    assert torch.equal(processed(0), processed(0)) and not torch.equal(processed(0), processed(1))
    assert 0 <= processed(0).min() and processed(0).max() <= 1
