"""The pages of docs/ in the demo."""

import re

import gradio as gr
import pytest

from abc_hf.demo.docs import DOCS, as_page, docs_pages

pytestmark = [  # what Gradio leaves open
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]
NAMES = {file.stem for file in DOCS.glob("*.md")}


def test_every_link_of_a_page_leads_to_a_page_or_outside():
    assert {"how-it-works", "training"} <= NAMES
    for name in NAMES:
        page = as_page((DOCS / f"{name}.md").read_text())
        links = re.findall(r"\]\(([^)#]*)[^)]*\)", page)
        assert [link for link in links if link not in NAMES and not link.startswith(("http://", "https://"))] == []
        assert "<!--" not in page


def test_the_words_of_a_link_that_leads_nowhere_stay():
    text = "![Picture](../a.png)\n<!-- note -->\nSee [the code](../hub/a.py#b) and [sets](sorting.md#sets), [up](#top), [us](https://a.b/c.md)."
    shown = as_page(text)
    assert shown == "See the code and [sets](sorting#sets), up, [us](https://a.b/c.md)."


def test_each_page_has_an_address():
    with gr.Blocks() as demo:
        gr.Markdown("The demo")
    docs_pages(demo)
    assert {path for path, *_ in demo.pages} == {"", *NAMES}
