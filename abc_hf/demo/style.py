"""The look of the demo. Colours with a meaning come from `visualization`, as `--tone` and `--colors`."""

from importlib import resources

import gradio as gr

from ..verdicts import VERDICTS
from ..visualization import LABEL_COLORS

THEME = gr.themes.Default(
    primary_hue="teal",
    neutral_hue="slate",
    font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
).set(
    body_text_color_subdued="*neutral_500",
    block_label_text_color="*neutral_600",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_600",
)


def web_file(name: str) -> str:
    """The text of a file in `abc_hf/demo/web`: HTML, JavaScript or CSS."""
    return resources.files(__package__).joinpath("web", name).read_text("utf-8")


CSS = web_file("demo.css")


def knowing(template: str, functions: str) -> str:
    """The JavaScript template, which may call the functions of a script."""
    return "${(() => {" + functions.replace("export ", "") + f"return `{template}`;}})()}}"


def markup(template: str, elem_id: str | None = None, *, value=None, script: str | None = None, **props) -> gr.HTML:
    """Our own HTML without Gradio's styles.

    Args:
        template: a JavaScript template, such as a file of `web`. It reads `value` (the answer of an event, or null),
            `verdicts` (name and meaning of each label), `colors` (of each label) and `props`.
        script: JavaScript that runs once, when the HTML is on the page.
    """
    return gr.HTML(
        value,
        html_template=template,
        js_on_load=script,
        apply_default_css=False,
        elem_id=elem_id,
        verdicts=VERDICTS,
        colors=LABEL_COLORS,
        **props,
    )
