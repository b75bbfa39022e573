# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The facts of a shot in its photo: time, camera, settings and rating. A damaged EXIF block never spoils the photo."""

import contextlib
import math
import re
from datetime import datetime

from PIL import ExifTags, Image

MAX_TEXT = 200
"""The most characters kept of a text in EXIF."""
SETTINGS = {
    "exposure_time": ExifTags.Base.ExposureTime,
    "f_number": ExifTags.Base.FNumber,
    "iso": ExifTags.Base.ISOSpeedRatings,
    "exposure_bias": ExifTags.Base.ExposureBiasValue,
    "focal_length": ExifTags.Base.FocalLength,
    "subject_distance": ExifTags.Base.SubjectDistance,
}
"""The numbers that are read from EXIF [s, -, -, EV, mm, m]."""


def orientation_of(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises many types of errors
        return 1


def shot_of(image: Image.Image) -> dict:
    """`camera`, `taken`, `body` (a serial number), `rating`, and the numbers of `SETTINGS`, as far as EXIF has them;
    `xmp` is the XMP packet."""
    try:
        packet = {"xmp": image.info["xmp"]} if isinstance(image.info.get("xmp"), bytes) else {}
        return packet | image.info.get("shot", {}) | _read(image.getexif())
    except Exception:
        return {}


def shot_of_raw(file) -> dict:
    """The same of a camera RAW file. Its preview often lacks the data, but most RAW files are TIFF files."""
    exif = Image.Exif()
    try:
        file.seek(0)
        exif.load_from_fp(file)
        return _read(exif)
    except Exception:  # not a TIFF
        return {}


def _read(exif: Image.Exif) -> dict:
    shot: dict = {}
    make, model = (_words(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    if model:
        known = model.lower().startswith(make.lower().split(" ")[0])  # NIKON CORPORATION, NIKON D850
        shot["camera"] = (model if known else f"{make} {model}")[:MAX_TEXT]
    details = exif.get_ifd(ExifTags.IFD.Exif)
    with contextlib.suppress(ValueError):
        taken = datetime.strptime(_words(details.get(ExifTags.Base.DateTimeOriginal))[:19], "%Y:%m:%d %H:%M:%S")
        fraction = _words(details.get(ExifTags.Base.SubsecTimeOriginal))
        shot["taken"] = taken.isoformat() + (f".{fraction}" if re.fullmatch("[0-9]{1,9}", fraction) else "")
    if body := _words(details.get(ExifTags.Base.BodySerialNumber) or exif.get(ExifTags.Base.CameraSerialNumber)):
        shot["body"] = body
    for name, tag in SETTINGS.items():
        with contextlib.suppress(ArithmeticError, LookupError, TypeError, ValueError):
            value = float(details[tag][0] if isinstance(details[tag], tuple) else details[tag])
            if math.isfinite(value):
                shot[name] = value
    if isinstance(rating := exif.get(ExifTags.Base.Rating), int) and 0 < rating <= 5:
        shot["rating"] = rating
    if isinstance(packet := exif.get(ExifTags.Base.XMLPacket), bytes):
        shot["xmp"] = packet
    return shot


def _words(value) -> str:
    """Text of an EXIF tag in one line of at most `MAX_TEXT` characters, without the blanks and zeros at its end."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    text = "".join(letter if letter.isprintable() else " " for letter in text[: 10 * MAX_TEXT])
    return " ".join(text.split())[:MAX_TEXT]
