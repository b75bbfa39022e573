import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage

from abc_hf.inference.side_by_side import LOUPE, inside, loupe, shift


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """Random detail of all sizes, as in photos."""
    rng = np.random.default_rng(0)
    layers = [ndimage.gaussian_filter(rng.normal(size=(600, 800)), scale) * scale for scale in (1, 3, 9, 27)]
    return Image.fromarray(np.clip(120 + 60 * sum(layers), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("moved", [(0, 0), (23, -11), (-40, 35)])
@pytest.mark.parametrize("blur", [0, 3])
def test_a_hand_held_shift_is_found_in_a_sharp_and_in_a_soft_shot(scene, moved, blur):
    right, down = moved
    first = scene.crop((100, 100, 612, 484))
    second = scene.crop((100 - right, 100 - down, 612 - right, 484 - down)).filter(ImageFilter.GaussianBlur(blur))
    assert shift(first, second) == pytest.approx((right / 512, down / 384), abs=1.5 / 384)
    halved = second.resize((256, 192))  # shares do not depend on the size
    assert shift(first, halved) == pytest.approx((right / 512, down / 384), abs=2.5 / 384)


def test_shots_of_different_scenes_are_not_shifted(scene):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (384, 512), np.uint8))
    for other in (noise, scene.crop((288, 216, 800, 600)).rotate(180), Image.new("L", (512, 384))):
        assert shift(scene.crop((0, 0, 512, 384)), other) == (0, 0)


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.4, 0.6)])
def test_the_loupe_is_the_photo_pixel_for_pixel_around_the_place(place):
    y, x = np.mgrid[:2000, :2600]
    photo = Image.fromarray(np.dstack([x % 256, y % 256, x // 256 * 16 + y // 256]).astype(np.uint8))
    piece = loupe(photo, place)
    assert piece.size == (LOUPE, LOUPE)
    assert piece.getpixel((640, 640)) == photo.getpixel((round(place[0] * 2600), round(place[1] * 2000)))
    assert loupe(photo, place, long_side=650).size == (650, 500)


def test_beyond_the_photo_the_loupe_is_black():
    piece = loupe(Image.new("RGB", (2000, 2000), "white"), (1.0, 0.5))
    assert piece.getpixel((639, 5)) == (255, 255, 255) and piece.getpixel((641, 5)) == (0, 0, 0)


def test_a_loupe_that_lies_inside():
    assert inside((0.0, 0.9), (2560, 1280)) == (0.25, 0.5)
    assert inside((0.5, 0.5), (2560, 1280)) == (0.5, 0.5)
    assert inside((0.9, 0.1), (640, 480)) == (0.5, 0.5)
