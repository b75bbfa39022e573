"""What all push commands do with a folder, against a Hub on this machine."""

import hashlib
import importlib
import re
import shlex
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from abc_hf.common.hub import sentence
from hub import uploading
from hub.uploading import parser_of, push
from tests.hub.mini_hub import Fault, Repo

CARD = "---\nlicense: apache-2.0\n---\n# Toy\n"


@pytest.fixture
def hub(stand):
    stand.hub.repos.clear()
    stand.hub.lfs.clear()
    stand.hub.faults.clear()
    stand.hub.requests.clear()
    return stand.hub


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "folder"
    (made / "data").mkdir(parents=True)
    (made / "README.md").write_text(CARD)
    (made / "model.safetensors").write_bytes(b"weights" * 100)
    (made / "data" / "other.safetensors").write_bytes(b"others" * 100)
    return made


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def command(folder, *words) -> None:
    """The whole of a push command, of this folder."""

    def build(args, out):
        out.mkdir()
        for name, data in contents(folder).items():
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_bytes(data)

    push("model", parser_of("push_toy", "Toy."), build, ["--repo", "tester/toy", *words])


def failure(folder, *words) -> str:
    """What the command says when it fails: one sentence, without the token."""
    with pytest.raises(SystemExit) as error:
        command(folder, "--yes", *words)
    said = str(error.value)
    assert said.startswith("python -m hub.push_toy: ") and said.endswith(".") and "\n" not in said and "hf_" not in said
    return said


def test_a_dry_run_lists_and_asks_nobody(hub, folder, capsys):
    command(folder)
    out = capsys.readouterr().out
    assert "model tester/toy: 3 files, 0.0 MB" in out and "        1 kB  model.safetensors" in out
    assert "Nothing was uploaded" in out and not hub.requests and not hub.repos


def test_a_push_creates_and_a_repeated_one_uploads_nothing(hub, folder, capsys):
    command(folder, "--yes")
    assert "3 of 3 files were new or changed" in capsys.readouterr().out
    held = hub.files("model", "tester/toy")
    assert {name: held[name] for name in contents(folder)} == contents(folder)
    assert held.keys() - contents(folder).keys() == {".gitattributes"}

    commits = len(hub.repos["model", "tester/toy"].commits)
    hub.requests.clear()
    command(folder, "--yes")
    assert "Nothing to upload: model tester/toy holds these files already (commit" in capsys.readouterr().out
    assert len(hub.repos["model", "tester/toy"].commits) == commits
    assert {method for method, _ in hub.requests} == {"GET"}


def test_what_is_no_longer_in_the_folder_goes(hub, folder, capsys):
    command(folder, "--yes")
    (folder / "data" / "other.safetensors").unlink()
    (folder / "model.safetensors").write_bytes(b"better")
    command(folder, "--yes")
    assert "1 of 2 files were new or changed" in capsys.readouterr().out
    assert hub.files("model", "tester/toy").keys() == {".gitattributes", "README.md", "model.safetensors"}
    assert len(hub.repos["model", "tester/toy"].commits) == 3


def test_a_branch_is_made_and_main_stays(hub, folder):
    command(folder, "--yes")
    (folder / "model.safetensors").write_bytes(b"better")
    command(folder, "--yes", "--revision", "v2/try")
    assert hub.files("model", "tester/toy", "v2/try")["model.safetensors"] == b"better"
    assert hub.files("model", "tester/toy")["model.safetensors"] == b"weights" * 100


def test_a_pull_request_is_opened_and_added_to(hub, folder, capsys, monkeypatch):
    command(folder, "--yes")
    (folder / "model.safetensors").write_bytes(b"better")
    monkeypatch.setenv("HF_TOKEN", "hf_other")  # who may not write, but may propose
    command(folder, "--yes", "--create_pr")
    assert "pull request" in capsys.readouterr().out
    assert hub.files("model", "tester/toy")["model.safetensors"] == b"weights" * 100
    assert hub.files("model", "tester/toy", "refs/pr/1")["model.safetensors"] == b"better"
    command(folder, "--yes", "--revision", "refs/pr/1")
    assert "Nothing to upload" in capsys.readouterr().out
    assert "leave out --revision" in failure(folder, "--create_pr", "--revision", "v2")


def test_private_is_private(hub, folder, stand):
    command(folder, "--yes", "--private")
    assert hub.repos["model", "tester/toy"].extra["private"] is True
    assert not HfApi(token="hf_other").repo_exists("tester/toy")
    assert HfApi().repo_exists("tester/toy")
    hub.repos["model", "tester/toy"].extra["private"] = False
    assert "is public already" in failure(folder, "--private")


