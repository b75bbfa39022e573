# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The demo: `build_demo` makes the page, `launch` starts it. The pipeline computes everything that the page shows."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from ..pipeline import BlurUnderstandingPipeline
from .batch_tab import batch_tab
from .compare_tab import compare_tab
from .endpoints import api_endpoints
from .guard import answer_in_sentences, guarded
from .photo_tab import EXAMPLES, photo_tab
from .style import CSS, THEME, markup, web_file
from .uploads import HOUR, MAX_UPLOAD, own_folder


def build_demo(pipeline: BlurUnderstandingPipeline, on_gpu: Callable | None = None) -> gr.Blocks:
    """The page.

    Args:
        on_gpu: a decorator for the function that judges a photo, such as `spaces.GPU`.
    """

    def judge(photo, **options):
        return pipeline(photo, **options)

    judge = on_gpu(judge) if on_gpu else judge
    own_folder()
    with gr.Blocks(title="ABC-FuseNet", analytics_enabled=False, delete_cache=(600, HOUR)) as demo:
        markup(web_file("header.html"))
        with gr.Tab("One photo"):
            photo_tab(judge)
        with gr.Tab("Many photos"):
            batch_tab(judge)
        with gr.Tab("Compare shots"):
            compare_tab(judge)
        api_endpoints(judge)
        with gr.Accordion("How far to trust it", open=False, elem_id="about"):
            markup(about(pipeline.model.name_or_path or ""))
        markup(web_file("credits.html"))
    answer_in_sentences(demo)
    return demo


def about(model: str) -> str:
    """How far to trust the answers, in figures of run.json beside the weights, if there is such a file."""
    path = Path(model) / "run.json"
    record = json.loads(path.read_text()) if path.is_file() else {}
    if "cuhk" not in record:
        return web_file("about.html").format(figures="These weights come without scores.")
    maps, chosen = record["cuhk"]["blur_map"]["all"], record["validation"]["desirability"]
    verdicts = record["cuhk"]["desirability"]
    return web_file("about.html").format(
        figures=f"Of {maps['photos']} photos of the CUHK blur data set, none of which it trained on, it tells blurred "
        f"places from sharp ones with an average precision of {maps['pooled_ap']:.3f}. Its verdict is the annotators' "
        f"for {chosen['accuracy']:.1%} of {chosen['photos']} other photos it did not train on, and for "
        f"{verdicts['accuracy']:.1%} of those of CUHK."
    )


def launch(demo: gr.Blocks, *, mcp: bool = False, **options):
    """Start the page.

    Args:
        mcp: serve the endpoints as tools of the Model Context Protocol, too.
        options: of `gr.Blocks.launch`, whose answer is returned.

    Raises:
        ImportError: if `mcp` is asked for and its package is missing.
    """
    if mcp and importlib.util.find_spec("mcp") is None:
        raise ImportError('MCP needs one more package; run `pip install "abc-fusenet[mcp]"`.')
    if mcp:  # files are read by `uploads.received`: Gradio would keep what it unpacks, and understands no lists
        from gradio.mcp import GradioMCPServer

        GradioMCPServer.convert_strings_to_filedata = lambda self, arguments, places: arguments
    demo.queue(max_size=50)
    return demo.launch(
        theme=THEME,
        css=CSS,
        ssr_mode=False,
        run_history=False,
        mcp_server=mcp,
        footer_links=["api"],
        max_file_size=MAX_UPLOAD,
        allowed_paths=[str(EXAMPLES)],
        **guarded(demo, options),
    )
