# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The one door for photos: `load_photo` takes files, bytes, images and arrays, and returns upright sRGB images."""

import base64
import contextlib
import io
import math
import os
import re
import stat
import threading
import warnings
from datetime import datetime
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

from .close_ups import close_ups

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "AVIF": (".avif", ".avifs"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm", ".pfm"),
    "ICO": (".ico",),
}
"""The formats that Pillow tries, by content, with their usual extensions. Others are left out: some run programs."""
HEIF_EXTENSIONS = (".heic", ".heif", ".hif")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
JXL_EXTENSIONS = (".jxl",)
RAW_EXTENSIONS = tuple(
    ".3fr .arw .cr2 .cr3 .crw .dng .erf .fff .gpr .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2 .rwl .srf "
    ".sr2 .srw .x3f".split()
)
OTHERS = (".insp",)  # JPEG of 360-degree cameras
PHOTO_EXTENSIONS = tuple(
    sorted({*sum(FORMATS.values(), ()), *HEIF_EXTENSIONS, *JXL_EXTENSIONS, *RAW_EXTENSIONS, *OTHERS})
)
"""Extensions, in lower case, of the files `load_photo` opens. Only camera RAW is recognised by its extension."""

MAX_FILE_BYTES = 2 * 2**30
"""The largest file that is opened as a photo."""
MAX_SIDE = 100_000
"""The longest side of a photo [pixels]."""
MAX_RATIO = 500
"""The largest ratio of long to short side. A narrower photo would vanish at the working size."""
MAX_SCANS = 50
"""The most scans of a JPEG. Each scan costs as much time as a decoding; encoders write about 10."""
MAX_PAGES = 16
"""The most pages of a TIFF file that are looked at."""
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


class PhotoError(ValueError):
    """A photo that cannot be opened; the message is its name and the reason, in one line."""


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
        `_exif_shot`.

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
    photo = plain(photo)
    if isinstance(photo, Image.Image):
        return _finish(photo, max_pixels, None, look_closely)
    if isinstance(photo, np.ndarray):
        return _finish(_from_array(photo), max_pixels, None, look_closely)
    if isinstance(photo, bytes | bytearray | memoryview):
        return _finish(_identify(io.BytesIO(photo)), max_pixels, working_size, look_closely)
    if isinstance(photo, str | os.PathLike):
        identify = _open_raw if os.fspath(photo).lower().endswith(RAW_EXTENSIONS) else _identify
        with open_file(photo) as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                raise PhotoError(f"the file is larger than {MAX_FILE_BYTES >> 20} MB; give a smaller copy.")
            return _finish(identify(file), max_pixels, working_size, look_closely)
    raise PhotoError(
        f"a photo is a path, bytes, an open file, a PIL image or a NumPy array, not a {type(photo).__name__}."
    )


def plain(photo):
    """What a photo is in plain words: of a dict, an upload, an open file or a data URI, the path or the bytes; anything
    else as it is. An open file is read from where it stands, and stays open.

    Raises:
        PhotoError: if there are no bytes.
    """
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
    """Open a file for reading, but no pipe and no device: these may never end.

    Raises:
        PhotoError: if it is a pipe or a device.
        OSError: if it cannot be opened.
    """
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


def _identify(file) -> Image.Image:
    """`Image.open` for `FORMATS` and HEIF, without Pillow's pixel limit, which holds for the whole process."""
    Image.init()
    prefix = file.read(16)
    if not prefix:
        raise PhotoError("the file is empty.")
    error: Exception = PhotoError("not a photo that can be read; if it is one, save it as JPEG or PNG.")
    known = [Image.OPEN[name] for name in FORMATS if name in Image.OPEN]
    for factory, accept in [*known, (_open_heif, _is_heif), (_open_jxl, _is_jxl)]:
        if len(prefix) > 2 and accept and accept(prefix) is True:
            file.seek(0)
            try:
                image = factory(file, "")
            except Exception as failure:  # another format may begin with the same bytes
                error = failure
            else:
                return _full_picture(image, file) if isinstance(image, TiffImagePlugin.TiffImageFile) else image
    raise error


