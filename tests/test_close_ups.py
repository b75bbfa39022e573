import io

import numpy as np
import pytest
from PIL import ExifTags, Image
from scipy import ndimage

from abc_hf import load_photo
from abc_hf.close_ups import GRID, TILE, close_ups, tile_sums


def noise_photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth random grey, so JPEG keeps it."""
    values = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 2)
    return Image.fromarray(np.uint8(np.clip(128 + 300 * values, 0, 255))).convert("RGB")


@pytest.mark.parametrize("size", [(2000, 1300), (641, 480), (301, 777)])
def test_tiles_are_pieces_of_the_photo(size):
    photo = noise_photo(*size)
    seen = close_ups(photo)
    pixels = np.asarray(photo.convert("L"))
    assert seen.size == size
    for tile, (left, top) in zip(seen.tiles, seen.corners, strict=True):
        assert np.array_equal(tile, pixels[top : top + TILE, left : left + TILE])
    parts = max(TILE, max(size) / GRID)
    assert len(seen.tiles) == round(size[0] / parts) * round(size[1] / parts)


def test_the_most_detailed_tile_of_a_part_is_taken():
    pixels = np.full((600, 900), 128, np.uint8)
    pixels[200:230, 640:670] = np.indices((30, 30)).sum(0) // 8 % 2 * 200
    seen = close_ups(Image.fromarray(pixels))
    left, top = seen.corners[int(seen.detail.argmax())]
    assert left <= 640
    assert top <= 200
    assert left + TILE >= 670
    assert top + TILE >= 230


def test_a_photo_smaller_than_a_tile_is_continued():
    seen = close_ups(Image.fromarray(np.full((40, 90), 77, np.uint8)))
    assert seen.tiles.shape == (1, TILE, TILE)
    assert (seen.tiles == 77).all()
    x, y = seen.places(16)
    assert x[0, 0, 0] == pytest.approx(8 / 90)
    assert y[0, 2, 0] == pytest.approx(40 / 40)


def test_sums_are_those_of_all_windows():
    values = np.random.default_rng(0).random((20, 31))
    expected = np.lib.stride_tricks.sliding_window_view(values, (6, 6)).mean((2, 3))
    assert tile_sums(values, 6) == pytest.approx(expected)


@pytest.mark.parametrize("orientation", [1, 6, 8, 3])
def test_a_reduced_jpeg_is_seen_in_its_own_pixels_and_upright(orientation):
    photo, file, exif = noise_photo(2400, 1600), io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo.save(file, "jpeg", quality=95, exif=exif)
    plain = load_photo(file.getvalue(), working_size=512, resample=3)
    reduced = load_photo(file.getvalue(), working_size=512, resample=3, look_closely=True)
    assert np.array_equal(np.asarray(plain), np.asarray(reduced))  # what the network sees does not change
    seen = reduced.info["close_ups"]
    whole = np.asarray(load_photo(file.getvalue()).convert("L"), int)
    assert seen.size == whole.shape[::-1]
    for tile, (left, top) in zip(seen.tiles, seen.corners, strict=True):
        assert np.abs(tile - whole[top : top + TILE, left : left + TILE]).max() <= 4


@pytest.mark.parametrize("photo", [np.zeros((300, 400, 3), np.uint8), Image.new("RGBA", (400, 300)), "png"])
def test_every_kind_of_photo_can_be_looked_at(photo):
    if isinstance(photo, str):
        file = io.BytesIO()
        Image.new("RGB", (400, 300)).save(file, "png")
        photo = file.getvalue()
    assert load_photo(photo, working_size=128, resample=3, look_closely=True).info["close_ups"].size == (400, 300)
