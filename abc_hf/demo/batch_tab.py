"""The demo's second tab: many photos, judged once and sorted at any threshold."""

import csv
import html
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import gradio as gr

from ..common.text import csv_cell
from ..formats import PHOTO_EXTENSIONS
from ..photos import PhotoError
from ..verdicts import KINDS, NOT_SURE, THRESHOLD
from ..visualization import layer
from .photo_tab import SAVE, Judge
from .style import markup, web_file
from .uploads import (
    MAX_PHOTO_BYTES,
    MAX_PHOTOS,
    MAX_PIXELS,
    MAX_TOTAL_BYTES,
    Budget,
    Sent,
    UploadError,
    new_file,
    photo_errors,
    picture_data,
    sent_photos,
    toast,
    unique_paths,
    unpacked,
    visitor_of,
)

WORST_FIRST = ("bad-blur", "ok-blur", "good-blur", "no-blur")
"""The order of the groups."""
TAIL = 10
"""The letters at the end of a long name that are always shown."""
COLUMNS = {
    "file": "Photo",
    "label": "Verdict",
    "kind": "Kind",
    "score": "Score",
    "blur_on_subject": "Blur, subject",
    "blur_on_background": "Blur, rest",
    "reason": "Why",
}
"""The columns of the table, and their headings, which sort by them."""
FIELDS = ["file", "label", "certain", "between", "kind", "score", "reject", "blur_on_subject", "blur_on_background"]
FIELDS += ["blur_fraction", "reason", "subject_sharpness", "subject_blur_radius", "faces", "eye_sharpness"]
FIELDS += ["closer_look", "width", "height", "error"]
"""The columns of the CSV file."""
SHOWN = ("label", "certain", "kind", "score", "reject", "blur_on_subject", "blur_on_background", "reason")
SHOWN += ("width", "height", "picture", "map")
"""The entries of a row that the gallery and the table get, beside the name."""
SHOW = {
    "All": lambda row: True,
    "Certain": lambda row: row["certain"],
    "Not sure": lambda row: not row["certain"],
    "Reject": lambda row: row["reject"],
}
"""The choices of a filter, and which rows each lets pass."""
SHOW_KINDS = {"All": lambda row: True} | {
    name: lambda row, kind=kind: row["kind"] == kind for kind, name in [*KINDS.items(), (None, "None")]
}

LIMITS = (
    f"At most {MAX_PHOTOS} photos, each of {MAX_PHOTO_BYTES >> 20} MB and {MAX_PIXELS // 10**6} megapixels. Zips may "
    f"unpack to {MAX_TOTAL_BYTES >> 30} GB. Your photos are deleted after an hour."
)


