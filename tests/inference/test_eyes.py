"""The blur of eyes, on scikit-image's photo of an astronaut."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageDraw, ImageFilter
from scipy import signal
from skimage import data

from abc_hf.close_ups import close_ups
from abc_hf.inference.blur_radius import measure
from abc_hf.library.bursts import softness
from abc_hf.photos import load_photo

ASTRONAUT = Image.fromarray(data.astronaut())  # (512, 512); its blur map and attention map follow
SHARP, ATTENDED = np.zeros((64, 64), np.float32), np.ones((64, 64), np.float32)
FACE, EYES = (170, 55, 275, 185), np.array([(200, 101), (247, 102)])


def seen(photo: Image.Image, attention: np.ndarray = ATTENDED):
    return measure(close_ups(photo), SHARP, attention)


def soft_face(sigma: float) -> Image.Image:
    """The photo with its face out of focus: all that lies around stays as sharp as it was."""
    photo = ASTRONAUT.copy()
    photo.paste(ASTRONAUT.filter(ImageFilter.GaussianBlur(sigma)).crop(FACE), FACE[:2])
    return photo


def test_the_blur_of_the_eyes_is_measured_whatever_is_around():
    radii = [seen(soft_face(sigma)).eye_blur_radius for sigma in (0, 1, 2, 4)]
    assert radii == sorted(radii)
    assert radii[2] == pytest.approx(4, rel=0.5) and radii[3] == pytest.approx(8, rel=0.5)
    left, top, right, bottom = seen(ASTRONAUT).box
    assert (((left, top) < EYES) & ((right, bottom) > EYES)).all(1).sum() == 1  # the box is that of one eye
    assert right - left == bottom - top < 45


def test_the_softest_face_of_a_group_decides_by_its_sharper_eye():
    turned = ASTRONAUT.copy()
    turned.paste(soft_face(4).crop((224, 0, 512, 512)), (224, 0))  # a head that is turned: the far eye is soft
    assert seen(turned).eye_blur_radius < 0.6 * seen(soft_face(4)).eye_blur_radius
    group = Image.new("RGB", (1024, 512))
    for left, shot in ((0, ASTRONAUT), (512, soft_face(3))):
        group.paste(shot, (left, 0))
    found = measure(close_ups(group), np.zeros((64, 128)), np.ones((64, 128)))
    assert found.faces == 2 and found.box[0] > 512
    assert found.eye_blur_radius == pytest.approx(seen(soft_face(3)).eye_blur_radius, rel=0.25)


def test_a_face_that_nobody_looks_at_does_not_count():
    elsewhere = ATTENDED.copy()
    elsewhere[:30, 15:40] = 0
    found = seen(soft_face(4), elsewhere)
    assert found.faces == 1 and found.eye_blur_radius is None and found.eye_sharpness is None


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_eyes_of_a_large_jpeg_are_its_own_pixels_upright(orientation, tmp_path):
    """It is decoded at a quarter of its size for the network."""
    large = ASTRONAUT.resize((2400, 2400))
    stored = large.transpose(Image.Transpose.ROTATE_90) if orientation == 6 else large
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored.save(tmp_path / "large.jpg", exif=exif, quality=95)
    preview = load_photo(tmp_path / "large.jpg", working_size=300, look_closely=True)
    assert preview.size == (600, 600)
    found = preview.info["close_ups"]
    assert len(found.faces) == 1 and len(found.eyes) == 2
    for eye in found.eyes:
        left, top = eye.corner
        side = len(eye.tile)
        expected = np.asarray(large.convert("L").crop((left, top, left + side, top + side)), float)
        assert np.abs(expected - eye.tile).mean() < 3
        assert np.abs(np.array(eye.middle) / 2400 - EYES / 512).sum(1).min() < 0.02


def test_faces_are_unknown_without_the_extra(monkeypatch):
    monkeypatch.setattr("abc_hf.close_ups.find_faces", lambda photo: None)
    found = seen(ASTRONAUT)
    assert found.faces is None and found.eye_blur_radius is None and found.blur_radius < 4


def painted_eyes() -> Image.Image:
    """The photo in grey at twice its size, with eyes painted over hers that are as detailed as a camera's."""
    photo = ASTRONAUT.convert("L").resize((1024, 1024), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(photo)
    for x, y in (2 * EYES).tolist():
        for radius, grey in ((11, 45), (9, 95), (4, 8)):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=grey)
        draw.ellipse((x - 4, y - 5, x - 1, y - 2), fill=255)
        for step in range(-16, 17, 3):
            draw.line((x + step, y - 11, x + 1.3 * step, y - 20 + abs(step) / 3), fill=25)
    return photo.crop((0, 0, 860, 700))


def out_of_focus(pixels: np.ndarray, radius: float) -> np.ndarray:
    """(H, W) under a defocus disc of a radius [pixels], its edge smooth."""
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return signal.fftconvolve(np.pad(pixels, reach, mode="edge"), disc / disc.sum(), mode="valid")


def shot(rng: np.random.Generator, photo: np.ndarray, radius: float, noise: float, quality: int) -> Image.Image:
    """A hand-held shot whose focus misses the eyes: the softer they are, the sharper is a background of fine texture.
    The radius is that of the blur of the face [pixels]."""
    texture = rng.normal(128, 60, photo.shape)
    y, x = np.indices(photo.shape)
    inside = np.clip(2 - 2 * np.hypot((x - 444) / 200, (y - 260) / 250), 0, 1)
    mixed = inside * out_of_focus(photo, radius) + (1 - inside) * out_of_focus(texture, max(0.3, 5 - radius))
    left, top = rng.integers(0, 20, 2)
    mixed = (mixed + rng.normal(0, noise, mixed.shape))[top : top + 680, left : left + 840]
    file = io.BytesIO()
    Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8)).save(file, "jpeg", quality=quality)
    return Image.open(file)


@pytest.mark.slow
def test_of_200_bursts_the_shot_whose_eyes_are_in_focus_is_first():
    """Though its background of fine texture is the softest."""
    rng, photo, right = np.random.default_rng(0), np.asarray(painted_eyes(), float), 0
    for _ in range(200):
        radii = rng.permutation(rng.uniform(0.3, 1.5) + np.array([0, 1, 2, 4]))
        noise, quality = rng.uniform(0, 6), int(rng.integers(75, 96))
        looks = [seen(shot(rng, photo, radius, noise, quality)) for radius in radii]
        rows = [{"eye_sharpness": look.eye_sharpness, "subject_sharpness": look.sharpness} for look in looks]
        right += min(range(4), key=lambda index: softness(rows[index])) == radii.argmin()
    assert right >= 190
