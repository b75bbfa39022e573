"""What programs send as text: photos as `data:` URIs, and addresses; and bodies without end."""

import base64
import http.client
import io
import json
import os
import struct
import zipfile
import zlib
from collections import defaultdict, deque
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from abc_hf.demo import guard, uploads

from .test_guard import ask, call

pytestmark = [  # Gradio's own: what it leaves open
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def answer_of(address, endpoint, data) -> list:
    """What an endpoint answers."""
    headers = {"Content-Type": "application/json"}
    _, said = ask(address, "POST", f"/gradio_api/call/{endpoint}", json.dumps({"data": data}), **headers)
    _, answer = ask(address, path=f"/gradio_api/call/{endpoint}/{json.loads(said)['event_id']}")
    event, _, data = answer.rpartition("event: ")[2].partition("\ndata: ")  # heartbeats come before a slow answer
    assert event == "complete", answer
    return json.loads(data)


def uri(data: bytes, kind="image/png", options=";base64") -> str:
    return f"data:{kind}{options},{base64.b64encode(data).decode()}"


@pytest.fixture
def png(photo):
    def png(seed: int) -> bytes:
        file = io.BytesIO()
        photo(64, 48, seed).save(file, "png")
        return file.getvalue()

    return png


@pytest.fixture
def files_left():
    """Tells which files the server has beyond those there were."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    before = {*folder.rglob("*")}
    return lambda: {path.name for path in {*folder.rglob("*")} - before if path.is_file()}


def test_photos_come_as_text_too(demo_address, png, slow_photo, tight_limits, files_left):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as entries:
        entries.writestr("x/in.png", png(1))
    files = [
        uri(png(0), options=";name=a%20b.png;base64"),
        uri(png(2)),
        uri(archive.getvalue(), "application/zip"),
        uri(slow_photo.read_bytes(), "image/jpeg", ";name=slow.jpg;base64"),
        uri(b"no photo", "text/html", ";name=../../<b>.jpg;base64"),
        "data:image/png;base64,?",
        "data:image/png,abc",
        "data:",
        "http://127.0.0.1:9/a.jpg",
        "file:///etc/passwd",
        "http://localhost/gradio_api/file=" + uploads.__file__,
    ]
    with pytest.raises(AssertionError, match="Send the photo as a file"):
        answer_of(demo_address, "sort", [files, 0.35])
    rows, _, keepers = answer_of(demo_address, "sort", [files[:-1], 0.0])
    assert sorted(row["file"] for row in rows if "label" in row) == ["a b.png", "photo.png", "x/in.png"]
    errors = {row["file"]: row["error"] for row in rows if "error" in row}
    assert errors.pop("slow.jpg") == "opening it takes more than 0.3 seconds of CPU time."
    assert errors.pop("<b>.jpg").startswith("not a photo")
    assert errors == {
        "photo.png": "its data: URI must be base64.",
        "photo": "its data: URI must be base64.",
        "a.jpg": "send it as a file, not as an address.",
        "passwd": "send it as a file, not as an address.",
    }
    assert len(rows) == 10 and keepers["orig_name"] == "keepers.zip" and files_left() == {"keepers.zip", "blur.csv"}

    shots, crops = answer_of(demo_address, "compare", [files[:4]])
    assert [("sharpness" in shot) for shot in shots] == [True, True, True, False] and len(crops) == 3


def test_one_photo_as_text(demo_address, png, slow_photo, tight_limits):
    (figures, *_), (other, *_) = (answer_of(demo_address, "assess", [uri(png(seed))]) for seed in (0, 3))
    assert figures["width"] == 64 and figures["probabilities"] != other["probabilities"]
    assert answer_of(demo_address, "full_size", [uri(png(0)), "blur"])[0]["orig_name"] == "photo_blur.png"
    said = call(demo_address, "assess", [uri(slow_photo.read_bytes())])
    assert said == "photo.png: opening it takes more than 0.3 seconds of CPU time."
    assert "not as an address" in call(demo_address, "assess", ["http://127.0.0.1:9/a.jpg"])
    assert "must be base64" in call(demo_address, "full_size", ["data:image/png;base64,é", "blur"])


def test_an_uploaded_file_has_an_address(demo_address, png):
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + png(0) + b"\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    (path,) = json.loads(ask(demo_address, "POST", "/gradio_api/upload", body, **kind)[1])
    rows, *_ = answer_of(demo_address, "sort", [[path, f"{demo_address}gradio_api/file={path}"], 0.35])
    assert [row["file"] for row in rows] == ["a.png", "a.png"] and all("label" in row for row in rows)


@pytest.mark.parametrize("path", ["call/assess", "call/upload", "queue/join", "run/sort", "mcp/"])
def test_a_large_body_is_refused(demo_address, monkeypatch, path):
    monkeypatch.setattr(guard, "MAX_BODY", 2**20)
    sentence = "A request takes at most 1 MB; upload large files first."
    body = b'{"data": ["' + bytes(2**20) + b'"]}'
    assert ask(demo_address, "POST", f"/gradio_api/{path}", body) == (413, sentence)
    if path in ("call/assess", "queue/join"):  # a body whose length is not told
        connection = http.client.HTTPConnection(urlsplit(demo_address).netloc)
        headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
        connection.request("POST", f"/gradio_api/{path}", iter([body]), headers, encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, answer.read().decode()) == (413, sentence)
        connection.close()
    assert ask(demo_address)[0] == 200


def stored(data: bytes, name: bytes, method: int = 0, flags: int = 0) -> tuple[bytes, bytes]:
    """An entry of a zip, and its line in the directory, as no library would write them."""
    head = struct.pack("<HHHHHIIIHH", 20, flags, method, 0, 33, zlib.crc32(data), len(data), len(data), len(name), 0)
    return b"PK\3\4" + head + name + data, b"PK\1\2\x14\0" + head + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name


def raw_zip(*entries: tuple) -> bytes:
    body, directory = b"", b""
    for entry in entries:
        data, line = stored(*entry)
        directory += line[:42] + struct.pack("<I", len(body)) + line[46:]
        body += data
    end = struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + end


def flipped(data: bytes, first: int) -> bytes:
    return data[:first] + bytes(255 - byte for byte in data[first : first + 30]) + data[first + 30 :]


def packed(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.slow
def test_hostile_zips_one_after_the_other(demo_address, png, files_left, monkeypatch):
    """Every member is a row with its reason, the server goes on, and nothing of it stays on its disk."""
    monkeypatch.setattr(uploads.Budget, "taken", defaultdict(deque))
    good, noise = png(0), os.urandom(40_000)
    bomb = packed({f"{number}.jpg": bytes(99 * 2**20) for number in range(10)})
    over = packed({f"{number}.jpg": bytes(99 * 2**20) for number in range(12)})
    damaged, readable = "it cannot be unpacked; the archive is damaged.", None
    attacks = {
        "bad names": (raw_zip((good, b"\xff\xfe\xff.png", 0, 0x800), (good, b"ok.png")), [readable] * 2),
        "upwards": (raw_zip((good, b"../../../x.png"), (good, b"/etc/y.png"), (good, b"C:\\z.png")), [readable] * 3),
        "method 99": (raw_zip((good, b"a.png", 99), (good, b"ok.png")), ["it is packed in a way", readable]),
        "locked": (raw_zip((good, b"a.png", 0, 1), (good, b"ok.png")), ["it is locked by a password.", readable]),
        "deflate": (flipped(packed({"a.png": noise, "ok.png": good}), 2000), [damaged, readable]),
        "bzip2": (flipped(packed({"a.png": noise, "ok.png": good}, zipfile.ZIP_BZIP2), 2000), [damaged, readable]),
        "lzma": (flipped(packed({"a.png": noise, "ok.png": good}, zipfile.ZIP_LZMA), 40), [damaged, readable]),
        "bomb": (bomb, ["not a photo"] * 10),
        "large bomb": (over, ["not a photo"] * 10 + ["the photos sent unpack to more than 1024 MB"] * 2),
        "a zip in a zip": (
            packed({"a.zip": packed({"a.png": good})}),
            ["there are no photos in it; send a zip with photos."],
        ),
        "no zip": (noise, ["not a zip that can be read; pack it again."]),
        "no end": (packed({"a.png": good})[:-10], ["not a zip that can be read; pack it again."]),
    }
    for name, (data, reasons) in attacks.items():
        body = (
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.zip"\r\n\r\n' + data + b"\r\n--x--\r\n"
        )
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        (path,) = json.loads(ask(demo_address, "POST", "/gradio_api/upload", body, **kind)[1])
        rows, *_ = answer_of(demo_address, "sort", [[path], 0.0])
        said = sorted((row.get("error", "") for row in rows), reverse=True)
        assert len(rows) == len(reasons), (name, rows)
        for error, reason in zip(said, sorted((each or "" for each in reasons), reverse=True), strict=True):
            assert error.startswith(reason) if reason else error == "", (name, error, reason)
        assert not any("/" in row["file"] and ".." in row["file"] for row in rows)
        Path(path).unlink()
    assert files_left() <= {"keepers.zip", "blur.csv"}
    assert answer_of(demo_address, "assess", [uri(good)])[0]["width"] == 64


PATH_AS_UPLOAD = b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\n/etc/passwd\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("queue/join", b'{"data": [], "fn_index": 1000000, "session_hash": "s"}', "application/json"),
        ("upload", PATH_AS_UPLOAD, "multipart/form-data; boundary=x"),
    ],
)
def test_a_request_that_fails_gets_a_sentence(demo_address, path, body, kind):
    status, said = ask(demo_address, "POST", f"/gradio_api/{path}", body, **{"Content-Type": kind})
    assert status == 500 and said.startswith("This request cannot be answered") and "/etc" not in said
    assert ask(demo_address)[0] == 200


def test_too_many_photos_are_refused_before_they_are_written(demo_address, files_left):
    assert "At most 200 photos" in call(demo_address, "sort", [["data:image/png;base64,AAAA"] * 201, 0.5])
    assert files_left() == set()
