"""Crops and traces of processing, against Pillow and SciPy."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy import ndimage

from abc_hf.data.marks import RandomNumbers
from abc_hf.losses import AT_LEAST_HIGH, UNKNOWN
from abc_hf.training import augmentation
from abc_hf.training.augmentation import stored
from tests.toy_photos import smooth_photo


def test_what_is_stored_of_a_row():
    mask = np.zeros((64, 96), np.uint8)
    mask[16:48, 16:48] = 255
    maps = {"blur_map": Image.new("L", (96, 64), 2), "salient_mask": Image.fromarray(mask)}
    each = {"image": smooth_photo(96, 64), **maps}
    kept = stored(each, "Row 0", 128)
    assert kept["photo"].shape == (3, 128, 128) and kept["size"] == (64, 96)
    assert np.array_equal(kept["photo"][:, :64, :96], np.asarray(each["image"]).transpose(2, 0, 1))
    assert torch.equal(kept["photo"][:, 64, :], kept["photo"][:, 63, :]), "it goes on by reflection"
    assert (kept["blur"][:64, :96] == 120).all() and (kept["blur"][64:] == UNKNOWN).all()
    assert kept["subject"][20, 20] == 1 and kept["subject"][0, 0] == 0 and kept["subject"][0, 100] == UNKNOWN
    kept = stored(each | {"blur_amount": Image.new("L", (96, 64), AT_LEAST_HIGH)}, "Row 0", 48)
    assert kept["size"] == (32, 48) and (kept["blur"][:32] == AT_LEAST_HIGH).all()


@pytest.mark.parametrize("quality", [50, 75, 92])
def test_jpeg_is_pillows(quality):
    image = smooth_photo(128, 96)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    pillow = np.asarray(Image.open(buffer)).astype(float)
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1)[None].copy()).float()
    mine = augmentation.jpeg(pixels, torch.tensor([float(quality)]))[0].numpy().transpose(1, 2, 0)
    lost = np.abs(pillow - np.asarray(image)).mean()
    assert np.abs(mine - pillow).mean() < 0.25 * lost
    assert np.abs(mine - np.asarray(image)).mean() == pytest.approx(lost, rel=0.1)


def test_gaussians_are_scipys():
    pixels = torch.rand(2, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    mine = augmentation.gaussian(pixels, torch.tensor([0.6, 1.4]).view(-1, 1, 1, 1))
    for image, sigma, found in zip(pixels, (0.6, 1.4), mine, strict=True):
        wanted = ndimage.gaussian_filter(image.numpy(), (0, sigma, sigma), mode="mirror", radius=(0, 4, 4))
        assert np.allclose(found, wanted, atol=1e-5)


def test_sharpening_is_an_unsharp_mask():
    """Pillow's mask is a box approximation of the same Gaussian."""
    image = smooth_photo(96, 64)
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1)[None].copy()).float()
    blurred = augmentation.gaussian(pixels, torch.full((1, 1, 1, 1), 1.0))
    mine = (pixels + 0.8 * (pixels - blurred)).clamp(0, 255)[0].numpy().transpose(1, 2, 0)
    pillow = np.asarray(image.filter(ImageFilter.UnsharpMask(1.0, 80, 0))).astype(float)
    assert np.abs(mine - pillow).mean() < 3


def test_processing_depends_on_its_generators_alone():
    pixels = torch.full((16, 3, 64, 64), 128.0)
    pixels[:, :, ::2] = 60

    def processed(seed):
        random = RandomNumbers(torch.Generator().manual_seed(seed))
        return augmentation.processed(pixels / 255, random, np.random.default_rng(seed))

    assert torch.equal(processed(0), processed(0)) and not torch.equal(processed(0), processed(1))
    assert processed(0).min() >= 0 and processed(0).max() <= 1
