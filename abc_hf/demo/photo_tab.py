"""The demo's first tab: one photo with its maps, the verdict and the reasons."""

import html
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
from PIL import Image

from ..formats import PHOTO_EXTENSIONS
from ..inference.opening import load_photo
from ..photos import PhotoError
from ..report import BlurReport
from ..verdicts import AMOUNTS, BLURRED, CLEARLY_BLURRED, KINDS, VERDICTS
from ..visualization import COLOR_SCALE, LAYER_SCALE, LEVEL_COLORS, LEVELS, colorize, grey_image, layer, overlay
from .style import knowing, markup, web_file
from .uploads import (
    MAX_PHOTO_BYTES,
    MAX_PIXELS,
    Sent,
    UploadError,
    new_file,
    photo_errors,
    picture_data,
    sent_file,
    toast,
)

Judge = Callable[..., BlurReport]
"""A function that is called as a `BlurUnderstandingPipeline` is: with a photo, and the options of `load_photo`."""
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
"""The caption of each example photo, by its file's name. The page opens with the first."""
DOWNLOADS = {
    "overlay": "Overlay",
    "blur": "Blur map, 8 bits",
    "blur_16bit": "Blur map, 16 bits",
    "attention_16bit": "Attention, 16 bits",
    "report": "Report (JSON)",
}
"""The files of a photo that can be downloaded at its full size, and their names on the page."""
WORDS = {
    "amounts": AMOUNTS,
    "kinds": KINDS,
    "rule": {"blurred": BLURRED, "clearly_blurred": CLEARLY_BLURRED},
    "verdicts": VERDICTS,
}
"""The words from which web/static/reasons.js makes sentences, and the bounds between them."""
NO_ANSWER = "The server does not answer. Check the connection, and send the photo again."
SAVE = web_file("save.js")
"""JavaScript that saves a file on the visitor's machine."""


def photo_tab(judge_photo: Judge) -> None:
    """Lay the tab out. Its script sends the events `judge` and `download`, each with a photo as `photo_of` takes it."""

    def judge(event: gr.EventData) -> dict:
        """The value that web/photo.html shows. The ticket tells the script which photo it belongs to."""
        answer = {"ticket": event.ticket}
        try:
            sent = photo_of(event._data, page.GRADIO_CACHE)
            report, picture = read(judge_photo, sent)
        except gr.Error as error:  # its message is HTML
            return {"state": "failed", "error": error.message, "refused": True, **answer}
        return {
            "state": "judged",
            "name": html.escape(sent.name),
            "example": event._data.get("example"),
            "figures": report.to_dict(),
            "facts": {**asdict(report.facts), "has_subject": report.facts.has_subject},
            **show(report, picture, page.GRADIO_CACHE),
            **why_panels(report, page.GRADIO_CACHE),
            **answer,
        }

    def make(event: gr.EventData) -> str:
        return str(full_size(judge_photo, photo_of(event._data, page.GRADIO_CACHE), event.kind, page.GRADIO_CACHE))

    examples = {
        name: [caption, f"gradio_api/file={quote(str(EXAMPLES / name))}.jpg"] for name, caption in CAPTIONS.items()
    }
    page = markup(
        knowing(web_file("photo.html"), web_file("static/reasons.js")),
        "photo",
        value={"state": "judging"},
        script=web_file("share.js") + web_file("alive.js") + web_file("photo.js"),
        accept=",".join(("image/*", *PHOTO_EXTENSIONS)),
        downloads=DOWNLOADS,
        examples=examples,
        layer_scale=LAYER_SCALE,
        levels={name: [LEVEL_COLORS[name], value] for name, value in LEVELS.items()},
        limit=f"{MAX_PHOTO_BYTES >> 20} MB and {MAX_PIXELS // 10**6} megapixels",
        max_bytes=MAX_PHOTO_BYTES,
        no_answer=NO_ANSWER,
        scale_colors=COLOR_SCALE,
        words=WORDS,
    )
    ready = gr.File(visible="hidden")
    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_id": "photo", "api_visibility": "private"}
    quiet |= {"trigger_mode": "multiple"}  # a photo that is sent while another is judged is judged, too
    judged = page.judge(judge, None, page, **quiet)
    failed = {"state": "failed", "error": NO_ANSWER}
    judged.failure(None, None, page, js=f"() => ({json.dumps(failed)})")
    page.download(make, None, ready, **quiet).success(None, ready, None, js=SAVE)


def photo_of(photo: object, folder: str) -> Sent:
    """The photo a visitor sent, a file as Gradio describes it, or an `example`; a `gr.Error` if it is neither, or too
    large a file."""
    try:
        if photo is None:
            raise UploadError("Send a photo first.")
        if isinstance(photo, dict) and photo.get("example") in [*CAPTIONS]:
            return Sent(f"{photo['example']}.jpg", str(EXAMPLES / f"{photo['example']}.jpg"))
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
    """The photo, both maps to be laid over it, and their values."""
    blur, attention = report.small_blur_map, report.small_attention_map
    values = Image.merge("RGB", [grey_image(blur), grey_image(attention), Image.new("L", blur.shape[::-1])])
    return {
        "photo": picture_data(picture, folder, "photo"),
        "ratio": picture.width / picture.height,
        "maps": {
            "blur": picture_data(layer(blur), folder, "blur", "png"),
            "attention": picture_data(layer(attention), folder, "attention", "png"),
            "values": picture_data(values, folder, "values", "png"),
        },
    }


def why_panels(report: BlurReport, folder: str) -> dict:
    """The maps that the classifier is given: title, meaning and picture of each."""
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
    where = "In this photo the sharper part of the subject"
    if not report.facts.has_subject:
        where = "In this photo no subject stands out; its sharper part"
    return {
        "panels": panels,
        "means": f"{where} has a blur of {report.blur_on_subject:.2f}, the background {report.blur_on_background:.2f}; "
        "0 is sharp, 1 is high blur.",
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
