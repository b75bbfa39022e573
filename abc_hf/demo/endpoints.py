"""The demo's endpoints for programs: the work of the tabs, with documented parameters and results."""

from collections.abc import Callable
from pathlib import Path

import gradio as gr
from PIL import Image

from ..verdicts import THRESHOLD
from ..visualization import overlay
from .batch_tab import judged, photos_of, public_rows, write_csv, write_keepers
from .compare_tab import MAX_SHOTS, compared
from .photo_tab import DOWNLOADS, Judge, full_size, photo_of, read
from .uploads import Budget, files_only, new_file, received, visitor_of


def api_endpoints(judge_photo: Judge) -> None:
    """Add the endpoints `assess`, `full_size`, `sort` and `compare`."""

    def assess(photo: dict):
        """Judge the blur in one photo: where it is, what counts, and whether it is wanted.

        Args:
            photo: a photo, as a file or a `data:` URI in base64

        Returns:
            label, certain, between (the two labels in question, if it is not certain), kind of blur, probabilities,
            score (0 = blur ruins the photo, 1 = no unwanted blur), reason, levels and more
            the photo under its blur map, at most 1600 pixels wide or high
            the photo under its attention map
        """
        with received([photo], one.GRADIO_CACHE) as (photo,):
            report, picture = read(judge_photo, photo_of(photo, one.GRADIO_CACHE))
        under = [overlay(picture, values) for values in (report.small_blur_map, report.small_attention_map)]
        return report.to_dict(), *map(Image.fromarray, under)

    def full_size_file(photo: dict, kind: str):
        """Make a map or the report of one photo as a file, at the photo's full size.

        Args:
            photo: a photo, as a file or a `data:` URI in base64
            kind: overlay (JPEG), blur (8-bit PNG, white = 1), blur_16bit, attention_16bit (16-bit PNG) or report (JSON)

        Returns:
            the file
        """
        if not isinstance(kind, str) or kind not in DOWNLOADS:
            raise gr.Error(f"The kind must be one of {', '.join(DOWNLOADS)}.", print_exception=False)
        with received([photo], one.GRADIO_CACHE) as (photo,):
            return str(full_size(judge_photo, photo_of(photo, one.GRADIO_CACHE), kind, one.GRADIO_CACHE))

    def sort(photos: list[dict], threshold: float, request: gr.Request):
        """Judge many photos, sort them into good, ok, no and bad blur, and flag those to reject.

        Args:
            photos: at most 200 photos, or zips of them, as files or `data:` URIs in base64
            threshold: the score, in 0..1, below which a photo is flagged `reject`; its label stays

        Returns:
            an object per photo, sorted: file, reject, and the entries of `assess`; or file and error
            the same as a CSV file
            a zip of the photos that are not flagged; none if all are, or if the visitor had too much unpacked
        """
        threshold, visitor = check_threshold(threshold), visitor_of(request)
        with received(photos, many.GRADIO_CACHE) as photos:
            rows = list(judged(judge_photo, photos_of(photos, many), many.GRADIO_CACHE, Budget(visitor)))
            try:
                keepers = str(write_keepers(rows, threshold, many.GRADIO_CACHE, Budget(visitor)))
            except gr.Error:  # no photo is kept, or the visitor's limit is reached; the rows come all the same
                keepers = None
        return public_rows(rows, threshold), str(write_csv(rows, threshold, many.GRADIO_CACHE)), keepers

    def compare(photos: list[dict], request: gr.Request):
        """Rank shots of one scene by how sharp eyes, or else the subject, are in the photos' own pixels.

        Args:
            photos: 2 to 12 shots, or zips of them, as files or `data:` URIs in base64

        Returns:
            an object per shot, the sharpest first: file, sharpness (of the eyes, or else of the subject; 1 = perfect
            edges), alike (whether it shows the scene of the first), eye (how far this lies from the middle of the
            piece, to the right and down, and how wide it is [pixels]), and the entries of `assess`; or file and error
            the same place of each shot, pixel for pixel, in the same order
        """
        with received(photos, many.GRADIO_CACHE) as photos:
            shots = photos_of(photos, many, MAX_SHOTS)
            shots = compared(judge_photo, shots, many.GRADIO_CACHE, Budget(visitor_of(request)))
        crops = []
        for shot in shots:
            if "error" not in shot:
                path = new_file(many.GRADIO_CACHE, f"{Path(shot['file']).stem}.png")
                shot.pop("loupe").save(path, compress_level=1)
                crops.append(str(path))
        return shots, crops

    one, many = gr.File(label="Photo", render=False), gr.File(label="Photos", file_count="multiple", render=False)
    for component in (one, many):
        files_only(component).api_info()  # which Gradio keeps
        component.data_model = None  # it takes no text, which is for `received`
    file = gr.FileData.model_json_schema()
    file["properties"]["meta"] = file.pop("$defs")["FileDataMeta"]  # MCP finds no definitions inside a list
    many.api_info = lambda: {"type": "array", "items": file}  # type: ignore[method-assign]
    kind = gr.Textbox("blur_16bit", label="Kind", render=False)
    threshold = gr.Number(THRESHOLD, label="Threshold", render=False)
    pictures = [gr.Image(label=label, format="jpeg", render=False) for label in ("Blur", "Attention")]
    with gr.Row(visible=False):
        endpoint(assess, [one], [gr.JSON(label="Report", render=False), *pictures], "photo")
        endpoint(full_size_file, [one, kind], [gr.File(label="File", render=False)], "photo", name="full_size")
        endpoint(
            sort,
            [many, threshold],
            [
                gr.JSON(label="Photos", render=False),
                gr.File(label="Table", render=False),
                gr.File(label="Keepers", render=False),
            ],
            "batch",
        )
        endpoint(
            compare,
            [many],
            [gr.JSON(label="Ranking", render=False), gr.File(label="Crops", file_count="multiple", render=False)],
            "compare",
        )


def endpoint(function: Callable, inputs: list, outputs: list, group: str, name: str | None = None) -> None:
    """One endpoint on components that are never shown; endpoints of one group run one at a time."""
    for component in (*inputs, *outputs):
        if not component.is_rendered:
            component.render()
    gr.Button().click(
        function,
        inputs,
        outputs,
        preprocess=False,  # Gradio would fetch web addresses, and take any file on the server
        concurrency_id=group,
        api_name=name or function.__name__,
    )


def check_threshold(threshold: float) -> float:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise gr.Error("The threshold must be a number from 0 to 1.", print_exception=False)
    return threshold
