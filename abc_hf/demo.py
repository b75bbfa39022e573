# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The demo: `build_demo` makes the page, `launch` starts it. What it shows is computed by the pipeline alone."""

import html
import json
from pathlib import Path

import gradio as gr

from .image_processing_abc_fusenet import resize_map
from .photos import PhotoError, load_photo
from .pipeline import BlurUnderstandingPipeline
from .visualization import LABEL_COLORS, legend, overlay

PAGE_SIDE = 1600
"""The long side of the largest picture on the page [pixels]."""
EXAMPLES = Path(__file__).parent / "examples"
CAPTIONS = {
    "bokeh": "Bokeh",
    "missed-focus": "Missed focus",
    "panning": "Panning",
    "camera-shake": "Camera shake",
    "night": "Night",
    "all-sharp": "All sharp",
    "plain-sky": "Plain sky",
    "black-and-white": "Black and white",
}
"""What each example photo shows, by its file's name."""
VERDICTS = {
    "no-blur": ("No blur", "Sharp wherever it matters, and nearly everywhere else."),
    "good-blur": ("Good blur", "The blur is wanted: it sets the subject off."),
    "ok-blur": ("OK blur", "There is blur, and it does no harm."),
    "bad-blur": ("Bad blur", "The blur is unwanted: it spoils the photo."),
}
"""What each label is called on the page, and what it means."""

HEADER = """
<header>
  <p class="eyebrow">ABC-FuseNet</p>
  <h1>Does the blur help this photo, or hurt it?</h1>
  <p>Drop a photo. See where it is blurred, what it is about, and whether that blur is wanted.</p>
</header>"""
ABOUT = """
<p class="note">{figures} A photo is judged at a long side of 512 pixels, so that blur too small to be seen there is not
seen. The method is that of <i>Learning to Understand Image Blur</i> (Zhang et al., CVPR 2018).</p>"""
CREDITS = """
<p class="note">Examples: photos by vultilion and danielbuechele
(<a href="https://creativecommons.org/licenses/by/2.0/">CC BY 2.0</a>), NASA, SpaceX, Rachel Michetti and Lav Varshney;
the blur in Missed focus, Panning and Camera shake is computed.</p>"""
# The two below are JavaScript templates; `value` is what `BlurReport.to_dict` gives, or null.
VERDICT = """
${value ? `
<article class="verdict" style="--tone: ${colors[value.label]}">
  <p class="eyebrow">Verdict</p>
  <div class="headline">
    <h2>${verdicts[value.label][0]}</h2>
    <p class="score"><b>${value.score.toFixed(2)}</b> score</p>
  </div>
  <p class="reason">${value.reason}</p>
  <div class="meter" role="meter" aria-label="Score" aria-valuemin="0" aria-valuemax="1" aria-valuenow="${value.score}">
    <i style="width: ${100 * value.score}%"></i>
  </div>
  <p class="ends"><span>0: blur ruins it</span><span>1: no unwanted blur</span></p>
</article>` : `
<article class="verdict" style="--tone: var(--border-color-primary)">
  <p class="eyebrow">Verdict</p>
  <h2>One of four</h2>
  <dl>${Object.entries(verdicts).map(([label, [name, meaning]]) =>
    `<div><dt style="--tone: ${colors[label]}">${name}</dt><dd>${meaning}</dd></div>`).join("")}</dl>
</article>`}"""
LEVELS = """
<p class="note">${value ? "Of this photo: " + Object.entries(value.levels).map(([level, share]) =>
  `<b>${level}</b> ${Math.round(100 * share)}%`).join(", ") : ""}</p>"""


