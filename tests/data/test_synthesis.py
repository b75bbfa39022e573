"""Synthetic blur: conservation of light, occlusion, and what its labels say."""

import io

import numpy as np
import pytest
from PIL import Image

from abc_hf.data import kernels, synthesis
from abc_hf.data.kernels import aperture_kernel, convolve, equivalent_radius, gaussian_kernel
from abc_hf.data.synthesis import (
    BAD_BLUR,
    GOOD_BLUR,
    HELD_OUT_SCENES,
    LEVEL_RADII,
    NO_BLUR,
    OK_BLUR,
    SCENES,
    Layer,
    amounts_of,
    blur_by_depth,
    brighten,
    composite,
    develop,
    encode_jpeg,
    encode_png,
    fill_hole,
    judge,
    levels_of,
    random_region,
    render,
    soften,
    to_linear,
    to_srgb,
)
from abc_hf.losses import NO_LABEL, UNKNOWN

IDENTITY = np.ones((1, 1), np.float32)


def texture(height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def disc_mask(height: int = 64, width: int = 96, radius: float = 20) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return (np.hypot(y - height / 2, x - width / 2) < radius).astype(np.float32)


# --------------------------------------------------------------------------------------------------------- rendering


def test_srgb_round_trip_of_every_value():
    codes = np.arange(256, dtype=np.uint8)
    linear = to_linear(codes)
    assert linear[0] == 0 and linear[255] == 1 and (np.diff(linear) > 0).all()
    assert to_linear(np.uint8(188)) == pytest.approx(0.5, abs=0.005)  # half the light is not half the code
    assert np.array_equal(np.rint(to_srgb(linear)).astype(np.uint8), codes)
    assert to_srgb(np.array([-0.5, 2.0])).tolist() == [0, 255]


@pytest.mark.parametrize("kernel", [aperture_kernel(6), gaussian_kernel(9)], ids=["disc", "gaussian"])
def test_blur_of_a_frame_keeps_its_light(kernel):
    # kernels that are even in x and y lose nothing over a border of reflection, and linear light is what adds up
    light = to_linear(texture())
    blurred, _ = composite([Layer(light, np.ones(light.shape[:2], np.float32), kernel)])
    np.testing.assert_allclose(blurred.mean((0, 1)), light.mean((0, 1)), rtol=1e-4)
    assert blurred.std() < 0.3 * light.std()


def test_a_sharp_foreground_is_not_smeared_by_the_blur_behind_it():
    front, back, mask = to_linear(texture(seed=1)), to_linear(texture(seed=2)), disc_mask()
    everywhere = np.ones_like(mask)
    light, radius = composite([Layer(back, everywhere, aperture_kernel(7)), Layer(front, mask, IDENTITY)])
    inside = mask == 1
    assert np.array_equal(light[inside], front[inside])
    assert (radius[inside] == 0).all()
    # and nothing of the foreground leaks out
    other, _ = composite([Layer(back, everywhere, aperture_kernel(7)), Layer(0 * front, mask, IDENTITY)])
    assert np.array_equal(light[~inside], other[~inside])


def test_light_of_a_blurred_foreground_spreads_over_what_is_behind():
    mask, everywhere = disc_mask(), np.ones((64, 96), np.float32)
    white, black = np.ones((64, 96, 3), np.float32), np.zeros((64, 96, 3), np.float32)
    kernel = aperture_kernel(5)
    light, radius = composite([Layer(black, everywhere, IDENTITY), Layer(white, mask, kernel)])
    np.testing.assert_allclose(light[..., 0], convolve(mask[..., None], kernel)[..., 0], atol=1e-6)
    distance = np.hypot(*(np.mgrid[0:64, 0:96] - np.array([32, 48])[:, None, None]))
    assert np.isnan(radius[np.abs(distance - 20) < 1]).all()  # the border mixes two amounts of blur
    assert (radius[distance < 13] == np.float32(equivalent_radius(kernel))).all()
    assert (radius[distance > 27] == 0).all()


def test_blur_by_depth_of_one_depth_is_one_blur():
    light, rng = to_linear(texture()), np.random.default_rng(0)
    even = blur_by_depth(light, np.full(light.shape[:2], 5.0), rng)
    candidates = [convolve(light, kernel) for kernel in (aperture_kernel(5), gaussian_kernel(5))]
    assert min(np.abs(even - candidate).max() for candidate in candidates) < 1e-5
    assert np.array_equal(blur_by_depth(light, np.zeros(light.shape[:2]), rng), light)


def test_blur_by_depth_keeps_an_even_frame_even():
    light = np.full((40, 60, 3), 0.4, np.float32)
    field = np.linspace(0, 9, 60) * np.ones((40, 1))
    np.testing.assert_allclose(blur_by_depth(light, field, np.random.default_rng(0)), light, atol=1e-5)


def test_a_hole_is_continued_from_around_it():
    light = np.full((64, 96, 3), 0.2, np.float32)
    light[:, 48:] = 0.6
    hole = disc_mask(radius=12)
    filled = fill_hole(np.where(hole[..., None] > 0, 1.0, light).astype(np.float32), hole)
    assert np.array_equal(filled[hole == 0], light[hole == 0])
    assert 0.2 - 1e-4 <= filled.min() and filled.max() <= 0.6 + 1e-4  # nothing of what was in the hole
    assert filled[32, 40].mean() < 0.4 < filled[32, 56].mean()


# ------------------------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize("long_side", [256, 512, 1000])
def test_levels_begin_at_fractions_of_the_long_side(long_side):
    begin = np.array(LEVEL_RADII) * long_side
    assert levels_of(begin * 1.001, long_side).tolist() == [1, 2, 3]
    assert levels_of(begin * 0.999, long_side).tolist() == [0, 1, 2]
    assert levels_of(np.array([0.0, np.nan, long_side]), long_side).tolist() == [0, UNKNOWN, 3]


SUBJECT = np.array([1, 1, 1, 1, 0, 0, 0, 0])  # the first half


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 0], NO_BLUR),
        ([0, 0, 0, 255, 255, 0, 0, 0], NO_BLUR),
        ([0, 0, 0, 0, 2, 2, 2, 2], GOOD_BLUR),
        ([0, 0, 0, 0, 3, 3, 3, 0], GOOD_BLUR),
        ([0, 0, 0, 0, 3, 3, 255, 255], GOOD_BLUR),
        ([1, 0, 0, 0, 3, 3, 3, 0], GOOD_BLUR),
        ([0, 0, 0, 0, 1, 1, 1, 1], OK_BLUR),
        ([0, 0, 0, 0, 3, 3, 0, 0], OK_BLUR),
        ([1, 1, 0, 0, 3, 3, 3, 3], OK_BLUR),
        ([1, 1, 1, 1, 1, 1, 1, 1], OK_BLUR),
        ([2, 2, 0, 0, 3, 3, 3, 3], OK_BLUR),
        ([2, 2, 2, 0, 0, 0, 0, 0], BAD_BLUR),
        ([3, 3, 3, 3, 3, 3, 3, 3], BAD_BLUR),
        ([2, 2, 255, 255, 0, 0, 0, 0], BAD_BLUR),
        ([255, 255, 255, 255, 3, 3, 3, 3], NO_LABEL),
        ([3, 3, 3, 3, 255, 255, 255, 255], NO_LABEL),
    ],
)
def test_judge(levels, expected):
    assert judge(np.array(levels, np.uint8), SUBJECT) == expected


