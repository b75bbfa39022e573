"""A Hub of its own for each module, and clients of it: here, and in fresh interpreters."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from abc_hf.inference.loading import BUNDLED
from tests.hub import mini_hub


@dataclasses.dataclass
class Stand:
    """A Hub on this machine: what it holds (`hub`), and fresh interpreters whose clients know it alone."""

    hub: mini_hub.Hub
    url: str
    home: Path

    def environment(self, **more) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHON"))}
        known = {"HF_ENDPOINT": self.url, "HF_HOME": str(self.home), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_test"}
        return inherited | known | {"OMP_NUM_THREADS": "1"} | more

    def run(self, code: str, cwd: Path, **environment) -> dict:
        """Run a script in a fresh interpreter that cannot import abc_hf; returns what it printed last, as JSON."""
        leave = "\nsys.stdout.flush()\n__import__('os')._exit(0)"  # see hub/cold.py: threads of streams
        command = [sys.executable, "-I", "-c", "import sys\nsys.modules['abc_hf'] = None\n" + code + leave]
        run = subprocess.run(
            command, cwd=cwd, env=self.environment(**environment), capture_output=True, text=True, timeout=300
        )
        assert run.returncode == 0, run.stderr[-3000:]
        return json.loads(run.stdout.splitlines()[-1])

    def run_node(self, code: str, folder: Path) -> str:
        """Run a script of transformers.js in a folder where that is installed; returns what it printed."""
        here = f'import {{ env }} from "@huggingface/transformers";\nenv.remoteHost = "{self.url}";\n'
        (folder / "judge.mjs").write_text(here + code)
        known = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        run = subprocess.run(["node", "judge.mjs"], cwd=folder, env=known, capture_output=True, text=True, timeout=600)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def asked(self, ending: str) -> int:
        """How often files of that ending were asked for or sent."""
        return sum(path.endswith(ending) for _, path in self.hub.requests)


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    """A Hub that the clients in this process use, too: without waiting between attempts, without Xet."""
    hub = mini_hub.Hub()
    server, url = mini_hub.serve(hub=hub)
    home = tmp_path_factory.mktemp("hf_home")
    with pytest.MonkeyPatch.context() as patch:
        constants = "huggingface_hub.constants."
        patch.setattr(constants + "ENDPOINT", url)
        patch.setattr(constants + "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        patch.setattr("huggingface_hub.hf_api.api.endpoint", url)
        patch.setattr(constants + "HF_HUB_CACHE", str(home / "hub"))
        patch.setattr(constants + "HF_TOKEN_PATH", str(home / "token"))
        patch.setattr(constants + "HF_HUB_DISABLE_XET", True)
        patch.setattr("huggingface_hub.utils._http.time", types.SimpleNamespace(sleep=lambda seconds: None))
        patch.setenv("HF_TOKEN", "hf_test")
        yield Stand(hub, url, home)
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def transformers_js(tmp_path_factory) -> Path:
    """A folder in which the npm package of that name is installed."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("there is no Node with npm")
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--prefix", str(folder)]
    subprocess.run([*command, "@huggingface/transformers@4"], check=True)
    return folder


@pytest.fixture(scope="session")
def scored_folder(tiny_folder, tmp_path_factory):
    """A `tiny` model that claims the scores of the bundled one, as hub/bundle.py would leave it."""
    folder = tmp_path_factory.mktemp("scored") / "model"
    shutil.copytree(tiny_folder, folder)
    shutil.copy(BUNDLED / "run.json", folder)
    return folder
