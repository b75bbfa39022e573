"""With OpenCV's detector on scikit-image's photo of an astronaut, whose face was measured by hand."""

import sys

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from abc_hf.inference import faces
from abc_hf.inference.faces import Face, eye_boxes, find_faces, prominent, softest_eyes

ASTRONAUT = Image.fromarray(data.astronaut())  # (512, 512)
EYES = np.array([(200, 101), (247, 102)]) / 512
"""The middles of her eyes, read off the photo."""


def spread(luma: np.ndarray) -> float:
    """A measure of blur for tests: little detail is much blur."""
    return 1 / (1e-3 + float(np.abs(np.diff(luma)).mean()))


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


def test_a_square_lies_around_each_eye_inside_the_photo():
    for box, eye in zip(eye_boxes(face(0.2, 0.2, 0.5), (400, 400)), face(0.2, 0.2, 0.5).eyes, strict=True):
        left, top, right, bottom = box
        assert right - left == bottom - top == 56  # 0.7 of the distance of 80
        assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx(np.array(eye) * 400, abs=1)
    assert eye_boxes(face(0.2, 0.2, 0.5), (60, 60)) == []  # twelve pixels apart
    assert len(eye_boxes(face(-0.25, 0.2, 0.5), (400, 400))) == 1  # the other eye lies outside


def test_the_softest_face_of_a_group_decides_by_its_sharper_eye():
    soft = ASTRONAUT.filter(ImageFilter.GaussianBlur(3))
    one_eye = ASTRONAUT.copy()
    one_eye.paste(soft.crop((225, 0, 512, 512)), (225, 0))  # a head turned away: the far eye is out of focus
    radii = {}
    for name, shots in {"sharp": [ASTRONAUT], "one eye": [one_eye], "both": [soft], "group": [ASTRONAUT, soft]}.items():
        photo = Image.new("RGB", (512 * len(shots), 512))
        for number, shot in enumerate(shots):
            photo.paste(shot, (512 * number, 0))
        radii[name], box = softest_eyes(photo, find_faces(photo), spread)
    assert radii["sharp"] <= radii["one eye"] < radii["both"] / 1.5
    assert radii["group"] == pytest.approx(radii["both"], rel=0.3) and box[0] > 512
    assert softest_eyes(ASTRONAUT, [], spread) is None
