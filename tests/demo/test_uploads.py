import asyncio
import collections
import io
import struct
import time
import zipfile
from pathlib import Path

import gradio as gr
import pytest

from abc_hf.demo import uploads
from abc_hf.demo.uploads import (
    Budget,
    Sent,
    UploadError,
    files_only,
    new_file,
    one_line,
    photo_errors,
    sent_file,
    sent_photos,
    sentence,
    unique_paths,
    unpacked,
)
from abc_hf.photos import PhotoError


@pytest.fixture
def folder(tmp_path):
    """The folder of what visitors sent."""
    path = tmp_path / "sent"
    path.mkdir()
    return path


@pytest.fixture
def send(folder):
    """Put a file there; returns what Gradio says of it."""

    def send(name: str, data: bytes = b"a photo"):
        path = new_file(str(folder), name)
        path.write_bytes(data)
        return {"path": str(path), "orig_name": name}

    return send


def zipped(entries: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_a_sent_file_keeps_its_name(send, folder):
    file = send("IMG 1.jpg")
    assert sent_file(file, str(folder)) == Sent("IMG 1.jpg", file["path"])
    assert sent_file(file["path"], str(folder)).name == "IMG 1.jpg"
    assert sent_file(file | {"orig_name": "../../x\n<b>.jpg"}, str(folder)).name == "x?<b>.jpg"


def test_no_other_file_of_the_server_is_taken(send, folder, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    (folder / "link.jpg").symlink_to(secret)
    for path in (
        str(secret),
        f"{folder}/../secret.jpg",
        str(folder / "link.jpg"),
        "https://example.org/a.jpg",
        "a\0b",
        "",
        None,
    ):
        with pytest.raises(UploadError, match="as a file"):
            sent_file({"path": path}, str(folder))
    gone = send("gone.jpg")
    Path(gone["path"]).unlink()
    with pytest.raises(UploadError, match="an hour"):
        sent_file(gone, str(folder))


@pytest.mark.parametrize("file", [5, True, None, [1], {"path": 5}, {"path": ["a"]}, {}, "x" * 5000])
def test_what_is_no_file_is_a_sentence(file, folder):
    with pytest.raises(UploadError, match="Send the photo as a file"):
        sent_file(file, str(folder))
    with pytest.raises(UploadError, match="as a (list of files|file)"):
        sent_photos([file], str(folder))


@pytest.mark.parametrize("files", [5, "abc", {"path": "x"}, True])
def test_what_is_no_list_of_files_is_a_sentence(files, folder):
    with pytest.raises(UploadError, match="as a list of files"):
        sent_photos(files, str(folder))


def test_a_name_of_another_kind_is_left_out(send, folder):
    assert sent_file(send("a.jpg") | {"orig_name": 5}, str(folder)).name == "a.jpg"


def contents(photos: list[Sent], folder, budget=None) -> list[bytes | str]:
    """The bytes of each photo, or why there are none."""
    found, budget = [], budget or Budget("visitor")
    for photo in photos:
        try:
            with photo_errors(photo), unpacked(photo, str(folder), budget) as file:
                found.append(Path(file.path).read_bytes())
        except PhotoError as error:
            found.append(str(error))
    return found


def test_zips_are_looked_into_and_the_rest_is_left_out(send, folder):
    archive = send(
        "a.zip", zipped({"x/one.jpg": b"1", "../two.PNG": b"2", "notes.txt": b"", "__MACOSX/._one.jpg": b""})
    )
    photos = sent_photos([send("zero.jpg"), archive], str(folder))
    assert [photo.name for photo in photos] == ["zero.jpg", "x/one.jpg", "two.PNG"]
    assert contents(photos, folder) == [b"a photo", b"1", b"2"]
    assert sent_photos(None, str(folder)) == []


def test_names_keep_their_folders_and_hidden_files_are_left_out(send, folder):
    archive = zipped({"day1/IMG_1.jpg": b"1", "day2/IMG_1.jpg": b"2", ".trash/x.jpg": b"3"})
    photos = sent_photos([send("a.zip", archive)], str(folder))
    assert [photo.name for photo in photos] == ["day1/IMG_1.jpg", "day2/IMG_1.jpg"]
    assert list(unique_paths(["a/b.jpg", "c/b.jpg", "a/B.jpg"])) == ["a/b.jpg", "c/b.jpg", "a/B-2.jpg"]


def test_what_was_unpacked_is_deleted(send, folder):
    (photo,) = sent_photos([send("a.zip", zipped({"one.jpg": b"1"}))], str(folder))
    before = set(folder.rglob("*"))
    with unpacked(photo, str(folder), Budget()) as file:
        assert Path(file.path).read_bytes() == b"1" and Path(file.path).is_relative_to(folder)
    assert set(folder.rglob("*")) == before
    with pytest.raises(ZeroDivisionError), unpacked(photo, str(folder), Budget()):
        raise ZeroDivisionError
    assert set(folder.rglob("*")) == before


def test_a_zip_that_cannot_be_read_is_listed(send, folder):
    whole = zipped({"one.jpg": b"1" * 5000, "two.jpg": bytes(range(256)) * 20}, zipfile.ZIP_STORED)
    broken = bytearray(whole)
    broken[100] ^= 255  # in the first photo: its checksum fails
    for data, names in ((b"text", ["a.zip"]), (whole[:4000], ["a.zip"]), (zipped({"notes.txt": b""}), ["a.zip"])):
        photos = sent_photos([send("a.zip", data)], str(folder))
        assert [photo.name for photo in photos] == names
        assert photos[0].error and not photos[0].path
    one, two = contents(sent_photos([send("a.zip", bytes(broken))], str(folder)), folder)
    assert "cannot be unpacked" in one and len(two) == 5120


def test_a_zip_of_countless_names_is_not_read(send, folder, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_DIRECTORY_BYTES", 2000)
    (photo,) = sent_photos([send("a.zip", zipped({f"{number}.txt": b"" for number in range(99)}))], str(folder))
    assert photo.error == "not a zip that can be read; pack it again."


def test_count_limits(send, folder):
    files = [send(f"{number}.jpg") for number in range(3)]
    with pytest.raises(UploadError, match="At most 2"):
        sent_photos(files, str(folder), most=2)
    archive = send("a.zip", zipped({f"{number}.jpg": b"" for number in range(4)}))
    with pytest.raises(UploadError, match="holds 4 photos, and 3 more"):
        sent_photos([files[0], archive], str(folder), most=4)


def test_zip_bombs_cost_a_photo_each(send, folder, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_PHOTO_BYTES", 3 << 20)
    bomb = zipped({"bomb.jpg": bytes(50 << 20), "small.jpg": b"1"})
    assert len(bomb) < 100_000
    large, small = contents(sent_photos([send("a.zip", bomb)], str(folder)), folder)
    assert "more than 3 MB" in large and small == b"1"


def test_the_limit_is_of_the_request_not_of_the_zip(send, folder, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_TOTAL_BYTES", 5 << 20)
    archive = send("a.zip", zipped({"1.jpg": bytes(2 << 20)}))
    found = contents(sent_photos([archive] * 8, str(folder)), folder)
    assert [len(each) for each in found[:2]] == [2 << 20] * 2
    assert all("more than 5 MB" in each for each in found[2:])


def test_the_limit_is_of_the_visitor_too(send, folder, monkeypatch):
    monkeypatch.setattr(Budget, "taken", collections.defaultdict(collections.deque))
    monkeypatch.setattr(uploads, "MAX_VISITOR_BYTES", 5 << 20)
    photos = sent_photos([send("a.zip", zipped({"1.jpg": bytes(2 << 20)}))], str(folder))
    answers = [contents(photos, folder, Budget("one"))[0] for _ in range(3)]
    assert [len(answer) for answer in answers[:2]] == [2 << 20] * 2
    assert "your zips of the last hour" in answers[2]
    assert len(contents(photos, folder, Budget("another"))[0]) == 2 << 20
    later = time.monotonic() + 3700
    monkeypatch.setattr(uploads.time, "monotonic", lambda: later)
    assert len(contents(photos, folder, Budget("one"))[0]) == 2 << 20


def test_a_size_that_a_zip_claims_is_not_trusted(send, folder, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_PHOTO_BYTES", 1 << 20)
    data = bytearray(zipped({"bomb.jpg": bytes(5 << 20)}))
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (10).to_bytes(4, "little")  # "ten bytes"
    assert isinstance(contents(sent_photos([send("a.zip", bytes(data))], str(folder)), folder)[0], str)


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError("/tmp/x.jpg"), struct.error("short"), KeyError()])
def test_whatever_happens_to_a_photo_is_a_sentence_of_that_photo(error):
    with pytest.raises(PhotoError) as said, photo_errors(Sent("x.jpg", "/tmp/x.jpg")):
        raise error
    assert str(said.value).endswith(".") and "/tmp" not in str(said.value)


def test_web_addresses_are_not_fetched():
    component = files_only(gr.File())
    for address in ("http://127.0.0.1:9/a.jpg", "HTTPS://example.org/a.jpg"):
        with pytest.raises(gr.Error, match="not as an address"):
            asyncio.run(component.async_move_resource_to_block_cache(address))
    assert asyncio.run(component.async_move_resource_to_block_cache(None)) is None


def test_messages_do_not_say_where_files_lie():
    sent = Sent("photo.jpg", "/tmp/x/0.jpg")
    assert sentence(ValueError("/tmp/x/0.jpg: it is empty."), sent) == "it is empty."
    assert sentence(ValueError("cannot open '/tmp/x/0.jpg'."), sent) == "cannot open 'photo.jpg'."
    assert one_line("a\u202eb\n.jpg") == "a?b?.jpg"
    assert one_line("") == one_line("..") == "photo"
    assert one_line("C:\\x\\a.jpg") == one_line("../a.jpg") == "a.jpg"
    assert one_line(300 * "a" + ".jpg") == 96 * "a" + ".jpg"
