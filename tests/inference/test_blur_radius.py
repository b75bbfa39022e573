import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage, special

from abc_hf import load_pipeline
from abc_hf.close_ups import close_ups
from abc_hf.inference.blur_radius import LARGEST, SMALLEST, SubjectSharpness, measure, sharpness_of


def scene(seed: int = 0, side: int = 384) -> np.ndarray:
    """Overlapping discs of random grey in linear light: edges in all directions."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    picture = np.full((side, side), 0.4)
    for _ in range(150):
        centre, radius, grey = rng.uniform(0, side, 2), rng.uniform(6, 40), rng.uniform(0.02, 0.9)
        picture[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2] = grey
    return picture


def blurred(light: np.ndarray, radius: float) -> np.ndarray:
    """Under a disc, whose border is anti-aliased."""
    y, x = np.mgrid[-26:27, -26:27]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return ndimage.convolve(light, disc / disc.sum(), mode="reflect")


def as_photo(light: np.ndarray, noise: float = 0, quality: int = 0, sharpen: int = 0) -> Image.Image:
    light = light + np.random.default_rng(1).normal(size=light.shape) * noise
    photo = Image.fromarray(np.uint8(np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2))))
    if sharpen:
        photo = photo.filter(ImageFilter.UnsharpMask(1.5, sharpen, 0))
    if not quality:
        return photo
    file = io.BytesIO()
    photo.save(file, "jpeg", quality=quality)
    return Image.open(file)


def radius_of(photo: Image.Image, attention=None, blur=None) -> float:
    attention = np.ones((24, 24), np.float32) if attention is None else attention
    found = measure(close_ups(photo), np.zeros_like(attention) if blur is None else blur, attention)
    assert found
    return found.blur_radius


@pytest.mark.parametrize("radius", [2, 3, 5, 8, 14])
def test_the_radius_of_a_disc_is_found(radius):
    assert radius_of(as_photo(blurred(scene(), radius))) == pytest.approx(radius, rel=0.25)


@pytest.mark.parametrize("traces", [{"noise": 0.03}, {"quality": 75}, {"noise": 0.02, "quality": 85}])
def test_it_grows_with_the_blur_whatever_the_camera_did(traces):
    found = [radius_of(as_photo(blurred(scene(3), radius), **traces)) for radius in (1, 2, 4, 8, 16)]
    assert all(before < after for before, after in itertools.pairwise(found))


def test_noise_and_sharpening_are_not_sharpness():
    """A hundred per cent of unsharp masking doubles the variance of the Laplacian, and noise multiplies it."""
    soft = blurred(scene(5), 5)
    assert radius_of(as_photo(soft, noise=0.04)) == pytest.approx(5, rel=0.3)
    assert radius_of(as_photo(soft, sharpen=100)) == pytest.approx(5, rel=0.3)
    assert radius_of(as_photo(soft, quality=50)) == pytest.approx(5, rel=0.3)


def test_an_enlarged_photo_is_soft():
    photo = as_photo(scene(2, 256))
    assert radius_of(photo.resize((1024, 1024), Image.Resampling.BICUBIC)) > 2 * radius_of(photo)


def test_a_sharp_background_does_not_count_for_a_soft_subject():
    light = scene(4, 768)
    soft = blurred(light, 7)
    inside = np.zeros(light.shape, bool)
    inside[200:560, 200:560] = True
    photo = as_photo(np.where(inside, soft, light))
    attention = np.float32(inside[::16, ::16])
    assert radius_of(photo, attention) == pytest.approx(7, rel=0.3)
    assert radius_of(photo, 1 - attention) < 1.5
    assert radius_of(photo) < 1.5  # the sharper parts of the whole


def test_without_edges_there_is_no_answer():
    seen = close_ups(Image.new("L", (500, 400), 90))
    assert measure(seen, np.zeros((20, 25)), np.ones((20, 25))) is None


def test_sharpness_falls_from_one():
    values = [SubjectSharpness(radius, (0, 0, 1, 1)).sharpness for radius in np.geomspace(SMALLEST, LARGEST, 9)]
    assert all(0 < after < before < 1 for before, after in itertools.pairwise(values))
    edge = special.ndtr(np.linspace(-20, 20, 4001))  # of sigma 1, in steps of 0.01
    steepness = [np.diff(each).max() for each in (edge, ndimage.gaussian_filter1d(edge, 200))]
    assert sharpness_of(4) == pytest.approx(steepness[1] / steepness[0], rel=0.01)  # a radius is twice a sigma


def test_the_report_says_it_and_the_verdict_does_not_depend_on_it():
    pipe = load_pipeline()
    photo = as_photo(blurred(scene(6, 1200), 4)).convert("RGB")
    report = pipe(photo)
    assert report.subject_blur_radius == pytest.approx(4, rel=0.3)
    assert report.subject_sharpness == sharpness_of(report.subject_blur_radius)
    left, top, right, bottom = report.closely.box
    assert (right - left, bottom - top) == (128, 128)
    told = report.to_dict()
    assert told["subject_blur_radius"] == report.subject_blur_radius
    pipe.measure = None
    without = pipe(photo)
    assert without.probabilities == report.probabilities
    assert without.subject_blur_radius is without.subject_sharpness is None
