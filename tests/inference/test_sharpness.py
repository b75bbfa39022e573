import itertools
import math

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage, special

from abc_hf.inference.sharpness import (
    COARSE,
    FINE,
    LOUPE,
    loupe,
    noise_variance,
    sharpest_place,
    sharpness,
    subject_box,
    subject_sharpness,
)


def edge(blur: float, low=60.0, high=180.0, side=128) -> Image.Image:
    """A vertical edge under a Gaussian blur of that standard deviation [pixels]: the error function."""
    x = np.arange(side) - side / 2 + 0.5
    step = np.sign(x) if blur == 0 else special.erf(x / (blur * math.sqrt(2)))
    return Image.fromarray(np.rint(np.tile(low + (high - low) * (step + 1) / 2, (side, 1))).astype(np.uint8))


def scene(seed=0, side=256) -> np.ndarray:
    """Random overlapping discs and bars of random grey, as light falls on a sensor: edges in all directions."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    picture = np.full((side, side), 120.0)
    for _ in range(60):
        centre, radius, grey = rng.uniform(0, side, 2), rng.uniform(6, 40), rng.uniform(20, 235)
        picture[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2] = grey
    return picture


def as_photo(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("blur", [0, 0.7, 1, 1.5, 2, 3, 5, 8])
def test_an_edge_has_the_sharpness_of_the_closed_form(blur):
    expected = math.sqrt((COARSE**2 + blur**2) / (FINE**2 + blur**2)) * FINE / COARSE
    assert sharpness(edge(blur)) == pytest.approx(expected, rel=0.05)


def test_growing_discs_lower_it_one_by_one():
    """Defocus is a disc; half a pixel more is seen."""
    picture, values = scene(), []
    y, x = np.mgrid[-12:13, -12:13]
    for radius in (0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 11):
        disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
        values.append(sharpness(as_photo(ndimage.convolve(picture, disc / disc.sum(), mode="nearest"))))
    assert all(after < before for before, after in itertools.pairwise(values[1:]))
    assert values[0] >= values[1] > values[-1]


def test_exposure_and_contrast_do_not_count():
    picture = ndimage.gaussian_filter(scene(), 1.2)
    value = sharpness(as_photo(picture))
    for changed in (0.4 * picture, 0.5 * picture + 90, 255 - picture):
        assert sharpness(as_photo(changed)) == pytest.approx(value, rel=0.02)


@pytest.mark.parametrize("noise", [3, 8])
def test_noise_is_not_sharpness(noise):
    rng = np.random.default_rng(1)
    for blur in (1, 2, 3):
        picture = ndimage.gaussian_filter(scene(), blur)
        noisy = sharpness(as_photo(picture + rng.normal(0, noise, picture.shape)))
        assert noisy == pytest.approx(sharpness(as_photo(picture)), rel=0.12)
    sharper = sharpness(as_photo(ndimage.gaussian_filter(scene(), 1)))
    grainy = ndimage.gaussian_filter(scene(), 2) + rng.normal(0, noise, (256, 256))
    assert sharpness(as_photo(grainy)) < sharper


@pytest.mark.parametrize("noise", [2, 10])
def test_the_variance_of_noise_is_found(noise):
    picture = scene() / 2 + 60 + np.random.default_rng(2).normal(0, noise, (256, 256))
    assert noise_variance(picture.astype(np.float32)) == pytest.approx(noise**2, rel=0.25)
    assert noise_variance(np.zeros((5, 40), np.float32)) == 0  # too small for a block


def test_without_edges_there_is_nothing_to_measure():
    assert sharpness(Image.new("RGB", (50, 40), "grey")) == 0
    assert sharpness(Image.new("L", (1, 1))) == 0


def test_places_without_weight_do_not_count():
    sharp, soft = np.asarray(edge(0)), np.asarray(edge(4))
    both = Image.fromarray(np.vstack([sharp, soft]))
    left = np.zeros((8, 4), np.float32)
    left[:3] = 1
    assert sharpness(both, left) == pytest.approx(sharpness(edge(0)), rel=0.05)
    assert sharpness(both, left[::-1]) == pytest.approx(sharpness(edge(4)), rel=0.1)


def test_the_subject_s_box():
    attention = np.zeros((60, 90), np.float32)
    assert subject_box(attention, (900, 600)) == (0, 0, 900, 600)
    attention[:] = 0.3  # attention that is nowhere above one half
    attention[20:40, 30:60] = 0.9
    assert subject_box(attention, (900, 600)) == (300, 200, 600, 400)
    attention[0, 0] = 1  # a speck
    assert subject_box(attention, (900, 600)) == (300, 200, 600, 400)


def test_a_slight_focus_error_shows_in_the_subject_s_own_pixels():
    """Three pixels of blur in 3000: a sixth of that at the working size."""
    attention = np.zeros((40, 60), np.float32)
    attention[10:30, 20:40] = 1
    canvas = Image.new("RGB", (3000, 2000), "grey")
    canvas.paste(as_photo(scene(3, 1000)), (1000, 500))
    hit = subject_sharpness(canvas, attention)
    missed = subject_sharpness(canvas.filter(ImageFilter.GaussianBlur(1.5)), attention)
    assert hit.box == (1000, 500, 2000, 1500)
    assert hit.sharpness > 1.3 * missed.sharpness
    assert subject_sharpness(canvas, attention, long_side=750).box == (250, 125, 500, 375)


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.5, 0.5), (1.0, 0.2)])
def test_the_loupe_lies_inside_the_photo_and_is_not_resized(place):
    y, x = np.mgrid[:1500, :2000]
    photo = Image.fromarray(np.dstack([x % 256, y % 256, x // 256 * 16 + y // 256]).astype(np.uint8))
    piece = loupe(photo, place)
    assert piece.size == (LOUPE, LOUPE)
    left, top = round(place[0] * 2000) - LOUPE // 2, round(place[1] * 1500) - LOUPE // 2
    left, top = min(max(left, 0), 2000 - LOUPE), min(max(top, 0), 1500 - LOUPE)
    assert piece.getpixel((0, 0)) == photo.getpixel((left, top))


def test_the_sharpest_place_counts_attention_detail_and_sharpness():
    luma = np.full((60, 90), 128, np.uint8)
    spots = {(10, 10): 255, (10, 70): 255, (45, 45): 200}  # row and column of detail, and how strong it is
    for (row, column), value in spots.items():
        luma[row : row + 4 : 2, column : column + 4] = value
    attention, blur = np.ones((60, 90), np.float32), np.zeros((60, 90), np.float32)
    attention[:, 65:], blur[:20, :20] = 0, 1
    x, y = sharpest_place(Image.fromarray(luma), blur, attention, long_side=4800)
    assert abs(x * 90 - 47) <= 5 and abs(y * 60 - 47) <= 5
    assert sharpest_place(Image.new("L", (1, 1)), np.zeros((1, 1)), np.ones((1, 1)), 1) == (0.5, 0.5)
