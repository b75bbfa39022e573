"""The pages of docs/, which the demo serves beside its own page: docs/training.md at /training."""

import re
from pathlib import Path

import gradio as gr

PACKAGE = Path(__file__).parents[1]
DOCS = PACKAGE / "docs" if (PACKAGE / "docs").is_dir() else PACKAGE.parent / "docs"
"""abc_hf/docs is a symbolic link to docs. Git writes a plain file in its place on Windows."""


def docs_pages(demo: gr.Blocks) -> None:
    """Add one page to the demo for each file of docs/. A bar above each leads back to the demo."""
    with demo:
        gr.Navbar(visible="hidden")  # type: ignore[arg-type]  # with False, Gradio shows it all the same
    for file in sorted(DOCS.glob("*.md")):
        text = file.read_text("utf-8")
        with demo.route(text.partition("\n")[0].strip("# "), file.stem, show_in_navbar=False):
            gr.Navbar(main_page_name="Back to the demo")
            gr.Markdown(as_page(text), elem_id="docs")


def as_page(text: str) -> str:
    """The Markdown of a file of docs/, with links that lead to the demo's pages. Links to other files of the repository
    and within the page become plain text, and pictures and comments are left out."""
    text = re.sub(r"<!--.*?-->\n|!\[[^]]*\]\((?!https?:)[^)]*\)\n", "", text)
    text = re.sub(r"\]\(([\w-]+)\.md(#[\w-]+)?\)", r"](\1\2)", text)
    return re.sub(r"\[([^]]*)\]\((?!https?:)([^)]*/|#)[^)]*\)", r"\1", text)
