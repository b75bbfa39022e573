"""The Space's folder, started where the packages of this environment are, but not this project."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


def bare_python(folder: Path) -> Path:
    """An interpreter that has the packages of this environment, but not this project, which is installed by a .pth."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    packages = next((folder / "lib").glob("python*/site-packages"))
    folders = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "packages.pth").write_text("\n".join(folders) + "\n")  # .pth files in those are not read
    found = [python, "-c", "import importlib.util; print(importlib.util.find_spec('abc_hf'))"]
    assert subprocess.run(found, capture_output=True, text=True, cwd=folder).stdout.strip() == "None"
    return python


@contextlib.contextmanager
def started_space(space: Path, python: Path) -> Iterator[str]:
    """The address of a Space's app.py while it runs."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    clean |= {"PYTHONUNBUFFERED": "1", "GRADIO_SERVER_NAME": "127.0.0.1"}
    with subprocess.Popen([python, "app.py"], cwd=space, env=clean, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield next(found[0] for line in process.stdout if (found := re.search(r"http://[^/\s]+/", line)))
        finally:
            process.terminate()