def build_demo(pipeline: BlurUnderstandingPipeline) -> gr.Blocks:
    """The page."""
    with gr.Blocks(title="ABC-FuseNet", analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
        gr.HTML(HEADER, apply_default_css=False)
        with gr.Tab("One photo"):
            one_photo(pipeline)
        with gr.Accordion("How far to trust it", open=False, elem_id="about"):
            gr.HTML(about(pipeline.model.name_or_path), apply_default_css=False)
        gr.HTML(CREDITS, apply_default_css=False)
    return demo


def about(model: str) -> str:
    """What the answers are worth, in figures of the run.json beside the weights, if they are a folder that has one."""
    path = Path(model) / "run.json"
    record = json.loads(path.read_text()) if path.is_file() else {}
    if "cuhk" not in record:
        return ABOUT.format(figures="These weights come without scores.")
    maps, chosen = record["cuhk"]["blur_map"]["all"], record["validation"]["desirability"]
    verdicts = record["cuhk"]["desirability"]
    return ABOUT.format(
        figures=f"Of {maps['photos']} photos of the CUHK blur data set, none of which it trained on, it tells blurred "
        f"places from sharp ones with an average precision of {maps['pooled_ap']:.3f}. Its verdict is the annotators' "
        f"for {chosen['accuracy']:.1%} of {chosen['photos']} other photos it did not train on, and for "
        f"{verdicts['accuracy']:.1%} of those of CUHK."
    )


def one_photo(pipeline: BlurUnderstandingPipeline):
    """The tab that judges one photo; the endpoint `assess`."""

    def assess(photo: dict | None):
        """Judge the blur in one photo.

        Args:
            photo: a photo, as a file

        Returns:
            label, probabilities, score (0 = blur ruins the photo, 1 = no unwanted blur), reason and more figures
            the photo, and the photo under its blur map
            the photo under its attention map
            the probability of each label
        """
        if photo is None:
            return None, None, None, None
        path = sent_file(photo, source.GRADIO_CACHE)
        try:
            report = pipeline(path)
            picture = load_photo(path, working_size=PAGE_SIDE // 2)
        except PhotoError as error:
            message = html.escape(str(error).replace(path, Path(path).name))
            raise gr.Error(message, print_exception=False) from None
        picture.thumbnail((PAGE_SIDE, PAGE_SIDE))
        blurred, attended = (
            overlay(picture, resize_map(values, picture.size[::-1]))
            for values in (report.small_blur_map, report.small_attention_map)
        )
        return report.to_dict(), (picture, blurred), attended, report.probabilities

    files = [str(EXAMPLES / f"{name}.jpg") for name in CAPTIONS]

    def choose(event: gr.SelectData) -> str:
        return files[event.index]

    shown = {"format": "jpeg", "interactive": False, "buttons": ["fullscreen"]}
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            source = gr.Image(
                label="Photo",
                sources=["upload", "webcam", "clipboard"],
                height=360,
                placeholder="Drop a photo here\nor click to choose one",
                elem_id="photo",
            )
            examples = gr.Gallery(
                list(zip(files, CAPTIONS.values(), strict=True)),
                label="Examples",
                columns=4,
                allow_preview=False,
                interactive=False,
                buttons=[],
                elem_id="examples",
            )
        with gr.Column(scale=7, min_width=320):
            verdict = gr.HTML(
                html_template=VERDICT,
                verdicts=VERDICTS,
                colors=LABEL_COLORS,
                apply_default_css=False,
                elem_id="verdict",
            )
            with gr.Column(elem_id="results"):
                comparison = gr.ImageSlider(label="Photo | Blur", elem_id="comparison", **shown)
                levels = gr.HTML(html_template=legend() + LEVELS, apply_default_css=False, elem_id="levels")
                with gr.Row(equal_height=False):
                    attention = gr.Image(
                        label="Attention: what counts",
                        min_width=240,
                        alt_text="The photo; the more a place counts, the more it is coloured",
                        elem_id="attention",
                        **shown,
                    )
                    with gr.Column(min_width=240):
                        probabilities = gr.Label(label="Probabilities", show_heading=False, elem_id="probabilities")
                        with gr.Accordion("All figures", open=False):
                            figures = gr.JSON(label="Report", show_label=False)

    results = [figures, comparison, attention, probabilities]
    assessed = source.change(
        assess,
        source,
        results,
        preprocess=False,  # gr.Image would open the file, which is for `load_photo` to do
        show_progress_on=[verdict, comparison, attention, probabilities],
        api_name="assess",
    )
    assessed.success(None, figures, [verdict, levels], js="(report) => [report, report]")
    assessed.failure(lambda: [None] * 6, None, [verdict, levels, *results], api_visibility="private")
    examples.select(choose, None, source, show_progress="hidden", api_visibility="private")


def sent_file(photo: dict, folder: str) -> str:
    """The path of a photo in the folder of what visitors sent; `gr.Image` takes that of any file on the server."""
    path = Path(photo["path"] or "").resolve()
    if not path.is_relative_to(Path(folder).resolve()):
        raise gr.Error("Send the photo as a file.", print_exception=False)
    return str(path)


def launch(demo: gr.Blocks, **options):
    """Start the page. `options` go to `gr.Blocks.launch`, whose answer is returned."""
    demo.queue(max_size=50)
    return demo.launch(
        theme=THEME,
        css=CSS,
        ssr_mode=False,
        footer_links=["api"],
        max_file_size="100mb",
        allowed_paths=[str(EXAMPLES)],
        **options,
    )


THEME = gr.themes.Default(
    primary_hue="teal",
    neutral_hue="slate",
    font=[gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif"],
).set(body_text_color_subdued="*neutral_500", block_label_text_color="*neutral_600")
CSS = """
.gradio-container { width: 100%; max-width: 1280px; margin: 0 auto; }
.gradio-container .main { padding: 16px clamp(16px, 3vw, 32px) !important; }
.html-container { padding: 0 !important; }
footer .divider { display: none; }

header { padding: 8px 0; }
header h1 { font-size: clamp(1.5rem, 4vw, 2.25rem); font-weight: 700; line-height: 1.15; letter-spacing: -0.02em; }
header h1 + p { margin-top: 8px; font-size: 1.05rem; }
header p, .verdict p, .note { color: var(--body-text-color-subdued); }
.eyebrow { font-size: 0.75rem; font-weight: 700; letter-spacing: 0.08em; text-transform: uppercase; }
.note { font-size: 0.85rem; }
#levels .note { margin-top: 4px; }
.note a { text-decoration: underline; }

.verdict { padding: 16px 24px; border: 1px solid var(--border-color-primary); border-radius: var(--block-radius);
  background: var(--block-background-fill); box-shadow: inset 6px 0 var(--tone); }
.verdict .headline { display: flex; justify-content: space-between; align-items: baseline; gap: 16px; }
.verdict h2 { font-size: clamp(1.75rem, 4vw, 2.25rem); font-weight: 700; line-height: 1.2; letter-spacing: -0.02em; }
.verdict .reason { margin-top: 4px; font-size: 1.05rem; color: var(--body-text-color); }
.verdict .score { white-space: nowrap; }
.verdict .score b { font-size: 1.5rem; color: var(--body-text-color); font-variant-numeric: tabular-nums; }
.verdict .meter { height: 6px; margin: 16px 0 4px; border-radius: 3px; background: var(--border-color-primary); }
.verdict .meter i { display: block; height: 100%; border-radius: 3px; background: var(--tone); }
.verdict .ends { display: flex; justify-content: space-between; font-size: 0.8rem; }
.verdict dl { margin-top: 12px; }
.verdict dl div { display: flex; flex-wrap: wrap; gap: 0 12px; padding: 8px 0; }
.verdict dl div + div { border-top: 1px solid var(--border-color-primary); }
.verdict dt { flex: 0 0 112px; font-weight: 700; }
.verdict dt::before { content: ""; display: inline-block; width: 10px; height: 10px; margin-right: 8px;
  border-radius: 50%; background: var(--tone); }
.verdict dd { flex: 1 1 220px; margin: 0; }

#results:not(:has(#comparison img)) { display: none; }
#examples .grid-wrap { height: auto; min-height: 0; max-height: none; padding: 36px 8px 8px; }
#examples .grid-container { padding: 0; }
#examples .caption-label { inset: auto 0 0 0; max-width: none; padding: 2px 6px; border: 0; border-radius: 0;
  font-size: 0.75rem; text-align: center; opacity: 1; }
@media (max-width: 1100px) {
  #examples .grid-container { display: flex; overflow-x: auto; }
  #examples .gallery-item { flex: 0 0 104px; }
}
"""