def test_amounts_round_to_levels_and_grow_to_the_end():
    radius = np.geomspace(0.0005, 0.05, 400) * 512
    amounts = amounts_of(radius, 512) / 60
    clear = np.abs(amounts % 1 - 0.5) > 0.02  # where no rounding decides
    assert (np.floor(amounts + 0.5)[clear] == levels_of(radius, 512)[clear]).all()
    assert (np.diff(amounts) >= 0).all() and amounts[0] == 0 and amounts[-1] == 3
    assert amounts_of(np.array([0.0, 0.0016, 0.004, 0.010, 0.05, 9]), 1).tolist() == [0, 30, 90, 150, 180, 180]
    assert amounts_of(np.array([np.nan]), 512).tolist() == [UNKNOWN]


def test_judge_without_a_subject():
    assert judge(np.zeros(8, np.uint8), None) == NO_BLUR
    assert judge(np.full(8, 2, np.uint8), None) == NO_LABEL


def test_lamps_are_brightened_and_nothing_else():
    light = np.array([[[0.2, 0.5, 0.899], [1.0, 0.1, 0.0], [0.95, 0.95, 0.95]]], np.float32)
    bright = brighten(light, 4.0)
    np.testing.assert_array_equal(bright[0, 0], light[0, 0])
    np.testing.assert_allclose(bright[0, 1], [5.0, 0.5, 0.0])
    np.testing.assert_allclose(bright[0, 2], 0.95 * (1 + 4 * 0.25), rtol=1e-5)
    assert brighten(light, 0.0) is light


