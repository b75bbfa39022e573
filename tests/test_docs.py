"""README.md, docs/ and CONTRIBUTING.md name what exists, and their examples run."""

import glob
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from abc_hf.cli import main
from abc_hf.cli.main import build_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}
EXAMPLE = re.compile(r"<!-- ([\w ]+ example) -->\n```\w+\n(.*?)```", re.DOTALL)
PHOTO_EXAMPLES = {"README.md": ["python"], "docs/python.md": ["report", "batch", "transformers"]}
PHOTO_EXAMPLES["docs/how-it-works.md"] = ["network"]
ENGINES = {"ray": "ray", "daft": "daft", "spark": "pyspark", "datasets": "datasets"}
"""The examples of docs/scale.md, with the package that each needs."""


def example(page: str, name: str) -> str:
    return dict(EXAMPLE.findall(TEXTS[page]))[f"{name} example"]


def test_every_example_is_run_by_a_test():
    """The one of the API is run in tests/demo/test_page.py."""
    found = {(page, name.removesuffix(" example")) for page, text in TEXTS.items() for name, _ in EXAMPLE.findall(text)}
    run = {(page, name) for page, names in PHOTO_EXAMPLES.items() for name in names}
    run |= {("docs/scale.md", name) for name in ENGINES}
    run |= {("docs/sorting.md", "sort"), ("docs/sorting.md", "table"), ("README.md", "filter"), ("docs/demo.md", "api")}
    assert found == run
    python = sum(text.count("```python") for text in TEXTS.values())
    assert python == len(found) - 1  # the sort example is a shell's


@pytest.fixture
def photo_here(tmp_path, monkeypatch):
    photo = ROOT / "abc_hf" / "examples" / "bokeh.jpg"
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("page", "name"), [(page, name) for page, names in PHOTO_EXAMPLES.items() for name in names])
def test_examples_of_a_photo_run(page, name, photo_here, capsys):
    exec(example(page, name), {})
    said = capsys.readouterr().out
    if (page, name) == ("docs/python.md", "batch"):
        assert "missing.jpg: there is no such file" in said
    if (page, name) in (("README.md", "python"), ("docs/python.md", "report")):
        assert "blur" in said and (photo_here / "out" / "photo_blur_16bit.png").exists()


NOTE_HOSTS = """
import socket, sys

def note(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "localhost", "127.0.0.1", socket.gethostname()):
        with open(hosts, "a") as file:
            print(arguments[0], file=file)

sys.addaudithook(note)
"""
"""What each Python process of an example runs first: it notes the hosts that are asked for."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_examples_of_engines_run(name, photo_here):
    if not find_spec(ENGINES[name]):
        pytest.skip(f"{ENGINES[name]} is not installed")
    (photo_here / "example.py").write_text(example("docs/scale.md", name))
    (photo_here / "path").mkdir()
    (photo_here / "path" / "sitecustomize.py").write_text(f"hosts = {str(photo_here / 'hosts')!r}\n{NOTE_HOSTS}")
    path = os.pathsep.join([str(photo_here / "path"), str(ROOT)])
    env = os.environ | {"PYTHONPATH": path, "PYSPARK_PYTHON": sys.executable, "RAY_worker_niceness": "0"}
    done = subprocess.run([sys.executable, "example.py"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (photo_here / "hosts").exists(), (photo_here / "hosts").read_text()
    rows = {
        row["path"]: row for row in ds.dataset(glob.glob("judged/*.parquet") or "judged.parquet").to_table().to_pylist()
    }
    assert rows.keys() == {"photo.jpg", "missing.jpg"}
    assert rows["photo.jpg"]["label"] == "good-blur" and rows["photo.jpg"]["error"] is None
    assert rows["missing.jpg"]["label"] is None and rows["missing.jpg"]["error"] == "there is no such file."


def test_the_sort_and_the_table_examples_run(tmp_path, monkeypatch, capsys):
    """All it says is as shown, but for the time that it took."""
    command, *said = example("docs/sorting.md", "sort").splitlines()
    monkeypatch.chdir(ROOT)
    words = [str(tmp_path / word) if word == "sorted" else word for word in command.split()[2:]]
    assert main([*words, "--device", "cpu", "--workers", "0"]) == 0
    lines = capsys.readouterr().out.replace(f"{tmp_path}/", "").splitlines()
    assert [plain(line) for line in lines] == [plain(line) for line in said]

    monkeypatch.chdir(tmp_path)
    exec(example("docs/sorting.md", "table"), {})
    assert "abc_hf/examples" in capsys.readouterr().out
    exec(example("README.md", "filter"), {})
    kept, unsure = map(int, re.findall(r"\d+", capsys.readouterr().out))
    assert 0 < kept <= 8 and 0 <= unsure <= 8


def plain(line: str) -> str:
    """A line without the time."""
    return re.sub(r"in [\d.]+ s, [\d.]+ a second", "in N s, N a second", line)


@pytest.mark.parametrize("page", TEXTS)
def test_files_it_names_exist(page):
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", TEXTS[page]) if "://" not in link]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
    named = re.findall(r"`((?:abc_hf|tests|hub|docs)/[\w./-]+|[\w]+\.(?:py|md))`", TEXTS[page])
    beside = (ROOT, ROOT / "tests" / "benchmarks", ROOT / "docs")
    assert [name for name in named if not any((folder / name).exists() for folder in beside)] == []


@pytest.mark.parametrize("page", TEXTS)
def test_commands_it_shows_are_commands(page):
    """The parser takes each `abc-fusenet` line of a block; the module of each `python -m` line exists."""
    blocks = "\n".join(re.findall(r"```(?:sh|console)\n(.*?)```", TEXTS[page], re.DOTALL)).replace("\\\n", "")
    for line in re.findall(r"^(?:\$ )?abc-fusenet (.*?)(?: +#.*)?$", blocks, re.MULTILINE):
        build_parser().parse_args(line.split())
    for module in re.findall(r"python -m ((?:abc_hf|hub|tests)[\w.]*)", TEXTS[page]):
        assert ROOT.joinpath(*module.split(".")).with_suffix(".py").exists(), module
    for script in re.findall(r"(?:python|launch)(?: --\w+ \w+)* (\w[\w/]*\.py)", TEXTS[page]):
        assert (ROOT / script).exists(), script


def test_the_contents_of_the_experiments_lead_to_each():
    text = (ROOT / "EXPERIMENTS.md").read_text()
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    anchors = ["#" + re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]  # as GitHub does
    assert re.findall(r"^- \[.*?\]\((.*?)\): ", text, re.MULTILINE) == anchors


def test_the_readme_is_short():
    assert TEXTS["README.md"].count("\n") <= 150
