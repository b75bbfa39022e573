import base64
import io
import os
import re
import struct
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, features

from abc_hf import photos
from abc_hf.formats import FORMATS, PHOTO_EXTENSIONS, RAW_EXTENSIONS
from abc_hf.photos import PhotoError, load_photo

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def quadrants(height=48, width=32):
    """H x W x 3: red top left, green top right, blue bottom left, black bottom right."""
    photo = np.zeros((height, width, 3), np.uint8)
    photo[: height // 2, : width // 2], photo[: height // 2, width // 2 :] = RED, GREEN
    photo[height // 2 :, : width // 2] = BLUE
    return photo


def encode(image, format, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def assert_close(image, expected, tolerance):
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - np.asarray(expected).astype(int)).max() <= tolerance


# --- what a photo may come as ---


def test_every_kind_of_input_gives_the_same_photo(tmp_path):
    photo = quadrants()
    path = tmp_path / "photo.png"
    path.write_bytes(encode(photo, "PNG"))
    with Image.open(path) as image:
        for given in (path, str(path), path.read_bytes(), image, photo, photo / 255, photo.astype(np.uint16) * 257):
            loaded = load_photo(given)
            assert type(loaded) is Image.Image
            assert_close(loaded, photo, 0)
            assert loaded.info == {"original_size": (32, 48)}


def test_grey_and_rgba_arrays():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    expected = np.stack([grey] * 3, axis=-1)
    assert_close(load_photo(grey), expected, 0)
    assert_close(load_photo(grey[..., None]), expected, 0)
    assert_close(load_photo(grey / np.float64(255)), expected, 0)
    half_clear = np.full((2, 2, 4), (255, 0, 0, 51), np.uint8)  # a fifth of red on white
    assert load_photo(half_clear).getpixel((0, 0)) == (255, 204, 204)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (np.zeros((3, 8, 8), np.uint8), "the given array: expected H x W"),
        (np.zeros((0, 8, 3), np.uint8), "the given array: expected H x W"),
        (np.zeros((8, 8), np.int64), "the given array: expected uint8"),
        (np.full((8, 8, 3), 2.5), "the given array: floats must be in 0..1; got 2.5..2.5"),
        (np.full((8, 8, 3), np.nan), "the given array: floats must be in 0..1"),
        ([1, 2], "the given list: a photo is a path, bytes"),
        (b"", "the given bytes: the file is empty"),
        (b"%PDF-1.7 not a photo at all", "the given bytes: not a photo"),
        (b"P", "the given bytes: not a photo"),
        ("a\0b.jpg", "a\0b.jpg: no file can have a null byte in its name."),
        ("a" * 300 + ".jpg", "a" * 300 + ".jpg: the file cannot be opened (File name too long)."),
        (f"{__file__}/a.jpg", f"{__file__}/a.jpg: the file cannot be opened (Not a directory)."),
    ],
)
def test_what_is_not_a_photo_is_refused_in_one_sentence(given, reason):
    with pytest.raises(PhotoError) as caught:
        load_photo(given)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


def test_grey_multiplied_by_its_alpha():
    image = Image.new("LA", (2, 2), (0, 51)).convert("La")
    assert load_photo(image).getpixel((0, 0)) == (204, 204, 204)


