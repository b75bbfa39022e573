# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""From pixels to `BlurReport`. All reports are made here."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from transformers import Pipeline

from .configuration_abc_fusenet import DESIRABILITY, KINDS
from .image_processing_abc_fusenet import ABCFuseNetImageProcessor
from .modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding
from .photos import PhotoError, load_photo, name_of, reason
from .report import BlurReport


def prepare(
    photo,
    image_processor: ABCFuseNetImageProcessor,
    open_photo: Callable = load_photo,
    look_closely: bool = False,
    **loading,
) -> dict:
    """Prepare a photo for the network. The network may run in another process.

    Args:
        photo, loading: as in `load_photo`.
        open_photo: the function that opens it, such as `load_photo`.
        look_closely: take close-ups, too.

    Returns:
        "preview", the photo at the working size; "size", width and height of the photo [pixels]; "pixel_values"
        (1, 3, H, W); and "close_ups", `CloseUps` or None. Or "error", a `PhotoError`.
    """
    loading |= {"working_size": image_processor.size.longest_edge, "resample": image_processor.resample}
    try:
        preview = open_photo(photo, look_closely=look_closely, **loading)
        pixel_values = image_processor(preview, return_tensors="pt")["pixel_values"]
    except PhotoError as error:
        return {"error": error}
    except Exception as error:  # such as a lack of memory; the other photos of a batch go on
        return {"error": PhotoError(f"{name_of(photo)}: {reason(error)}")}
    seen = preview.info.pop("close_ups", None)
    size = preview.info["original_size"]
    return {"preview": preview, "size": size, "pixel_values": pixel_values, "close_ups": seen}


class BlurUnderstandingPipeline(Pipeline):
    """Photos in, `BlurReport`s out; the task is "blur-understanding".

    One photo gives one report, a list gives a list. Generators and data sets are read lazily. With `batch_size`, only
    photos of equal resized shape share a batch, so batching never changes a result.

    Args:
        on_error: "raise" a `PhotoError` for a photo that cannot be opened, or "return" it instead of a report.
        max_pixels: width x height of the largest photo to open, as in `load_photo`.
    """

    engine: Callable | None = None
    """If set, the pipeline calls it with `pixel_values` instead of the model. It returns the same outputs."""
    open_photo = staticmethod(load_photo)
    """The function that opens photos; `load_pipeline` takes one within limits of time and memory."""
    measure: Callable | None = None
    """The function that measures the sharpness of the subject in native pixels, as
    `abc_hf.inference.blur_radius.measure`; `load_pipeline` sets it."""

    model: ABCFuseNetForBlurUnderstanding
    image_processor: ABCFuseNetImageProcessor
    _load_image_processor = True  # type: ignore[assignment]  # transformers declares None
    _load_processor = _load_video_processor = _load_feature_extractor = _load_tokenizer = False  # type: ignore[assignment]

    def __call__(self, photos, **options):  # type: ignore[override]  # the name of its first argument
        """
        Args:
            photos: a path, bytes, an open file, a PIL image, a NumPy array (see `load_photo`); or a list, a generator
                or a torch `Dataset` of these.
            options: `batch_size`, `num_workers`, and those of the class.
        """
        if isinstance(photos, list) and not photos:
            return []
        if isinstance(photos, Iterator) and not hasattr(
            photos, "read"
        ):  # transformers accepts generators, but no other iterators
            photos = (photo for photo in photos)
        return super().__call__(photos, **options)

    def _sanitize_parameters(self, on_error: str | None = None, max_pixels: int | None = None, **unknown):
        if unknown:
            raise TypeError(
                f"unknown option {', '.join(unknown)}; there are on_error, max_pixels, batch_size and num_workers."
            )
        if on_error not in (None, "raise", "return"):
            raise ValueError(f'on_error must be "raise" or "return"; got {on_error!r}.')
        loading = {} if max_pixels is None else {"max_pixels": max_pixels}
        return loading, {}, {} if on_error is None else {"on_error": on_error}

    def get_inference_context(self):
        return torch.inference_mode

    def preprocess(self, photo, **loading) -> dict:  # type: ignore[override]  # the name of its first argument
        """The photo as a dict under one key, so a batch is a list of photos of any sizes."""
        prepared = prepare(photo, self.image_processor, self.open_photo, self.measure is not None, **loading)
        return {"photo": prepared | {"name": name_of(photo)}}

    def _forward(self, inputs: dict) -> dict:  # type: ignore[override]  # the name of its first argument
        photos = inputs["photo"] if isinstance(inputs["photo"], list) else [inputs["photo"]]
        groups: dict[torch.Size, list[dict]] = {}
        for photo in photos:
            if "error" not in photo:
                groups.setdefault(photo["pixel_values"].shape, []).append(photo)
        for group in groups.values():
            try:
                self._answer(group)
            except torch.OutOfMemoryError:  # the batch is too large for the device
                raise
            except Exception:
                for photo in group:
                    try:
                        self._answer([photo])
                    except Exception as error:
                        sentence = f"it cannot be judged ({' '.join(str(error).split()) or type(error).__name__})."
                        photo["error"] = PhotoError(f"{photo['name']}: {sentence}" if "name" in photo else sentence)
        return inputs

    def _answer(self, photos: list[dict]):
        """Judge photos of one shape: add the answers of the network to each photo."""
        pixel_values = torch.cat([photo["pixel_values"] for photo in photos]).to(self.model.dtype)
        outputs = (self.engine or self.model)(pixel_values)
        sizes = [photo["preview"].size[::-1] for photo in photos]
        answers = self.image_processor.post_process_blur_understanding(outputs, sizes)
        for photo, answer in zip(photos, answers, strict=True):
            photo.update(answer)
            del photo["pixel_values"]

    def postprocess(self, outputs: dict, on_error: str = "raise") -> BlurReport | PhotoError:  # type: ignore[override]
        photo = outputs["photo"]
        error = photo.get("error")
        if error is None:
            answers = (photo[name] for name in ("probabilities", "kind_probabilities", "blur_map", "attention_map"))
            if not all(np.isfinite(np.asarray(answer)).all() for answer in answers):
                name = f"{photo['name']}: " if "name" in photo else ""
                error = PhotoError(f"{name}the network's answer is no number; try another engine, device or model.")
        if error is not None:
            if on_error == "raise":
                raise error
            return error
        blur_map, attention_map = photo["blur_map"].numpy(), photo["attention_map"].numpy()
        seen = photo.get("close_ups")
        return BlurReport(
            probabilities=dict(zip(DESIRABILITY, photo["probabilities"].tolist(), strict=True)),
            size=photo["size"],
            preview=photo["preview"],
            small_blur_map=blur_map,
            small_attention_map=attention_map,
            kind_probabilities=dict(zip(KINDS, photo["kind_probabilities"].tolist(), strict=True)),
            certain_from=self.model.config.certain_from,
            closely=self.measure(seen, blur_map, attention_map) if self.measure and seen else None,
        )
