"""The peers of tests/benchmarks find blur where it is put, and the benchmarks write what they say."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from skimage.feature import local_binary_pattern

from abc_hf import load_photo
from abc_hf.library.containers import Reader
from abc_hf.library.find import find_photos
from abc_hf.trunks import ConvLayer
from hub.render_readme import scale_text
from tests.benchmarks import (
    accelerator,
    browser,
    engines,
    holiday,
    peers,
    scale,
    speed,
)
from tests.benchmarks.u2netp import U2NetP
from tests.toy_photos import write_toy_split


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
    usual = local_binary_pattern(values.astype(np.uint8), 8, 1, "uniform")
    ours = peers.uniform_patterns(values, 0.5)
    dark = values == 0
    assert (ours[dark] == usual[dark]).all() and (ours[dark] == 8).all()
    assert (peers.uniform_patterns(np.ones((5, 5)), 0.016) == 0).all()


@pytest.mark.slow
def test_the_benchmark_writes_json_and_plot(tmp_path, tiny_folder, capsys):
    dataset = write_toy_split(tmp_path / "set")
    out, programs = tmp_path / "out", ["ABC-FuseNet", "variance of Laplacian", "U2NetP", "MobileNetV2 classifier"]
    command = ["--dataset", str(dataset), "--model", str(tiny_folder), "--limit", "3", "--out", str(out)]
    peers.main([*command, "--programs", *programs])
    result = json.loads((out / "peers.json").read_text())
    assert (result["photos"], result["of"], result["sources"]) == (3, 9, ["toy"])
    assert [each["name"] for each in result["methods"]] == programs
    assert all(each["seconds"] > 0 and 50 < each["megabytes"] < 5000 for each in result["methods"])
    assert [each["blur_map"] and each["blur_map"]["all"]["photos"] for each in result["methods"]] == [2, 2, None, None]
    assert capsys.readouterr().out.count(" s of CPU time a photo, ") == 4
    with Image.open(out / "peers.png") as plot:
        assert plot.width > 500


def test_u2netp_is_of_the_published_size():
    """The authors' U2NETP has 1,131,181 parameters, a bias in each convolution before a BatchNorm among them."""
    network = U2NetP().eval()
    biases = sum(layer.convolution.out_channels for layer in network.modules() if isinstance(layer, ConvLayer))
    assert sum(parameter.numel() for parameter in network.parameters()) + biases == 1_131_181
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 96, 160)).shape == (1, 1, 96, 160)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts CPU time as Linux does")
def test_the_holiday_benchmark_measures_stages_and_sort(tmp_path, tiny_folder, photo, monkeypatch, capsys):
    pytest.importorskip("rawpy")
    (tmp_path / "photos").mkdir()
    photo(120, 80).save(tmp_path / "photos" / "a.jpg")
    monkeypatch.setattr(holiday, "SIZES", ((400, 300),))
    monkeypatch.setattr(holiday, "SMALL", ((200, 150),))
    monkeypatch.setattr(holiday, "PREVIEW", (150, 100))
    launched = holiday.cost

    def linear(command: list[str]) -> np.ndarray:
        """The launched command succeeds; its time, which is noise for so few photos, is 5 s and 0.2 s a photo."""
        assert (launched(command) > 0).all()
        photos = sum(Path(each).suffix in (".jpg", ".dng") for each in command)
        return np.array([5, 3]) + np.array([0.2, 0.1]) * photos

    monkeypatch.setattr(holiday, "cost", linear)
    command = ["--photos", str(tmp_path / "photos"), "--model", str(tiny_folder), "--out", str(tmp_path / "out")]
    holiday.main([*command, "--count", "12", "--distinct", "6", "--engines", "torch"])
    result = json.loads((tmp_path / "out" / "holiday.json").read_text())
    for kind in ("small", "jpeg", "raw"):
        stages, found = result[kind]["stages"], result[kind]["torch"]
        assert min(stages.values()) > 0
        assert (found["cpu_seconds"], found["seconds"], found["start"]) == pytest.approx((0.2, 0.1, 3))
        assert found["holiday_minutes"] == pytest.approx((3 + 3000 * 0.1) / 60)
        allowed = stages["prepare"] + stages["torch"] + stages["closely"]
        assert found["share_of_stages"] == pytest.approx(allowed / 0.2)
    assert "raw, torch: " in capsys.readouterr().out