def batch_tab(judge_photo: Judge) -> None:
    """Lay the tab out."""

    def judge(event: gr.EventData, known: list[dict], request: gr.Request, progress=gr.Progress()):
        try:
            photos = photos_of(event.files, upload)
        except gr.Error as error:  # its message is HTML
            return [{"file": "The files", "sent": None, "error": html.unescape(error.message)}]
        earlier = {row["sent"]: row for row in known}
        rows = []
        progress((0, len(photos)), unit="photos")
        budget = Budget(visitor_of(request))
        for row in judged(judge_photo, photos, upload.GRADIO_CACHE, budget, earlier, pictures=True):
            rows.append(row)
            progress((len(rows), len(photos)), unit="photos", desc=row["file"])
        return rows

    def arrange(rows: list[dict], threshold: float, show: str, kind: str):
        found = shown(rows, threshold, show, kind)
        return found, found, gr.Column(visible=bool(rows))

    upload = sender("photos", "photos", "A zip of photos works, too. You can add more later.")
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, visible=False) as controls:
            threshold = gr.Slider(
                0,
                1,
                THRESHOLD,
                step=0.01,
                label="Reject scores below",
                info="Photos below it are flagged. Their verdicts stay.",
                elem_id="threshold",
            )
            show = gr.Radio(list(SHOW), value=next(iter(SHOW)), label="Show", elem_id="show")
            kind = gr.Radio(list(SHOW_KINDS), value=next(iter(SHOW_KINDS)), label="Kind of blur", elem_id="kind")
            keepers = gr.Button("Download the keepers (zip)", variant="primary")
            with gr.Row():
                as_csv = gr.Button("Table as CSV", size="sm", min_width=120)
                as_json = gr.Button("Table as JSON", size="sm", min_width=120)
        with gr.Column(scale=8, min_width=320):
            gallery = markup(
                web_file("gallery.html"),
                "gallery",
                script=web_file("gallery.js"),
                labels=WORST_FIRST,
                limits=LIMITS,
                not_sure=NOT_SURE,
            )
    order = {"key": "label", "descending": False}
    names = {"kinds": KINDS, "not_sure": NOT_SURE}
    table = markup(web_file("table.html"), "table", script=web_file("table.js"), columns=COLUMNS, order=order, **names)
    rows = gr.State([], time_to_live=3600)
    ready = gr.File(visible="hidden")

    view, sorted_ = [rows, threshold, show, kind], [gallery, table, controls]
    assessed = upload.sent(
        judge,
        rows,
        rows,
        show_progress_on=[gallery],
        concurrency_id="batch",
        trigger_mode="multiple",
        api_visibility="private",
    )
    assessed.success(arrange, view, sorted_, show_progress="hidden", api_visibility="private")
    assessed.failure(
        lambda: ([], *arrange([], THRESHOLD, "All", "All")), None, [rows, *sorted_], api_visibility="private"
    )
    for control in (threshold, show, kind):
        control.change(
            arrange,
            view,
            sorted_,
            queue=False,
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )
    for button, write in ((keepers, write_keepers), (as_csv, write_csv), (as_json, write_json)):

        def make(rows, threshold, request: gr.Request, write=write):
            return str(write(rows, threshold, upload.GRADIO_CACHE, Budget(visitor_of(request))))

        made = button.click(make, [rows, threshold], ready, show_progress="hidden", api_visibility="private")
        made.success(None, ready, None, js=SAVE)


def sender(elem_id: str, what: str, hint: str) -> gr.HTML:
    """A chooser of many files. Its event `sent` has all `files` chosen so far."""
    return markup(
        web_file("sender.html"),
        elem_id,
        script=web_file("sender.js"),
        accept=",".join(("image/*", *PHOTO_EXTENSIONS, ".zip")),
        choose=f"Choose or drop {what}",
        tap=f"Tap to choose {what}",
        hint=hint,
        more=f"More {what} can be added.",
    )


def name_parts(name: str) -> tuple[str, str]:
    """A name in two parts, as HTML; where there is little room, the first is cut short."""
    return html.escape(name[:-TAIL]), html.escape(name[-TAIL:])


def photos_of(files: list[dict] | None, component: gr.components.Component, most: int = MAX_PHOTOS) -> list[Sent]:
    """The photos a visitor sent, zips looked into; a `gr.Error` if they are too many."""
    try:
        return sent_photos(files, component.GRADIO_CACHE, most)
    except UploadError as error:
        raise toast(str(error)) from None


def judged(
    judge_photo: Judge,
    photos: Iterable[Sent],
    folder: str,
    budget: Budget,
    known: dict[Sent, dict] | None = None,
    pictures: bool = False,
) -> Iterator[dict]:
    """A row per photo: `file`, `sent`, and either `error` or the entries of `BlurReport.to_dict`.

    Args:
        folder: where photos are unpacked, one at a time, and pictures stay.
        known: rows of the same photos, which are given as they are.
        pictures: whether rows have a `picture` and a `map` to be laid over it.
    """
    for photo in photos:
        if known and photo in known:
            yield known[photo]
            continue
        row = {"file": photo.name, "sent": photo}
        try:
            with photo_errors(photo), unpacked(photo, folder, budget) as file, photo_errors(file):
                report = judge_photo(file.path, max_pixels=MAX_PIXELS)
                row |= report.to_dict()
                if pictures:
                    row["picture"] = picture_data(report.preview, folder, "picture")
                    row["map"] = picture_data(layer(report.small_blur_map), folder, "map", "png")
        except PhotoError as error:
            row = {"file": photo.name, "sent": photo, "error": str(error)}
        yield row


