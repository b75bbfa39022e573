"""Kernels of blur: closed forms of their shape and size."""

import numpy as np
import pytest
import torch

from abc_hf.configuration_abc_fusenet import KINDS
from abc_hf.data import kernels as kernels_module
from abc_hf.data.kernels import (
    REACH,
    KernelBank,
    NewKernels,
    aperture_kernel,
    arc_path,
    defocus_kernel,
    gaussian_kernel,
    identity_kernel,
    make_kernel,
    path_kernel,
    scaled_path,
    shake_path,
    straight_path,
    tremor_path,
)


def variances(kernel: np.ndarray) -> tuple[float, float]:
    y, x = np.indices(kernel.shape)
    mass = kernel.astype(np.float64) / kernel.sum()
    cy, cx = (mass * y).sum(), (mass * x).sum()
    return (mass * (y - cy) ** 2).sum(), (mass * (x - cx) ** 2).sum()


def equivalent_radius(kernel: np.ndarray) -> float:
    """sqrt(2 E|x|^2) of a kernel's mass about its centroid [pixels]."""
    y, x = np.indices(kernel.shape)
    mass = kernel / kernel.sum()
    cy, cx = (mass * y).sum(), (mass * x).sum()
    return float(np.sqrt(2 * (mass * ((y - cy) ** 2 + (x - cx) ** 2)).sum()))


def test_equivalent_radius_by_hand():
    # two points 2 d apart: E|x|^2 = d^2; four corners of a square of side 2 d: E|x|^2 = 2 d^2
    assert equivalent_radius(np.array([[1.0, 0, 0, 0, 0, 0, 1.0]])) == pytest.approx(np.sqrt(2) * 3)
    corners = np.zeros((5, 5))
    corners[::4, ::4] = 7  # any mass
    assert equivalent_radius(corners) == pytest.approx(np.sqrt(2 * 2 * 2**2))
    assert equivalent_radius(identity_kernel()) == 0


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


@pytest.fixture(scope="module")
def bank():
    return KernelBank("cpu", count=200)


@pytest.mark.parametrize("kind", range(len(KINDS)))
@pytest.mark.parametrize("source", ["bank", "new", "held out"])
def test_kernels_are_drawn_by_radius(bank, kind, source):
    bank = bank if source == "bank" else NewKernels(np.random.default_rng(0), source == "held out")
    radii = torch.tensor([1.5, 3.0, 7.0, 14.0])
    drawn, exact = bank.draw(torch.full((4,), kind), radii, torch.zeros(4, dtype=torch.long))
    assert torch.allclose(drawn.sum((1, 2)), torch.ones(4), atol=1e-4)
    assert torch.allclose(exact, radii, rtol=0.02)
    for kernel, radius in zip(drawn, exact, strict=True):
        assert equivalent_radius(kernel.numpy()) == pytest.approx(float(radius), rel=0.06, abs=0.25)


def test_radius_zero_is_no_blur(bank):
    for kernels in (bank, NewKernels(np.random.default_rng(0))):
        drawn, exact = kernels.draw(torch.tensor([0]), torch.tensor([0.0]), torch.tensor([3]))
        assert exact == 0 and drawn[0, REACH, REACH] == 1 and drawn.sum() == 1


@pytest.mark.parametrize("kind", KINDS)
def test_test_photos_are_blurred_by_kernels_of_their_own(kind, monkeypatch):
    def forbidden(*_):
        raise AssertionError("a training kernel in a test photo, or the other way round")

    for held_out, families in (
        (True, ("gaussian_kernel", "straight_path", "shake_path")),
        (False, ("arc_path", "tremor_path")),
    ):
        with monkeypatch.context() as patch:
            for family in families:
                patch.setattr(kernels_module, family, forbidden)
            for seed in range(6):
                made = make_kernel(kind, np.random.default_rng(seed), 5.0, held_out)
                if held_out and kind == "defocus":  # a ring is dark in its middle, and a square has four corners
                    assert made[REACH, REACH] == 0 or np.allclose(made, np.rot90(made), atol=1e-3)