def test_a_dropped_connection_loses_nothing(hub, folder, capsys):
    """Once is not noticed; for good, it is one sentence, and the repeated push sends only what is missing."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents(folder).items()}
    hub.faults.append(Fault("PUT", digests["model.safetensors"], "drop", times=1))
    command(folder, "--yes")
    assert "3 of 3" in capsys.readouterr().out

    hub.repos.clear()
    hub.lfs.clear()
    hub.faults[:] = [Fault("PUT", digests["model.safetensors"], "drop", times=99)]
    assert "The connection to the Hub broke" in failure(folder)
    assert hub.files("model", "tester/toy").keys() == {".gitattributes"}, "nothing is half committed"
    hub.faults.clear()
    hub.lfs[digests["data/other.safetensors"]] = b"others" * 100  # in case that it came after the broken one
    hub.requests.clear()
    command(folder, "--yes")
    sent = [path for method, path in hub.requests if method == "PUT"]
    assert sent == [f"/_lfs/{digests['model.safetensors']}"]
    assert hub.files("model", "tester/toy")["model.safetensors"] == b"weights" * 100


def test_a_connection_dropped_at_the_commit(hub, folder):
    hub.faults.append(Fault("POST", "/commit/", "drop", times=99))
    assert "run the same command again" in failure(folder)
    hub.faults.clear()
    command(folder, "--yes")
    assert hub.files("model", "tester/toy").keys() >= contents(folder).keys()


def test_what_arrived_is_compared(hub, folder, monkeypatch):
    upload_folder = HfApi.upload_folder

    def damaging(self, **options):
        commit = upload_folder(self, **options)
        for _, _, files, _ in hub.repos["model", "tester/toy"].commits[1:]:
            files["model.safetensors"] = (b"other", True)
        return commit

    monkeypatch.setattr(HfApi, "upload_folder", damaging)
    assert "model.safetensors differs from the file sent" in failure(folder)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("hf_wrong", "The Hub does not accept the token"),
        ("hf_read", "The token may not write to tester/toy"),
        ("hf_other", "The token may not write to tester/toy"),
        (None, "There is no token: run `hf auth login`, or set HF_TOKEN"),
    ],
)
def test_tokens_that_do_not_do(hub, folder, monkeypatch, token, said):
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    assert said in failure(folder)
    assert not hub.repos


@pytest.mark.parametrize(
    ("token", "option", "said"),
    [
        (None, "--yes", "There is no token"),
        ("hf_wrong", "--yes", "does not accept the token"),
        ("hf_test", "--create_pr", "no model tester/toy to open a pull request to"),
        ("hf_test", "--private", "is public already"),
    ],
)
def test_what_is_wrong_is_said_before_the_work(hub, monkeypatch, token, option, said):
    if option == "--private":
        hub.repos["model", "tester/toy"] = Repo("model", "tester/toy")
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    built = []
    with pytest.raises(SystemExit, match=said):
        push("model", parser_of("push_toy", "Toy."), built.append, ["--repo", "tester/toy", "--yes", option])
    assert not built


def test_a_missing_repository_and_a_missing_revision(hub, folder):
    assert "no model tester/toy to open a pull request to" in failure(folder, "--create_pr")
    command(folder, "--yes")
    assert "has no such revision" in failure(folder, "--revision", "refs/pr/7")


def test_another_push_in_between_is_reported(hub, folder):
    hub.faults.append(Fault("POST", "/commit/", 412))
    assert "changed by somebody else" in failure(folder)


def test_a_card_that_the_hub_refuses(hub, folder):
    (folder / "README.md").write_text("---\nlicense: my own\n---\n")
    assert "license 'my own' is none of the Hub's" in failure(folder)


def test_offline_is_said(hub, folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in failure(folder)


def test_options_that_cannot_be(hub, folder, tmp_path):
    assert "exists; choose another --out" in failure(folder, "--out", str(tmp_path))
    for name in ("toy", "a/b/c"):
        assert "--repo must be USER/NAME" in failure(folder, "--repo", name)
    assert not hub.requests


def test_the_commands_of_the_readme_are_taken(monkeypatch):
    readme = (Path(uploading.__file__).parents[1] / "docs" / "hub.md").read_text()
    commands = re.findall(r"^python -m (hub\.push_\w+) (.*)$", readme, re.MULTILINE)
    assert {module for module, _ in commands} == {
        *("hub.push_model", "hub.push_dataset", "hub.push_votes", "hub.push_space")
    }
    for module, words in commands:
        command = importlib.import_module(module)
        monkeypatch.setattr(command, "push", lambda kind, parser, build, argv: parser.parse_args(argv))
        command.main(shlex.split(words, comments=True))


def test_a_fault_of_the_program_is_no_sentence():
    assert sentence(KeyError("x"), "tester/toy") is None
