# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The one door for photos: `load_photo` takes files, bytes, images and arrays, and returns upright sRGB images."""

import base64
import io
import os
import re
import stat
import threading
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms

from .close_ups import close_ups
from .exif import orientation_of, shot_of
from .formats import RAW_EXTENSIONS, PhotoError, identify, open_raw

MAX_FILE_BYTES = 2 * 2**30
"""The largest file that is opened as a photo."""
MAX_SIDE = 100_000
"""The longest side of a photo [pixels]."""
MAX_RATIO = 500
"""The largest ratio of long to short side. A narrower photo would vanish at the working size."""
MAX_SCANS = 50
"""The most scans of a JPEG. Each scan costs as much time as a decoding; encoders write about 10."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that puts a photo upright, by EXIF orientation."""


class _Loading(threading.local):
    """Takes the place of a message pattern in `warnings.filters`; matches all messages of threads that load a photo.

    Pillow warns of damaged files, but callers get a photo or a `PhotoError` and need no warning.
    `warnings.catch_warnings` would silence the whole process, so threads could only load one after another.
    """

    active = False

    def match(self, message: str) -> bool:
        return self.active


_LOADING = _Loading()
_NO_WARNINGS = ("ignore", _LOADING, Warning, None, 0)


def load_photo(
    photo: str | os.PathLike | bytes | Image.Image | np.ndarray | dict | BinaryIO,
    *,
    max_pixels: int = 200_000_000,
    working_size: int | None = None,
    resample: int | None = None,
    look_closely: bool = False,
) -> Image.Image:
    """Open a photo: orientation applied, colours in sRGB, transparency on white, 8 bits, the first of several frames.

    Args:
        photo: a file, its bytes, an image, or an array H x W, H x W x 1, x 3 (RGB) or x 4 (RGBA) of uint8, uint16 or
            floats in 0..1. Also a file that is open in binary mode, an upload that has such a `file`, a dict with
            "bytes" or "path" as `datasets` gives, and a data URI in base64. Camera RAW is told by the file's extension
            and read through its embedded preview.
        max_pixels: width x height of the largest photo to decode.
        working_size: the long side, in pixels, that the photo will be resized to. A large JPEG file is then decoded at
            1/2, 1/4 or 1/8 of its size, the smallest that keeps the long side at least twice as long.
        resample: the filter of Pillow by which the photo is resized to its `working_shape`; None does not resize it.
        look_closely: put `CloseUps` of the whole photo into `image.info["close_ups"]`. A large JPEG file is then
            decoded twice, the second time at its full size and in grey.

    Returns:
        an RGB image. `image.info["original_size"]` is the (width, height) of the whole photo, upright; where EXIF
        says so, `"taken"` is when it was taken, by the camera's clock (ISO 8601), `"camera"` by which, and so on: see
        `exif.shot_of`.

    Raises:
        PhotoError: if the photo cannot be opened, is damaged, or is larger than `max_pixels` or the limits of this
            module (`MAX_FILE_BYTES`, `MAX_SIDE`, `MAX_RATIO`, `MAX_SCANS`), which are checked before it is decoded.
    """
    if warnings.filters[:1] != [_NO_WARNINGS]:  # before the filters that others have added since
        warnings.filters.insert(0, _NO_WARNINGS)  # type: ignore[attr-defined]  # it is a list
    _LOADING.active = True
    try:
        image = _load(photo, max_pixels, working_size, look_closely)
        if resample is None or working_size is None:
            return image
        height, width = working_shape(image.height, image.width, working_size)
        return image.resize((width, height), resample)
    except Exception as error:
        raise PhotoError(f"{name_of(photo)}: {reason(error)}") from error
    finally:
        _LOADING.active = False


