"""README.md says what is so."""

import functools
import operator
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

import abc_hf
from abc_hf.cli import main
from hub.render_readme import render, sources

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def block_after(marker: str) -> str:
    return re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, re.DOTALL)[1]


def test_figures_are_those_of_the_json_files():
    """After a change to one of them: `python -m hub.render_readme`."""
    assert render(README, **sources()) == README


@pytest.mark.parametrize(
    "path",
    [
        ("run", "cuhk", "blur_map", "all", "pooled_ap"),
        ("run", "validation", "desirability", "accuracy"),
        ("published", "blur_map", "cuhk/motion", "f_beta"),
    ],
)
def test_a_changed_figure_would_be_noticed(path):
    given = sources()
    *way, last = path
    functools.reduce(operator.getitem, way, given)[last] = 0.123
    assert render(README, **given) != README


def test_a_changed_peer_would_be_noticed():
    given = sources()
    given["peers"]["methods"][1]["seconds"] = 0.123
    assert render(README, **given) != README


def test_a_changed_speed_or_engine_would_be_noticed():
    for name, change in (("speed", {"seconds": 0.9876}), ("engines", {"changed_verdicts": 98})):
        given = sources()
        given[name]["engines"]["bf16"] |= change
        assert render(README, **given) != README


def test_engines_measured_with_other_weights_say_so():
    shown = render(README, **{**sources(), "weights": "other"})
    assert shown.count("| verdicts changed (earlier weights) |") == 1


def test_peers_measured_beside_other_weights_say_so():
    shown = render(README, **{**sources(), "weights": "other"})
    assert shown.count("| ABC-FuseNet (earlier weights) |") == 1


def test_scores_on_computed_blur_are_shown_where_there_are_some():
    given = sources()
    given["run"]["synthetic"] = {
        "blur_map": {"all": {"photos": 7, "pooled_ap": 0.9, "curve_ap": 0.8, "f_beta": 0.7}},
        "levels": {"mean_absolute_error": 0.25, "weighted_kappa": 0.75},
    }
    shown = [cell.strip() for cell in render(README, **given).split("|")]
    at = shown.index("SmartBlur-Synth, test split")
    assert shown[at : at + 7] == ["SmartBlur-Synth, test split", "7", "0.900", "0.800", "0.700", "0.250", "0.750"]


def test_the_python_example_runs(tmp_path, monkeypatch):
    photo = ROOT / "abc_hf" / "examples" / "bokeh.jpg"
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(block_after("python example"), {})
    assert (tmp_path / "out" / "photo_blur_16bit.png").exists()


def test_the_sort_example_says_what_it_says(tmp_path, monkeypatch, capsys):
    """But for the time it takes."""
    command, *said = block_after("sort example").splitlines()
    monkeypatch.chdir(ROOT)
    words = [str(tmp_path / word) if word == "sorted" else word for word in command.split()[2:]]
    assert main([*words, "--device", "cpu", "--workers", "0"]) == 0
    lines = capsys.readouterr().out.replace(f"{tmp_path}/", "").splitlines()
    assert [re.sub(r"[\d.]+ s, [\d.]+", "", line) for line in lines] == [
        re.sub(r"[\d.]+ s, [\d.]+", "", line) for line in said
    ]


@pytest.mark.parametrize("name", re.findall(r"`([\w./]+\.(?:py|md))`", README))
def test_files_it_names_exist(name):
    assert any((folder / name).exists() for folder in (ROOT, ROOT / "abc_hf"))


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_the_demo_command_opens_the_demo(tmp_path):
    """As it is written, from a clean clone; the port is told by Gradio's own variable."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"{block_after('demo command').strip()} --no-browser --port {port}"
    process = subprocess.Popen(["bash", "-c", command], cwd=tmp_path / "clone", start_new_session=True)
    try:
        deadline = time.monotonic() + 900
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                    assert "ABC-FuseNet" in page.read().decode()
                break
            except OSError:
                assert process.poll() is None, "the command ended"
                assert time.monotonic() < deadline, "the demo did not come up"
                time.sleep(2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_the_training_command_trains(tmp_path):
    """As it is written, from a clean clone; `from_pretrained` loads what it wrote."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    done = subprocess.run(
        ["bash", "-c", block_after("training command")], cwd=tmp_path / "clone", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "abc-fusenet assess PHOTO --model out" in done.stdout + done.stderr
    assert abc_hf.load_pipeline(tmp_path / "clone" / "out")(ROOT / "abc_hf" / "examples" / "bokeh.jpg").label
