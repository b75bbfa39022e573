import asyncio
import io
import zipfile
from pathlib import Path

import gradio as gr
import pytest

from abc_hf.demo import uploads
from abc_hf.demo.uploads import Sent, UploadError, files_only, new_file, one_line, sent_file, sent_photos, sentence


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


def test_zips_are_opened_and_the_rest_is_left_out(send, folder):
    archive = send(
        "a.zip", zipped({"x/one.jpg": b"1", "../two.PNG": b"2", "notes.txt": b"", "__MACOSX/._one.jpg": b""})
    )
    photos = sent_photos([send("zero.jpg"), archive], str(folder), set())
    assert [photo.name for photo in photos] == ["zero.jpg", "one.jpg", "two.PNG"]
    assert [Path(photo.path).read_bytes() for photo in photos] == [b"a photo", b"1", b"2"]
    assert all(Path(photo.path).resolve().is_relative_to(folder) for photo in photos)
    assert sent_photos(None, str(folder), set()) == []


def test_a_zip_that_cannot_be_read_is_listed(send, folder):
    whole = zipped({"one.jpg": b"1" * 5000, "two.jpg": bytes(range(256)) * 20}, zipfile.ZIP_STORED)
    broken = bytearray(whole)
    broken[100] ^= 255  # in the first photo: its checksum fails
    for data, names in ((b"text", ["a.zip"]), (whole[:4000], ["a.zip"]), (zipped({"notes.txt": b""}), ["a.zip"])):
        photos = sent_photos([send("a.zip", data)], str(folder), set())
        assert [photo.name for photo in photos] == names
        assert photos[0].error and not photos[0].path
    one, two = sent_photos([send("a.zip", bytes(broken))], str(folder), set())
    assert "cannot be unpacked" in one.error and not two.error


def test_a_locked_zip_says_so(send, folder):
    data = bytearray(zipped({"one.jpg": b"1"}, zipfile.ZIP_STORED))
    data[6] |= 1  # the bit for encryption, in the photo's own header ...
    data[data.index(b"PK\x01\x02") + 8] |= 1  # ... and in the directory
    assert "password" in sent_photos([send("a.zip", bytes(data))], str(folder), set())[0].error


def test_count_limits(send, folder):
    files = [send(f"{number}.jpg") for number in range(3)]
    with pytest.raises(UploadError, match="At most 2"):
        sent_photos(files, str(folder), set(), most=2)
    archive = send("a.zip", zipped({f"{number}.jpg": b"" for number in range(4)}))
    with pytest.raises(UploadError, match="holds 4 photos, and 3 more"):
        sent_photos([files[0], archive], str(folder), set(), most=4)


def test_zip_bombs_are_refused(send, folder, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_PHOTO_BYTES", 3 << 20)
    monkeypatch.setattr(uploads, "MAX_TOTAL_BYTES", 8 << 20)
    bomb = zipped({"bomb.jpg": bytes(50 << 20), "small.jpg": b"1"})
    assert len(bomb) < 100_000
    large, small = sent_photos([send("a.zip", bomb)], str(folder), set())
    assert "more than 3 MB" in large.error and small.path
    assert sum(path.stat().st_size for path in folder.rglob("*.jpg")) < 1 << 20
    many = zipped({f"{number}.jpg": bytes(2 << 20) for number in range(9)})
    written = set()
    with pytest.raises(UploadError, match="more than 8 MB"):
        sent_photos([send("b.zip", many)], str(folder), written)
    assert {path for path in folder.rglob("*.jpg") if path.stat().st_size > 1 << 20} <= set(map(Path, written))
    assert sum(path.stat().st_size for path in folder.rglob("*.jpg")) < 12 << 20


def test_a_size_that_a_zip_claims_is_not_trusted(send, folder, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_PHOTO_BYTES", 1 << 20)
    data = bytearray(zipped({"bomb.jpg": bytes(5 << 20)}))
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (10).to_bytes(4, "little")  # "ten bytes"
    (photo,) = sent_photos([send("a.zip", bytes(data))], str(folder), set())
    assert photo.error
    assert sum(path.stat().st_size for path in folder.rglob("*.jpg")) <= 1 << 20


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