# ------------------------------------------------------------------------------------------------------------ scenes


@pytest.mark.parametrize("scene", SCENES)
def test_a_scene_is_a_function_of_its_seed(scene):
    photo, subject = texture(), disc_mask()
    first, again, other = (render(photo, subject, np.random.default_rng(seed), scene=scene) for seed in (5, 5, 6))
    assert np.array_equal(first.image, again.image) and np.array_equal(first.levels, again.levels)
    assert first.desirability == again.desirability
    assert not np.array_equal(first.image, other.image)
    assert first.image.shape == photo.shape and first.image.dtype == first.levels.dtype == np.uint8
    assert first.levels.shape == photo.shape[:2] and set(np.unique(first.levels)) <= {0, 1, 2, 3, UNKNOWN}


@pytest.mark.parametrize("scene", ["background", "shake", "moving-subject", "panning"])
def test_test_photos_are_blurred_by_kernels_of_their_own(scene, monkeypatch):
    def forbidden(*_):
        raise AssertionError("a training kernel in a test photo, or the other way round")

    for held_out, families in (
        (True, ("gaussian_kernel", "straight_path", "shake_path")),
        (False, ("arc_path", "tremor_path")),
    ):
        with monkeypatch.context() as patch:
            for family in families:
                for module in (kernels, synthesis):
                    patch.setattr(module, family, forbidden, raising=False)
            for seed in range(6):
                render(texture(), disc_mask(), np.random.default_rng(seed), scene=scene, held_out=held_out)


def test_every_scene_is_drawn():
    for held_out, scenes in ((False, set(SCENES)), (True, set(HELD_OUT_SCENES))):
        rng = np.random.default_rng(0)
        assert {render(texture(32, 32), None, rng, held_out=held_out).scene for _ in range(400)} == scenes


