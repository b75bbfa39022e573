"""The package needs no torchvision; where there is one, transformers prefers it, and ours must work all the same."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import torch

from abc_hf import ABCFuseNetForBlurUnderstanding, ABCFuseNetImageProcessor

ROOT = Path(__file__).parents[1]
SHIM = Path(__file__).parent / "tv_shim"

ANSWERS = """
import json, sys
from PIL import Image
from torchvision.transforms import v2
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline
from transformers.utils import is_torchvision_available

assert is_torchvision_available() and v2.functional.pil_to_tensor(Image.new("L", (2, 3))).shape == (1, 3, 2)
folder, photo, remote = sys.argv[1], sys.argv[2], sys.argv[3] == "remote"
if not remote:
    import abc_hf
options = {"trust_remote_code": True} if remote else {}
processor = AutoImageProcessor.from_pretrained(folder, **options)
model = AutoModelForImageClassification.from_pretrained(folder, **options)
assert ("abc_hf" in sys.modules) != remote
image = Image.open(photo)
outputs = model(**processor(image, return_tensors="pt"))
stock = pipeline("image-classification", model=model, image_processor=processor)
answers = {
    "probabilities": outputs.logits.softmax(-1)[0].tolist(),
    "blur": outputs.blur_map.mean().item(),
    "stock": {answer["label"]: answer["score"] for answer in stock(image)},
}
if not remote:
    answers["report"] = pipeline("blur-understanding", model=folder)(photo).probabilities
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """An interpreter that sees this environment's packages and a torchvision of its own, and the variables it needs."""
    folder = tmp_path_factory.mktemp("torchvision")
    venv.create(folder)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "this_environment.pth").write_text(sysconfig.get_path("purelib"))
    major, minor = torch.__version__.split(".")[:2]
    torchvision = f"torchvision==0.{int(minor) + 15}.*"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, torchvision]
    installed = subprocess.run(pip, capture_output=True, text=True)
    assert major == "2" and installed.returncode == 0, f"{torchvision} could not be installed:\n{installed.stderr}"

    interpreter = folder / "bin" / "python"
    variables = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf_home"), "PYTHONPATH": ""}
    if subprocess.run([interpreter, "-c", "import torchvision"], capture_output=True, env=variables).returncode:
        variables["PYTHONPATH"] = str(SHIM)
    return interpreter, variables


@pytest.mark.slow
@pytest.mark.parametrize("code", ["registered", "remote"])
def test_answers_are_those_without_torchvision(python, code, tiny_folder, photo, tmp_path):
    interpreter, variables = python
    if code == "registered":
        variables = variables | {"PYTHONPATH": os.pathsep.join([variables["PYTHONPATH"], str(ROOT)])}
    image = photo(90, 70)
    image.save(tmp_path / "photo.png")
    command = [interpreter, "-c", ANSWERS, tiny_folder, tmp_path / "photo.png", code]
    run = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout)

    model = ABCFuseNetForBlurUnderstanding.from_pretrained(tiny_folder)
    processor = ABCFuseNetImageProcessor.from_pretrained(tiny_folder)
    with torch.no_grad():
        expected = model(**processor(image, return_tensors="pt"))
    probabilities = expected.logits.softmax(-1)[0].tolist()
    assert answers["probabilities"] == pytest.approx(probabilities, abs=1e-4)
    assert answers["blur"] == pytest.approx(expected.blur_map.mean().item(), abs=1e-4)
    by_label = dict(zip(model.config.id2label.values(), probabilities, strict=True))
    assert answers["stock"] == pytest.approx(by_label, abs=1e-4)
    if code == "registered":
        assert answers["report"] == pytest.approx(by_label, abs=1e-3)
