"""Fresh blur on tensors, against the scenes' NumPy code and closed forms."""

import math

import numpy as np
import pytest
import torch

from abc_hf.data import device_blur, kernels, synthesis
from abc_hf.data.device_blur import REACH, FreshBlur, KernelBank
from abc_hf.losses import AMOUNT_STEPS, UNKNOWN


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


def test_light_is_that_of_the_stored_scenes():
    codes = torch.arange(256)
    light = device_blur.to_linear(codes / 255)
    assert np.allclose(light, synthesis.to_linear(codes.numpy()), atol=1e-6)
    assert np.allclose(device_blur.to_srgb(light) * 255, codes, atol=1e-3)


def test_levels_are_those_of_the_stored_scenes():
    radii = np.geomspace(0.1, 60, 500)
    radii[::50] = np.nan
    mine = device_blur.levels_of(torch.from_numpy(radii) / 512).numpy()
    theirs = synthesis.amounts_of(radii, 512)
    known = theirs != UNKNOWN
    assert (mine[~known] == UNKNOWN).all()
    assert np.abs(mine[known] * AMOUNT_STEPS - theirs[known]).max() <= 0.5001
    assert (np.rint(mine[known]) == synthesis.levels_of(radii, 512)[known]).all()


def test_verdicts_are_those_of_the_stored_scenes():
    rng = np.random.default_rng(0)
    levels, subjects, wanted = [], [], []
    for _ in range(200):
        subject = synthesis.random_region(rng, 32, 48)
        on, off = rng.integers(0, 4, 2)
        level = np.where(subject > 0.5, on, off)
        noise = rng.random(level.shape)
        level = np.where(noise < rng.random() / 2, rng.integers(0, 4, level.shape), level)
        level = np.where(noise > 0.95, UNKNOWN, level).astype(np.uint8)
        known = rng.random() < 0.8
        wanted.append(synthesis.judge(level, subject if known else None))
        levels.append(level)
        subjects.append((subject, known))
    found = device_blur.judge(
        torch.from_numpy(np.stack(levels))[:, None].float(),
        torch.from_numpy(np.stack([subject for subject, _ in subjects]))[:, None],
        torch.tensor([known for _, known in subjects]),
    )
    assert found.tolist() == wanted
    assert len(set(wanted)) >= 4


@pytest.mark.parametrize("kind", range(len(device_blur.KINDS)))
def test_kernels_have_the_radius_they_are_said_to_have(bank, kind):
    radii = torch.tensor([1.5, 3.0, 7.0, 14.0])
    drawn, exact = bank.draw(torch.full((4,), kind), radii, torch.zeros(4, dtype=torch.long))
    assert torch.allclose(drawn.sum((1, 2)), torch.ones(4), atol=1e-4)
    assert torch.allclose(exact, radii, rtol=0.02)
    for kernel, radius in zip(drawn, exact, strict=True):
        assert kernels.equivalent_radius(kernel.numpy()) == pytest.approx(float(radius), rel=0.06, abs=0.25)


def test_radius_zero_is_no_blur(bank):
    drawn, exact = bank.draw(torch.tensor([0]), torch.tensor([0.0]), torch.tensor([3]))
    assert exact == 0 and drawn[0, REACH, REACH] == 1 and drawn.sum() == 1


def test_each_photo_is_convolved_by_its_own_kernel(bank):
    photos = textured(3)
    drawn, _ = bank.draw(torch.tensor([0, 1, 2]), torch.tensor([2.0, 5.0, 9.0]), torch.zeros(3, dtype=torch.long))
    mine = device_blur.convolve(photos, drawn).numpy()
    for photo, kernel, found in zip(photos, drawn, mine, strict=True):
        theirs = kernels.convolve(photo.numpy().transpose(1, 2, 0), kernel.numpy()).transpose(2, 0, 1)
        inside = np.s_[:, 24:-24, 24:-24]  # the two go on differently beyond the frame
        assert np.allclose(found[inside], theirs[inside], atol=2e-3)


