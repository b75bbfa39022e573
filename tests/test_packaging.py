"""What a user installs."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHECK = """
import sys
from pathlib import Path
import abc_hf
assert Path(abc_hf.__file__).is_relative_to(sys.argv[1]), abc_hf.__file__
report = abc_hf.load_pipeline()(sys.argv[2])
assert report.label in report.probabilities
"""


def test_neither_torchvision_nor_timm_is_asked_for():
    names = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]
    assert not [name for name in names if name.startswith(("torchvision", "timm"))]


@pytest.mark.slow
def test_importing_does_no_work():
    """No network (a socket would fail), no matplotlib, gradio or datasets."""
    code = (
        "import socket, sys; socket.socket.connect = None; import abc_hf.registration; "
        "heavy = {'matplotlib', 'gradio', 'datasets'} & set(sys.modules); assert not heavy, heavy"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_wheel_and_sdist_carry_the_weights_and_work(tmp_path):
    subprocess.run([sys.executable, "-m", "build", "--outdir", tmp_path, ROOT], check=True, capture_output=True)
    wheel, sdist = next(tmp_path.glob("*.whl")), next(tmp_path.glob("*.tar.gz"))
    files = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"model.safetensors", "config.json", "preprocessor_config.json", "run.json"}
    assert {f"abc_hf/pretrained/mobile/{name}" for name in wanted} <= files
    assert {"abc_hf/py.typed", "abc_hf/examples/bokeh.jpg", "abc_hf/docs/sorting.md"} <= files
    assert "abc_hf/demo/web/photo.js" in files
    assert "abc_hf/demo/web/static/judge.js" in files
    assert "abc_hf/library/report_page/page.js" in files
    assert not [name for name in files if not name.startswith(("abc_hf/", "abc_fusenet-"))]
    assert wheel.stat().st_size < 30e6
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("pretrained/mobile/model.safetensors") for name in archive.getnames())

    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, wheel]
    subprocess.run(pip, check=True, capture_output=True)
    photo = ROOT / "abc_hf" / "examples" / "bokeh.jpg"
    run = subprocess.run(
        [sys.executable, "-c", CHECK, target, photo],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(target)},
    )
    assert run.returncode == 0, run.stderr