@pytest.mark.slow
def test_the_benchmark_of_accelerators_runs_on_a_cpu_too(tmp_path, tiny_folder, photo, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    photo(120, 80).save(tmp_path / "photos" / "a.jpg")
    monkeypatch.setattr(accelerator, "SHAPE", (64, 96))
    monkeypatch.setattr(accelerator, "SIZES", {"small": ((120, 80), (80, 120))})
    command = ["--photos", str(tmp_path / "photos"), "--model", str(tiny_folder), "--out", str(tmp_path / "out")]
    command += ["--device", "cpu", "--eager", "--batches", "1", "2", "--workers", "0", "--count", "400"]
    accelerator.main(command)
    result = json.loads((tmp_path / "out" / "accelerator.json").read_text())
    exact, half, coarse = result["network"]
    assert [each["dtype"] for each in result["network"]] == ["float32", "float16", "bfloat16"]
    assert exact["probabilities"] == 0 < half["probabilities"] < coarse["probabilities"] < 0.1
    assert all(each["photos a second, 1"] > 0 and each["photos a second, 2"] > 0 for each in result["network"])
    assert result["small"]["photos a second"] > 0 and result["small"]["share of the network's fastest"] > 0
    assert "small: " in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="counts CPU time as Linux does")
def test_the_cost_of_a_command_holds_that_of_processes_that_outlive_it():
    burn = "import time\nwhile time.process_time() < 0.4: pass"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}])"
    cpu, seconds = holiday.cost([sys.executable, "-c", code])
    assert 0.4 < cpu < 5 and seconds > 0


