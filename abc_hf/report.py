# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""`BlurReport`: the maps, figures and sentences about one photo."""

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .image_processing_abc_fusenet import resize_map
from .verdicts import BLURRED, SHARP_PART, WORTH, MapFacts, Verdict, explain, judge, look_closer, read_maps
from .visualization import LEVELS, grey_image, report_figure

REPORTED = ("label", "certain", "kind", "probabilities", "kind_probabilities", "score", "blur_on_subject")
REPORTED += ("blur_on_background", "blur_fraction", "levels", "subject_sharpness", "subject_blur_radius", "faces")
REPORTED += ("eye_sharpness", "closer_look", "reason")
"""The properties of a report that `to_dict` gives as they are."""


@dataclass(frozen=True, eq=False)
class BlurReport:
    """The report on one photo.

    Args:
        probabilities: of no-blur, good-blur, ok-blur and bad-blur, in this order; they add up to 1.
        size: width and height of the photo [pixels].
        preview: the photo at the working size, at which it was judged.
        small_blur_map: float32 (h, w) at the preview's size; 0 = sharp, 1/3 = low, 2/3 = medium, 1 = high blur.
        small_attention_map: float32 (h, w) of the same size; 0 = unimportant, 1 = the subject of the photo.
        kind_probabilities: of defocus, motion and camera-shake, if there is blur; they add up to 1.
        certain_from: the probability from which a verdict is certain, as the model says.
        closely: the measurements in the photo's own pixels, a `SubjectSharpness`; None if they were not made, or if
            the subject shows no edges.
    """

    probabilities: dict[str, float]
    size: tuple[int, int]
    preview: Image.Image = field(repr=False)
    small_blur_map: np.ndarray = field(repr=False)
    small_attention_map: np.ndarray = field(repr=False)
    kind_probabilities: dict[str, float] = field(default_factory=dict)
    certain_from: float = 0.0
    closely: Any = None

    @cached_property
    def facts(self) -> MapFacts:
        """The maps in figures."""
        return read_maps(self.small_blur_map, self.small_attention_map)

    @cached_property
    def verdict(self) -> Verdict:
        """The one verdict, by `verdicts.judge`."""
        return judge(self.probabilities, self.kind_probabilities, self.facts, self.certain_from)

    @property
    def label(self) -> str:
        """The most probable class that the maps allow."""
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
        """0 = blur ruins the photo, 1 = no unwanted blur. The expected worth of the label: no-blur and good-blur count
        1, ok-blur 0.5, bad-blur 0."""
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
        """B x A, the blur map times the attention map: the classifier reads it as blur on the subject. float32 (h, w)
        in 0..1, at the preview's size."""
        return self.small_blur_map * self.small_attention_map

    @property
    def small_blur_unattended(self) -> np.ndarray:
        """B x (1 - A): the same for blur on the rest."""
        return self.small_blur_map * (1 - self.small_attention_map)

    @property
    def blur_on_subject(self) -> float:
        """Blur of the subject, 0..1, in the sharper part of the attention's core. Without a subject that stands out,
        blur of the whole frame."""
        return self.facts.subject

    @property
    def blur_on_background(self) -> float:
        """Mean of the blur map, weighted by 1 - attention; not weighted if attention is 1 everywhere."""
        return self.facts.background

    @property
    def subject_blur_radius(self) -> float | None:
        """The radius of blur of the sharper parts of the subject, in the photo's own pixels: 0.5 (none) to 24 (or
        more). None if it was not measured."""
        return self.closely and self.closely.blur_radius

    @property
    def subject_sharpness(self) -> float | None:
        """The same as the steepness of an edge, 0..1; 1 = perfectly sharp at 100 %. The verdict does not depend on
        it."""
        return self.closely and self.closely.sharpness

    @property
    def faces(self) -> int | None:
        """How many faces there are in the photo; None without the extra `faces`, or if they were not counted."""
        return self.closely and self.closely.faces

    @property
    def eye_sharpness(self) -> float | None:
        """As `subject_sharpness`, of the sharper eye of the face that the photo is about; of several faces, of the
        softest. None if no eye was measured."""
        return self.closely and self.closely.eye_sharpness

    @property
    def focus_box(self) -> tuple[int, int, int, int] | None:
        """Left, top, right and bottom of this eye, or of the sharpest part of the subject [pixels of the photo]."""
        return self.closely and self.closely.box

    @property
    def focus(self) -> tuple[float, float] | None:
        """The middle of `focus_box`, as shares of the photo's width and height."""
        if self.focus_box is None:
            return None
        left, top, right, bottom = self.focus_box
        return (left + right) / 2 / self.size[0], (top + bottom) / 2 / self.size[1]

    @property
    def closer_look(self) -> str | None:
        """One sentence on the photo in its own pixels, beside the verdict, which does not depend on it."""
        if self.closely is None:
            return None
        place, radius = "eye", self.closely.eye_blur_radius
        if radius is None:  # the sharper parts were measured; the map may show that the rest is blurred
            place, radius = "subject" if self.facts.subject < BLURRED else SHARP_PART, self.closely.blur_radius
        return look_closer(self.certain and WORTH[self.label] == 1, place, radius)

    @property
    def levels(self) -> dict[str, float]:
        """The share of the photo that is nearest to each level: none, low, medium and high blur."""
        nearest = np.rint(self.small_blur_map * 3).astype(int)
        return {name: float((nearest == level).mean()) for level, name in enumerate(LEVELS)}

    @property
    def blur_fraction(self) -> float:
        """The blurred share of the photo: 1/6 or more in the blur map, which is nearer to low blur than to none."""
        return self.facts.blurred

    @property
    def reason(self) -> str:
        """One sentence that gives the reason for the verdict."""
        return explain(self.verdict, self.facts)

    def to_dict(self) -> dict:
        """Everything except the maps, as values for JSON."""
        return {name: getattr(self, name) for name in REPORTED} | {
            "between": None if self.certain else list(self.verdict.between),
            "focus_box": self.focus_box and list(self.focus_box),
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
            files[-1].unlink(missing_ok=True)  # a link of this name is replaced, not written through
            return files[-1]

        name(".json").write_text(json.dumps(self.to_dict(), indent=2) + "\n")
        self.figure().savefig(name("_figure.png"))
        for kind in ("blur", "attention"):
            small, full = getattr(self, f"small_{kind}_map"), getattr(self, f"{kind}_map")
            grey_image(small).save(name(f"_{kind}.png"))
            grey_image(full, bits=16).save(name(f"_{kind}_16bit.png"), compress_level=1)  # a quarter of the time
        return files