@pytest.mark.parametrize(
    ("scene", "kind", "labels", "sharp"),
    [
        ("sharp", "", {NO_BLUR}, "all"),
        ("background", "defocus", {GOOD_BLUR, OK_BLUR}, "subject"),
        ("panning", "motion", {GOOD_BLUR, OK_BLUR}, "subject"),
        ("subject", "defocus", {BAD_BLUR, OK_BLUR}, "background"),
        ("moving-subject", "motion", {BAD_BLUR, OK_BLUR}, "background"),
        ("frame", "defocus", {BAD_BLUR, OK_BLUR}, "nothing"),
        ("shake", "camera-shake", {BAD_BLUR, OK_BLUR}, "nothing"),
    ],
)
@pytest.mark.parametrize("with_cutout", [False, True])
def test_what_a_scene_blurs(scene, kind, labels, sharp, with_cutout):
    # 640 pixels, so that even the least blur drawn is more than what pixels themselves add to a kernel
    mask = disc_mask(320, 640, 90)
    cutout = (texture(320, 640, seed=1), mask) if with_cutout else None
    for seed in range(3):
        sample = render(texture(320, 640), mask, np.random.default_rng(seed), cutout, scene)
        assert (sample.scene, sample.blur_kind) == (scene, kind)
        assert sample.desirability in labels
        distance = np.hypot(*(np.mgrid[0:320, 0:640] - np.array([160, 320])[:, None, None]))
        subject, background = sample.levels[distance < 60], sample.levels[distance > 120]
        assert (subject == 0).all() == (sharp in ("all", "subject"))
        assert (background == 0).all() == (sharp in ("all", "background"))


@pytest.mark.parametrize("scene", ["turning-subject", "turning-frame"])
def test_what_turns_blurs_more_the_farther_from_its_centre(scene):
    distance = np.hypot(*(np.mgrid[0:320, 0:640] - np.array([160, 320])[:, None, None]))
    for seed in range(4):
        sample = render(texture(320, 640), disc_mask(320, 640, 90), np.random.default_rng(seed), scene=scene)
        assert (sample.scene, sample.blur_kind) == (scene, "motion")
        if scene == "turning-subject":
            assert (sample.levels[distance > 120] == 0).all()
        levels = np.where(sample.levels == UNKNOWN, 0, sample.levels)
        inside = levels[distance < 80]
        assert levels.max() >= 1 and 0 in inside  # the farthest reach blurs, the centre does not


def test_a_sharp_scene_leaves_the_photo_but_for_noise():
    photo = np.minimum(texture(), 240)  # lights brighter than that may be brightened
    quiet = [render(photo, None, np.random.default_rng(seed), scene="sharp").image for seed in range(12)]
    differences = [np.abs(image.astype(int) - photo).max() for image in quiet]
    assert 0 in differences  # without noise, every pixel is kept
    assert max(differences) < 64


def test_development_adds_noise_that_does_not_shift_the_light():
    light = np.full((200, 200, 3), to_linear(np.uint8(120)), np.float32)
    photos = [develop(light, np.random.default_rng(seed)).astype(float) for seed in range(8)]
    assert all(abs(photo.mean() - 120) < 0.5 for photo in photos)
    assert any(photo.std() == 0 for photo in photos) and any(photo.std() > 0.3 for photo in photos)


def test_regions_are_a_plausible_share_of_the_frame():
    for seed in range(30):
        region = random_region(np.random.default_rng(seed), 50, 75)
        assert region.shape == (50, 75) and set(np.unique(region)) == {0, 1}
        assert 0.2 <= region.mean() <= 0.8


def test_a_softened_mask_keeps_its_area():
    mask = disc_mask()
    soft = soften(mask)
    assert soft.sum() == pytest.approx(mask.sum(), rel=1e-4)
    assert ((soft > 0.01) & (soft < 0.99)).sum() > 100 and soft.min() >= 0 and soft.max() <= 1


def test_encoded_images_decode():
    photo = texture()
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(levels)))), levels)
    jpegs = {quality: encode_jpeg(photo, quality) for quality in (40, 95)}
    assert len(jpegs[40]) < len(jpegs[95])
    assert Image.open(io.BytesIO(jpegs[95])).size == (96, 64)


def test_the_scale_of_an_annotator():
    """The thresholds in pixels of a 512-pixel photo, as the documentation states them."""
    assert [round(fraction * 512, 1) for fraction in LEVEL_RADII] == [0.8, 2.0, 5.1]
    assert sum(SCENES.values()) == pytest.approx(1)
    assert synthesis.NO_BLUR == 0 and synthesis.BAD_BLUR == 3
