"""The figures of README.md and docs/ are those of the JSON files; its commands work from a clean clone."""

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
from hub.render_readme import PAGES, render, sources
from tests.lent_torch import lend_torch

ROOT = Path(__file__).parents[1]
TEXT = "\n".join(page.read_text() for page in PAGES)


def block_after(marker: str) -> str:
    return re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)[1]


def test_figures_are_those_of_the_json_files():
    """After a change to a JSON file, run `python -m hub.render_readme`."""
    assert render(TEXT, **sources()) == TEXT


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
    assert render(TEXT, **given) != TEXT


def test_a_changed_peer_would_be_noticed():
    given = sources()
    given["peers"]["methods"][1]["seconds"] = 0.123
    assert render(TEXT, **given) != TEXT


def test_a_changed_engine_would_be_noticed():
    given = sources()
    given["engines"]["engines"]["bf16"]["same_verdict"] = 0.123
    assert render(TEXT, **given) != TEXT


def test_the_days_of_a_hundred_million_photos():
    """A thread takes 0.06 + 0.14 seconds a photo. Ray leaves 0.9 of that speed, and 0.8 of the CPU time to actors: 16
    threads judge 57.6 photos a second."""
    given = sources()
    given["ray"]["parts"]["1 MP"] |= {"prepare": 0.06, "openvino": 0.14, "megabytes": 2.5}
    given["ray"]["real"]["share"] = {"rows_per_second": 0.9, "cpu": 0.8}
    given["ray"]["stub"] |= {"photos": 50_000, "bytes_a_row": 7000.0}
    shown = render(TEXT, **given)
    cells = [cell.strip() for cell in shown.split("|")]
    start = cells.index("days on 100 nodes")
    expected = ["1 MP", "58", "30%", "70%", "1.2", *(f"{1e8 / 57.6 / nodes / 86400:.1f}" for nodes in (10, 30, 100))]
    assert expected == cells[cells.index("1 MP", start) :][:8]
    assert "take 7.0 KB a photo, so those of a hundred million 0.7 TB." in " ".join(shown.split())


def test_a_changed_figure_of_the_page_or_of_the_processor_would_be_noticed():
    given = sources()
    given["browser"]["page"]["same_verdict"] = 7
    given["speed"]["stages"]["24 MP"]["preprocess"] = 0.1234
    shown = " ".join(render(TEXT, **given).split())
    assert "the page gives 7 the verdict" in shown and "123.4 ms for one of 24 megapixels" in shown


def test_engines_measured_with_other_weights_say_so():
    shown = render(TEXT, **{**sources(), "weights": "other"})
    assert shown.count("| same verdicts (earlier weights) |") == 1
    assert shown.count(", with earlier weights.") == 1


def test_peers_measured_beside_other_weights_say_so():
    shown = render(TEXT, **{**sources(), "weights": "other"})
    assert shown.count("| ABC-FuseNet (earlier weights) ") == 1


def test_scores_on_computed_blur_are_shown_where_there_are_some():
    given = sources()
    given["run"]["synthetic"] = {
        "blur_map": {"all": {"photos": 7, "pooled_ap": 0.9, "curve_ap": 0.8, "f_beta": 0.7}},
        "levels": {"mean_absolute_error": 0.25, "weighted_kappa": 0.75},
    }
    shown = [cell.strip() for cell in render(TEXT, **given).split("|")]
    at = shown.index("SmartBlur-Synth, test split")
    assert shown[at : at + 7] == ["SmartBlur-Synth, test split", "7", "0.900", "0.800", "0.700", "0.250", "0.750"]


def share(photos: int, value: float | None) -> dict:
    return {"photos": photos, "share": value}


VERDICTS = {
    "agreed": {"photos": 51, "accuracy": 0.912, "kappa": 0.813},
    "always_one_label": 0.614,
    "false_bad": share(42, 0.015),
    "bad_found": share(9, 0.816),
    "certain": {"share": 0.717, "accuracy": 0.968},
    "kind": {"photos": 19, "accuracy": 0.919},
    "rejected": {"threshold": 0.35, "share": 0.1, "precision": 0.62, "recall": None},
}


def test_verdicts_are_shown_where_they_were_scored():
    given = sources()
    for split in ("validation", "cuhk"):
        given["run"][split]["verdicts"] = {"all": VERDICTS, "consumer/pet": VERDICTS}
    shown = " ".join(render(TEXT, **given).split())
    assert "validation: right verdicts where all annotators agree | 51 | 0.912 | 0.614 (always the same label)" in shown
    assert "On validation 71.7% of the verdicts are certain, and 96.8% of these are right." in shown
    assert "10.0% of the photos score below 0.35. For bad-blur, this threshold has a precision of 62.0%" in shown
    assert "and a recall of none;" in shown
    assert "| validation, consumer/pet | 51 | 0.912 | 0.813 | 0.614 | 1.5% | 81.6% | 71.7% | 96.8% | 91.9% |" in shown


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_the_demo_command_opens_the_demo(tmp_path):
    """As it is written, from a clean clone that is lent torch; the port is told by Gradio's own variable."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    lend_torch(tmp_path / "clone" / ".venv")
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
    """As it is written, from a clean clone that is lent torch; `from_pretrained` loads what it wrote."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    lend_torch(tmp_path / "clone" / ".venv")
    done = subprocess.run(
        ["bash", "-c", block_after("training command")], cwd=tmp_path / "clone", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "abc-fusenet assess PHOTO --model out" in done.stdout + done.stderr
    assert abc_hf.load_pipeline(tmp_path / "clone" / "out")(ROOT / "abc_hf" / "examples" / "bokeh.jpg").label
