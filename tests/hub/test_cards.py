"""Cards say what run.json says, in the words and keys that the Hub documents."""

import copy
import functools
import json
import operator
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, SpaceCard

from abc_hf.inference.loading import BUNDLED
from hub import cards
from tests.hub.card_schema import problems

HUB = Path(cards.__file__).parent
RUN = json.loads((BUNDLED / "run.json").read_text())


def model_card(run=RUN) -> str:
    return cards.model_card(run, "tester/blur", "figure.png", 4_000_000, 512)


def space_card(**options) -> str:
    return cards.space_card((HUB / "space" / "README.md").read_text(), BUNDLED, **options)


def test_the_model_card_is_valid_and_holds_the_scores():
    text = model_card()
    assert problems("model", text) == []
    data = ModelCard(text).data
    assert (data.license, data.library_name, data.model_name) == ("apache-2.0", "transformers", "ABC-FuseNet")
    found = {(each.dataset_name, each.metric_type): each.metric_value for each in data.eval_results}
    assert len(found) == len(cards.model_index(RUN))
    assert found["CUHK, both", "pooled_ap"] == pytest.approx(RUN["cuhk"]["blur_map"]["all"]["pooled_ap"], abs=1e-4)
    name = "real photos, validation split"
    assert found[name, "kappa"] == pytest.approx(RUN["validation"]["desirability"]["kappa"], abs=1e-4)


@pytest.mark.parametrize(
    "path",
    [
        ("cuhk", "blur_map", "all", "pooled_ap"),
        ("validation", "desirability", "accuracy"),
        ("validation", "desirability", "per_class", "bad-blur", "photos"),
        ("train", next(iter(RUN["train"]))),
        ("validation", "desirability", "per_class", "ok-blur", "recall"),
        ("runs", 0, "code"),
    ],
)
def test_a_changed_figure_would_be_noticed(path):
    run = copy.deepcopy(RUN)
    *way, last = path
    functools.reduce(operator.getitem, way, run)[last] = 0.123
    assert model_card(run) != model_card()


def test_the_model_card_has_all_sections_and_limits():
    text = model_card()
    for heading in ("Intended use", "Limits", "How good it is", "Data and licences", "Training", "Citation"):
        assert f"\n## {heading}\n" in text
    for words in ("AI annotators", "mostly synthetic", "zero-shot", "![A photo", "being stopped"):
        assert words in text
    notes = [run["settings"]["note"] for run in RUN["runs"] if "note" in run["settings"]]
    assert text.count("accelerate launch train_accelerate.py") == len(RUN["runs"]) - len(notes)
    assert all(note in text for note in notes) and "--note" not in text
    assert "/work" not in text and "{{" not in text and "{%" not in text


def test_agreement_and_the_simplest_answer_are_told():
    figures = json.loads((HUB / "labels" / "agreement.json").read_text())
    labels = [each["photos"] for each in RUN["cuhk"]["desirability"]["per_class"].values()]
    text = " ".join(model_card().split())
    assert f"agree on blurred or not with a kappa of {figures['blurred_kappa']:.2f}" in text
    assert f"and {max(labels) / sum(labels):.3f} there." in text


def test_every_source_of_the_weights_is_named():
    assert {source for source, _ in cards.by_source(RUN["train"])} <= cards.SOURCES.keys()


@pytest.mark.parametrize("name", ["model_card.md", "dataset_card.md", "labels_card.md", "space/README.md"])
def test_templates_hold_no_figures(name):
    body = (HUB / name).read_text().split("---\n", 2)[2]
    assert re.findall(r"\d\.\d{2,}|\d%|\b\d+ of \d+", body) == []


LINKS = ["tester/blur", "datasets/tester/votes", "spaces/tester/demo"]


@pytest.mark.parametrize("links", [[], LINKS])
def test_the_space_card_is_valid(links):
    text = space_card(repo="tester/demo", links=links)
    assert "`https://tester-my-demo-2.hf.space/gradio_api/mcp/`" in space_card(repo="tester/My_demo.2")
    assert problems("space", text) == []
    data = SpaceCard(text).data
    assert (data.sdk, data.app_file) == ("gradio", "app.py")
    assert (data.models, data.datasets) == ((["tester/blur"], ["tester/votes"]) if links else (None, None))
    assert data.thumbnail == "https://huggingface.co/spaces/tester/demo/resolve/main/abc_hf/examples/bokeh.jpg"
    assert f"{RUN['cuhk']['blur_map']['all']['pooled_ap']:.3f}" in text and "{{" not in text


def test_cards_link_to_each_other_and_to_the_paper():
    text = cards.model_card(RUN, "tester/blur", "figure.png", 4_000_000, 512, LINKS)
    assert ModelCard(text).data.datasets == ["tester/votes"] and problems("model", text) == []
    for card in (text, space_card(links=LINKS)):
        for link in (*LINKS, cards.PAPER):
            assert f"({link})" in card or f"(https://huggingface.co/{link})" in card


def test_weights_without_scores_have_a_space_card(tiny_folder):
    text = cards.space_card((HUB / "space" / "README.md").read_text(), tiny_folder)
    assert "How good it is" not in text and "long side of\n96 pixels" in text and problems("space", text) == []


def test_the_baseline_is_that_of_run_json():
    run = {"synthetic": {"blur_map": {"all": {"photos": 7, "pooled_ap": 0.9}}, "levels": {"weighted_kappa": 0.75}}}
    assert "0.900" in cards.baseline(run) and "0.750" in cards.baseline(run) and "(7 photos)" in cards.baseline(run)
    assert cards.baseline({}) == ""


@pytest.mark.parametrize(
    ("kind", "yaml", "said"),
    [
        ("model", "license: mine", "none of the Hub's"),
        ("model", "licence: mit", "licence is no key"),
        ("model", "pipeline_tag: blurring", "is no task"),
        ("model", "model-index:\n- name: x\n  results: []", "needs a name and results"),
        ("dataset", "license: other", "needs license_name"),
        ("dataset", "size_categories: [few]", "size_categories"),
        ("space", "title: x\nsdk: gradio\napp_file: a.py\npython_version: 3.12", "no version in quotes"),
        ("space", "title: x\nsdk: gradio\napp_file: a.py\ncolorFrom: teal", "colorFrom"),
        ("space", "title: x\nsdk: gradio\napp_file: a.py\nsuggested_hardware: zero", "suggested_hardware: 'zero'"),
    ],
)
def test_the_schema_would_notice(kind, yaml, said):
    assert any(said in each for each in problems(kind, f"---\n{yaml}\n---\n"))
