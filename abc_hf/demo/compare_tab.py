# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The demo's third tab: shots of one scene, ranked by how sharp their subject is in their own pixels."""

import contextlib
import html
from typing import Any

import gradio as gr
import imagehash

from ..inference.sharpness import loupe, sharpest_place, subject_sharpness
from ..photos import PhotoError
from .batch_tab import name_parts, photos_of, sender
from .photo_tab import Judge
from .style import markup, web_file
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
                return {"notes": [f"One shot, {html.escape(photos[0].name)}. Add one more of the same scene."]}
            shots = compared(judge_photo, photos, folder, budget, progress)
        except gr.Error as error:  # its message is HTML
            return {"notes": [error.message]}
        good = [shot for shot in shots if "error" not in shot]
        best = max((shot["sharpness"] for shot in good), default=0) or 1
        unlike = [html.escape(shot["file"]) for shot in good if not shot["alike"]]
        note = f"Not the same scene as {html.escape(good[0]['file'])}: {', '.join(unlike)}. Compare shots of one scene."
        return {
            "notes": [note] if unlike else [],
            "shots": [
                {
                    "file": html.escape(shot["file"]),
                    "name": name_parts(shot["file"]),
                    **{key: shot[key] for key in ("label", "certain", "score", "reason")},
                    "percent": round(100 * shot["sharpness"] / best),
                    "words": in_words(shot["sharpness"] / best),
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

    upload = sender("shots", "shots", f"2 to {MAX_SHOTS} shots of one scene, or a zip of them.")
    ranking = markup(web_file("ranking.html"), "ranking", script=web_file("ranking.js"))
    ranked = upload.sent(
        rank,
        None,
        ranking,
        show_progress_on=[ranking],
        concurrency_id="compare",
        trigger_mode="multiple",
        api_visibility="private",
    )
    ranked.failure(lambda: {"notes": ["This did not work; try again."]}, None, ranking, api_visibility="private")


def compared(judge_photo: Judge, photos: list[Sent], folder: str, budget: Budget, progress=None) -> list[dict]:
    """A dict per shot, the sharpest first, those that cannot be opened last: `file`, and either `error` or the report's
    figures, `sharpness`, `box` (see `SubjectSharpness`), `alike` (whether it shows the scene of the sharpest) and
    `loupe`: the same place of each, where the sharpest shot is sharpest. Shots of different sizes are measured at the
    smallest one's. Shots of a zip are in `folder` until the answer is there.

    Raises:
        gr.Error: for fewer than two photos or more than `MAX_SHOTS`.
    """
    if not 2 <= len(photos) <= MAX_SHOTS:
        raise toast(f"Send 2 to {MAX_SHOTS} shots of one scene; there are {len(photos)}.")
    failed, shots = [], []
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
        reports = [attempt(file, judge_photo, file.path, max_pixels=MAX_PIXELS) for file in here]
        size = min((max(report.size) for report in reports if report), default=None)
        for file, report in zip(here, reports, strict=True):
            how = {"long_side": size, "max_pixels": MAX_PIXELS}
            if report and (measured := attempt(file, subject_sharpness, file.path, report.small_attention_map, **how)):
                shots.append((measured, file, report))
        shots.sort(key=lambda shot: -shot[0].sharpness)
        best: Any = shots[0][2] if shots else None
        place: Any = best and sharpest_place(best.preview, best.small_blur_map, best.small_attention_map, size or 0)
        answer = [
            {
                "file": file.name,
                **report.to_dict(),
                "sharpness": measured.sharpness,
                "box": list(measured.box),
                "alike": bool(imagehash.phash(best.preview) - imagehash.phash(report.preview) < UNLIKE),
                "loupe": loupe(file.path, place, size, max_pixels=MAX_PIXELS),
            }
            for measured, file, report in shots
        ]
    return answer + failed


def in_words(share: float) -> str:
    """How sharp a shot is beside the sharpest."""
    return next(words for least, words in WORDS.items() if share >= least)
