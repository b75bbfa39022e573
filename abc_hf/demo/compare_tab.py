"""The demo's third tab: shots of one scene, ranked by how sharp eyes or subject are in their own pixels."""

import contextlib
import html
import json
import math

import gradio as gr
import imagehash

from ..inference.blur_radius import sharpness_of
from ..inference.side_by_side import LOUPE, inside, loupe, shift
from ..photos import PhotoError
from ..report import BlurReport
from .batch_tab import NO_ANSWER, photos_of, sender
from .photo_tab import Judge
from .style import knowing, markup, web_file
from .uploads import MAX_PIXELS, Budget, Sent, photo_errors, picture_data, toast, unpacked, visitor_of

MAX_SHOTS = 12
WORDS = {0.97: "hardly softer", 0.85: "a little softer", 0.6: "softer", 0: "much softer"}
"""The words for a shot with at least this share of the sharpest one's sharpness."""
UNLIKE = 22
"""From so many different bits of 64 on, the perceptual hashes of two shots say that they show different scenes."""


def compare_tab(judge_photo: Judge) -> None:
    """Lay the tab out."""

    def rank(event: gr.EventData, request: gr.Request, progress=gr.Progress()):
        folder, budget = upload.GRADIO_CACHE, Budget(visitor_of(request))
        try:
            photos = photos_of(event.files, upload, MAX_SHOTS)
            if not photos:
                return None
            if len(photos) == 1:
                one, error = photos[0].name, photos[0].error
                note = f"{one}: {error}" if error else f"One shot, {one}. Add one more of the same scene."
                return {"notes": [html.escape(note)]}
            shots = compared(judge_photo, photos, folder, budget, progress)
        except gr.Error as error:  # its message is HTML
            return {"notes": [error.message]}
        good = [shot for shot in shots if "error" not in shot]
        unlike = [html.escape(shot["file"]) for shot in good if not shot["alike"]]
        first = html.escape(good[0]["file"]) if good else ""
        note = f"Not the same scene as {first}: {', '.join(unlike)}. Compare shots of one scene."
        return {
            "notes": [note] if unlike else [],
            "shots": [
                {
                    "file": html.escape(shot["file"]),
                    **{key: shot[key] for key in ("label", "certain", "score", "reason", "closer_look", "eye")},
                    **compare_words(shot, good[0]),
                    "crop": picture_data(shot["loupe"], folder, "crop"),
                }
                for shot in good
            ],
            "failed": [
                {"file": html.escape(shot["file"]), "error": html.escape(shot["error"])}
                for shot in shots
                if "error" in shot
            ],
        }

    upload = sender("Compare shots", "shots", f"2 to {MAX_SHOTS} shots of one scene, or a zip of them.")
    ranking = markup(knowing(web_file("ranking.html"), web_file("rows.js")), "ranking", script=web_file("ranking.js"))
    ranked = upload.sent(
        rank,
        None,
        ranking,
        show_progress_on=[ranking],
        concurrency_id="compare",
        trigger_mode="multiple",
        api_visibility="private",
    )
    ranked.failure(None, None, ranking, js=f"() => ({json.dumps({'notes': [NO_ANSWER]})})")


def compared(judge_photo: Judge, photos: list[Sent], folder: str, budget: Budget, progress=None) -> list[dict]:
    """A dict per shot, the sharpest first, those that cannot be opened last: `file`, and either `error` or the report's
    figures and `sharpness`, of the eyes, or else of the subject, at the size of the smallest shot; `alike`, whether it
    shows the scene of the sharpest; `loupe`, the place of each where the sharpest shot shows the eye, or else is
    sharpest; and `eye`: how far this lies from the middle of the loupe, to the right and down, and how wide it is
    [pixels]. Shots that were not held still are aligned. Shots of a zip are in `folder` until the answer is there.

    Raises:
        gr.Error: for fewer than two photos or more than `MAX_SHOTS`.
    """
    if not 2 <= len(photos) <= MAX_SHOTS:
        raise toast(f"Send 2 to {MAX_SHOTS} shots of one scene; there are {len(photos)}.")
    failed: list[dict] = []
    steps = iter(range(1, 3 * len(photos) + 1))

    def attempt(photo: Sent, make, *args, **options):
        """What `make` makes of a photo; None if it fails, which is noted."""
        if progress:
            progress((next(steps), 3 * len(photos)), unit="steps", desc=photo.name)
        try:
            with photo_errors(photo):
                return make(*args, **options)
        except PhotoError as error:  # a large JPEG that is damaged may open at a smaller size alone
            failed.append({"file": photo.name, "error": str(error)})

    with contextlib.ExitStack() as files:
        unzipped = [attempt(photo, files.enter_context, unpacked(photo, folder, budget)) for photo in photos]
        here = [file for file in unzipped if file]
        judged = [(attempt(file, judge_photo, file.path, max_pixels=MAX_PIXELS), file) for file in here]
        shots = [(report, file) for report, file in judged if report]
        size = min((max(report.size) for report, _ in shots), default=0)
        shots.sort(key=lambda shot: softness(shot[0], size))
        answer = []
        for report, file in shots:
            best = shots[0][0]
            alike = bool(imagehash.phash(best.preview) - imagehash.phash(report.preview) < UNLIKE)
            width, height = (round(side * size / max(best.size)) for side in best.size)
            focus = best.focus or (0.5, 0.5)
            middle = inside(focus, (width, height))
            moved = shift(best.preview, report.preview) if alike and report is not best else (0.0, 0.0)
            place = middle[0] + moved[0], middle[1] + moved[1]
            piece = attempt(file, loupe, file.path, place, size, max_pixels=MAX_PIXELS)
            if piece is None:
                continue
            eye = [round((focus[0] - middle[0]) * width), round((focus[1] - middle[1]) * height)]
            left, _, right, _ = best.focus_box or (0, 0, LOUPE, 0)
            answer.append(
                {
                    "file": file.name,
                    **report.to_dict(),
                    "sharpness": sharpness_at(report, size),
                    "alike": alike,
                    "eye": [*eye, round((right - left) * size / max(best.size))],
                    "loupe": piece,
                }
            )
    return answer + failed


def softness(report: BlurReport, size: int) -> tuple[bool, float]:
    """What shots are sorted by: those whose eyes were measured come first, those without any measure last."""
    return report.eye_sharpness is None, -(sharpness_at(report, size) or -1)


def sharpness_at(report: BlurReport, size: int) -> float | None:
    """The sharpness of the eyes, or else of the subject, of a photo whose long side is reduced to `size` [pixels]."""
    if report.closely is None:
        return None
    radius = report.closely.eye_blur_radius or report.closely.blur_radius
    return sharpness_of(radius * size / max(report.size))


def compare_words(shot: dict, best: dict) -> dict:
    """How sharp a shot is beside the sharpest, in percent and in words; the percent is None if it cannot be said."""
    if not shot["sharpness"] or not best["sharpness"]:
        return {"percent": None, "words": "could not be measured: it shows no edges"}
    if (shot["eye_sharpness"] is None) != (best["eye_sharpness"] is None):
        return {"percent": None, "words": "its eyes are soft, or not to be seen"}
    share = min(1.0, shot["sharpness"] / best["sharpness"])
    return {"percent": math.floor(100 * share + 0.5), "words": f"as sharp, {in_words(share)}"}


def in_words(share: float) -> str:
    """How sharp a shot is beside the sharpest."""
    return next(words for least, words in WORDS.items() if share >= least)
