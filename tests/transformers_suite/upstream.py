"""The common tests of the installed transformers release, made importable for a model that lives outside it.

They are in its sdist on PyPI, not in its wheel. A few modules that they import are not in the sdist either and are
replaced here. The package is called `hf_tests`, so that it cannot be taken for this project's own tests.
"""

import importlib
import subprocess
import sys
import tarfile
import tempfile
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import transformers.utils
from PIL import Image

_temporary = tempfile.TemporaryDirectory(prefix="transformers_suite_")
FOLDER = Path(_temporary.name)


def download_tests() -> Path:
    """The `tests` folder of the sdist of the installed release."""
    release = f"transformers=={transformers.__version__}"
    options = ["--quiet", "--no-deps", "--no-binary", "transformers", "--dest", str(FOLDER)]
    pip = subprocess.run([sys.executable, "-m", "pip", "download", *options, release], capture_output=True, text=True)
    archives = list(FOLDER.glob("transformers-*.tar.gz"))
    if pip.returncode or not archives:
        pytest.fail(f"The sdist of {release} could not be downloaded by pip:\n{pip.stderr}", pytrace=False)
    with tarfile.open(archives[0]) as archive:
        archive.extractall(FOLDER, filter="data")
    tests = FOLDER / archives[0].name.removesuffix(".tar.gz") / "tests"
    (tests / "utils").mkdir()
    (tests / "utils" / "tiny_model_summary.json").write_text("{}")  # of upstream's tiny models on the Hub
    return tests


def module(name: str, **attributes) -> None:
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(attributes)


def fixture_photo(url: str) -> str:
    """Stands in for every photo that upstream takes from the Hub: smooth, 640 x 480."""
    path = FOLDER / "photo.png"
    if not path.exists():
        y, x = np.mgrid[0:480, 0:640]
        waves = [127 + 120 * np.sin(x / 37 + channel) * np.cos(y / 29 - channel) for channel in range(3)]
        Image.fromarray(np.stack(waves, -1).astype(np.uint8)).save(path)
    return str(path)


# They import transformers anew from the path of a checkout; this is the installed one.
transformers.utils.direct_transformers_import = lambda *args, **kwargs: transformers

module("hf_tests", __path__=[str(download_tests())])
module("hf_tests.exporters", __path__=[])
module("hf_tests.exporters.test_export", ExportTesterMixin=type("ExportTesterMixin", (), {}))
module("hf_tests.generation", __path__=[])
module("hf_tests.generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))
module("hf_tests.utils", __path__=[])
module(
    "hf_tests.utils.test_configuration_utils",
    config_common_kwargs={  # each is set, and expected back
        "output_hidden_states": True,
        "output_attentions": True,
        "return_dict": False,
        "dtype": "float16",
        "chunk_size_feed_forward": 5,
        "architectures": ["BertModel"],
        "problem_type": "regression",
        "id2label": {0: "label"},
        "label2id": {"label": "0"},
    },
)
module("fetch_hub_objects_for_ci", url_to_local_path=fixture_photo)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    configuration = importlib.import_module("hf_tests.test_configuration_common")
    image_processing = importlib.import_module("hf_tests.test_image_processing_common")
    modeling = importlib.import_module("hf_tests.test_modeling_common")
    pipelines = importlib.import_module("hf_tests.test_pipeline_mixin")


def offer_tiny_model(model, processor, task: str, task_test: type) -> None:
    """Put a model where `PipelineTesterMixin` looks for one of its class, and name the class that tests its task."""
    architecture, root = type(model).__name__, FOLDER / "tiny_models"
    for part in (model, processor):
        part.save_pretrained(root / model.config.model_type / architecture)
    names = {"tokenizer_classes": [], "processor_classes": [type(processor).__name__]}
    pipelines.tiny_model_summary[architecture] = names
    pipelines.TRANSFORMERS_TINY_MODEL_PATH = str(root)
    setattr(pipelines.transformers_module, type(processor).__name__, type(processor))
    pipelines.pipeline_test_mapping[task] = {"test": f"{task_test.__module__}.{task_test.__qualname__}"}
