"""The Space: exactly the files that are pushed, started with what the Space installs alone."""

import json
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from huggingface_hub import SpaceCard
from packaging.requirements import Requirement
from packaging.version import Version

from hub.push_space import build_space
from tests.hub.bare_environment import started_space
from tests.lent_torch import lend_torch

ROOT = Path(__file__).parents[2]

SPACE = ROOT / "hub" / "space"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOT_OURS = {"spaces"}
"""Asked for by the Space alone."""
OF_THE_HUB = ("gradio[oauth,mcp]=={}", "uvicorn>=0.14.0", "websockets>=10.4", "spaces", "torch<=2.13.0")
"""What the Hub's builder of Spaces asks pip for beside requirements.txt, in the same command."""


def by_name(lines) -> dict[str, Requirement]:
    return {each.name: each for each in map(Requirement, lines)}


@pytest.fixture(scope="module")
def card():
    return SpaceCard.load(SPACE / "README.md").data


@pytest.fixture
def required():
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    return by_name(line for line in lines if not line.startswith("#"))


def test_front_matter(card):
    assert (card.sdk, card.app_file, card.license) == ("gradio", "app.py", PROJECT["license"].lower())
    assert card.python_version == "3.12"
    assert Version(card.sdk_version) in Requirement(PROJECT["optional-dependencies"]["demo"][0]).specifier
    assert (ROOT / card.thumbnail).is_file()
    assert len(card.short_description) <= 60


def test_requirements_are_those_of_the_package(required):
    ours = by_name([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["raw"]])
    assert set(required) - NOT_OURS == set(ours)
    for name, each in ours.items():
        assert str(required[name].specifier) == str(each.specifier)


def test_the_folder_holds_what_it_needs_and_no_more(tmp_path):
    space = tmp_path / "space"
    build_space(space)
    files = [path.relative_to(space).as_posix() for path in space.rglob("*") if path.is_file()]
    assert {"README.md", "requirements.txt", "app.py", "LICENSE", "abc_hf/pretrained/mobile/model.safetensors"} <= set(
        files
    )
    kept = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "abc_hf", "docs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if kept.returncode == 0:  # a checkout
        known = set(kept.stdout.splitlines())
        known |= {f"abc_hf/{name}" for name in known}  # abc_hf/docs is a link to docs
        assert {name for name in files if name.startswith("abc_hf/")} <= known
        assert "abc_hf/docs/how-it-works.md" in files


@pytest.mark.slow
def test_its_threads_share_one_arena():
    """Which is asked for before Gradio is imported."""
    code = """
import sys
from abc_hf.inference import allocator
allocator.one_arena = lambda: print("gradio" in sys.modules)
import app
print(app.build_demo.__module__)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "abc_hf.demo.page"]


@pytest.mark.slow
@pytest.mark.timeout(1500)  # hundreds of megabytes are downloaded and unpacked
def test_the_space_starts_from_the_pushed_files_only(card, tmp_path, monkeypatch):
    """In an environment with what the Space installs (but torch is lent) and without this project: the folder brings
    its own code."""
    space, environment = tmp_path / "space", tmp_path / "environment"
    build_space(space)
    try:
        lend_torch(environment)
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        python = environment / "bin" / "python"
        wanted = ["-r", space / "requirements.txt", *(line.format(card.sdk_version) for line in OF_THE_HUB)]
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-cache-dir", *wanted], check=True)
        found = [python, "-c", "import importlib.util; print(importlib.util.find_spec('abc_hf'))"]
        assert subprocess.run(found, capture_output=True, text=True, cwd=tmp_path).stdout.strip() == "None"
        figures, tools = figures_of_the_bokeh(python, space, tmp_path / "answers", monkeypatch)
    finally:
        shutil.rmtree(environment)
    assert figures["width"] == 640
    assert sum(figures["probabilities"].values()) == pytest.approx(1)
    assert {each["name"]: each["description"] for each in tools}["assess"].startswith("Judge the blur in one photo")


def figures_of_the_bokeh(python: Path, space: Path, answers: Path, monkeypatch) -> tuple[dict, list[dict]]:
    """Start the Space with an interpreter; ask it what it says of its first example, and for its MCP tools."""
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setattr("gradio_client.client.build_hf_headers", lambda **_: {})
    with started_space(space, python) as address:
        client = Client(address, verbose=False, analytics_enabled=False, download_files=answers)
        photo = handle_file(str(space / "abc_hf" / "examples" / "bokeh.jpg"))
        with urllib.request.urlopen(f"{address.rstrip('/')}/gradio_api/mcp/schema") as answer:
            return client.predict(photo=photo, api_name="/assess")[0], json.load(answer)