def test_errors_name_the_file(tmp_path):
    (tmp_path / "notes.jpg").write_text("no photo here")
    (tmp_path / "cut.png").write_bytes(encode(quadrants(), "PNG")[:90])
    for name, reason in [
        ("missing.jpg", "there is no such file."),
        ("", "this is a folder; name the photos in it."),
        ("notes.jpg", "not a photo that can be read; if it is one, save it as JPEG or PNG."),
        ("cut.png", "cannot be read; it is damaged, cut short or of a rare kind ("),
    ]:
        with pytest.raises(PhotoError) as caught:
            load_photo(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {reason}")


# --- upright ---

CORNER = {  # EXIF 2.3, table 6: where the first stored row and the first stored column are seen
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored(upright, orientation):
    """How a camera stores an upright photo under that EXIF orientation."""
    row, column = CORNER[orientation]
    if "bottom" in (row, column):
        upright = upright[::-1]
    if "right" in (row, column):
        upright = upright[:, ::-1]
    return upright.swapaxes(0, 1) if row in ("left", "right") else upright


@pytest.mark.parametrize("orientation", CORNER)
@pytest.mark.parametrize(("format", "tolerance"), [("PNG", 0), ("TIFF", 0), ("JPEG", 12), ("WEBP", 0)])
def test_orientation(format, tolerance, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(format, {})
    loaded = load_photo(encode(stored(quadrants(), orientation), format, exif=exif, **options))
    assert_close(loaded, quadrants(), tolerance)
    assert loaded.info == {"original_size": (32, 48)}
    assert not loaded.getexif()


def test_loading_twice_turns_once_and_leaves_the_given_image_alone():
    exif = Image.Exif()
    exif[0x0112] = 6
    given = Image.open(io.BytesIO(encode(stored(quadrants(), 6), "PNG", exif=exif)))
    assert_close(load_photo(load_photo(given)), quadrants(), 0)
    assert given.getexif()[0x0112] == 6
    assert given.size == (48, 32)


def test_damaged_exif_is_ignored():
    for exif in (b"Exif\0\0not a directory", b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01"):
        assert_close(load_photo(encode(quadrants(), "PNG", exif=exif)), quadrants(), 0)


# --- colours ---


def test_transparency_goes_on_white():
    clear_red, clear_grey = Image.new("RGBA", (4, 4), (255, 0, 0, 51)), Image.new("LA", (4, 4), (0, 51))
    assert load_photo(encode(clear_red, "PNG")).getpixel((0, 0)) == (255, 204, 204)
    assert load_photo(encode(clear_grey, "PNG")).getpixel((0, 0)) == (204, 204, 204)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([*BLUE, *RED])
    assert load_photo(encode(palette, "PNG", transparency=1)).getpixel((0, 0)) == WHITE
    assert load_photo(encode(palette, "PNG", transparency=bytes([255, 51]))).getpixel((0, 0)) == (255, 204, 204)
    assert load_photo(encode(palette, "GIF", transparency=0)).getpixel((0, 0)) == RED
    keyed = encode(quadrants(), "PNG", transparency=GREEN)
    assert [load_photo(keyed).getpixel(xy) for xy in ((0, 0), (31, 0))] == [RED, WHITE]


def png16(pixels):
    """A 16-bit PNG (Pillow writes only grey ones) of H x W or H x W x 3 uint16."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_16_bits_keep_their_full_range():
    levels = np.array([[0, 10, 100, 255]], np.uint8)
    wide = levels.astype(np.uint16) * 257
    expected = np.stack([levels] * 3, axis=-1)
    for given in (
        wide,
        Image.fromarray(wide),
        Image.fromarray(wide.astype(np.int32)),
        png16(wide),
        encode(wide, "TIFF"),
        encode(wide.astype(">u2"), "TIFF"),
        encode(Image.fromarray(wide.astype(np.int32)), "PPM"),
        encode(Image.fromarray((levels * (0x7FFFFFFF / 255)).astype(np.int32)), "TIFF"),
        encode(Image.fromarray(levels / np.float32(255)), "TIFF"),
    ):
        assert_close(load_photo(given), expected, 0)
    unsigned = (levels * np.float64(0xFFFFFFFF / 255)).astype("<u4").tobytes()
    first = directory(8 + len(unsigned), strip(8, (4, 1), 1, 32, 1, len(unsigned)))
    assert_close(load_photo(struct.pack("<2sHI", b"II", 42, 8 + len(unsigned)) + unsigned + first), expected, 0)
    dark = np.full((4, 4), 257 * 3, np.uint16)  # a dark photo stays dark
    assert load_photo(png16(dark)).getpixel((0, 0)) == (3, 3, 3)
    assert load_photo(png16(np.full((4, 4, 3), (65535, 25700, 257), np.uint16))).getpixel((0, 0)) == (255, 100, 1)


def test_cmyk_jpeg():
    cyan, red = Image.new("CMYK", (16, 16), (255, 0, 0, 0)), Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert_close(load_photo(encode(cyan, "JPEG")), np.full((16, 16, 3), (0, 255, 255)), 2)
    assert_close(load_photo(encode(red, "TIFF")), np.full((16, 16, 3), RED), 0)


def test_colour_profile_is_applied_and_a_broken_one_ignored():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"swap").replace(b"bXYZ", b"rXYZ").replace(b"swap", b"bXYZ")
    red = Image.new("RGB", (4, 4), RED)
    assert_close(load_photo(encode(red, "PNG", icc_profile=srgb)), np.full((4, 4, 3), RED), 2)
    assert_close(load_photo(encode(red, "PNG", icc_profile=swapped)), np.full((4, 4, 3), BLUE), 2)
    clear_red = Image.new("RGBA", (4, 4), (*RED, 51))
    assert_close(load_photo(encode(clear_red, "PNG", icc_profile=swapped)), np.full((4, 4, 3), (204, 204, 255)), 2)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for useless in (b"not a profile", swapped[:200], lab):
        assert_close(load_photo(encode(red, "PNG", icc_profile=useless)), np.full((4, 4, 3), RED), 0)


@pytest.mark.parametrize(("format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_first_frame_of_an_animation(format, options):
    first, second = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)
    data = encode(first, format, save_all=True, append_images=[second], **options)
    assert load_photo(data).getpixel((4, 4)) == RED


# --- formats that need more than Pillow ---


def test_heic():
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(quadrants(96, 64))).save(file, quality=95)
    assert_close(load_photo(file.getvalue()).resize((2, 2), Image.Resampling.BOX), quadrants(2, 2), 12)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow is built without AVIF")
def test_avif():
    data = encode(quadrants(96, 64), "AVIF", quality=95)
    assert_close(load_photo(data).resize((2, 2), Image.Resampling.BOX), quadrants(2, 2), 12)


def test_missing_readers_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(PhotoError, match=r"given bytes: .* run `pip install pillow-heif`"):
        load_photo(b"\0\0\0\x18ftypheic\0\0\0\0")
    (tmp_path / "photo.NEF").write_bytes(b"II*\0")
    with pytest.raises(PhotoError, match=r'photo.NEF: .* run `pip install "abc-fusenet\[raw\]"`'):
        load_photo(tmp_path / "photo.NEF")


def directory(start, tags):
    """A TIFF directory at byte `start` of rows (tag, kind, *values); the values too long for a row follow it."""
    head, tail = struct.pack("<H", len(tags)), b""
    for tag, kind, *values in sorted(tags):
        code = {1: "B", 2: "B", 3: "H", 4: "I", 10: "i"}[kind]
        data = struct.pack(f"<{len(values)}{code}", *values)
        if len(data) > 4:
            data, tail = struct.pack("<I", start + 6 + 12 * len(tags) + len(tail)), tail + data
        head += struct.pack("<HHI", tag, kind, len(values) // (2 if kind == 10 else 1)) + data.ljust(4, b"\0")
    return head + bytes(4) + tail


def strip(offset, size, channels, bits, photometric, length, compression=1):
    """The tags of an image that is stored in one piece."""
    (width, height), bits = size, [bits] * channels
    layout = [(256, 4, width), (257, 4, height), (258, 3, *bits), (259, 3, compression), (262, 3, photometric)]
    return [*layout, (273, 4, offset), (277, 3, channels), (278, 4, height), (279, 4, length)]


def dng(preview, size, compression, orientation):
    """A DNG: an 8 x 8 thumbnail first, as cameras do, then 64 x 64 black Bayer pixels and the preview (7 is JPEG)."""
    thumbnail, bayer = bytes(8 * 8 * 3), bytes(64 * 64 * 2)
    at_bayer = 8 + len(thumbnail)
    at_preview = at_bayer + len(bayer)
    at_first = at_preview + len(preview)
    bayer_tags = [(254, 4, 0), *strip(at_bayer, (64, 64), 1, 16, 32803, len(bayer))]
    bayer_tags += [(33421, 3, 2, 2), (33422, 1, 0, 1, 1, 2)]
    photometric = 6 if compression == 7 else 2
    preview_tags = [(254, 4, 1), *strip(at_preview, size, 3, 8, photometric, len(preview), compression)]

    def first(at_second, at_third):
        tags = [(254, 4, 1), *strip(8, (8, 8), 3, 8, 2, len(thumbnail)), (274, 3, orientation)]
        tags += [(271, 2, *b"Maker\0"), (272, 2, *b"Camera\0"), (50708, 2, *b"Maker Camera\0"), (50706, 1, 1, 4, 0, 0)]
        tags += [(50721, 10, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), (330, 4, at_second, at_third)]
        return directory(at_first, tags)

    at_second = at_first + len(first(0, 0))
    second = directory(at_second, bayer_tags)
    at_third = at_second + len(second)
    head, third = struct.pack("<2sHI", b"II", 42, at_first), directory(at_third, preview_tags)
    return b"".join([head, thumbnail, bayer, preview, first(at_second, at_third), second, third])


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("compression", [7, 1])
def test_camera_raw_is_read_through_its_preview(tmp_path, compression, orientation):
    pytest.importorskip("rawpy")
    preview = stored(quadrants(), orientation)
    height, width = preview.shape[:2]
    data = encode(preview, "JPEG", quality=95, subsampling=0) if compression == 7 else preview.tobytes()
    path = tmp_path / "photo.DNG"
    path.write_bytes(dng(data, (width, height), compression, orientation))
    for given in (path, path.read_bytes()):
        assert_close(load_photo(given), quadrants(), 12)
        assert load_photo(given).info["camera"] == "Maker Camera"
    path.write_bytes(b"II*\0 and nothing else")
    with pytest.raises(PhotoError, match="photo.DNG: cannot be read"):
        load_photo(path)


@pytest.mark.parametrize(
    ("tags", "details", "expected"),
    [
        ({271: "Canon", 272: "Canon EOS R5"}, {36867: "2024:05:01 12:34:56"}, ("2024-05-01T12:34:56", "Canon EOS R5")),
        (
            {271: "SONY", 272: "ILCE-7M4 \0"},
            {36867: "2024:05:01 12:34:56", 37521: "070"},
            ("2024-05-01T12:34:56.070", "SONY ILCE-7M4"),
        ),
        ({271: "NIKON CORPORATION", 272: "NIKON D850"}, {36867: "0000:00:00 00:00:00"}, (None, "NIKON D850")),
        ({272: "Film"}, {36867: "yesterday", 37521: "x"}, (None, "Film")),
        ({}, {36867: "2024:05:01 12:34:56", 37521: "²"}, ("2024-05-01T12:34:56", None)),
        ({271: "Canon"}, {}, (None, None)),
    ],
)
def test_when_and_by_which_camera(tags, details, expected):
    exif = Image.Exif()
    exif.update(tags)
    exif.get_ifd(ExifTags.IFD.Exif).update(details)
    info = load_photo(encode(quadrants(), "JPEG", exif=exif)).info
    assert (info.get("taken"), info.get("camera")) == expected


# --- large, damaged, many at once ---


def gradient(height, width):
    red, green = np.linspace(0, 255, width), np.linspace(0, 255, height)
    return np.stack(np.broadcast_arrays(red, green[:, None], 128.0), axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("working_size", "size"),
    [(None, (1201, 801)), (601, (1201, 801)), (300, (601, 401)), (100, (301, 201)), (10, (151, 101))],
)
def test_large_jpeg_is_decoded_at_a_fraction(working_size, size):
    loaded = load_photo(encode(gradient(801, 1201), "JPEG", quality=95), working_size=working_size)
    assert loaded.size == size
    assert loaded.info == {"original_size": (1201, 801)}
    assert_close(loaded, gradient(size[1], size[0]), 4)


def test_original_size_is_upright_also_for_a_reduced_photo():
    exif = Image.Exif()
    exif[0x0112] = 8
    loaded = load_photo(encode(gradient(80, 120), "JPEG", exif=exif), working_size=10)
    assert (loaded.size, loaded.info["original_size"]) == ((20, 30), (80, 120))


def test_pixel_limit_is_ours_and_pillows_is_left_alone(monkeypatch):
    bomb = bytearray(png16(np.zeros((1, 1), np.uint16)))
    bomb[16:24] = struct.pack(">II", 100_000, 50_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    with pytest.raises(PhotoError, match="100000 x 50000 is 5000.0 megapixels and the limit is 200.0"):
        load_photo(bytes(bomb))
    with pytest.raises(PhotoError, match="the given array: 32 x 48 is .* raise max_pixels"):
        load_photo(quadrants(), max_pixels=32 * 48 - 1)
    assert load_photo(quadrants(), max_pixels=32 * 48).size == (32, 48)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert load_photo(encode(quadrants(), "PNG")).size == (32, 48)
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "PPM"])
def test_cut_short_is_an_error_not_half_a_photo(format):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, format)
    assert load_photo(data).size == (64, 64)
    for fraction in (0.1, 0.5, 0.9):
        with pytest.raises(PhotoError):
            load_photo(data[: int(len(data) * fraction)])


def test_a_file_that_is_not_what_its_header_says():
    icon = bytearray(encode(quadrants(), "ICO", sizes=[(32, 48)]))
    icon[6:8] = 16, 24  # Pillow warns of it
    loaded = load_photo(bytes(icon))
    assert loaded.info == {"original_size": (32, 48)}
    assert_close(loaded, quadrants(), 0)


@pytest.mark.parametrize("action", ["error", "always", "default"])
def test_what_pillow_warns_of_is_neither_heard_nor_an_error(action):
    """Whatever filters the caller has, and sets between two calls."""
    icon = bytearray(encode(quadrants(), "ICO", sizes=[(32, 48)]))
    icon[6:8] = 16, 24
    with warnings.catch_warnings(record=True) as heard:
        for _ in range(2):
            warnings.simplefilter(action)
            assert load_photo(bytes(icon)).size == (32, 48)
        assert not heard
        warnings.simplefilter("always")
        Image.open(io.BytesIO(icon)).load()  # the same outside of load_photo
        assert len(heard) == 1
        warnings.simplefilter("error")
        with pytest.raises(PhotoError):
            load_photo(b"no photo")
        with pytest.raises(UserWarning):
            Image.open(io.BytesIO(icon)).load()


def test_threads_load_side_by_side_and_silence_themselves_alone(monkeypatch):
    side_by_side = threading.Barrier(3)

    def load(photo, *_):
        side_by_side.wait(60)
        warnings.warn(f"from within {photo}", stacklevel=1)
        side_by_side.wait(60)

    monkeypatch.setattr(photos, "_load", load)
    threads = [threading.Thread(target=load_photo, args=(name,)) for name in ("first", "second")]
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for thread in threads:
            thread.start()
        side_by_side.wait(60)  # both are loading
        warnings.warn("from without", stacklevel=1)
        side_by_side.wait(60)
        for thread in threads:
            thread.join()
    assert [str(warning.message) for warning in heard] == ["from without"]


def test_extensions_are_those_pillow_knows():
    known = Image.registered_extensions()
    for format, extensions in FORMATS.items():
        assert {known[extension] for extension in extensions} <= {format, "MPO"}
    assert {".jpg", ".heic", ".avif", ".nef", ".dng"} < set(PHOTO_EXTENSIONS)
    assert all(extension.startswith(".") and extension.islower() for extension in PHOTO_EXTENSIONS)
    assert not set(RAW_EXTENSIONS) & set(known)


@pytest.mark.slow
def test_damaged_and_odd_files_give_a_photo_or_one_sentence():
    if "ABC_SHARED" not in os.environ:
        pytest.skip("set ABC_SHARED to the folder that holds bad_inputs/")
    paths = [path for path in Path(os.environ["ABC_SHARED"], "bad_inputs").rglob("*") if path.is_file()]
    assert len(paths) == 494
    opened = 0
    for path in paths:
        try:
            photo = load_photo(path)
        except PhotoError as error:
            sentence = str(error)
            if not sentence.startswith(f"{path}: ") or "\n" in sentence:
                pytest.fail(sentence)
        else:
            assert photo.mode == "RGB"
            assert photo.size == photo.info["original_size"]
            opened += 1
    assert opened >= 140


def png_header(width: int, height: int) -> bytes:
    """A PNG of some bytes that says it has this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(200_000_000, 1), (1, 99_000_000), (100_001, 500), (501, 1), (2, 1001)])
def test_sizes_are_checked_before_pixels_are_touched(monkeypatch, size):
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(PhotoError, match=f"it is {size[0]} x {size[1]}; a photo is at most 100000 pixels long"):
        load_photo(png_header(*size))


@pytest.mark.parametrize("size", [(500, 1), (3, 1500)])
def test_a_narrow_photo(size):
    assert load_photo(Image.new("RGB", size)).size == size


def test_an_icon_that_holds_a_larger_photo_than_it_says():
    icon = io.BytesIO()
    Image.new("RGB", (16, 16)).save(icon, "ICO", sizes=[(16, 16)])
    picture = encode(Image.new("L", (1002, 2)), "PNG")
    start = icon.getvalue()[:14] + len(picture).to_bytes(4, "little") + (22).to_bytes(4, "little")
    with pytest.raises(PhotoError, match="it is 1002 x 2;"):
        load_photo(start + picture)


@pytest.mark.timeout(20)
def test_a_pipe_or_a_device_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.nef").symlink_to(tmp_path / "pipe.jpg")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "link.nef", "device.png"):
        with pytest.raises(PhotoError, match=f"{name}: this is no file, but a pipe or a device."):
            load_photo(tmp_path / name)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "huge.nef").open("wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(PhotoError, match="the file is larger than 2048 MB"):
        load_photo(tmp_path / "huge.nef")


def scans_of(jpeg: bytes) -> tuple[bytes, bytes]:
    """A JPEG up to its last scan, and that scan."""
    position = jpeg.rindex(b"\xff\xda")
    return jpeg[:position], jpeg[position:-2]


@pytest.mark.parametrize("between", [b"", b"\xff\xfe\0\4\xff\xd9", b"\xff" * 9], ids=["plain", "false end", "filling"])
def test_a_jpeg_of_many_scans_is_refused(between):
    start, scan = scans_of(encode(gradient(64, 96), "JPEG", progressive=True))
    few = start + between + scan + b"\xff\xd9"
    assert load_photo(few).size == (96, 64)
    with pytest.raises(PhotoError, match="it has more than 50 scans, which take too long to decode"):
        load_photo(start + 60 * (between + scan) + b"\xff\xd9")


def test_a_baseline_jpeg_of_many_scans_is_refused():
    """Each scan holds one colour, so that the decoder reads all of them."""
    start, scan = scans_of(encode(gradient(64, 96), "JPEG"))
    scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + scan[14:]
    with pytest.raises(PhotoError, match="it has more than 50 scans"):
        load_photo(start + 60 * scan + b"\xff\xd9")


def test_what_lies_in_and_after_a_jpeg_is_no_scan(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "\xff\xda" * 99
    for progressive in (False, True):
        data = encode(gradient(64, 96), "JPEG", exif=exif, progressive=progressive)
        assert load_photo(data + 99 * b"\xff\xda").size == (96, 64), "a motion photo has a film behind it"


def test_text_in_exif_is_one_line_of_limited_length():
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "A" * 5000, "B\x1b[31m\r\n" + "C" * 100_000
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:05:01 12:34:56"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.SubsecTimeOriginal] = "1" * 5000
    info = load_photo(encode(quadrants(), "PNG", exif=exif)).info
    assert info["camera"] == "A" * 200 and info["taken"] == "2024-05-01T12:34:56"
    del exif[ExifTags.Base.Make]
    assert load_photo(encode(quadrants(), "PNG", exif=exif)).info["camera"] == "B [31m " + "C" * 193


class Upload:
    """As Starlette's: it is read asynchronously, its `file` is not."""

    filename = "photo.jpg"

    def __init__(self, data: bytes):
        self.file = io.BytesIO(data)

    async def read(self):
        return b""


@pytest.mark.parametrize(
    "given",
    [
        io.BytesIO,
        lambda data: Upload(data),
        lambda data: {"bytes": data, "path": None},
        lambda data: "data:image/png;base64," + base64.b64encode(data).decode(),
    ],
)
def test_photos_in_other_clothes(given):
    data = encode(quadrants(96, 64), "PNG")
    assert np.array_equal(load_photo(given(data)), load_photo(data))


def test_a_dict_may_name_the_file(tmp_path):
    Image.fromarray(quadrants(96, 64)).save(tmp_path / "a.png")
    given = {"bytes": None, "path": str(tmp_path / "a.png")}
    assert np.array_equal(load_photo(given), load_photo(tmp_path / "a.png"))
    with (tmp_path / "a.png").open("rb") as file:
        assert np.array_equal(load_photo(file), load_photo(given)) and not file.closed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "the given int: a photo is a path, bytes, an open file, a PIL image or a NumPy array, not a int"),
        ({"image": 1}, "the given dict: a photo is a path"),
        (io.StringIO("text"), "the given StringIO: the open file gives no bytes; open it in binary mode"),
        ("data:image/png", "the given data URI: a data URI must be like data:image/jpeg;base64,"),
        ("data:image/png;base64,a", "the given data URI: the base64 of this data URI is damaged or cut short"),
    ],
)
def test_what_is_no_photo_is_a_sentence(given, message):
    with pytest.raises(PhotoError, match=re.escape(message)):
        load_photo(given)


@pytest.mark.parametrize("how", ["another page", "below the thumbnail", "alone"])
def test_the_full_picture_of_a_tiff_that_begins_with_a_thumbnail(how, tmp_path):
    """Written with tifffile, as scanners and editors do."""
    tifffile = pytest.importorskip("tifffile")
    full, path = quadrants(96, 64), tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        if how == "alone":
            file.write(full, subfiletype=1)
        else:
            file.write(full[::4, ::4], subfiletype=1, subifds=int(how == "below the thumbnail"))
            file.write(full, subfiletype=0)
    assert np.array_equal(load_photo(path), full)


def test_what_exif_says_of_the_shot(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Rating] = 4
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.BodySerialNumber] = "123\0"
    details[ExifTags.Base.ExposureTime], details[ExifTags.Base.ISOSpeedRatings] = 0.25, 400
    Image.fromarray(quadrants(96, 64)).save(tmp_path / "a.jpg", exif=exif, xmp=b"<x:xmpmeta/>")
    info = load_photo(tmp_path / "a.jpg").info
    assert (info["body"], info["exposure_time"], info["iso"], info["rating"]) == ("123", 0.25, 400, 4)
    assert info["xmp"] == b"<x:xmpmeta/>" and "f_number" not in info