@pytest.mark.slow
def test_the_speed_benchmark_measures_everything_in_one_call(tmp_path, tiny_folder, photo, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    for seed in range(2):
        photo(120, 80, seed).save(tmp_path / "photos" / f"{seed}.jpg")
    monkeypatch.setattr(speed, "SIZES", {"1 MP": (150, 100), "24 MP": (300, 200)})
    monkeypatch.setattr(speed, "MATRIX", 64)
    monkeypatch.setitem(peers.METHODS, speed.HIFST, lambda image: time.sleep(0.001))
    monkeypatch.setattr(speed, "cores", lambda: 1)
    monkeypatch.delitem(speed.ENGINES, "openvino")
    monkeypatch.setitem(speed.ENGINES, "bf16", speed.ENGINES["torch"])
    monkeypatch.setattr(speed, "measure_sort", lambda photos, model, engine: {"seconds": 0.1, "start": 2.0})
    command = ["--photos", str(tmp_path / "photos"), "--model", str(tiny_folder), "--out", str(tmp_path / "out")]
    speed.main([*command, "--count", "8", "--repeats", "2"])
    result = json.loads((tmp_path / "out" / "speed.json").read_text())
    assert {name: each["count"] for name, each in result["photos"].items()} == {"1 MP": 8, "24 MP": 2}
    for stages in result["stages"].values():
        assert stages["decode"] > 0 and stages["model"] > 0
    assert list(result["engines"]) == ["torch", "bf16"] and list(result["peers"]) == ["U2NetP", speed.HIFST]
    assert all(each["seconds"] > 0 and each["share_of_peak"] > 0 for each in result["engines"].values())
    assert set(result["targets"]) == {
        "share of what the stages allow",
        "times as fast as HiFST",
        "times as fast as U2NetP",
        "cost of 24 megapixels in that of 1",
    }
    assert "times as fast as U2NetP: " in capsys.readouterr().out


@pytest.mark.slow
def test_sort_is_launched_as_users_launch_it(tmp_path, tiny_folder, photo):
    # so many photos outweigh the noise of two launches on a busy machine
    files = [tmp_path / f"{seed}.jpg" for seed in range(300)]
    for seed, file in enumerate(files):
        photo(120, 80, seed).save(file)
    found = speed.measure_sort(files, str(tiny_folder), "torch")
    assert 0 < found["seconds"] < 1 < found["start"] < 60


def test_photos_of_the_speed_benchmark_have_the_size_and_detail(tmp_path, photo):
    (tmp_path / "from").mkdir()
    photo(64, 64).save(tmp_path / "from" / "a.png")
    files = speed.write_photos(tmp_path / "from", tmp_path / "to", (300, 200), 3)
    assert [file.name for file in files] == ["0000.jpg", "0001.jpg", "0002.jpg"]
    assert files[0].read_bytes() == files[2].read_bytes()
    with Image.open(files[1]) as made:
        assert made.size == (300, 200) and made.format == "JPEG"
        values = np.asarray(made.convert("L"), float)
    assert 3 < np.diff(values[:, 250:]).std() < 20  # the photo is smooth there; the grain is not


def test_targets_follow_from_the_measurements():
    """Stages of 0.01 + 0.02 + 0.05 s allow 12.5 photos a second; sort does 10 of 1 megapixel, and 5 of 24."""
    stages = {"1 MP": {"decode": 0.01, "preprocess": 0.02, "model": 0.05}}
    whole = {"1 MP": {"seconds": 0.1}, "24 MP": {"seconds": 0.2}}
    found = speed.targets(stages, whole, {"seconds": 0.05}, {"seconds": 0.2}, {"seconds": 1.6, "ours": 0.1})
    assert [each["value"] for each in found.values()] == pytest.approx([0.8, 16, 4, 2])


@pytest.mark.parametrize("kind", scale.WRITERS)
def test_photos_of_the_scale_benchmark_differ_wherever_they_are(tmp_path, kind):
    reader, files = Reader(), []
    for found in find_photos([str(scale.WRITERS[kind](tmp_path / "photos", 12))], pytest.fail):
        with reader.photo(found.path) as photo:
            files.append(photo if isinstance(photo, bytes) else Path(photo).read_bytes())
    reader.close()
    assert len(set(files)) == 12
    assert sorted(files) == sorted(data for _, data in scale.photos(12))


@pytest.mark.slow
def test_the_scale_benchmark_takes_stock_on_the_way(tmp_path):
    scale.main(["--count", "40", "--kinds", "parquet", "zip", "--out", str(tmp_path)])
    result = json.loads((tmp_path / "scale.json").read_text())
    for kind in ("parquet", "zip"):
        stages = result[kind]
        assert list(stages) == ["found", "judged 4", "judged 20", "judged 40", "finished", "again"]
        seconds = [stage["seconds"] for stage in list(stages.values())[:-1]]
        assert seconds == sorted(seconds) and stages["again"]["seconds"] < seconds[1]
        assert 100 < stages["found"]["megabytes"] <= stages["finished"]["megabytes"]
        assert stages["judged 40"]["megabytes_of_workers"] > 100 and stages["again"]["megabytes_of_workers"] == 0


@pytest.mark.slow
def test_the_benchmark_of_ray_measures_what_the_page_needs(tmp_path, photo):
    pytest.importorskip("ray")
    (tmp_path / "photos").mkdir()
    for number in range(3):
        photo(120, 80, number).save(tmp_path / "photos" / f"{number}.jpg")
    command = [sys.executable, Path(__file__).with_name("ray_scale.py"), "--count", "400", "--out", tmp_path / "out"]
    command += ["--photos", tmp_path / "photos", "--large", tmp_path / "photos"]
    subprocess.run(list(map(str, command)), check=True)
    result = json.loads((tmp_path / "out" / "ray.json").read_text())
    for name, photos in {"stub": 400, "real": 3}.items():
        each = result[name]
        assert each["photos"] == each["ray"]["rows"] == photos and each["plain"]["processes"] == 1
        assert 0 < each["share"]["rows_per_second"] < 10 and 0 < each["share"]["cpu"] < 1 < each["bytes_a_row"]
        assert each["seconds_to_the_first_batch"] > 0 < each["seconds_after_the_last_batch"] < each["seconds"]
        assert all(50 < megabytes < 5000 for megabytes in each["ray"]["megabytes"])
    assert result["parts"]["24 MP"]["megabytes"] > result["parts"]["1 MP"]["megabytes"]
    shown = " ".join(scale_text(result, result["weights"]).split())
    assert shown.count("photos a second") == 3


def test_photos_of_the_holiday_benchmark_have_the_sizes_and_the_pixels_of_real_ones(tmp_path, monkeypatch):
    """Rows of a photo whose every row has a grey of its own, mirrored at the borders: neighbours differ by one."""
    (tmp_path / "from").mkdir()
    Image.fromarray(np.arange(40, dtype=np.uint8)[:, None].repeat(50, 1)).save(tmp_path / "from" / "a.png")
    monkeypatch.setattr(holiday, "SIZES", ((120, 90), (200, 150)))
    made = [piece for _, piece in zip(range(5), holiday.pieces(tmp_path / "from", holiday.SIZES), strict=False)]
    assert [piece.size for piece in made] == [(120, 90), (200, 150), (120, 90), (200, 150), (90, 120)]
    for piece in made:
        rows = np.asarray(piece.convert("L"), int)[:, 0]
        assert np.abs(np.diff(rows)).max() == 1 and set(rows) == set(range(40))
    files = holiday.write_album(tmp_path / "from", tmp_path, 5, 2, "jpeg")
    assert files[0].read_bytes() == files[2].read_bytes() == files[4].read_bytes() != files[1].read_bytes()
    assert "taken" not in load_photo(files[1]).info


def test_differences_of_engines_are_counted(tmp_path):
    def record(probabilities, blurred):
        map_ = np.full((4, 4), blurred, np.float32)
        outputs = {"blur_map": map_, "attention_map": np.ones((4, 4), np.float32), "kind_logits": np.eye(3)[0]}
        outputs = {name: torch.from_numpy(np.asarray(values))[None] for name, values in outputs.items()}
        outputs |= {name: outputs[name][None] for name in ("blur_map", "attention_map")}
        outputs["logits"] = torch.tensor([probabilities]).log()
        return engines.record_of(0, {"source": "toy", "desirability": 0}, outputs, (4, 4), 0.9)

    sharp, nearly = record([0.95, 0.02, 0.02, 0.01], 0.0), record([0.85, 0.12, 0.02, 0.01], 0.1)
    found = engines.differences(*nearly, *sharp)
    assert found["same_label"] and found["right"] and not found["same_verdict"]  # it is not certain any more
    assert found["probabilities"] == pytest.approx(0.1, abs=1e-6)
    assert found["blur_map_mean"] == pytest.approx(0.1, abs=1e-6) == found["blur_map_largest"]


@pytest.mark.slow
def test_the_engines_benchmark_judges_a_split(tmp_path, tiny_folder, capsys):
    dataset = write_toy_split(tmp_path / "set", count=5)
    command = ["--dataset", str(dataset), "--split", "test", "--model", str(tiny_folder), "--limit", "3"]
    engines.main([*command, "--engines", "torch", "--out", str(tmp_path / "out")])
    result = json.loads((tmp_path / "out" / "engines.json").read_text())
    assert (result["photos"], result["of"], list(result["engines"])) == (3, 5, ["torch"])
    found = result["engines"]["torch"]
    assert (found["same_verdict"], found["probabilities_largest"]) == (1, 0) and found["cpu_seconds"] > 0
    assert "torch: 100.00% of 3 verdicts are PyTorch's" in capsys.readouterr().out


def test_the_page_s_benchmark_knows_what_it_measured(tmp_path):
    first = browser.Measured(tmp_path / "rows.jsonl")
    first.add("page", 3, label=True)
    first.add("stored", 3, int8=0)
    again = browser.Measured(tmp_path / "rows.jsonl")
    assert again.left("page", [1, 3, 5]) == [1, 5] and again.left("stored", [1, 3]) == [1]
    again.add("page", 1, label=False)
    assert (again.of("page", "label"), again.of("stored", "int8"), again.of("page", "failed")) == (
        [True, False],
        [0],
        [],
    )
