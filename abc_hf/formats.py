# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The formats of photos, told by the first bytes of a file, and camera RAW."""

import importlib
import io

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from .exif import shot_of_raw

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

MAX_PAGES = 16
"""The most pages of a TIFF file that are looked at."""


class PhotoError(ValueError):
    """A photo that cannot be opened; the message is its name and the reason, in one line."""


def identify(file) -> Image.Image:
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
            return open_raw(file)
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


def _is_jxl(prefix: bytes) -> bool:
    return prefix.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL "))


def _open_heif(file, filename: str) -> Image.Image:
    package = _package("pillow_heif", "HEIC photos need one more package; run `pip install pillow-heif`.")
    return package.HeifImageFile(file, filename)


def _open_jxl(file, filename: str) -> Image.Image:
    _package("pillow_jxl", 'JPEG XL needs one more package; run `pip install "abc-fusenet[jxl]"`.')
    return Image.OPEN["JXL"][0](file, filename)


def _package(name: str, missing: str):
    try:
        return importlib.import_module(name)
    except ImportError:
        raise PhotoError(missing) from None


def open_raw(file) -> Image.Image:
    rawpy = _package("rawpy", 'camera RAW needs one more package; run `pip install "abc-fusenet[raw]"`.')
    file.seek(0)
    with rawpy.imread(file) as raw:
        try:
            preview = raw.extract_thumb()
        except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
            raise PhotoError("this RAW file has no preview that can be read; export it as a JPEG.") from None
        if isinstance(preview.data, bytes):
            image = identify(io.BytesIO(preview.data))
        else:
            image = Image.fromarray(np.asarray(preview.data))
            image.getexif()[ExifTags.Base.Orientation] = {3: 3, 5: 8, 6: 6}.get(raw.sizes.flip, 1)
    image.info["shot"] = shot_of_raw(file)
    return image
