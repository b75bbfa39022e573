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
from .style import knowing, markup, web_file
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
SHOWN = ("label", "certain", "kind", "score", "blur_on_subject", "blur_on_background", "reason", "width", "height")
SHOWN += ("picture", "map")
"""The entries of a row that the gallery and the table get, beside the name."""
VIEW = {"threshold": THRESHOLD, "show": "All", "kind": "All", "key": "label", "descending": False, "open": True}
"""The visitor's first choices: what the gallery shows, and how the table is sorted. The browser applies them."""
NO_ANSWER = "The server does not answer. Check the connection, reload the page, and send the photos again."

LIMITS = (
    f"At most {MAX_PHOTOS} photos, each of {MAX_PHOTO_BYTES >> 20}&nbsp;MB and {MAX_PIXELS // 10**6} "
    f"megapixels. Zips may unpack to {MAX_TOTAL_BYTES >> 30}&nbsp;GB. Your photos are deleted after an hour."
)


def batch_tab(judge_photo: Judge) -> None:
    """Lay the tab out."""

    def judge(event: gr.EventData, known: list[dict], request: gr.Request, progress=gr.Progress()):
        earlier = {row["sent"]: row for row in known}
        try:
            photos = photos_of(event.files, upload)
        except gr.Error as error:  # its message is HTML
            rows = [*earlier.values(), {"file": "The files", "sent": None, "error": html.unescape(error.message)}]
            return rows, gallery_value(rows)
        rows = []
        progress((0, len(photos)), unit="photos")
        budget = Budget(visitor_of(request))
        for row in judged(judge_photo, photos, upload.GRADIO_CACHE, budget, earlier, pictures=True):
            rows.append(row)
            progress((len(rows), len(photos)), unit="photos", desc=row["file"])
        return rows, gallery_value(rows)

    def make(event: gr.EventData, rows: list[dict], request: gr.Request) -> str:
        return str(WRITERS[event.kind](rows, event.threshold, upload.GRADIO_CACHE, Budget(visitor_of(request))))

    upload = sender("Many photos", "photos", "A zip of photos works, too. You can add more later.")
    functions = web_file("rows.js")
    gallery = markup(
        knowing(web_file("gallery.html"), functions),
        "gallery",
        script=functions + web_file("gallery.js"),
        columns=COLUMNS,
        kinds=KINDS,
        labels=WORST_FIRST,
        limits=LIMITS,
        not_sure=NOT_SURE,
        view=VIEW,
    )
    rows = gr.State([], time_to_live=3600)
    ready = gr.File(visible="hidden")
    assessed = upload.sent(
        judge,
        rows,
        [rows, gallery],
        show_progress_on=[gallery],
        concurrency_id="batch",
        trigger_mode="multiple",
        api_visibility="private",
    )
    failed = json.dumps({"file": "The photos", "error": NO_ANSWER})
    assessed.failure(
        None,
        gallery,
        gallery,
        js=f"value => ({{photos: value?.photos ?? [], failed: [...(value?.failed ?? []), {failed}]}})",
    )
    made = gallery.download(make, rows, ready, show_progress="hidden", api_visibility="private")
    made.success(None, ready, None, js=SAVE)


def sender(tab: str, what: str, hint: str) -> gr.HTML:
    """A chooser of many files in a tab. Its event `sent` has all `files` chosen so far."""
    return markup(
        web_file("sender.html"),
        what,
        script=web_file("alive.js") + web_file("sender.js"),
        no_answer=NO_ANSWER,
        tab=tab,
        accept=",".join(("image/*", *PHOTO_EXTENSIONS, ".zip")),
        choose=f"Choose or drop {what}",
        tap=f"Tap to choose {what}",
        hint=hint,
        more=f"More {what} can be added.",
    )


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


def gallery_value(rows: list[dict]) -> dict:
    """The value of the gallery. File names in it are escaped for HTML."""
    placed = sorted_rows(rows, THRESHOLD)
    good = [row for row in placed if "error" not in row]
    return {
        "photos": [
            {
                "number": number,
                "file": html.escape(row["file"]),
                **{key: row[key] for key in SHOWN},
            }
            for number, row in enumerate(good)
        ],
        "failed": [
            {"file": html.escape(row["file"]), "error": html.escape(row["error"])} for row in placed if "error" in row
        ],
    }


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


WRITERS = {"keepers": write_keepers, "csv": write_csv, "json": write_json}
"""The functions that make the files to download."""
