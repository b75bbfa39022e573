"""Kernels of blur: closed forms of their shape and size, and what they do to a picture."""

import numpy as np
import pytest

from abc_hf.data.kernels import (
    Turn,
    aperture_kernel,
    arc_path,
    convolve,
    defocus_kernel,
    equivalent_radius,
    gaussian_kernel,
    identity_kernel,
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


def test_an_even_frame_stays_even():
    light = np.full((40, 50, 3), 0.3, np.float32)
    for kernel in kernels():
        np.testing.assert_allclose(convolve(light, kernel), light, atol=1e-5)


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
    light = np.random.default_rng(0).random((64, 96, 3), np.float32)
    np.testing.assert_allclose(Turn((20.0, 30.0), 0.0, 0.0).blur(light), light, atol=1e-5)
