# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The demo's third tab: shots of one scene, ranked by how sharp their subject is in their own pixels."""

import contextlib
import html

import gradio as gr

from ..inference.sharpness import subject_sharpness
from ..photos import PHOTO_EXTENSIONS, PhotoError
from ..verdicts import NOT_SURE
from .batch_tab import photos_of
from .photo_tab import Judge
from .style import markup, web_file
from .uploads import (
    MAX_PIXELS,
    Budget,
    Sent,
    files_only,
    photo_errors,
    picture_data,
    toast,
    unpacked,
    visitor_of,
)

MAX_SHOTS = 12
WORDS = {0.97: "hardly softer", 0.85: "a little softer", 0.6: "softer", 0: "much softer"}
"""What is said of a shot with at least this share of the sharpest one's sharpness."""


def compare_tab(judge_photo: Judge) -> None:
    """Lay the tab out."""

    def rank(files: list[dict] | None, request: gr.Request, progress=gr.Progress()):
        if not files or (len(files) == 1 and not is_zip(files[0])):
            return None
        folder, budget = upload.GRADIO_CACHE, Budget(visitor_of(request))
        shots = compared(judge_photo, photos_of(files, upload, MAX_SHOTS), folder, budget, progress)
        good = [shot for shot in shots if "error" not in shot]
        best = max((shot["sharpness"] for shot in good), default=0) or 1
        return {
            "shots": [
                {
                    "file": html.escape(shot["file"]),
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

    upload = gr.File(
        label=f"2 to {MAX_SHOTS} shots of one scene",
        file_count="multiple",
        file_types=[*PHOTO_EXTENSIONS, ".zip"],
        height=180,
        elem_id="shots",
    )
    ranking = markup(web_file("ranking.html"), "ranking", not_sure=NOT_SURE)
    files_only(upload)
    ranked = upload.change(
        rank,
        upload,
        ranking,
        preprocess=False,
        show_progress_on=[ranking],
        concurrency_id="compare",
        api_visibility="private",
    )
    ranked.failure(lambda: None, None, ranking, api_visibility="private")


def is_zip(file: object) -> bool:
    return isinstance(file, dict) and str(file.get("orig_name") or file.get("path")).lower().endswith(".zip")


def compared(judge_photo: Judge, photos: list[Sent], folder: str, budget: Budget, progress=None) -> list[dict]:
    """A dict per shot, the sharpest first, those that cannot be opened last: `file`, and either `error` or the report's
    figures, `sharpness`, `box` and `loupe` (see `SubjectSharpness`). Shots of different sizes
    are measured at the smallest one's. Shots of a zip are in `folder` until the answer is there.

    Raises:
        gr.Error: for fewer than two photos or more than `MAX_SHOTS`.
    """
    if not 2 <= len(photos) <= MAX_SHOTS:
        raise toast(f"Send 2 to {MAX_SHOTS} shots of one scene; there are {len(photos)}.")
    reports, failed, shots = [], [], []
    steps = iter(range(1, 2 * len(photos) + 1))

    def step(name: str):
        if progress:
            progress((next(steps), 2 * len(photos)), unit="steps", desc=name)

    with contextlib.ExitStack() as files:
        for photo in photos:
            try:
                with photo_errors(photo):
                    file = files.enter_context(unpacked(photo, folder, budget))
                with photo_errors(file):
                    reports.append((file, judge_photo(file.path, max_pixels=MAX_PIXELS)))
            except PhotoError as error:
                failed.append({"file": photo.name, "error": str(error)})
            step(photo.name)
        long_side = min((max(report.size) for _, report in reports), default=None)
        for file, report in reports:
            try:
                with photo_errors(file):
                    figures = report.to_dict()
                    measured = subject_sharpness(
                        file.path, report.small_attention_map, long_side, max_pixels=MAX_PIXELS
                    )
            except PhotoError as error:  # a large JPEG that is damaged may open at a smaller size alone
                failed.append({"file": file.name, "error": str(error)})
                continue
            step(file.name)
            measures = {"sharpness": measured.sharpness, "box": list(measured.box), "loupe": measured.loupe}
            shots.append({"file": file.name, **figures, **measures})
    return sorted(shots, key=lambda shot: -shot["sharpness"]) + failed


def in_words(share: float) -> str:
    """How sharp a shot is beside the sharpest, for the page."""
    return next(words for least, words in WORDS.items() if share >= least)
