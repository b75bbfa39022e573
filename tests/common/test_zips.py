"""Zip files as people and attackers make them; the entries are written by hand or damaged byte by byte."""

import io
import struct
import zipfile

import pytest

from abc_hf.common.zips import open_zip, photo_entries, unpacking_error


def zip_of(entries: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> bytearray:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return bytearray(file.getvalue())


def names(data: bytes) -> list[str]:
    with open_zip(io.BytesIO(data)) as archive:
        return [name for name, _ in photo_entries(archive, (".jpg",))]


def rename(data: bytearray, old: bytes, new: bytes) -> bytearray:
    """Other bytes for an entry's name, beside its data and in the directory."""
    assert len(old) == len(new) and data.count(old) == 2
    return data.replace(old, new)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Köln Bä.jpg".encode(), "Köln Bä.jpg"),  # as macOS Finder writes: UTF-8 and no flag that says so
        ("K\u00f6ln.jpg".encode("cp437"), "Köln.jpg"),  # as DOS wrote
        (b"day1/IMG_1.jpg", "day1/IMG_1.jpg"),
        (b"day1\\IMG_1.jpg", "day1/IMG_1.jpg"),
    ],
)
def test_names(raw, name):
    plain = b"x" * (len(raw) - 4) + b".jpg"
    assert names(rename(zip_of({plain.decode(): b"1"}), plain, raw)) == [name]


def test_names_with_the_flag_for_utf_8_are_the_same():
    data = zip_of({"東京/é.jpg": b"1"})
    assert data[7] & 8
    assert names(data) == ["東京/é.jpg"]


def test_what_is_hidden_or_no_photo_does_not_count():
    entries = {".trash/x.jpg": b"", "__MACOSX/._a.jpg": b"", "a/.b/c.jpg": b"", "notes.txt": b"", "./a.JPG": b""}
    assert names(zip_of(entries)) == ["./a.JPG"]


def read(data: bytes) -> dict[str, bytes | str]:
    """What each entry holds, or the sentence that says why it cannot be unpacked."""
    found = {}
    with open_zip(io.BytesIO(data)) as archive:
        for name, entry in photo_entries(archive, (".jpg",)):
            try:
                with archive.open(entry) as file:
                    found[name] = file.read()
            except Exception as error:
                found[name] = unpacking_error(error)
    return found


NOISE = bytes(range(256)) * 40


def damaged_data() -> bytearray:
    data = zip_of({"bad.jpg": NOISE, "ok.jpg": b"2"})
    data[40:60] = bytes(20)
    return data


def damaged_lzma() -> bytearray:
    data = zip_of({"bad.jpg": NOISE, "ok.jpg": b"2"}, zipfile.ZIP_LZMA)
    data[41:60] = b"\xff" * 19
    return data


def damaged_name() -> bytearray:
    """A name that is said to be UTF-8 and is not, where the header beside the data has another one."""
    data = zip_of({"bäd.jpg": b"1", "ok.jpg": b"2"})
    at = data.index(b"PK\x01\x02") + 46
    data[at : at + 2] = b"\xff\xfe"
    return data


def rare_compression() -> bytearray:
    data = zip_of({"bad.jpg": b"1", "ok.jpg": b"2"})
    directory = data.index(b"PK\x01\x02")
    struct.pack_into("<H", data, 8, 99)
    struct.pack_into("<H", data, directory + 10, 99)
    return data


def locked() -> bytearray:
    data = zip_of({"bad.jpg": b"1", "ok.jpg": b"2"})
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return data


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (damaged_data, "damaged"),
        (damaged_lzma, "damaged"),
        (damaged_name, "damaged"),
        (rare_compression, "packed in a way that cannot be read"),
        (locked, "password"),
    ],
)
def test_one_damaged_entry_has_its_reason_and_the_others_are_read(make, said):
    bad, ok = read(bytes(make())).values()
    assert said in bad and bad.endswith(".")
    assert ok == b"2"
