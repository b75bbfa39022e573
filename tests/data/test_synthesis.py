"""Blur put into photos: light, layers, levels and verdicts, against closed forms and SciPy."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from abc_hf.data import synthesis
from abc_hf.data.kernels import REACH, KernelBank, NewKernels, aperture_kernel, gaussian_kernel
from abc_hf.data.marks import RandomNumbers
from abc_hf.data.synthesis import (
    BAD_BLUR,
    GOOD_BLUR,
    HELD_OUT_SCENES,
    LEVEL_RADII,
    NO_BLUR,
    OK_BLUR,
    SCENES,
    FreshBlur,
    composite,
    convolve,
    desirability_of,
    layers_of,
    levels_of,
    soften,
    to_linear,
    to_srgb,
)
from abc_hf.losses import NO_LABEL, UNKNOWN
from tests.data.test_kernels import equivalent_radius


@pytest.fixture(scope="module")
def bank():
    return KernelBank("cpu", count=200)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def textured(count=2, height=96, width=128, seed=0):
    return 0.2 + 0.6 * torch.rand(count, 3, height, width, generator=generator(seed))


def square_subjects(count=2, height=96, width=128):
    subjects = torch.zeros(count, 1, height, width)
    subjects[..., 30:70, 40:90] = 1
    return subjects


def put(bank, scene, photos, subjects=None, long_side=512.0, seed=0):
    known = torch.full((len(photos),), subjects is not None)
    subjects = torch.zeros_like(photos[:, :1]) if subjects is None else subjects
    fresh = FreshBlur(bank, {scene: 1.0})
    return fresh(photos, subjects, known, torch.full((len(photos),), long_side), generator(seed))


def padded(kernel: np.ndarray) -> torch.Tensor:
    """(1, K, K) of the size that `convolve` wants."""
    return torch.from_numpy(np.pad(kernel, REACH - len(kernel) // 2))[None].float()


def disc_mask(height: int = 96, width: int = 128, radius: float = 24) -> torch.Tensor:
    y, x = np.mgrid[0:height, 0:width]
    return torch.from_numpy(np.hypot(y - height / 2, x - width / 2) < radius)[None, None].float()


# ------------------------------------------------------------------------------------------------------------- light


def test_light_follows_the_standard():
    """IEC 61966-2-1: half the light is not half the code."""
    codes = torch.arange(256) / 255
    light = to_linear(codes)
    assert light[0] == 0 and light[255] == 1 and (light.diff() > 0).all()
    assert to_linear(torch.tensor(188 / 255)).item() == pytest.approx(0.5, abs=0.005)
    assert to_linear(torch.tensor(0.02)).item() == pytest.approx(0.02 / 12.92)
    assert torch.allclose(to_srgb(light) * 255, torch.arange(256.0), atol=1e-3)
    assert to_srgb(torch.tensor([-0.5, 2.0])).tolist() == [0, pytest.approx(1)]


def test_lamps_are_brightened_and_nothing_else():
    light = torch.tensor([[0.2, 0.5, 0.899], [1.0, 0.1, 0.0], [0.95, 0.95, 0.95]]).view(1, 3, 3).mT[:, :, None]
    bright = torch.stack([synthesis.brighten(light, RandomNumbers(generator(seed))) for seed in range(20)])[:, 0, :, 0]
    gain = bright[:, 0, 1] - 1
    assert (bright[..., 0] == light[0, :, 0, 0]).all() and gain.min() == 0 and 2 < gain.max() <= 5
    assert torch.allclose(bright[..., 1], light[0, :, 0, 1] * (1 + gain[:, None]))
    assert torch.allclose(bright[..., 2], 0.95 * (1 + gain[:, None] / 4), atol=1e-4)


def test_a_cameras_noise_does_not_shift_the_light():
    light = torch.full((200, 3, 32, 32), 0.3)
    noisy = synthesis.add_grain(light, RandomNumbers(generator()))
    spread = noisy.std((1, 2, 3))
    assert (noisy.mean((1, 2, 3)) - 0.3).abs().max() < 0.005
    assert 0.25 < (spread == 0).float().mean() < 0.55 and spread.max() > 3e-3


# ------------------------------------------------------------------------------------------------------------ layers


def test_each_photo_is_convolved_by_its_own_kernel(bank):
    photos = textured(3)
    drawn, _ = bank.draw(torch.tensor([0, 1, 2]), torch.tensor([2.0, 5.0, 9.0]), torch.zeros(3, dtype=torch.long))
    made = convolve(photos, drawn)
    for photo, kernel, found in zip(photos, drawn, made, strict=True):
        for plane, mine in zip(photo, found, strict=True):
            whole = np.pad(plane.numpy(), REACH, mode="reflect")
            assert np.allclose(mine, signal.fftconvolve(whole, kernel.numpy(), mode="valid"), atol=1e-4)


@pytest.mark.parametrize("kernel", [aperture_kernel(6), gaussian_kernel(9)], ids=["disc", "gaussian"])
def test_blur_keeps_the_light(kernel):
    light = torch.zeros(1, 3, 128, 128)
    light[..., 50:70, 60:80] = textured(1, 20, 20)
    blurred = convolve(light, padded(kernel))
    torch.testing.assert_close(blurred.sum((2, 3)), light.sum((2, 3)), rtol=1e-4, atol=0)
    assert blurred.std() < 0.9 * light.std()


def test_a_sharp_foreground_is_not_smeared_by_the_blur_behind_it():
    light, mask = to_linear(textured(1)), disc_mask()
    back, front = layers_of(light, mask)
    made, _ = composite(convolve(back, padded(aperture_kernel(7))), front)
    inside = mask.expand_as(light) == 1
    assert torch.equal(made[inside], light[inside])
    other, _ = composite(
        convolve(layers_of(torch.where(inside, 0.0, light), mask)[0], padded(aperture_kernel(7))), front
    )
    assert torch.allclose(made[~inside], other[~inside], atol=1e-6), "nothing of the foreground leaks out"


def test_light_of_a_blurred_foreground_spreads_over_the_scene_behind():
    mask, kernel = disc_mask(), padded(aperture_kernel(5))
    front = torch.cat([mask.expand(1, 3, -1, -1), mask], 1)  # white before black
    made, cover = composite(torch.zeros(1, 3, 96, 128), convolve(front, kernel))
    expected = ndimage.convolve(mask[0, 0].numpy(), kernel[0].numpy(), mode="mirror")
    assert np.allclose(made[0, 0], expected, atol=1e-5) and np.allclose(cover[0, 0], expected, atol=1e-5)


def test_a_hole_is_continued_from_around_it():
    light, hole = torch.full((1, 3, 96, 128), 0.2), disc_mask(radius=16)
    light[..., 64:] = 0.6
    filled = synthesis.fill_holes(torch.where(hole > 0, 9.0, light), hole)
    outside = (hole == 0).expand_as(light)
    assert torch.allclose(filled[outside], light[outside], atol=1e-6)
    assert filled.min() >= 0.2 - 1e-4 and filled.max() <= 0.6 + 1e-4, "nothing of the hole itself"
    assert filled[..., 48, 52].mean() < 0.4 < filled[..., 48, 76].mean()


@pytest.mark.parametrize(("angle", "zoom"), [(0.2, 0.0), (0.0, 0.15), (-0.1, 0.1)])
def test_a_point_that_turns_is_smeared_over_its_path(angle, zoom):
    point = torch.zeros(1, 1, 200, 300)
    point[..., 100, 240] = 1  # 200 pixels from the centre
    point = torch.nn.functional.avg_pool2d(point, 5, 1, padding=2)
    made = synthesis.turned(point, torch.tensor([[40.0, 100.0]]), torch.tensor([angle]), torch.tensor([zoom]))[0, 0]
    assert made.sum() == pytest.approx(1, rel=0.05)
    rows, columns = np.nonzero(made.numpy() > 1e-5)
    # it moves along x by the growth, along y by the turn, about its place
    assert np.ptp(columns) == pytest.approx(200 * abs(zoom), abs=8)
    assert np.ptp(rows) == pytest.approx(200 * abs(angle), abs=8)
    assert rows.mean() == pytest.approx(100, abs=1) and columns.mean() == pytest.approx(240, abs=5)
    # a straight path of length l has an equivalent radius of l / sqrt(6); the point itself has one of 2
    expected = math.hypot(200 * math.hypot(angle, zoom) / math.sqrt(6), 2)
    assert equivalent_radius(made.numpy()) == pytest.approx(expected, rel=0.05)


def test_a_photo_that_does_not_turn_stays():
    photos = textured(1)
    still = synthesis.turned(photos, torch.tensor([[70.0, 40.0]]), torch.zeros(1), torch.zeros(1))
    assert torch.allclose(still, photos, atol=1e-4)


def test_regions_take_a_quarter_to_three_quarters():
    share = synthesis.random_regions(40, 96, 128, RandomNumbers(generator(3))).mean((1, 2, 3))
    assert share.min() > 0.2 and share.max() < 0.8 and share.std() > 0.05


def test_a_softened_mask_keeps_its_area():
    mask = disc_mask()
    soft = soften(mask > 0.5)
    assert soft.sum().item() == pytest.approx(mask.sum().item(), rel=1e-4)
    assert ((soft > 0.01) & (soft < 0.99)).sum() > 100 and soft.min() >= 0 and soft.max() <= 1 + 1e-6


# ------------------------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize("long_side", [256, 512, 1000])
def test_levels_begin_at_fractions_of_the_long_side(long_side):
    begin = torch.tensor(LEVEL_RADII) * long_side
    assert levels_of(begin * 1.01 / long_side).round().tolist() == [1, 2, 3]
    assert levels_of(begin * 0.99 / long_side).round().tolist() == [0, 1, 2]
    assert levels_of(torch.tensor([0.0, math.nan, 1.0])).tolist() == [0, UNKNOWN, 3]


def test_levels_grow_with_the_logarithm_of_the_radius():
    found = levels_of(torch.tensor([0.0, 0.0016, math.sqrt(0.0016 * 0.004), 0.004, 0.010, 0.05, 9]))
    assert found.tolist() == pytest.approx([0, 0.5, 1, 1.5, 2.5, 3, 3], abs=1e-4)


def test_the_scale_of_an_annotator():
    """The thresholds in pixels of a 512-pixel photo, as the documentation states them."""
    assert [round(fraction * 512, 1) for fraction in LEVEL_RADII] == [0.8, 2.0, 5.1]
    assert sum(SCENES.values()) == pytest.approx(1)
    assert synthesis.NO_BLUR == 0 and synthesis.BAD_BLUR == 3


SUBJECT = torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0]).view(1, 1, 1, 8)  # the first half


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
def test_desirability(levels, expected):
    levels = torch.tensor(levels).float().view(1, 1, 1, 8)
    assert desirability_of(levels, SUBJECT, torch.tensor([True])) == expected


def test_desirability_without_a_subject():
    blurred = torch.full((1, 1, 1, 8), 2.0)
    assert desirability_of(0 * blurred, SUBJECT, torch.tensor([False])) == NO_BLUR
    assert desirability_of(blurred, SUBJECT, torch.tensor([False])) == NO_LABEL


# ------------------------------------------------------------------------------------------------------------ scenes


def test_a_sharp_background_and_a_sharp_subject_stay_as_they_are(bank):
    photos, subjects = textured(4), square_subjects(4)
    light = to_linear(photos)
    inner, outer = np.s_[..., 36:64, 46:84], np.s_[..., :8, :]
    behind = put(bank, "background", photos, subjects)
    assert (behind.levels[inner] == 0).all() and (behind.levels[outer] > 0).all()
    front = put(bank, "subject", photos, subjects)
    assert (front.levels[outer] == 0).all() and (front.levels[inner] > 0).all()
    noise = 0.03  # of the camera
    assert (behind.light - light)[inner].abs().mean() < noise < (behind.light - light)[outer].abs().mean()
    assert (front.light - light)[outer].abs().mean() < noise < (front.light - light)[inner].abs().mean()
    assert (put(bank, "sharp", photos).light - light).abs().mean() < noise


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_has_light_levels_and_a_verdict(bank, scene):
    photos, subjects = textured(8), square_subjects(8)
    made = put(bank, scene, photos, subjects)
    again = put(bank, scene, photos, subjects)
    other = put(bank, scene, photos, subjects, seed=1)
    assert torch.isfinite(made.light).all() and made.light.min() > -0.1
    assert torch.equal(made.light, again.light) and torch.equal(made.levels, again.levels)
    assert not torch.equal(made.light, other.light)
    known = made.levels != UNKNOWN
    assert known.float().mean() > 0.7
    assert ((made.levels[known] >= 0) & (made.levels[known] <= 3)).all()
    assert (made.levels[known] > 0).any() == (scene != "sharp")
    verdicts = set(made.labels.tolist())
    wanted = {
        "sharp": {NO_BLUR},
        "background": {GOOD_BLUR, OK_BLUR},
        "panning": {GOOD_BLUR, OK_BLUR},
        "frame": {OK_BLUR, BAD_BLUR},
        "shake": {OK_BLUR, BAD_BLUR},
        "subject": {OK_BLUR, BAD_BLUR},
        "moving-subject": {OK_BLUR, NO_LABEL},
    }
    assert verdicts <= wanted.get(scene, {-100, 0, 1, 2, 3})


def test_without_a_subject_only_a_blurred_frame_has_a_verdict(bank):
    photos = textured(8)
    assert set(put(bank, "frame", photos).labels.tolist()) <= {OK_BLUR, BAD_BLUR}
    assert set(put(bank, "background", photos).labels.tolist()) == {-100}


def test_the_radius_is_a_share_of_the_long_side(bank):
    """In a photo of half the size, the same level is a blur of half as many pixels."""
    photos = textured(16, 160, 160)
    large, small = (put(bank, "frame", photos, long_side=side) for side in (512.0, 256.0))
    assert torch.allclose(large.levels.mean(), small.levels.mean(), atol=0.15)
    detail = [(made.light - made.light.mean((2, 3), keepdim=True)).std() for made in (large, small)]
    assert detail[0] < detail[1]


def test_shares_of_the_scenes(bank):
    """A scene's share of the photos is its share of `SCENES`: sharp ones, which alone have no blur, are a tenth."""
    count = 150
    made = FreshBlur(bank)(
        textured(count, 32, 32), torch.zeros(count, 1, 32, 32), torch.zeros(count, dtype=torch.bool),
        torch.full((count,), 512.0), generator(2),
    )  # fmt: skip
    sharp = ((made.levels == 0) | (made.levels == UNKNOWN)).flatten(1).all(1).float().mean()
    share = SCENES["sharp"] / sum(SCENES.values())
    assert abs(sharp - share) < 4 * math.sqrt(share / count)


def test_blur_by_depth_keeps_an_even_frame_even(bank):
    light = torch.full((2, 3, 64, 96), 0.4)
    one = torch.zeros(2, dtype=torch.long)
    made, radii = FreshBlur(bank).by_depth(light, torch.tensor([9.0, 4.0]), one, one, RandomNumbers(generator()))
    assert torch.allclose(made, light, atol=1e-3)
    assert torch.allclose(radii.amax((1, 2, 3)), torch.tensor([9.0, 4.0]))


@pytest.mark.parametrize("scene", HELD_OUT_SCENES)
def test_a_test_photo_is_blurred_by_held_out_kernels(scene):
    made = put(NewKernels(np.random.default_rng(0), held_out=True), scene, textured(1), square_subjects(1))
    assert torch.isfinite(made.light).all() and (made.levels[made.levels != UNKNOWN] > 0).any() == (scene != "sharp")
