"""Synthetic blur: closed forms of its kernels, conservation of light, and what its labels say."""

import io

import numpy as np
import pytest
from PIL import Image

from abc_hf import synthesis
from abc_hf.losses import NO_LABEL, UNKNOWN
from abc_hf.synthesis import (
    BAD_BLUR,
    GOOD_BLUR,
    HELD_OUT_SCENES,
    LEVEL_RADII,
    NO_BLUR,
    OK_BLUR,
    SCENES,
    Layer,
    Turn,
    aperture_kernel,
    arc_path,
    blur_by_depth,
    brighten,
    composite,
    convolve,
    defocus_kernel,
    develop,
    encode_jpeg,
    encode_png,
    equivalent_radius,
    fill_hole,
    gaussian_kernel,
    judge,
    levels_of,
    path_kernel,
    random_region,
    render,
    scaled_path,
    shake_path,
    soften,
    straight_path,
    to_linear,
    to_srgb,
    tremor_path,
)

IDENTITY = np.ones((1, 1), np.float32)


def texture(height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def disc_mask(height: int = 64, width: int = 96, radius: float = 20) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return (np.hypot(y - height / 2, x - width / 2) < radius).astype(np.float32)


def variances(kernel: np.ndarray) -> tuple[float, float]:
    y, x = np.indices(kernel.shape)
    mass = kernel.astype(np.float64) / kernel.sum()
    cy, cx = (mass * y).sum(), (mass * x).sum()
    return (mass * (y - cy) ** 2).sum(), (mass * (x - cx) ** 2).sum()


# ----------------------------------------------------------------------------------------------------------- kernels


def test_equivalent_radius_by_hand():
    # two points 2 d apart: E|x|^2 = d^2; four corners of a square of side 2 d: E|x|^2 = 2 d^2
    assert equivalent_radius(np.array([[1.0, 0, 0, 0, 0, 0, 1.0]])) == pytest.approx(np.sqrt(2) * 3)
    corners = np.zeros((5, 5))
    corners[::4, ::4] = 7  # any mass
    assert equivalent_radius(corners) == pytest.approx(np.sqrt(2 * 2 * 2**2))
    assert equivalent_radius(IDENTITY) == 0


@pytest.mark.parametrize("radius", [2, 5, 12])
@pytest.mark.parametrize("blades", [0, 5, 6, 8])
def test_an_aperture_has_the_radius_asked_for(radius, blades):
    # collecting mass in pixels adds 1/12 to each variance, so 1/3 to the squared radius
    kernel = aperture_kernel(radius, blades, angle=0.3)
    assert equivalent_radius(kernel) == pytest.approx(np.sqrt(radius**2 + 1 / 3), abs=0.08)
    assert variances(kernel)[0] == pytest.approx(variances(kernel)[1], rel=0.04)  # as wide as high


def test_an_aperture_is_a_disc_or_a_polygon():
    disc, hexagon = aperture_kernel(12), aperture_kernel(12, 6)
    assert (disc > 0).sum() * disc.max() == pytest.approx(1, rel=0.15)  # flat
    assert 1 / disc.max() == pytest.approx(np.pi * 12**2, rel=0.02)  # of the disc's area
    circumradius = 12 * np.sqrt(3 / (2 + np.cos(np.pi / 3)))
    assert 1 / hexagon.max() == pytest.approx(1.5 * np.sqrt(3) * circumradius**2, rel=0.02)
    assert disc.shape[0] // 2 > circumradius  # nothing is cut off


@pytest.mark.parametrize("radius", [4, 12])
@pytest.mark.parametrize("obstruction", [0.3, 0.5])
def test_a_ring_has_the_radius_asked_for_and_a_hole(radius, obstruction):
    kernel = aperture_kernel(radius, obstruction=obstruction)
    assert equivalent_radius(kernel) == pytest.approx(np.sqrt(radius**2 + 1 / 3), abs=0.08)
    middle = kernel.shape[0] // 2
    assert kernel[middle, middle] == 0 < kernel.max()


@pytest.mark.parametrize("radius", [2, 5, 12])
def test_a_gaussian_has_a_sigma_of_half_its_radius(radius):
    kernel = gaussian_kernel(radius)
    assert equivalent_radius(kernel) == pytest.approx(radius, rel=0.015)
    middle = kernel.shape[0] // 2
    assert kernel[middle, middle + 1] / kernel[middle, middle] == pytest.approx(np.exp(-2 / radius**2))


@pytest.mark.parametrize("length", [10.0, 30.0])
def test_a_straight_path_has_0_41_of_its_length(length):
    # E x^2 = L^2 / 12, so r = L / sqrt(6); sharing a point between two pixels adds 1/6 to the variance along the path
    path = np.stack([np.zeros(2001), np.linspace(0, length, 2001)], 1)
    kernel = path_kernel(path)
    assert equivalent_radius(kernel) == pytest.approx(np.sqrt(length**2 / 6 + 1 / 3), rel=0.005)
    assert np.flatnonzero(kernel.sum(1)).tolist() == [kernel.shape[0] // 2]  # all on one row


@pytest.mark.parametrize("draw", [straight_path, shake_path, arc_path, tremor_path])
def test_paths_are_scaled_to_the_radius_asked_for(draw):
    for seed in range(5):
        path = scaled_path(draw(np.random.default_rng(seed)), 8.0)
        assert np.sqrt(2 * (path**2).sum(1).mean()) == pytest.approx(8)
        assert path.mean(0) == pytest.approx([0, 0], abs=1e-9)
        assert equivalent_radius(path_kernel(path)) == pytest.approx(8, rel=0.02)


def kernels() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    drawn = [defocus_kernel(rng, radius) for radius in (0.6, 0.9, 2, 5, 13) for _ in range(6)]
    drawn += [defocus_kernel(rng, radius, held_out=True) for radius in (0.9, 2, 5, 13) for _ in range(4)]
    paths = (straight_path, shake_path, arc_path, tremor_path)
    moved = [path_kernel(scaled_path(draw(rng), r)) for r in (0.6, 2, 13) for draw in paths]
    return drawn + moved


def test_kernels_are_centred_and_sum_to_one():
    for kernel in kernels():
        assert kernel.sum() == pytest.approx(1, abs=1e-5) and kernel.min() >= 0
        assert kernel.shape[0] % 2 == kernel.shape[1] % 2 == 1
        y, x = np.indices(kernel.shape)
        centroid = np.array([(kernel * y).sum(), (kernel * x).sum()])
        assert centroid == pytest.approx(np.array(kernel.shape) // 2, abs=0.05)


# --------------------------------------------------------------------------------------------------------- rendering


def test_srgb_round_trip_of_every_value():
    codes = np.arange(256, dtype=np.uint8)
    linear = to_linear(codes)
    assert linear[0] == 0 and linear[255] == 1 and (np.diff(linear) > 0).all()
    assert to_linear(np.uint8(188)) == pytest.approx(0.5, abs=0.005)  # half the light is not half the code
    assert np.array_equal(np.rint(to_srgb(linear)).astype(np.uint8), codes)
    assert to_srgb(np.array([-0.5, 2.0])).tolist() == [0, 255]


def test_convolution_of_a_point_is_the_kernel():
    kernel = path_kernel(scaled_path(shake_path(np.random.default_rng(3)), 4.0))
    half = kernel.shape[0] // 2
    point = np.zeros((64, 80, 2), np.float32)
    point[30, 41] = 1, 3
    result = convolve(point, kernel)
    window = result[30 - half : 31 + half, 41 - half : 42 + half]
    np.testing.assert_allclose(window[..., 0], kernel, atol=1e-6)
    np.testing.assert_allclose(window[..., 1], 3 * kernel, atol=3e-6)
    assert result.sum() == pytest.approx(4, rel=1e-5)


@pytest.mark.parametrize("kernel", [aperture_kernel(6), gaussian_kernel(9)], ids=["disc", "gaussian"])
def test_blur_of_a_frame_keeps_its_light(kernel):
    # kernels that are even in x and y lose nothing over a border of reflection, and linear light is what adds up
    light = to_linear(texture())
    blurred, _ = composite([Layer(light, np.ones(light.shape[:2], np.float32), kernel)])
    np.testing.assert_allclose(blurred.mean((0, 1)), light.mean((0, 1)), rtol=1e-4)
    assert blurred.std() < 0.3 * light.std()


def test_an_even_frame_stays_even():
    light = np.full((40, 50, 3), 0.3, np.float32)
    for kernel in kernels():
        np.testing.assert_allclose(convolve(light, kernel), light, atol=1e-5)


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


def test_judge_without_a_subject():
    assert judge(np.zeros(8, np.uint8), None) == NO_BLUR
    assert judge(np.full(8, 2, np.uint8), None) == NO_LABEL


@pytest.mark.parametrize(("angle", "zoom"), [(0.2, 0.0), (0.0, 0.15), (-0.1, 0.1)])
def test_a_point_that_turns_is_smeared_over_its_path(angle, zoom):
    turn = Turn((40.0, 100.0), angle, zoom)
    point = np.zeros((200, 300, 2), np.float32)
    point[100, 240] = 1, 3  # 200 pixels from the centre
    smeared = turn.blur(point)
    assert smeared[..., 0].sum() == pytest.approx(1, rel=0.05)
    np.testing.assert_allclose(smeared[..., 1], 3 * smeared[..., 0], atol=1e-6)
    rows, columns = np.nonzero(smeared[..., 0] > 1e-5)
    # it moves along x by the growth, along y by the turn, about its place
    assert np.ptp(columns) == pytest.approx(200 * abs(zoom), abs=4) and np.ptp(rows) == pytest.approx(
        200 * abs(angle), abs=4
    )
    assert rows.mean() == pytest.approx(100, abs=1) and columns.mean() == pytest.approx(240, abs=5)
    expected = equivalent_radius(smeared[..., 0])
    assert turn.radius((200, 300))[100, 240] == pytest.approx(expected, rel=0.03)
    assert turn.radius((200, 300))[100, 40] == 0


def test_what_does_not_turn_stays():
    light = to_linear(texture())
    np.testing.assert_allclose(Turn((20.0, 30.0), 0.0, 0.0).blur(light), light, atol=1e-5)


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
                patch.setattr(synthesis, family, forbidden)
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
