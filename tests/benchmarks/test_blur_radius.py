import json

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks import blur_radius
from tests.inference.test_blur_radius import as_photo, scene


@pytest.mark.parametrize("make", [blur_radius.lens_kernel, blur_radius.hook_kernel])
@pytest.mark.parametrize("radius", [2, 5, 14])
def test_kernels_have_the_radius_they_are_asked_for(make, radius):
    kernel = make(radius, np.random.default_rng(radius))
    y, x = np.indices(kernel.shape)
    variance = sum((kernel * (axis - (kernel * axis).sum()) ** 2).sum() for axis in (x, y))
    assert kernel.sum() == pytest.approx(1)
    assert np.sqrt(2 * variance - 1 / 3) == pytest.approx(radius, rel=0.06)  # a pixel's own width is 1/3 of this


def test_the_sharpest_square_is_taken():
    pixels = np.full((700, 900), 120, np.uint8)
    pixels[100:640, 300:840] = np.uint8(np.random.default_rng(0).integers(0, 255, (540, 540)))
    square = blur_radius.sharp_square(Image.fromarray(pixels), None)
    assert square is not None
    assert square.shape == (528, 528)
    assert (np.abs(np.diff(square, axis=1))[164:364, 164:364] > 0).mean() > 0.95  # the middle is full of detail
    assert blur_radius.sharp_square(Image.fromarray(pixels), 6) is None


@pytest.mark.slow
def test_the_command_writes_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(blur_radius, "NOISE", {100: 60_000})
    monkeypatch.setattr(blur_radius, "QUALITIES", (95,))
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(2):
        as_photo(scene(number, 700)).save(photos / f"{number}.png")
    labels = tmp_path / "labels.csv"
    labels.write_text("file,subject\n0.png,0\n1.png,3\n")
    blur_radius.main([str(photos), "--out", str(tmp_path), "--labelled", str(photos), "--labels", str(labels)])
    found = json.loads((tmp_path / "blur_radius.json").read_text())
    assert found["all"]["rank_correlation"] == pytest.approx(1, abs=0.1)
    assert found["all"]["median_error"] < 0.25
    assert found["sizes"] is None
    assert found["cost"]["torch"]["added"] > 0
    assert found["labelled"]["photos"] == 2
