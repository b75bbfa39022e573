"""The demo: `build_demo` makes the page, `launch` starts it. The pipeline computes everything that the page shows."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from ..common.text import waiting
from ..pipeline import BlurUnderstandingPipeline
from .batch_tab import batch_tab
from .compare_tab import compare_tab
from .docs import docs_pages
from .endpoints import api_endpoints
from .guard import answer_in_sentences, guarded
from .photo_tab import EXAMPLES, photo_tab
from .style import CSS, THEME, markup, web_file
from .uploads import HOUR, MAX_UPLOAD, own_folder

SNAPSHOTS = "consumer/coco"
"""The source among the validation photos that holds ordinary snapshots."""


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
        markup(about(pipeline.model.name_or_path or ""), "about")
        markup(web_file("credits.html"), "credits")
    docs_pages(demo)
    answer_in_sentences(demo)
    return demo


def about(model: str) -> str:
    """How far to trust the answers, in figures of run.json beside the weights, if there is such a file."""
    path = Path(model) / "run.json"
    record = json.loads(path.read_text()) if path.is_file() else {}
    scores = record.get("validation", {}).get("verdicts", {})
    if "all" not in scores:
        return web_file("about.html").format(figures="<p>These weights come without scores.</p>")
    columns = [("All photos", scores["all"]), ("Snapshots", scores.get(SNAPSHOTS, scores["all"]))]
    measures = {
        "Right verdicts, where all annotators agree": lambda each: figure(each["agreed"], "accuracy"),
        "Right, if the answer were always the same label": lambda each: percent(each["always_one_label"]),
        "Verdicts that are sure": lambda each: percent(each["certain"]["share"]),
        "Right verdicts among the sure ones": lambda each: percent(each["certain"]["accuracy"]),
        "Called bad, though no annotator does so": lambda each: figure(each["false_bad"], "share"),
        "Bad blur that is found": lambda each: figure(each["bad_found"], "share"),
    }
    head = "".join(f"<th scope='col'>{name} ({each['photos']})</th>" for name, each in columns)
    rows = "".join(
        f"<tr><th scope='row'>{name}</th>{''.join(f'<td>{measure(each)}</td>' for _, each in columns)}</tr>"
        for name, measure in measures.items()
    )
    figures = f"<table><thead><tr><th scope='col'>On photos kept out of training</th>{head}</tr></thead>{rows}</table>"
    return web_file("about.html").format(figures=figures)


def figure(score: dict, name: str) -> str:
    return f"{percent(score[name])} of {score['photos']}"


def percent(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.1%}"


def launch(demo: gr.Blocks, *, mcp: bool = False, **options):
    """Start the page and say its address.

    Args:
        mcp: serve the endpoints as tools of the Model Context Protocol, too.
        options: of `gr.Blocks.launch`, whose answer is returned.

    Raises:
        ImportError: if `mcp` is asked for and its package is missing.
    """
    if mcp and importlib.util.find_spec("mcp") is None:
        raise ImportError('MCP needs one more package; run `pip install "abc-fusenet[mcp]"`.')
    if mcp:  # `uploads.received` reads the files: Gradio would keep unpacked files, and understands no lists
        from gradio.mcp import GradioMCPServer

        def as_they_are(self, value, filedata_positions):
            return value

        GradioMCPServer.convert_strings_to_filedata = as_they_are  # type: ignore[method-assign]
    demo.queue(max_size=50)
    quiet, stay = options.pop("quiet", False), not options.pop("prevent_thread_lock", False)
    with waiting("The demo is starting"):
        answer = demo.launch(
            theme=THEME,
            css=CSS,
            ssr_mode=False,
            run_history=False,
            mcp_server=mcp,
            footer_links=["api"],
            max_file_size=MAX_UPLOAD,
            allowed_paths=[str(EXAMPLES)],
            quiet=True,  # Gradio's hints name arguments that this function does not have
            prevent_thread_lock=True,
            **guarded(demo, options),
        )
    if not quiet:
        hint = "" if demo.share_url else " For a public link, run `abc-fusenet demo --share`."
        print(f"The demo is at {demo.share_url or demo.local_url} now.{hint}", flush=True)
    if stay:
        demo.block_thread()
    return answer
