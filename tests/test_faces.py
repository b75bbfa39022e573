"""With OpenCV's detector on scikit-image's photo of an astronaut, whose face was measured by hand."""

import sys

import numpy as np
import pytest
from PIL import Image
from skimage import data

from abc_hf import faces
from abc_hf.faces import TILE, Face, eyes_of, find_faces, prominent

ASTRONAUT = Image.fromarray(data.astronaut())  # (512, 512)
EYES = np.array([(200, 101), (247, 102)]) / 512
"""The middles of her eyes, read off the photo."""


@pytest.mark.parametrize(("size", "mode"), [((512, 512), "RGB"), ((3000, 3000), "RGB"), ((256, 256), "L")])
def test_a_face_and_its_eyes_are_found_at_every_size(size, mode):
    (face,) = find_faces(ASTRONAUT.resize(size).convert(mode))
    assert np.abs(np.array(face.eyes) - EYES).max() < 8 / 512
    left, top, right, bottom = face.box
    assert left < EYES[0, 0] < EYES[1, 0] < right and top < EYES[0, 1] < bottom
    assert face.score > 0.9


def test_the_tallest_face_is_first():
    photo = Image.new("RGB", (900, 700), "grey")
    photo.paste(ASTRONAUT.resize((250, 250)), (10, 10))
    photo.paste(ASTRONAUT, (350, 150))
    large, small = find_faces(photo)
    assert large.box[0] > 0.5 > small.box[0]


@pytest.mark.parametrize("size", [(1, 1), (3000, 10), (31, 31), (700, 500)])
def test_a_photo_without_faces_has_none(size):
    assert find_faces(Image.new("RGB", size, "grey")) == []


def test_without_the_extra_nothing_is_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    faces.detector.cache_clear()
    assert find_faces(ASTRONAUT) is None
    monkeypatch.undo()
    faces.detector.cache_clear()
    assert find_faces(ASTRONAUT)


def face(left: float, top: float, height: float) -> Face:
    eyes = ((left + 0.3 * height, top + 0.4 * height), (left + 0.7 * height, top + 0.4 * height))
    return Face((left, top, left + height, top + height), eyes, 0.9)


def test_a_face_counts_if_it_is_attended_and_not_much_smaller_than_the_largest():
    attention = np.zeros((40, 60), np.float32)
    attention[:, 20:] = 1
    ignored, large, small, tiny = face(0, 0, 0.3), face(0.4, 0.1, 0.3), face(0.75, 0.5, 0.16), face(0.75, 0.1, 0.1)
    assert prominent([ignored, large, small, tiny], attention) == [large, small]
    assert prominent([ignored], attention) == prominent([], attention) == []


@pytest.mark.parametrize(("side", "tile"), [(400, TILE), (2000, 2 * TILE)])
def test_the_pieces_around_the_eyes_are_the_photo_s_own_pixels(side, tile):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    looking = face(0.2, 0.2, 0.5)
    eyes = eyes_of([looking], pixels)
    assert len(eyes) == 2
    for eye, middle in zip(eyes, looking.eyes, strict=True):
        assert eye.middle == pytest.approx(np.array(middle) * side)
        assert eye.around == pytest.approx(0.35 * 0.2 * side)  # the eyes are a fifth of the photo apart
        left, top = eye.corner
        assert np.array_equal(eye.tile, pixels[top : top + tile, left : left + tile]) and eye.tile.shape == (tile, tile)
        assert np.abs(np.array(eye.corner) + tile / 2 - eye.middle).max() <= 1
        assert eye.box == tuple(round(at + sign * eye.around) for sign in (-1, 1) for at in eye.middle)


def test_eyes_that_are_too_small_or_outside_of_the_photo_are_left_out():
    pixels = np.zeros((400, 400), np.uint8)
    assert eyes_of([face(0.2, 0.2, 0.05)], pixels) == []  # eight pixels apart
    (eye,) = eyes_of([face(0.9, 0.2, 0.05), face(-0.25, 0.2, 0.5)], pixels)  # one eye lies outside
    assert eye.face == 1 and eye.corner == (0, round(0.4 * 400) - TILE // 2)