def sorted_rows(rows: list[dict], threshold: float) -> list[dict]:
    """The rows, each with whether the threshold flags it (`reject`): the worst label first, in it the worst
    score; those with an `error` last."""
    flagged = [row if "error" in row else {**row, "reject": row["score"] < threshold} for row in rows]
    return sorted(
        flagged, key=lambda row: (1, 0, 0) if "error" in row else (0, WORST_FIRST.index(row["label"]), row["score"])
    )


def shown(rows: list[dict], threshold: float, show: str = "All", kind: str = "All") -> dict:
    """The value of the gallery and the table. File names in it are escaped for HTML.

    Args:
        show, kind: a choice of `SHOW` and of `SHOW_KINDS`, which decide on the photos in `groups`.
    """
    placed = sorted_rows(rows, threshold)
    good = [row for row in placed if "error" not in row]
    groups = [
        {
            "label": label,
            "photos": [
                {
                    "number": number,
                    "file": html.escape(row["file"]),
                    "name": name_parts(row["file"]),
                    **{key: row[key] for key in SHOWN},
                }
                for number, row in enumerate(good)
                if row["label"] == label and SHOW[show](row) and SHOW_KINDS[kind](row)
            ],
        }
        for label in WORST_FIRST
    ]
    failed = [
        {"file": html.escape(row["file"]), "error": html.escape(row["error"])} for row in placed if "error" in row
    ]
    counts = {"kept": sum(not row["reject"] for row in good), "unsure": sum(not row["certain"] for row in good)}
    return {"groups": groups, "failed": failed, "judged": len(good), "total": len(placed), **counts}


def public_rows(rows: list[dict], threshold: float) -> list[dict]:
    """The sorted rows without where their files lie here."""
    return [
        {key: value for key, value in row.items() if key not in ("sent", "picture", "map")}
        for row in sorted_rows(rows, threshold)
    ]


def write_csv(rows: list[dict], threshold: float, folder: str, budget: Budget | None = None) -> Path:
    path = new_file(folder, "blur.csv")
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # the mark tells spreadsheets that it is UTF-8
        writer = csv.DictWriter(file, FIELDS, extrasaction="ignore")
        writer.writeheader()
        for row in public_rows(rows, threshold):
            row |= {"between": " or ".join(row.get("between") or ())}
            writer.writerow({key: csv_cell(value) for key, value in row.items()})
    return path


def write_json(rows: list[dict], threshold: float, folder: str, budget: Budget | None = None) -> Path:
    path = new_file(folder, "blur.json")
    path.write_text(json.dumps(public_rows(rows, threshold), indent=2, allow_nan=False) + "\n")
    return path


def write_keepers(rows: list[dict], threshold: float, folder: str, budget: Budget) -> Path:
    """A zip of the photos kept, as they were sent; a `gr.Error` if there are none, or they cannot be packed."""
    kept = [row for row in sorted_rows(rows, threshold) if row.get("reject") is False]
    if not kept:
        raise toast("No photo is kept at this threshold; lower it.")
    path = new_file(folder, "keepers.zip")
    names = unique_paths([row["file"] for row in kept])
    try:
        with zipfile.ZipFile(path, "w") as archive:  # stored: photos are compressed already
            for row, name in zip(kept, names, strict=True):
                with photo_errors(row["sent"]), unpacked(row["sent"], folder, budget) as file:
                    archive.write(file.path, name)
    except PhotoError as error:
        path.unlink()
        raise toast(f"The keepers cannot be packed: {error}") from None
    return path
