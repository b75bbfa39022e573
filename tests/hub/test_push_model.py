"""A model pushed to a Hub on this machine, and pulled by everyone's clients, as its card says."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import parse_eval_result_entries
from PIL import Image
from transformers import AutoModel, AutoModelForImageClassification, pipeline

from abc_hf import ABCFuseNetForBlurUnderstanding, BlurUnderstandingPipeline, load_pipeline
from hub import cards, push_model
from tests.hub.card_schema import eval_problems, problems
from tests.hub.mini_hub import Fault, Repo

NAME = "tester/blur"
TELL = """
import json
print(json.dumps([report.to_dict(), float(report.blur_map.mean()), config.id2label[0], sorted(answer)]))
"""


@pytest.fixture(scope="module")
def photo_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).resize((90, 70), Image.BICUBIC).save(path)
    return path


@pytest.fixture(scope="module")
def original(scored_folder):
    return load_pipeline(scored_folder, device="cpu")


@pytest.fixture(scope="module")
def said(stand, scored_folder):
    """What the dry run and the upload printed; NAME is then on the Hub."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        push(scored_folder, dry=True)
        assert not stand.hub.repos and not stand.hub.requests, "a dry run asks nobody"
        push(scored_folder)
    return out.getvalue()


def push(model, *words, dry: bool = False) -> None:
    """The upload without its check and without ONNX, which take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push_model, "check", lambda pipeline, folder: 0.0)
        patch.setattr(push_model, "write_networks", lambda pipeline, folder: None)
        push_model.main([str(model), "--repo", NAME, *([] if dry else ["--yes"]), *words])


@pytest.mark.slow
def test_answers_are_compared_where_the_package_cannot_be_imported(scored_folder, capsys, monkeypatch):
    monkeypatch.setattr(push_model, "write_networks", lambda pipeline, folder: None)
    push_model.main([str(scored_folder), "--repo", NAME])
    differ = float(re.search(r"cannot be imported: answers differ by (\S+) at most", capsys.readouterr().out)[1])
    assert differ < 1e-4


def blocks(card: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card, re.DOTALL)


def card(stand) -> str:
    return stand.hub.files("model", NAME)["README.md"].decode()


def assert_same(report, expected) -> None:
    assert report.label == expected.label and report.reason == expected.reason
    np.testing.assert_allclose(report.blur_map, expected.blur_map, atol=5e-5)
    np.testing.assert_allclose(report.attention_map, expected.attention_map, atol=5e-5)


def test_what_is_uploaded(stand, said):
    assert "model.safetensors" in said and "Uploaded and compared: model tester/blur" in said
    files = stand.hub.files("model", NAME)
    assert {"README.md", "config.json", "model.safetensors", "preprocessor_config.json", "run.json"} <= files.keys()
    assert {"pipeline.py", "photos.py", "visualization.py", "losses.py"} <= files.keys()
    assert not [name for name in files if name.endswith((".bin", ".pkl", ".pt"))]
    assert files["figure.png"].startswith(b"\x89PNG") and problems("model", card(stand)) == []
    assert json.loads(files["config.json"])["custom_pipelines"]["blur-understanding"]["pt"] == [
        "AutoModelForImageClassification"
    ]


def test_a_repeated_push_uploads_nothing(stand, said, scored_folder, capsys):
    commits = len(stand.hub.repos["model", NAME].commits)
    push(scored_folder)
    assert "Nothing to upload" in capsys.readouterr().out
    assert len(stand.hub.repos["model", NAME].commits) == commits


@pytest.mark.slow
def test_the_card_works_word_for_word_without_the_package_then_offline(stand, said, original, photo_file):
    """Every block of Python but the package's own; after that, what needs no question to the Hub, without it."""
    package, *remote = blocks(card(stand))
    assert "abc_hf" in package and len(remote) == 3
    report, mean, label, answer = stand.run("\n".join(remote) + TELL, photo_file.parent)
    expected = original(photo_file)
    assert report["label"] == expected.label and report["reason"] == expected.reason and label == "no-blur"
    assert report["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
    assert mean == pytest.approx(float(expected.blur_map.mean()), abs=1e-5)
    assert answer == ["attention_map", "blur_map", "kind_probabilities", "probabilities"]

    asked = len(stand.hub.requests)
    offline = "\n".join(block for block in remote if "model_info" not in block) + TELL
    assert stand.run(offline, photo_file.parent, HF_HUB_OFFLINE="1") == [report, mean, label, answer]
    assert len(stand.hub.requests) == asked


def test_the_card_works_word_for_word_with_the_package(stand, said, original, photo_file, monkeypatch, tmp_path):
    shutil.copy(photo_file, tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(blocks(card(stand))[0], names)
    assert_same(names["report"], original(photo_file))
    assert (tmp_path / "out" / "photo_figure.png").exists()


def test_who_has_the_package_needs_no_remote_code(stand, said, original, photo_file, monkeypatch):
    """By its name, transformers' pipelines take the package's classes, ask for no file of code, and ask nobody."""
    monkeypatch.setattr("builtins.input", pytest.fail)
    stand.hub.requests.clear()
    assess = pipeline("blur-understanding", model=NAME, device="cpu")
    assert type(assess) is BlurUnderstandingPipeline and type(assess.model) is ABCFuseNetForBlurUnderstanding
    assert_same(assess(photo_file), original(photo_file))
    first = pipeline("image-classification", model=NAME, device="cpu")(str(photo_file))[0]
    assert first["label"] == original(photo_file).label
    assert stand.asked(".py") == 0 and load_pipeline(NAME).model.name_or_path.endswith(
        stand.hub.repos["model", NAME].resolve("main")
    )


@pytest.mark.slow
def test_a_pinned_revision_stays(stand, said, original, photo_file, scored_folder, tmp_path):
    first = stand.hub.repos["model", NAME].resolve("main")
    changed = load_pipeline(scored_folder, device="cpu")
    with torch.no_grad():
        changed.model.abc_fusenet.blur_branch.logit.bias.add_(1.0)
    changed.save_pretrained(tmp_path / "changed")
    shutil.copy(scored_folder / "run.json", tmp_path / "changed")
    push(tmp_path / "changed", "--revision", "better")
    assert_same(load_pipeline(NAME, revision=first)(photo_file), original(photo_file))
    assert_same(load_pipeline(NAME, revision="better")(photo_file), load_pipeline(tmp_path / "changed")(photo_file))
    assert load_pipeline(NAME, revision="better")(photo_file).blur_fraction != original(photo_file).blur_fraction


@pytest.mark.slow
def test_scores_of_linked_benchmarks_are_those_of_run_json(stand, said, scored_folder, tmp_path, capsys):
    """A linked data set says in its eval.yaml which benchmarks it has."""
    for name, tasks in (("labels", ["cuhk-verdicts", "validation-verdicts", "of-others"]), ("plain", None)):
        known = {**cards.TASKS, "of-others": ("default", "test", ())}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cards, "TASKS", known)
            files = {"eval.yaml": (cards.eval_yaml("Toy", "A toy.", tasks).encode(), False)} if tasks else {}
        repo = stand.hub.repos["dataset", f"tester/{name}"] = Repo("dataset", f"tester/{name}")
        repo.commit("main", "files", files | {"README.md": (b"---\nlicense: mit\n---\n", False)})
    push(scored_folder, "--links", "datasets/tester/labels", "datasets/tester/plain", "spaces/tester/demo")
    assert "tester/plain has no eval.yaml, so no score is listed for it." in capsys.readouterr().out
    files = {path: text for path, text in stand.hub.files("model", NAME).items() if path.startswith(".eval_results/")}
    assert files.keys() == {".eval_results/labels.yaml"}
    text = files[".eval_results/labels.yaml"].decode()
    assert eval_problems(".eval_results/labels.yaml", text) == []
    run = json.loads((scored_folder / "run.json").read_text())
    assert {each.task_id: each.value for each in parse_eval_result_entries(yaml.safe_load(text))} == {
        f"{part}-verdicts": pytest.approx(run[part]["desirability"]["accuracy"], abs=1e-4)
        for part in ("cuhk", "validation")
    }
    assert "(https://huggingface.co/spaces/tester/demo)" in card(stand)


@pytest.fixture
def cold_cache(stand, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield
    stand.hub.faults.clear()


def refusal(*arguments, **options) -> str:
    with pytest.raises(ValueError) as error:
        load_pipeline(*arguments, **options)
    message = str(error.value)
    assert message.startswith(f"No ABC-FuseNet model can be loaded from {arguments[0]} (") and "\n" not in message
    return message


def test_a_connection_dropped_while_downloading_is_taken_up_again(stand, said, original, photo_file, cold_cache):
    stand.hub.faults.append(Fault("GET", "model.safetensors", "cut"))
    assert_same(load_pipeline(NAME)(photo_file), original(photo_file))
    assert not stand.hub.faults[0].times


def test_damaged_weights_are_not_loaded(stand, said, original, photo_file, cold_cache):
    """A changed bit, which neither the file's size nor its header tells; when it is deleted all is well."""
    stand.hub.faults.append(Fault("GET", "model.safetensors", "flip"))
    message = refusal(NAME)
    assert "model.safetensors is damaged" in message and not stand.hub.faults[0].times
    damaged = re.search(r"delete (\S+),", message)[1]
    assert "is damaged" in refusal(NAME), "nor from the cache"
    Path(damaged).unlink()
    assert_same(load_pipeline(NAME)(photo_file), original(photo_file))


def test_pickles_are_refused(stand, said, tiny_folder, tmp_path, cold_cache, capsys):
    """On the Hub, in a folder and by the push command; none is even downloaded."""
    files = {path.name: (path.read_bytes(), False) for path in tiny_folder.glob("*.json")}
    weights = ABCFuseNetForBlurUnderstanding.from_pretrained(tiny_folder).state_dict()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    repo = stand.hub.repos["model", "tester/pickled"] = Repo("model", "tester/pickled")
    repo.commit("main", "pickle", files | {"pytorch_model.bin": ((tmp_path / "pytorch_model.bin").read_bytes(), True)})
    stand.hub.requests.clear()
    assert "weights of other kinds are not loaded" in refusal("tester/pickled")
    assert stand.asked(".bin") == 0

    for path in tiny_folder.glob("*.json"):
        shutil.copy(path, tmp_path)
    assert "model.safetensors" in refusal(str(tmp_path))
    for auto in (AutoModel, AutoModelForImageClassification):  # by the classes that travel with a model, too
        with pytest.raises(OSError, match="no file named model.safetensors"):
            auto.from_pretrained(tmp_path)
    with pytest.raises(SystemExit, match=r"^python -m hub.push_model: No ABC-FuseNet model can be loaded from"):
        push_model.main([str(tmp_path), "--repo", NAME])

    both = files | {"pytorch_model.bin": (b"no pickle at all", True)}
    both["model.safetensors"] = ((tiny_folder / "model.safetensors").read_bytes(), True)
    repo.commit("main", "both", both)
    stand.hub.requests.clear()
    assert load_pipeline("tester/pickled").model.num_parameters()
    assert stand.asked(".bin") == 0 and stand.asked("model.safetensors") > 0


def test_what_is_not_there_is_one_sentence(stand, said, cold_cache, monkeypatch):
    assert "does not accept the token" in refusal(NAME, token="hf_wrong")
    assert "there is no such repository" in refusal("tester/none")
    assert "it has no revision v9" in refusal(NAME, revision="v9")
    stand.hub.repos["model", NAME].extra["private"] = True
    try:
        assert "may not see it" in refusal(NAME, token="hf_other")
        assert load_pipeline(NAME, token="hf_test").model.num_parameters()
    finally:
        stand.hub.repos["model", NAME].extra["private"] = False
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "the cache here does not hold it" in refusal("tester/never")


def test_other_answers_are_not_uploaded(stand, original, scored_folder, monkeypatch):
    def answers_of_another(kind, folder, photo, path):
        maps = [f"{of}{name}_map" for of in ("", "branches_", "report_") for name in ("blur", "attention")]
        np.savez(path, **dict.fromkeys(["logits", *maps], np.array(0.0)))
        return original(photo).to_dict()

    monkeypatch.setattr(push_model, "run_cold", answers_of_another)
    with pytest.raises(SystemExit, match="with remote code, answers differ by"):
        push_model.main([str(scored_folder), "--repo", "tester/other", "--yes"])
    assert ("model", "tester/other") not in stand.hub.repos


def test_a_folder_without_an_account_is_refused(tiny_folder):
    with pytest.raises(SystemExit, match="holds no run.json"):
        push_model.main([str(tiny_folder), "--repo", NAME])


@pytest.mark.slow
def test_code_that_does_not_travel_is_noticed(original, tmp_path):
    original.save_pretrained(tmp_path / "folder")
    (tmp_path / "folder" / "losses.py").unlink()
    with pytest.raises(ValueError, match="does not work where this project is not installed: .*losses"):
        push_model.check(original, tmp_path / "folder")