def test_turns_are_those_of_the_stored_scenes():
    photos = torch.nn.functional.avg_pool2d(textured(1, 100, 132), 5, 1)
    turn = kernels.Turn((70.0, 40.0), 0.06, 0.04)
    found = device_blur.turned(photos, torch.tensor([[70.0, 40.0]]), torch.tensor([0.06]), torch.tensor([0.04]))
    wanted = turn.blur(photos[0].numpy().transpose(1, 2, 0)).transpose(2, 0, 1)
    assert np.abs(found[0].numpy() - wanted)[:, 12:-12, 12:-12].max() < 0.02
    still = device_blur.turned(photos, torch.tensor([[70.0, 40.0]]), torch.zeros(1), torch.zeros(1))
    assert torch.allclose(still, photos, atol=1e-4)


def test_holes_are_filled_from_around_them():
    light = torch.full((1, 3, 96, 128), 0.3)
    hole = square_subjects(1)
    light = torch.where(hole > 0, 9.0, light)
    assert torch.allclose(device_blur.fill_holes(light, hole), torch.tensor(0.3), atol=1e-4)


def test_a_sharp_background_and_a_sharp_subject_stay_as_they_are(bank):
    photos, subjects = textured(4), square_subjects(4)
    light = device_blur.to_linear(photos)
    inner, outer = np.s_[..., 36:64, 46:84], np.s_[..., :8, :]
    behind = put(bank, "background", photos, subjects)
    assert (behind.levels[inner] == 0).all() and (behind.levels[outer] > 0).all()
    front = put(bank, "subject", photos, subjects)
    assert (front.levels[outer] == 0).all() and (front.levels[inner] > 0).all()
    noise = 0.03  # of the camera
    assert (behind.light - light)[inner].abs().mean() < noise < (behind.light - light)[outer].abs().mean()
    assert (front.light - light)[outer].abs().mean() < noise < (front.light - light)[inner].abs().mean()
    assert (put(bank, "sharp", photos).light - light).abs().mean() < noise


@pytest.mark.parametrize("scene", synthesis.SCENES)
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
        "sharp": {synthesis.NO_BLUR},
        "background": {synthesis.GOOD_BLUR, synthesis.OK_BLUR},
        "panning": {synthesis.GOOD_BLUR, synthesis.OK_BLUR},
        "frame": {synthesis.OK_BLUR, synthesis.BAD_BLUR},
        "shake": {synthesis.OK_BLUR, synthesis.BAD_BLUR},
        "subject": {synthesis.OK_BLUR, synthesis.BAD_BLUR},
        "moving-subject": {synthesis.OK_BLUR, synthesis.BAD_BLUR},
    }
    assert verdicts <= wanted.get(scene, {-100, 0, 1, 2, 3})


def test_without_a_subject_only_a_blurred_frame_has_a_verdict(bank):
    photos = textured(8)
    assert set(put(bank, "frame", photos).labels.tolist()) <= {synthesis.OK_BLUR, synthesis.BAD_BLUR}
    assert set(put(bank, "background", photos).labels.tolist()) == {-100}


def test_the_radius_is_a_share_of_the_long_side(bank):
    """In a photo of half the size, the same level is a blur of half as many pixels."""
    photos = textured(16, 160, 160)
    large, small = (put(bank, "frame", photos, long_side=side) for side in (512.0, 256.0))
    assert torch.allclose(large.levels.mean(), small.levels.mean(), atol=0.15)
    detail = [(made.light - made.light.mean((2, 3), keepdim=True)).std() for made in (large, small)]
    assert detail[0] < detail[1]


def test_regions_take_a_quarter_to_three_quarters():
    share = device_blur.random_regions(40, 96, 128, device_blur.Dice(generator(3))).mean((1, 2, 3))
    assert 0.2 < share.min() and share.max() < 0.8 and share.std() > 0.05


def test_shares_of_the_scenes(bank):
    """A scene's share of the photos is its share of `SCENES`: sharp ones, which alone have no blur, are a tenth."""
    count = 150
    made = FreshBlur(bank)(
        textured(count, 32, 32), torch.zeros(count, 1, 32, 32), torch.zeros(count, dtype=torch.bool),
        torch.full((count,), 512.0), generator(2),
    )  # fmt: skip
    sharp = ((made.levels == 0) | (made.levels == UNKNOWN)).flatten(1).all(1).float().mean()
    share = synthesis.SCENES["sharp"] / sum(synthesis.SCENES.values())
    assert abs(sharp - share) < 4 * math.sqrt(share / count)
