"""The Space's folder, with the bundled weights or others, on a Hub on this machine."""

import pytest
from huggingface_hub import SpaceCard

from abc_hf.inference.loading import BUNDLED
from hub import push_space
from tests.hub.card_schema import problems

ANSWER = {"report": {"label": "good-blur"}, "endpoints": sorted(push_space.ENDPOINTS)}


def test_it_is_pushed_once(stand, monkeypatch, capsys):
    monkeypatch.setattr(push_space, "run_cold", lambda *_, **__: ANSWER)
    for _ in range(2):
        push_space.main(["--repo", "tester/demo", "--yes"])
    out = capsys.readouterr().out
    assert "Uploaded and compared: space tester/demo" in out and "Nothing to upload" in out
    files = stand.hub.files("space", "tester/demo")
    assert files["abc_hf/pretrained/mobile/model.safetensors"] == (BUNDLED / "model.safetensors").read_bytes()
    assert problems("space", files["README.md"].decode()) == []
    assert stand.hub.repos["space", "tester/demo"].extra["sdk"] == "gradio"


def test_the_space_has_the_given_weights(tiny_folder, tmp_path):
    push_space.build_space(tmp_path / "space", str(tiny_folder))
    weights = tmp_path / "space" / "abc_hf" / "pretrained" / "mobile"
    assert {path.name for path in weights.iterdir()} == {
        *("config.json", "model.safetensors", "preprocessor_config.json")
    }
    assert (weights / "model.safetensors").read_bytes() == (tiny_folder / "model.safetensors").read_bytes()
    assert SpaceCard.load(tmp_path / "space" / "README.md").data.models is None


def test_a_space_that_lacks_an_endpoint_is_not_pushed(stand, monkeypatch):
    monkeypatch.setattr(push_space, "run_cold", lambda *_, **__: ANSWER | {"endpoints": ["/assess", "/sort"]})
    with pytest.raises(SystemExit, match="lacks the endpoints /compare, /full_size"):
        push_space.main(["--repo", "tester/other", "--yes"])
    assert ("space", "tester/other") not in stand.hub.repos


def test_the_static_page_is_pushed_as_a_static_space(stand, monkeypatch, tiny_folder):
    def write(pipeline, folder):
        folder.mkdir()
        (folder / "index.html").write_text("<!DOCTYPE html>")
        return ["index.html"]

    monkeypatch.setattr(push_space, "write_static", write)
    words = ["--static", "--model", str(tiny_folder), "--links", "tester/blur", "datasets/tester/votes"]
    push_space.main(["--repo", "tester/page", *words, "--yes"])
    card = stand.hub.files("space", "tester/page")["README.md"].decode()
    assert problems("space", card) == [] and "long side of\n96 pixels" in card
    data = SpaceCard(card).data
    assert (data.sdk, data.app_file, data.models) == ("static", "index.html", ["tester/blur"])
    assert data.custom_headers["cross-origin-opener-policy"] == "same-origin"
    assert stand.hub.repos["space", "tester/page"].extra["sdk"] == "static"
