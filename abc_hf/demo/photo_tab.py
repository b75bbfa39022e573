# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The demo's first tab: one photo, where it is blurred, what counts in it, the verdict, and why."""

import json
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from PIL import Image

from ..inference.opening import load_photo
from ..photos import PhotoError
from ..report import BlurReport
from ..verdicts import AMOUNTS, KINDS, NOT_SURE
from ..visualization import COLOR_SCALE, LEVEL_COLORS, colorize, grey_image, layer, overlay
from .style import markup, web_file
from .uploads import (
    MAX_PHOTO_BYTES,
    MAX_PIXELS,
    Sent,
    UploadError,
    files_only,
    new_file,
    photo_errors,
    picture_data,
    sent_file,
    toast,
)

Judge = Callable[..., BlurReport]
"""What is called as a `BlurUnderstandingPipeline` is: with a photo, and the options of `load_photo`."""
PAGE_SIDE = 1600
"""The long side of the largest picture on the page [pixels]."""
EXAMPLES = Path(__file__).parents[1] / "examples"
CAPTIONS = {
    "tulips": "Tulips",
    "bokeh": "Bokeh",
    "missed-focus": "Missed focus",
    "panning": "Panning",
    "night": "Night",
    "all-sharp": "All sharp",
    "plain-sky": "Plain sky",
    "black-and-white": "Black and white",
}
"""What each example photo shows, by its file's name."""
DOWNLOADS = {
    "overlay": "Overlay",
    "blur": "Blur map, 8 bits",
    "blur_16bit": "Blur map, 16 bits",
    "attention_16bit": "Attention, 16 bits",
    "report": "Report (JSON)",
}
"""What can be downloaded of a photo, at its full size, and what it is called on the page."""

SAVE = web_file("save.js")
"""JavaScript that saves a file on the visitor's machine."""


def photo_tab(judge_photo: Judge) -> None:
    """Lay the tab out."""

    def judge(photo: dict | None):
        if photo is None:
            return [None] * 4
        sent = photo_of(photo, source.GRADIO_CACHE)
        report, picture = read(judge_photo, sent)
        figures = report.to_dict()
        pictures = show(report, picture, source.GRADIO_CACHE)
        return figures, pictures, why_panels(report, source.GRADIO_CACHE), figures

    def choose(event: gr.EventData) -> str:
        return named[event.index][0]

    named = [(str(EXAMPLES / f"{stem}.jpg"), name) for stem, name in CAPTIONS.items()]
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            source = gr.Image(
                label="Photo",
                sources=["upload", "webcam", "clipboard"],
                height=300,
                placeholder="Drop an image file here\nto upload",
                elem_id="photo",
            )
            examples = markup(
                web_file("examples.html"),
                "examples",
                value=[{"picture": gr.FileData(path=file).model_dump(), "name": name} for file, name in named],
                script=web_file("examples.js"),
            )
        with gr.Column(scale=7, min_width=320):
            verdict = markup(web_file("verdict.html"), "verdict", kinds=KINDS, not_sure=NOT_SURE)
            viewer = markup(
                web_file("viewer.html"), "viewer", script=web_file("viewer.js"), amounts=AMOUNTS, levels=LEVEL_COLORS
            )
    with gr.Column(elem_id="results"):
        why = markup(web_file("why.html"), "why", scale_colors=COLOR_SCALE)
        markup("<h3>Download at full size</h3>")
        with gr.Row(elem_id="downloads"):
            buttons = {kind: gr.Button(name, size="sm", min_width=120) for kind, name in DOWNLOADS.items()}
        with gr.Accordion("All figures", open=False):
            figures = gr.JSON(label="Report", show_label=False)
        ready = gr.File(visible="hidden")

    files_only(source)
    shown = [verdict, viewer, why, figures]
    judged = source.change(
        judge,
        source,
        shown,
        preprocess=False,  # gr.Image would open the file, which is for `load_photo` to do
        show_progress_on=[verdict],
        concurrency_id="photo",
        api_visibility="private",
    )
    judged.failure(lambda: [None] * 4, None, shown, api_visibility="private")
    examples.click(choose, None, source, show_progress="hidden", api_visibility="private")
    for kind, button in buttons.items():

        def make(photo, kind=kind):
            return str(full_size(judge_photo, photo_of(photo, source.GRADIO_CACHE), kind, source.GRADIO_CACHE))

        made = button.click(
            make,
            source,
            ready,
            preprocess=False,
            show_progress="hidden",
            concurrency_id="photo",
            api_visibility="private",
        )
        made.success(None, ready, None, js=SAVE)


