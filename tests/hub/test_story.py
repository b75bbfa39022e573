"""From photos to a Space that is asked a question, each step by way of the Hub and by what people type."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from huggingface_hub import snapshot_download
from PIL import Image

import train_accelerate
from abc_hf import load_pipeline
from abc_hf.data.build import main as build_dataset
from abc_hf.training.settings import TrainSettings
from hub import cards, push_dataset, push_model, push_space
from tests.hub.bare_environment import bare_python, started_space
from tests.hub.card_schema import problems
from tests.hub.mini_hub import Fault
from tests.served import answers_of, served

ROOT = Path(__file__).parents[2]
SMALL = ["--variant", "tiny", "--working_size", "96", "--crop_size", "64", "--dataloader_num_workers", "0"]


def write_photos(folder: Path) -> Path:
    """Four sharp photos that may be passed on, and their labels."""
    rng = np.random.default_rng(0)
    (folder / "clothing" / "images").mkdir(parents=True)
    with (folder / "desirability.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "desirability", "blur_kind", "split"])
        for index, split in enumerate(("train", "train", "train", "validation")):
            name = f"clothing/images/{index}.png"
            Image.fromarray(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(folder / name)
            table.writerow([name, "no-blur", "", split])
    return folder


@pytest.mark.parametrize(
    ("token", "said"), [("hf_wrong", "does not accept the token"), ("hf_read", "may not write"), (None, "no token")]
)
def test_a_token_that_does_not_do_is_refused_before_training(stand, tmp_path, monkeypatch, token, said):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(train_accelerate, "load_splits", lambda settings: pytest.fail("data were loaded"))
    words = ["--dataset_name", "tester/synth", *SMALL, "--cpu", "--push_to_hub", "--hub_model_id", "tester/refused"]
    words += ["--output_dir", str(tmp_path / "out"), *(["--hub_token", token] if token else [])]
    with pytest.raises(SystemExit, match=said) as refused:
        train_accelerate.main(words)
    assert "\n" not in str(refused.value) and "hf_" not in str(refused.value)
    assert ("model", "tester/refused") not in stand.hub.repos


@pytest.mark.slow
def test_an_upload_that_breaks_after_training_says_how_to_repeat_it(stand, tmp_path, monkeypatch, scored_folder):
    monkeypatch.setattr(train_accelerate.run_log, "model_card", lambda *_: "---\nlicense: mit\n---\n")
    out = shutil.copytree(scored_folder, tmp_path / "out")
    settings = TrainSettings(push_to_hub=True, hub_model_id="tester/broken")
    monkeypatch.setattr(stand.hub, "faults", [Fault("POST", "/commit/", "drop", times=99)])
    with pytest.raises(ValueError, match="broke .*; python -m hub.push_model uploads a trained folder"):
        train_accelerate.push(settings, out, {}, {})
    stand.hub.faults.clear()
    train_accelerate.push(settings, out, {}, {})
    assert "model.safetensors" in stand.hub.files("model", "tester/broken")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_story(stand, transformers_js, tmp_path, monkeypatch, capsys, request):
    photos = write_photos(tmp_path / "photos")
    build_dataset(["synth", str(photos), "--out", str(tmp_path / "synth"), "--count", "12", "--workers", "1"])
    push_dataset.main([str(tmp_path / "synth"), "--repo", "tester/synth", "--yes"])
    assert "Kept 14 rows (train 12, validation 1, test 1)" in capsys.readouterr().out

    out = tmp_path / "out"
    options = ["--phase", "blur", "--max_train_steps", "2", "--per_device_train_batch_size", "2", *SMALL, "--cpu"]
    options += ["--push_to_hub", "--hub_model_id", "tester/blur", "--hub_token", "hf_test", "--output_dir", str(out)]
    command = [sys.executable, str(ROOT / "train_accelerate.py"), "--dataset_name", "tester/synth", *options]
    run = subprocess.run(command, env=stand.environment(HF_TOKEN="hf_read"), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    files = stand.hub.files("model", "tester/blur")
    card = files["README.md"].decode()
    assert {"model.safetensors", "pipeline.py", "run.json"} <= files.keys() and problems("model", card) == []
    assert not [name for name in files if name.startswith(("checkpoints", "best-", "last-"))]
    assert not any(b"hf_test" in path.read_bytes() for path in out.rglob("*") if path.is_file())

    links = ["--links", "tester/blur", "datasets/tester/synth", "spaces/tester/demo", "spaces/tester/page"]
    push_model.main([str(out), "--repo", "tester/blur", *links, "--yes"])  # with the networks for JavaScript
    push_space.main(["--repo", "tester/demo", "--model", "tester/blur", *links, "--yes"])
    push_space.main(["--repo", "tester/page", "--static", "--model", "tester/blur", *links, "--yes"])
    assert "Checked with the code of the folder alone: the example is judged" in capsys.readouterr().out
    files = stand.hub.files("model", "tester/blur")
    pages = {name: tmp_path / name for name in ("demo", "page")}
    for name, folder in pages.items():
        snapshot_download(f"tester/{name}", repo_type="space", local_dir=folder)
        text = (folder / "README.md").read_text()
        assert problems("space", text) == [] and "- tester/blur" in text and "- tester/synth" in text
        assert not [*folder.rglob("__pycache__")]
    weights = pages["demo"] / "abc_hf" / "pretrained" / "mobile" / "model.safetensors"
    assert weights.read_bytes() == files["model.safetensors"]

    # a stranger's photo, whose size is the one at which it is judged
    photo = tmp_path / "photo.jpg"
    Image.open(ROOT / "abc_hf" / "examples" / "bokeh.jpg").resize((96, 64)).save(photo, quality=95, subsampling=0)
    expected = load_pipeline("tester/blur", device="cpu")(photo)
    likely = list(expected.probabilities.values())
    remote = next(
        block for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "trust_remote_code" in block
    )
    told = stand.run(remote + "\nimport json; print(json.dumps(report.to_dict()))", tmp_path)
    assert told["label"] == expected.label and told["score"] == pytest.approx(expected.score, abs=1e-4)

    shutil.copy(photo, transformers_js)
    snippet = re.search(r"```js\n(.*?)```", (cards.HERE / "model_card.md").read_text(), re.DOTALL)[1]
    snippet = snippet.replace("{{ repo }}", "tester/blur").replace('"q8"', '"fp32"')
    said = stand.run_node(snippet + "\nconsole.log(JSON.stringify(scores));", transformers_js)
    scores = np.exp(json.loads(said.splitlines()[-1]))
    assert list(scores / scores.sum()) == pytest.approx(likely, abs=0.01)

    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    with started_space(pages["demo"], bare_python(tmp_path / "environment")) as address:
        stand.hub.repos["space", "tester/demo"].extra["host"] = address
        client = Client("tester/demo", verbose=False, analytics_enabled=False, download_files=tmp_path / "answers")
        figures = client.predict(photo=handle_file(str(photo)), api_name="/assess")[0]
    assert figures["label"] == expected.label
    assert list(figures["probabilities"].values()) == pytest.approx(likely, abs=1e-4)

    browser = request.getfixturevalue("browser")  # last: its event loop stands in the way of others
    with served(pages["page"]) as address:
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(address)
        page.set_input_files("#files", str(photo))
        (answer,) = answers_of(page, 1)
        page.close()
    assert answer["label"] == expected.label
    assert list(answer["probabilities"].values()) == pytest.approx(likely, abs=0.01)
