"""`import abc_hf` imports neither torch nor transformers; their Auto classes know the model all the same."""

import subprocess
import sys
from pathlib import Path

import pytest

import abc_hf

ROOT = Path(__file__).parents[1]
LOADS = "assert type(AutoModel.from_pretrained('abc_hf/pretrained/mobile')).__name__ == 'ABCFuseNetModel'"


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_importing_it_imports_little():
    heavy = "{'torch', 'transformers', 'numpy', 'PIL'} & set(sys.modules)"
    run(f"import sys, abc_hf; assert not {heavy}, {heavy}")


@pytest.mark.parametrize(
    "imports",
    [
        "import abc_hf; from transformers import AutoModel",
        pytest.param("from transformers import AutoModel; import abc_hf", marks=pytest.mark.slow),
        pytest.param(
            "from abc_hf.modeling_abc_fusenet import ABCFuseNetConfig; from transformers import AutoModel",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_auto_classes_know_it(imports):
    run(f"{imports}; {LOADS}")


@pytest.mark.slow
def test_pipeline_knows_it():
    run("import abc_hf; from transformers import pipeline; pipeline('blur-understanding', 'abc_hf/pretrained/mobile')")


def test_public_names():
    assert {"ABCFuseNetConfig", "VARIANTS", "load_pipeline"} <= set(abc_hf.__all__) <= set(dir(abc_hf))
    assert all(getattr(abc_hf, name) is not None for name in abc_hf.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_pipelin'"):
        abc_hf.load_pipelin  # noqa: B018