def photo_of(photo: dict | None, folder: str) -> Sent:
    """The photo a visitor sent; a `gr.Error` if it is none, or too large a file."""
    try:
        if photo is None:
            raise UploadError("Send a photo first.")
        sent = sent_file(photo, folder)
        if sent.error:
            raise UploadError(f"{sent.name}: {sent.error}")
        if Path(sent.path).stat().st_size > MAX_PHOTO_BYTES:
            raise UploadError(f"{sent.name}: the file is larger than {MAX_PHOTO_BYTES >> 20} MB; send a smaller copy.")
    except UploadError as error:
        raise toast(str(error)) from None
    return sent


def read(judge_photo: Judge, sent: Sent) -> tuple[BlurReport, Image.Image]:
    """The report on a photo, and the photo as the page shows it; a `gr.Error` if it cannot be opened."""
    try:
        with photo_errors(sent):
            report = judge_photo(sent.path, max_pixels=MAX_PIXELS)
            picture = load_photo(sent.path, working_size=PAGE_SIDE // 2, max_pixels=MAX_PIXELS)
    except PhotoError as error:
        raise toast(f"{sent.name}: {error}") from None
    picture.thumbnail((PAGE_SIDE, PAGE_SIDE))
    return report, picture


def show(report: BlurReport, picture: Image.Image, folder: str) -> dict:
    """What the viewer needs: the photo, both maps to be laid over it, their values, and the levels."""
    blur, attention = report.small_blur_map, report.small_attention_map
    values = Image.merge("RGB", [grey_image(blur), grey_image(attention), Image.new("L", blur.shape[::-1])])
    return {
        "photo": picture_data(picture, folder, "photo"),
        "blur": picture_data(layer(blur), folder, "blur", "png"),
        "attention": picture_data(layer(attention), folder, "attention", "png"),
        "values": picture_data(values, folder, "values", "png"),
        "levels": report.levels,
    }


def why_panels(report: BlurReport, folder: str) -> dict:
    """What the classifier was given: title, meaning and picture of each map."""
    maps = (
        ("B", "how blurred each place is", "blur", report.small_blur_map),
        ("A", "how much each place counts", "attention", report.small_attention_map),
        ("B × A", "blur on what counts", "blur_attended", report.small_blur_attended),
        ("B × (1 − A)", "blur on the rest", "blur_unattended", report.small_blur_unattended),
    )
    panels = [
        (title, meaning, picture_data(Image.fromarray(colorize(values)), folder, name, "png"))
        for title, meaning, name, values in maps
    ]
    where = "Here the sharper part of the subject"
    if not report.facts.has_subject:
        where = "Here no subject stands out; the sharper part of the photo"
    return {
        "panels": [("Photo", "as it was judged", picture_data(report.preview, folder, "preview")), *panels],
        "means": f"{where} has a blur of {report.blur_on_subject:.2f} and the background one of "
        f"{report.blur_on_background:.2f}, on a scale of 0 to 1.",
    }


def full_size(judge_photo: Judge, sent: Sent, kind: str, folder: str) -> Path:
    """Make one of `DOWNLOADS` at the photo's full size: the photo is judged again, so that nothing need be kept."""
    try:
        with photo_errors(sent):
            report = judge_photo(sent.path, max_pixels=MAX_PIXELS)
            photo = load_photo(sent.path, max_pixels=MAX_PIXELS) if kind == "overlay" else report.preview
    except PhotoError as error:
        raise toast(f"{sent.name}: {error}") from None
    stem = Path(sent.name).stem
    if kind == "report":
        path = new_file(folder, f"{stem}_report.json")
        path.write_text(json.dumps({"file": sent.name, **report.to_dict()}, indent=2) + "\n")
    elif kind == "overlay":
        path = new_file(folder, f"{stem}_overlay.jpg")
        Image.fromarray(overlay(photo, report.small_blur_map)).save(path, quality=92)
    else:
        name, _, bits = kind.partition("_")
        path = new_file(folder, f"{stem}_{kind}.png")
        grey_image(getattr(report, f"{name}_map"), 16 if bits else 8).save(path, compress_level=3)
    return path