def _full_picture(image: TiffImagePlugin.TiffImageFile, file) -> Image.Image:
    """The full picture of a TIFF file. Its first page may be a thumbnail, as tag 254 says. The picture is then another
    page, or a directory below the first (tag 330). If that is a sensor's (tag 262), this is camera RAW under another
    name."""
    if not image.tag_v2.get(254, 0) & 1:
        return image
    below = image.tag_v2.get(330, ())
    for offset in (below if isinstance(below, tuple) else (below,))[:MAX_PAGES]:
        file.seek(0)
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(offset)
        tags.load(file)
        if tags.get(262) in (32803, 34892):
            return _open_raw(file)
        if not tags.get(254, 0) & 1:
            return TiffImagePlugin.TiffImageFile(_OtherPage(file, offset))
    for page in range(1, MAX_PAGES):
        try:
            image.seek(page)
        except EOFError:
            break
        if not image.tag_v2.get(254, 0) & 1:
            return image
    image.seek(0)
    return image


class _OtherPage:
    """A TIFF file whose header leads to another page."""

    def __init__(self, file, offset: int):
        self.file, self.offset = file, offset
        file.seek(0)

    def __getattr__(self, name: str):
        return getattr(self.file, name)

    def read(self, size: int = -1) -> bytes:
        at_start, data = self.file.tell() == 0, self.file.read(size)
        if not at_start or len(data) < 8:
            return data
        return data[:4] + self.offset.to_bytes(4, "little" if data[:2] == b"II" else "big") + data[8:]


def _is_heif(prefix: bytes) -> bool:
    return prefix[4:8] == b"ftyp" and prefix[8:12] in HEIF_BRANDS


def _open_heif(file, filename: str) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise PhotoError("HEIC photos need one more package; run `pip install pillow-heif`.") from None
    return HeifImageFile(file, filename)


def _is_jxl(prefix: bytes) -> bool:
    return prefix.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL "))


def _open_jxl(file, filename: str) -> Image.Image:
    try:
        import pillow_jxl  # noqa: F401
    except ImportError:
        raise PhotoError('JPEG XL needs one more package; run `pip install "abc-fusenet[jxl]"`.') from None
    return Image.OPEN["JXL"][0](file, filename)


def _open_raw(file) -> Image.Image:
    try:
        import rawpy
    except ImportError:
        raise PhotoError('camera RAW needs one more package; run `pip install "abc-fusenet[raw]"`.') from None
    file.seek(0)
    with rawpy.imread(file) as raw:
        try:
            preview = raw.extract_thumb()
        except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
            raise PhotoError("this RAW file has no preview that can be read; export it as a JPEG.") from None
        if isinstance(preview.data, bytes):
            image = _identify(io.BytesIO(preview.data))
        else:
            image = Image.fromarray(np.asarray(preview.data))
            image.getexif()[ExifTags.Base.Orientation] = {3: 3, 5: 8, 6: 6}.get(raw.sizes.flip, 1)
    image.info["shot"] = _raw_shot(file)
    return image


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
    orientation, shot = _orientation(image), _shot(image)
    image, *others = (
        each.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else each
        for each in (_to_rgb(image), whole)
        if each
    )
    if look_closely:
        shot["close_ups"] = close_ups(others[0] if others else image)
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


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block does not spoil the photo
        return 1


def _shot(image: Image.Image) -> dict:
    """What a photo says of its shot, see `_exif_shot`; `xmp` is its XMP packet."""
    try:
        packet = {"xmp": image.info["xmp"]} if isinstance(image.info.get("xmp"), bytes) else {}
        return packet | image.info.get("shot", {}) | _exif_shot(image.getexif())
    except Exception:  # a damaged EXIF block does not spoil the photo
        return {}


def _raw_shot(file) -> dict:
    """Time and camera of a camera RAW file. Its preview often lacks them, but most RAW files are TIFF files."""
    exif = Image.Exif()
    try:
        file.seek(0)
        exif.load_from_fp(file)
        return _exif_shot(exif)
    except Exception:  # not a TIFF: Pillow raises many types of errors, and the photo itself is fine
        return {}


def _exif_shot(exif: Image.Exif) -> dict:
    """What EXIF says of a shot: `camera`, `taken`, `body` (a serial number), `rating`, and the numbers of `SETTINGS`;
    `xmp` is the XMP packet of a TIFF file."""
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
