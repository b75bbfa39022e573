"""The peers of tests/benchmarks find blur where it is put, and the benchmark writes what it says."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage.feature import local_binary_pattern
from toy_photos import write_toy_split

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))
import peers  # noqa: E402


@pytest.fixture
def half_blurred():
    """Noise, blurred in the right half."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 128), dtype=np.uint8)
    photo = Image.fromarray(noise).convert("RGB")
    photo.paste(photo.filter(ImageFilter.GaussianBlur(4)).crop((64, 0, 128, 96)), (64, 0))
    return photo


@pytest.mark.parametrize("name", peers.METHODS)
def test_a_peer_finds_the_blurred_half(half_blurred, name):
    if name.startswith("HiFST"):
        pytest.importorskip("blur_detector")
    values = peers.METHODS[name](half_blurred)
    assert values.shape == (96, 128) and values.min() >= 0 and values.max() <= 1 + 1e-9
    assert values[24:72, 80:112].mean() > values[24:72, 16:48].mean() + 0.2


def test_patterns_of_a_difference_in_one_direction_are_those_of_scikit_image():
    """A centre that is nowhere above its neighbours: then what counts differences counts what the usual ones count."""
    values = np.ones((15, 15))
    values[1::3, 1::3] = 0  # isolated dark pixels, each in the middle of ones
    usual = local_binary_pattern(values, 8, 1, "uniform")
    ours = peers.uniform_patterns(values, 0.5)
    dark = values == 0
    assert (ours[dark] == usual[dark]).all() and (ours[dark] == 8).all()
    assert (peers.uniform_patterns(np.ones((5, 5)), 0.016) == 0).all()


def test_the_benchmark_writes_json_table_and_plot(tmp_path, tiny_folder, monkeypatch, capsys):
    monkeypatch.delitem(peers.METHODS, "HiFST (blur-detector)")
    dataset = write_toy_split(tmp_path / "set")
    out = tmp_path / "out"
    peers.main(["--dataset", str(dataset), "--model", str(tiny_folder), "--limit", "3", "--out", str(out)])
    result = json.loads((out / "peers.json").read_text())
    assert (result["photos"], result["of"], result["sources"]) == (3, 9, ["toy"])
    assert [each["name"] for each in result["methods"]] == ["ABC-FuseNet", *peers.METHODS]
    assert all(each["seconds"] > 0 and each["blur_map"]["all"]["photos"] == 2 for each in result["methods"])
    assert (out / "peers.md").read_text() == capsys.readouterr().out
    assert Image.open(out / "peers.png").width > 500
