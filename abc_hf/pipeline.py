# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The one path from a photo to what is said of its blur."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from PIL import Image
from transformers import Pipeline

from .configuration_abc_fusenet import DESIRABILITY, KINDS, ABCFuseNetConfig
from .engines import load_engine
from .image_processing_abc_fusenet import ABCFuseNetImageProcessor, resize_map, working_shape
from .modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding
from .photos import PhotoError, load_photo
from .verdicts import MapFacts, Verdict, explain, judge, read_maps
from .visualization import LEVELS, grey_image, report_figure

BUNDLED = Path(__file__).parent / "pretrained" / "mobile"
"""The weights that come with the package."""
FILES = ("config.json", "model.safetensors", "preprocessor_config.json", "run.json")
"""What is read of a repository on the Hub: no code, and no pickles, which are code as well."""


@dataclass(frozen=True, eq=False)
class BlurReport:
    """What is said of one photo.

    Args:
        probabilities: of no-blur, good-blur, ok-blur and bad-blur, in this order; they add up to 1.
        size: width and height of the photo [pixels].
        preview: the photo at the working size, at which it was judged.
        small_blur_map: float32 (h, w) at the preview's size; 0 = sharp, 1/3 = low, 2/3 = medium, 1 = high blur.
        small_attention_map: the same for what the photo is about; 0 = unimportant, 1 = its subject.
        kind_probabilities: of defocus, motion and camera-shake, if there is blur; they add up to 1.
        certain_from: the probability from which a verdict is certain, as the model says.
    """

    probabilities: dict[str, float]
    size: tuple[int, int]
    preview: Image.Image = field(repr=False)
    small_blur_map: np.ndarray = field(repr=False)
    small_attention_map: np.ndarray = field(repr=False)
    kind_probabilities: dict[str, float] = field(default_factory=dict)
    certain_from: float = 0.0

    @cached_property
    def facts(self) -> MapFacts:
        """What the maps say in figures."""
        return read_maps(self.small_blur_map, self.small_attention_map)

    @cached_property
    def verdict(self) -> Verdict:
        """The one verdict, by `verdicts.judge`."""
        return judge(self.probabilities, self.kind_probabilities, self.facts, self.certain_from)

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.verdict.label

    @property
    def kind(self) -> str | None:
        """The kind of blur: "defocus", "motion" or "camera-shake"; None for no-blur."""
        return self.verdict.kind

    @property
    def certain(self) -> bool:
        """Whether the label is sure enough to act on; if not, `verdict.between` names the two labels in question."""
        return self.verdict.certain

    @property
    def score(self) -> float:
        """0 = blur ruins the photo, 1 = no unwanted blur: the expected value of a class when no-blur and good-blur
        count 1, ok-blur 0.5 and bad-blur 0."""
        return self.verdict.score

    @property
    def blur_map(self) -> np.ndarray:
        """(H, W) float32 at the photo's size, made from the small map each time it is read."""
        return resize_map(self.small_blur_map, self.size[::-1])

    @property
    def attention_map(self) -> np.ndarray:
        """(H, W) float32 at the photo's size, made from the small map each time it is read."""
        return resize_map(self.small_attention_map, self.size[::-1])

    @property
    def small_blur_attended(self) -> np.ndarray:
        """B x A: the blur map times the attention map, which the classifier is given as blur on what counts; float32
        (h, w) in 0..1, at the preview's size."""
        return self.small_blur_map * self.small_attention_map

    @property
    def small_blur_unattended(self) -> np.ndarray:
        """B x (1 - A): the same for blur on the rest."""
        return self.small_blur_map * (1 - self.small_attention_map)

    @property
    def blur_on_subject(self) -> float:
        """Blur of the subject, 0..1: of the sharper part of attention's core; of the frame where no subject stands
        out."""
        return self.facts.subject

    @property
    def blur_on_background(self) -> float:
        """Mean of the blur map weighted by 1 - attention; by nothing, where attention is 1 everywhere."""
        return self.facts.background

    @property
    def levels(self) -> dict[str, float]:
        """The share of the photo that is nearest to each level: none, low, medium and high blur."""
        nearest = np.rint(self.small_blur_map * 3).astype(int)
        return {name: float((nearest == level).mean()) for level, name in enumerate(LEVELS)}

    @property
    def blur_fraction(self) -> float:
        """The share of the photo that is blurred: nearer to low blur than to none, 1/6 or more in the blur map."""
        return self.facts.blurred

    @property
    def reason(self) -> str:
        """One sentence that gives the reason for the verdict."""
        return explain(self.verdict, self.facts)

    def to_dict(self) -> dict:
        """Everything but the maps, as JSON can say it."""
        return {
            "label": self.label,
            "certain": self.certain,
            "between": None if self.certain else list(self.verdict.between),
            "kind": self.kind,
            "probabilities": self.probabilities,
            "kind_probabilities": self.kind_probabilities,
            "score": self.score,
            "blur_on_subject": self.blur_on_subject,
            "blur_on_background": self.blur_on_background,
            "blur_fraction": self.blur_fraction,
            "levels": self.levels,
            "reason": self.reason,
            "width": self.size[0],
            "height": self.size[1],
        }

    def figure(self):
        """A `matplotlib.figure.Figure`: the verdict, the photo, its blur map and its attention map."""
        return report_figure(self)

    def save(self, folder: str | os.PathLike, stem: str = "photo") -> list[Path]:
        """Write `STEM.json`, `STEM_figure.png`, and for both maps `STEM_blur.png` (8 bits, at the working size) and
        `STEM_blur_16bit.png` (at the photo's size); white is 1. Files of these names are replaced.

        Returns:
            the files.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = []

        def name(end: str) -> Path:
            files.append(folder / f"{stem}{end}")
            return files[-1]

        name(".json").write_text(json.dumps(self.to_dict(), indent=2) + "\n")
        self.figure().savefig(name("_figure.png"))
        for kind in ("blur", "attention"):
            small, full = getattr(self, f"small_{kind}_map"), getattr(self, f"{kind}_map")
            grey_image(small).save(name(f"_{kind}.png"))
            grey_image(full, bits=16).save(name(f"_{kind}_16bit.png"), compress_level=1)  # a quarter of the time
        return files


def prepare(photo, image_processor: ABCFuseNetImageProcessor, **loading) -> dict:
    """A photo for the network, which need not be in this process.

    Args:
        photo, loading: as in `load_photo`.

    Returns:
        "preview", the photo at the working size; "size", width and height of the photo [pixels]; and "pixel_values"
        (1, 3, H, W). Or "error", a `PhotoError`.
    """
    longest_edge = image_processor.size.longest_edge
    try:
        image = load_photo(photo, working_size=longest_edge, **loading)
    except PhotoError as error:
        return {"error": error}
    height, width = working_shape(image.height, image.width, longest_edge)
    preview = image.resize((width, height), image_processor.resample)
    pixel_values = image_processor(preview, return_tensors="pt")["pixel_values"]
    return {"preview": preview, "size": image.info["original_size"], "pixel_values": pixel_values}


class BlurUnderstandingPipeline(Pipeline):
    """Photos in, `BlurReport`s out; the task is "blur-understanding".

    One photo gives one report, a list a list; generators and data sets are read as their reports are. With
    `batch_size`, photos that come to the same shape go through the network together, so that company changes nothing.

    Args:
        on_error: "raise" a `PhotoError` for a photo that cannot be opened, or "return" it in the place of its report.
        max_pixels: width x height of the largest photo to open, as in `load_photo`.
    """

    engine = None
    """Called with `pixel_values` in place of the model, if there is one; it returns what the model returns."""

    _load_image_processor = True
    _load_processor = _load_video_processor = _load_feature_extractor = _load_tokenizer = False

    def __call__(self, photos, **options):
        """
        Args:
            photos: a path, bytes, a PIL image or a NumPy array (see `load_photo`); or a list, a generator or a torch
                `Dataset` of these.
            options: `batch_size`, `num_workers`, and those of the class.
        """
        if isinstance(photos, list) and not photos:
            return []
        if isinstance(photos, Iterator):  # transformers knows generators only
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

    def preprocess(self, photo, **loading) -> dict:
        """The photo under one key: a dict, so that a batch is a list of them, of whatever sizes."""
        return {"photo": prepare(photo, self.image_processor, **loading)}

    def _forward(self, inputs: dict) -> dict:
        photos = inputs["photo"] if isinstance(inputs["photo"], list) else [inputs["photo"]]
        groups = {}
        for photo in photos:
            if "error" not in photo:
                groups.setdefault(photo["pixel_values"].shape, []).append(photo)
        for group in groups.values():
            pixel_values = torch.cat([photo.pop("pixel_values") for photo in group]).to(self.model.dtype)
            outputs = (self.engine or self.model)(pixel_values)
            sizes = [photo["preview"].size[::-1] for photo in group]
            answers = self.image_processor.post_process_blur_understanding(outputs, sizes)
            for photo, answer in zip(group, answers, strict=True):
                photo.update(answer)
        return inputs

    def postprocess(self, outputs: dict, on_error: str = "raise") -> BlurReport | PhotoError:
        photo = outputs["photo"]
        if "error" in photo:
            if on_error == "raise":
                raise photo["error"]
            return photo["error"]
        return BlurReport(
            probabilities=dict(zip(DESIRABILITY, photo["probabilities"].tolist(), strict=True)),
            size=photo["size"],
            preview=photo["preview"],
            small_blur_map=photo["blur_map"].numpy(),
            small_attention_map=photo["attention_map"].numpy(),
            kind_probabilities=dict(zip(KINDS, photo["kind_probabilities"].tolist(), strict=True)),
            certain_from=self.model.config.certain_from,
        )


def load_pipeline(
    model: str | os.PathLike | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    engine: str = "torch",
    revision: str | None = None,
    token: str | bool | None = None,
    **options,
) -> BlurUnderstandingPipeline:
    """Load a pipeline. No code of a model's is run, and weights are read from safetensors alone.

    Args:
        model: a folder, or the name of a repository on the Hub; without it, the weights that come with the package.
        device: such as "cpu" or "cuda:0"; without it, an accelerator if there is one.
        dtype: of the weights; as they were saved, unless given.
        engine: what runs the network on a CPU, of `abc_hf.engines.ENGINES`; an accelerator has "torch" alone.
        revision, token: of the repository on the Hub.
        options: those of `BlurUnderstandingPipeline`.

    Raises:
        ValueError: if there is no such model, it is damaged or of another kind, or there is no such device or engine.
        ImportError: if the engine needs a package that is not installed.
    """
    name = str(BUNDLED if model is None else model)
    try:
        torch.empty(0, device=device)
    except Exception as error:
        raise ValueError(f'The device {device} cannot be used here ({first_line(error)}); "cpu" always can.') from error
    try:
        folder = name if os.path.isdir(name) else download(name, revision, token)
        kind = ABCFuseNetConfig.get_config_dict(folder)[0].get("model_type")
        if kind != ABCFuseNetConfig.model_type:
            raise ValueError(f"it is of the type {kind}" if kind else "it has no config.json that names a model")
        network, info = ABCFuseNetForBlurUnderstanding.from_pretrained(folder, dtype=dtype, output_loading_info=True)
        if info["missing_keys"]:
            raise ValueError(f"it lacks weights, among them {min(info['missing_keys'])}")
        if network.config.num_labels != len(DESIRABILITY):
            raise ValueError(f"its classifier has {network.config.num_labels} classes, not {len(DESIRABILITY)}")
        processor = ABCFuseNetImageProcessor.from_pretrained(folder)
    except Exception as error:
        raise no_model(name, error) from error
    network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
    pipe = BlurUnderstandingPipeline(
        model=network, image_processor=processor, task="blur-understanding", device=device, **options
    )
    pipe.engine = load_engine(engine, pipe.model)
    return pipe


def download(name: str, revision: str | None = None, token: str | bool | None = None) -> Path:
    """The folder of the Hub's cache that holds `FILES` of a repository, all of one commit.

    Raises ValueError for what is not there, and for weights that are not what the Hub announced: the cache names a
    large file by the SHA-256 of what it should be.
    """
    try:
        folder = Path(snapshot_download(name, revision=revision, token=token, allow_patterns=list(FILES)))
    except LocalEntryNotFoundError:
        raise ValueError("the Hub was not asked or did not answer, and nothing of it is in the cache here") from None
    except RevisionNotFoundError:
        raise ValueError(f"it has no revision {revision}") from None
    except RepositoryNotFoundError:
        raise ValueError("there is no such repository, or it is private and the token may not see it") from None
    except HfHubHTTPError as error:
        if error.response.status_code != 401:
            raise
        raise ValueError("the Hub does not accept the token") from None
    weights = folder / "model.safetensors"
    if not weights.exists():
        raise ValueError("it holds no model.safetensors, and weights of other kinds are not loaded: they can run code")
    announced = weights.resolve()
    if len(announced.name) == 64:  # else the cache holds copies, where links are not allowed
        with announced.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != announced.name:
                raise ValueError(f"model.safetensors is damaged; delete {announced}, so that it is downloaded again")
    return folder


def no_model(name: str | os.PathLike, error: Exception) -> ValueError:
    return ValueError(
        f"No ABC-FuseNet model can be loaded from {name} ({first_line(error)}); "
        "give a folder or a Hub repository that holds one."
    )


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