def working_shape(height: int, width: int, longest_edge: int) -> tuple[int, int]:
    """The (height, width) at which a photo is judged. Its long side is at most `longest_edge`; it is never enlarged."""
    scale = min(1.0, longest_edge / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _load(photo, max_pixels, working_size, look_closely):
    photo = path_or_bytes(photo)
    if isinstance(photo, Image.Image):
        return _finish(photo, max_pixels, None, look_closely)
    if isinstance(photo, np.ndarray):
        return _finish(_from_array(photo), max_pixels, None, look_closely)
    if isinstance(photo, bytes | bytearray | memoryview):
        return _finish(identify(io.BytesIO(photo)), max_pixels, working_size, look_closely)
    if isinstance(photo, str | os.PathLike):
        open_image = open_raw if os.fspath(photo).lower().endswith(RAW_EXTENSIONS) else identify
        with open_file(photo) as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                raise PhotoError(f"the file is larger than {MAX_FILE_BYTES >> 20} MB; give a smaller copy.")
            return _finish(open_image(file), max_pixels, working_size, look_closely)
    raise PhotoError(
        f"a photo is a path, bytes, an open file, a PIL image or a NumPy array, not a {type(photo).__name__}."
    )


def path_or_bytes(photo):
    """The path or the bytes of a photo that is a dict, an upload, an open file or a data URI; anything else as it is.
    An open file is read from where it stands, and stays open. Raises PhotoError if there are no bytes."""
    if isinstance(photo, dict) and photo.keys() & {"bytes", "path"}:
        return photo.get("bytes") or photo.get("path")
    if isinstance(photo, str) and photo.startswith("data:"):
        return _from_data_uri(photo)
    stream = getattr(photo, "file", photo)
    if not hasattr(stream, "read"):
        return photo
    data = None if isinstance(stream, io.TextIOBase) else stream.read(MAX_FILE_BYTES + 1)
    if not isinstance(data, bytes):
        raise PhotoError("the open file gives no bytes; open it in binary mode, and not asynchronously.")
    if len(data) > MAX_FILE_BYTES:
        raise PhotoError(f"the file is larger than {MAX_FILE_BYTES >> 20} MB; give a smaller copy.")
    return data


def _from_data_uri(text: str) -> bytes:
    kind, comma, data = text.partition(",")
    if not (comma and kind.endswith(";base64")):
        raise PhotoError("a data URI must be like data:image/jpeg;base64,...")
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        raise PhotoError("the base64 of this data URI is damaged or cut short.") from None


def open_file(path: str | os.PathLike) -> io.BufferedReader:
    """Open a file for reading, but no pipe and no device: these may never end. Raises PhotoError if it is a pipe or a
    device. Raises OSError if it cannot be opened."""
    _check_kind(os.stat(path))
    file = open(  # noqa: SIM115  # the caller closes it
        path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
    )
    try:
        _check_kind(os.fstat(file.fileno()))  # another file may have the name by now
    except BaseException:
        file.close()
        raise
    return file


def _check_kind(status: os.stat_result):
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError
    if not stat.S_ISREG(status.st_mode):
        raise PhotoError("this is no file, but a pipe or a device.")


def name_of(photo) -> str:
    """The name of a photo in messages."""
    if isinstance(photo, Image.Image):
        return getattr(photo, "filename", "") or "the given image"
    if isinstance(photo, str) and photo.startswith("data:"):
        return "the given data URI"
    if isinstance(photo, dict) and photo.get("path"):
        return str(photo["path"])
    if isinstance(photo, str | os.PathLike):
        return str(photo)
    if isinstance(name := getattr(photo, "filename", None) or getattr(photo, "name", None), str):
        return name
    return f"the given {'array' if isinstance(photo, np.ndarray) else type(photo).__name__}"


def reason(error: Exception) -> str:
    """The reason why a photo cannot be opened, as a sentence."""
    match error:
        case PhotoError():
            return str(error)
        case FileNotFoundError():
            return "there is no such file."
        case IsADirectoryError():
            return "this is a folder; name the photos in it."
        case PermissionError():
            return "the file may not be read; check its permissions."
        case Image.DecompressionBombError():
            return "it has more pixels than Pillow decodes in this format; give a smaller copy."
        case MemoryError():
            return "there is not enough memory to open it."
        case OSError() if error.errno:
            return f"the file cannot be opened ({error.strerror})."
        case ValueError() if "null byte" in str(error):
            return "no file can have a null byte in its name."
    detail = " ".join(str(error).split()) or type(error).__name__
    return f"cannot be read; it is damaged, cut short or of a rare kind ({detail})."


def _finish(
    image: Image.Image, max_pixels: int, working_size: int | None = None, look_closely: bool = False
) -> Image.Image:
    """Decode an image and bring it to upright sRGB."""
    _check_size(image.size, max_pixels)
    _check_scans(image)
    width, height = image.size
    whole = None
    if working_size and image.format in ("JPEG", "MPO"):
        wide, high = (max(1, 2 * working_size * side // max(width, height)) for side in image.size)
        image.draft(None, (wide, high))
        whole = _grey(image) if look_closely and image.size != (width, height) else None
    image.load()
    _check_size(image.size, max_pixels)  # a file inside a file, such as an icon's PNG, may be larger than announced
    orientation, shot = orientation_of(image), shot_of(image)
    image, *others = (
        each.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else each
        for each in (_to_rgb(image), whole)
        if each
    )
    if look_closely:
        shot["close_ups"] = close_ups(others[0] if others else image, image)
    image.info = {"original_size": (height, width) if orientation in (5, 6, 7, 8) else (width, height), **shot}
    return image


def _grey(image: Image.Image) -> Image.Image:
    """The grey picture of a JPEG file at its full size, which takes a third of the time of its colours."""
    assert image.fp  # type: ignore[attr-defined]
    image.fp.seek(0)  # type: ignore[attr-defined]
    grey = Image.open(image.fp, formats=("JPEG", "MPO"))  # type: ignore[attr-defined]
    grey.draft("L", grey.size)
    return grey.convert("L")


def _check_size(size: tuple[int, int], max_pixels: int):
    """Raise a `PhotoError` for a photo that is too large or too narrow to be decoded."""
    width, height = size
    if max(size) > MAX_SIDE or max(size) > MAX_RATIO * min(size):
        raise PhotoError(
            f"it is {width} x {height}; a photo is at most {MAX_SIDE} pixels long, and its long side at most "
            f"{MAX_RATIO} times the short one."
        )
    if width * height > max_pixels:
        raise PhotoError(
            f"{width} x {height} is {width * height / 1e6:.1f} megapixels and the limit is {max_pixels / 1e6:.1f}; "
            "give a smaller copy, or raise max_pixels."
        )


def _check_scans(image: Image.Image):
    """Raise a `PhotoError` for a JPEG of more than `MAX_SCANS`."""
    file = getattr(image, "fp", None)
    if image.format not in ("JPEG", "MPO") or file is None:
        return
    place = file.tell()
    file.seek(0)
    scans = _count_scans(file.read(), MAX_SCANS + 1)
    file.seek(place)
    if scans > MAX_SCANS:
        raise PhotoError(f"it has more than {MAX_SCANS} scans, which take too long to decode; save it again.")


def _count_scans(data: bytes, most: int) -> int:
    """The scans of a JPEG file, counted up to `most`. A file whose first scan holds all colours has no others."""
    place, colours, scans = 2, 0, 0
    while scans < most and (found := _MARKER.search(data, place)):
        kind, start = found[1][0], found.end()
        if kind == 0xD9:  # end of the image
            break
        length = int.from_bytes(data[start : start + 2])
        if kind in (0xC0, 0xC1):  # a baseline frame
            colours = data[start + 7 : start + 8]
        if kind == 0xDA:
            scans += 1
            if data[start + 2 : start + 3] == colours:
                break
        place = start + length
    return scans


_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd8])")
"""A marker of a JPEG file that begins a segment, or ends the image."""


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: full range of more than 8 bits, colours by the profile, transparency on white."""
    profile = image.info.get("icc_profile")
    if image.mode[0] in "IF":
        image = _from_array(_full_range(image))
    if image.mode == "La":  # grey multiplied by alpha: Pillow converts this mode to LA only
        image = image.convert("LA")
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    if profile:
        image = _to_srgb(image, profile)
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image)
        return white
    return image.convert("RGB")


def _full_range(image: Image.Image) -> np.ndarray:
    """An image of more than 8 bits as H x W floats in 0..1. 1 is the largest value of the file's number of bits."""
    values = np.asarray(image)
    if image.mode == "F":
        return values
    tags = getattr(image, "tag_v2", {})
    bits, signed = tags.get(258, (16,))[0], tags.get(339) == (2,)
    if not signed:
        values = values.astype(np.uint32)
    values = np.divide(values, np.float32(2 ** (bits - signed) - 1), dtype=np.float32)  # float64 takes twice the memory
    return np.clip(values, 0, 1, out=values)


def _from_array(array: np.ndarray) -> Image.Image:
    """H x W, H x W x 1, x 3 or x 4 of uint8, uint16 or floats in 0..1 to an L, RGB or RGBA image."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PhotoError(f"expected H x W, H x W x 1, H x W x 3 or H x W x 4 pixels; got the shape {array.shape}.")
    if array.dtype == np.uint16:
        array = array / np.float32(65535)
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):  # also true of NaN
            raise PhotoError(f"floats must be in 0..1; got {array.min():.4g}..{array.max():.4g}; scale or clip them.")
        array = np.rint(array * np.float32(255)).astype(np.uint8)
    if array.dtype != np.uint8:
        raise PhotoError(f"expected uint8, uint16 or floats in 0..1; got {array.dtype}.")
    return Image.fromarray(array)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Apply an embedded ICC profile. A profile that is broken or made for another kind of image is ignored."""
    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(image, source, target, outputMode=mode) or image
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return image
