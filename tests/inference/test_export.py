"""What `abc-fusenet export` writes runs without this package, and says what PyTorch says."""

import json
import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from abc_hf import (
    VARIANTS,
    ABCFuseNetConfig,
    ABCFuseNetForBlurUnderstanding,
    ABCFuseNetImageProcessor,
    cli,
    load_pipeline,
)
from abc_hf.inference import export

PACKAGES = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "openvino": ("openvino",)}
EXAMPLES = Path(__file__).parents[2] / "abc_hf" / "examples"
ANSWER = """
import json
print(json.dumps([logits[0].tolist(), blur.shape, float(blur.mean()), float(attention.mean())]))
assert not {"torch", "abc_hf", "transformers"} & set(__import__("sys").modules)
"""


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory):
    """A narrow `mobile`, which has fewer layers to convert than `tiny`, and its processor at 96 pixels."""
    torch.manual_seed(0)
    config = ABCFuseNetConfig(**VARIANTS["mobile"] | {"width_multiplier": 0.125, "temperature": 1.5})
    folder = tmp_path_factory.mktemp("models") / "small"
    ABCFuseNetForBlurUnderstanding(config).eval().save_pretrained(folder)
    ABCFuseNetImageProcessor(size={"longest_edge": 96}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=PACKAGES)
def exported(request, small_folder, tmp_path_factory):
    """The format, the folder that the command wrote for it, and what the command printed."""
    for package in PACKAGES[request.param]:
        pytest.importorskip(package)
    out = tmp_path_factory.mktemp("exported") / request.param
    command = ["export", "--format", request.param, "--model", str(small_folder), "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        printed = []
        patch.setattr("builtins.print", printed.append)
        warnings.simplefilter("error")
        assert cli.main(command) == 0
    return request.param, out, printed


@pytest.mark.slow
def test_the_command_says_the_largest_difference(exported):
    format, out, printed = exported
    found = re.fullmatch(rf"{out / export.FILES[format]} differs from PyTorch by (\S+) at most; .*", "".join(printed))
    assert float(found[1]) <= 1e-3


@pytest.mark.slow
def test_sizes_and_batches_are_dynamic(exported, small_folder):
    """From one cell of the grid to a panorama, at any batch: none of these sizes is that of the export."""
    format, out, _ = exported
    run = {"onnx": export.run_onnx, "openvino": export.run_openvino}[format](out / export.FILES[format])
    model = load_pipeline(small_folder, device="cpu").model
    for batch, height, width in ((1, 32, 32), (1, 96, 64), (3, 64, 160), (2, 224, 32)):
        pixel_values = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(width)) * 2 - 1
        with torch.no_grad():
            expected = model(pixel_values)
        for name, values in zip(export.OUTPUTS, run(pixel_values.numpy()), strict=True):
            np.testing.assert_allclose(values, expected[name], atol=1e-4)


@pytest.mark.slow
def test_what_photos_must_be_made_into_goes_with_it(exported, small_folder):
    _, out, _ = exported
    config, processor = (json.loads((out / name).read_text()) for name in ("config.json", "preprocessor_config.json"))
    assert list(config["id2label"].values()) == ["no-blur", "good-blur", "ok-blur", "bad-blur"]
    assert (
        config["temperature"] == 1.5 and processor["size"] == {"longest_edge": 96} and processor["size_divisor"] == 32
    )
    assert not list(out.glob("*.py"))


@pytest.mark.slow
def test_its_readme_runs_without_this_package(exported, small_folder, tmp_path):
    _format, out, _ = exported
    code = re.search(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)[1]
    (out / "photo.jpg").write_bytes((EXAMPLES / "night.jpg").read_bytes())
    done = subprocess.run([sys.executable, "-c", code + ANSWER], cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    logits, shape, blur, attention = json.loads(done.stdout.splitlines()[-1])
    report = load_pipeline(small_folder, device="cpu")(Image.open(EXAMPLES / "night.jpg"))
    chances = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(chances, list(report.probabilities.values()), atol=1e-4)
    assert tuple(shape) == report.small_blur_map.shape
    assert blur == pytest.approx(report.small_blur_map.mean(), abs=1e-4)
    assert attention == pytest.approx(report.small_attention_map.mean(), abs=1e-4)


@pytest.mark.slow
def test_a_wrong_export_is_refused(small_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "write_onnx", lambda model, path: None)

    def run_onnx(path):
        def run(pixel_values):
            with torch.no_grad():
                found = export.Exportable(load_pipeline(small_folder, device="cpu").model)(torch.tensor(pixel_values))
            return [values.numpy() + 0.002 * (pixel_values.shape[0] == 2) for values in found]

        return run

    monkeypatch.setattr(export, "run_onnx", run_onnx)
    command = ["export", "--format", "onnx", "--model", str(small_folder), "--out", str(tmp_path)]
    assert cli.main(command) == 1
    assert "model.onnx differs from PyTorch by 0.002, and at most 0.001 is allowed" in capsys.readouterr().err


def test_photos_of_three_aspect_ratios_are_compared(small_folder):
    pipe, shapes = load_pipeline(small_folder, device="cpu"), []

    def run(pixel_values):
        shapes.append(pixel_values.shape)
        with torch.no_grad():
            return [values.numpy() for values in export.Exportable(pipe.model)(torch.tensor(pixel_values))]

    assert export.largest_difference(pipe.model, pipe.image_processor, run) == 0
    assert shapes == [(1, 3, 64, 96), (1, 3, 96, 96), (1, 3, 96, 64), (2, 3, 64, 96)]


@pytest.mark.parametrize(("format", "package"), [("onnx", "onnxscript"), ("openvino", "openvino")])
def test_a_missing_package_is_named(small_folder, tmp_path, monkeypatch, capsys, format, package):
    monkeypatch.setitem(sys.modules, package, None)
    command = ["export", "--format", format, "--model", str(small_folder), "--out", str(tmp_path)]
    assert cli.main(command) == 1
    assert f'pip install "abc-fusenet[{format}]"' in capsys.readouterr().err


def test_a_file_in_place_of_the_folder_is_refused(small_folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    command = ["export", "--format", "onnx", "--model", str(small_folder), "--out", str(tmp_path / "file")]
    assert cli.main(command) == 1
    assert capsys.readouterr().err.endswith("file is a file; choose a folder.\n")


@pytest.mark.slow
def test_a_readme_of_the_users_is_not_replaced(small_folder, tmp_path, capsys):
    (tmp_path / "README.md").write_text("mine")
    assert cli.main(["export", "--format", "onnx", "--model", str(small_folder), "--out", str(tmp_path)]) == 1
    assert "README.md is no result of this command; choose another folder" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("README.md", "mine")]


def test_openvino_reports_its_use_to_nobody():
    pytest.importorskip("openvino")
    code = (
        "import sys; from abc_hf.inference.engines import import_openvino; import_openvino(); "
        "from openvino.tools.ovc import telemetry; assert 'stub' in type(telemetry).__module__, type(telemetry); "
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_logging_is_as_before_an_export():
    with export.quiet():
        assert logging.root.manager.disable == logging.WARNING
    assert logging.root.manager.disable == logging.NOTSET
