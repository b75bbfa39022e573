"""Mutated inputs: photos, sidecars, journals, archives, Parquet files, decisions, undo files, cells, names of hosts and
arguments of the demo's functions.

Each of them gives a result or one sentence, in bounded time and memory. A run with other mutations is
`ABC_FUZZ_SEED=NUMBER pytest -m slow tests/test_fuzz.py`; what it finds becomes a case of `SEEDS` or of another test.
"""

import contextlib
import csv
import io
import json
import logging
import os
import resource
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from PIL import Image
from starlette.datastructures import Headers

from abc_hf.demo.batch_tab import write_csv
from abc_hf.demo.endpoints import check_threshold
from abc_hf.demo.guard import Guard
from abc_hf.demo.uploads import Budget, Sent, UploadError, photo_errors, sent_file, sent_photos, unpacked
from abc_hf.library import actions, journal, xmp
from abc_hf.library import decisions as decisions_by_hand
from abc_hf.library.containers import Reader
from abc_hf.library.find import Found, find_photos
from abc_hf.library.shards import line_of
from abc_hf.photos import PhotoError, load_photo
from tests.library.sort_toys import sort_row

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # of files that readers give up on
]
SEED = int(os.environ.get("ABC_FUZZ_SEED", 0))
SECONDS = 5
"""The most CPU time that one input may take."""
ROOM = 600
"""How much more memory the process may hold at its peak, after all inputs of a kind [MB]."""
INTERESTING = (
    b"\0",
    b"\xff",
    b"\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff",
    b"\0\0\0\x80",
    b"<",
    b'"',
    b"{",
    b"\n",
    b"=",
    b"\xed\xa0\x80",
)

MUTATION = st.tuples(
    st.sampled_from(("flip", "set", "insert", "delete", "repeat", "cut", "move")),
    st.integers(0, 2**16 - 1),
    st.one_of(st.sampled_from(INTERESTING), st.binary(min_size=1, max_size=6)),
)


def mutated(data: bytes, mutations) -> bytes:
    data = bytearray(data)
    for kind, place, part in mutations:
        at, other = place * len(data) >> 16, (place * 40503 % 2**16) * len(data) >> 16
        first, last = sorted((at, other))
        if kind == "flip" and data:
            data[at] ^= part[0] or 1
        elif kind == "set":
            data[at : at + len(part)] = part
        elif kind == "insert":
            data[at:at] = part
        elif kind == "delete":
            del data[at : at + len(part) ** 3]
        elif kind == "repeat":
            data[at:at] = data[first : min(last, first + 500)]
        elif kind == "cut":
            del data[at:]
        elif kind == "move":
            data[at : at + 8] = data[other : other + 8]
    return bytes(data)


# ---------------------------------------------------------------------------------------------------- seeds and targets


def picture(format: str, mode: str = "RGB", **options) -> bytes:
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).convert(mode).save(file, format, **options)
    return file.getvalue()


def exif() -> Image.Exif:
    found = Image.Exif()
    found[0x0112], found[0x010F], found[0x0110] = 6, "Maker", "=Model"
    found.get_ifd(0x8769)[0x9003] = "2024:05:01 12:30:10"
    return found


def photos() -> list[bytes]:
    return [
        picture("JPEG", exif=exif()),
        picture("JPEG", progressive=True),
        picture("PNG"),
        picture("PNG", "P"),
        picture("WEBP"),
        picture("GIF", "P"),
        picture("TIFF", compression="tiff_lzw"),
        picture("BMP"),
        picture("PPM"),
        picture("ICO"),
        picture("JPEG2000"),
    ]


def open_photo(data: bytes, folder: Path) -> None:
    try:
        image = load_photo(data, max_pixels=500_000)
    except PhotoError as error:
        assert_sentence(error)
    else:
        assert image.mode == "RGB" and image.width * image.height <= 500_000


MARKS = xmp.Marks(5, "Green", ("good-blur",))
SIDECAR = b"""<?xpacket begin="" id="x"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmp:Rating="3"><dc:subject><!-- mine --><rdf:Bag><rdf:li>bird</rdf:li><?x y?></rdf:Bag></dc:subject>
<dc:title>&amp; &#x20ac;</dc:title></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def sidecars() -> list[bytes]:
    return [SIDECAR, xmp.merge(None, MARKS), xmp.merge(SIDECAR, MARKS)]


def merge_sidecar(data: bytes, folder: Path) -> None:
    try:
        merged = xmp.merge(data, MARKS)
    except xmp.XmpError as error:
        assert_sentence(error, "")
    else:
        assert xmp.merge(merged, MARKS) == merged


SETTINGS = {"model": "x"}


def journal_values() -> list:
    pictures = {"pictures": [[1, 2], [3, 4], [5, 6]], "noted": 1.5}
    good = sort_row("/a.jpg", certain=True) | pictures
    return [SETTINGS, good | {"content": None}, sort_row("/b.jpg", None) | {"content": None}]


def journals() -> list[bytes]:
    return [b"".join(map(line_of, journal_values()))]


def read_journal(data: bytes, folder: Path) -> None:
    """Whatever is in a journal, the index is loaded, and a table is written of what can be read."""
    shards = folder / "shards"
    shutil.rmtree(shards, ignore_errors=True)
    shards.mkdir()
    (shards / "00001-00001.jsonl").write_bytes(data)
    index = journal.Index(shards, SETTINGS)
    try:
        index.load()
        index.find([Found("/a.jpg", 1000, 1e9), Found("/b.jpg", 1000, 1e9)])
        journal.write_table(folder, index.rows())
        index.prune()
        index.load()
        assert not index.damaged
    finally:
        index.close()


def journal_texts() -> list[bytes]:
    return [b"".join(json.dumps(value).encode() + b"\n" for value in journal_values())]


def read_journal_texts(data: bytes, folder: Path) -> None:
    """The checksums are right, whatever is in the lines."""
    read_journal(b"".join(b"%08x %s\n" % (zlib.crc32(line), line) for line in data.split(b"\n")), folder)


MEMBERS = {"a.jpg": picture("JPEG"), "b/ö.png": picture("PNG"), ".x/c.jpg": b"", "notes.txt": b"text"}


def zips() -> list[bytes]:
    found = []
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", compression) as archive:
            for name, data in MEMBERS.items():
                archive.writestr(zipfile.ZipInfo(name), data, compression)
        found.append(file.getvalue())
    return found


def tars() -> list[bytes]:
    found = []
    for kind in ("", "gz"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=f"w:{kind}") as archive:
            for name, data in MEMBERS.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        found.append(file.getvalue())
    return found


def read_all(data: bytes, folder: Path, name: str) -> None:
    """The photos of a container as `sort` finds and reads them."""
    path = folder / name
    path.write_bytes(data)
    complaints, reader = [], Reader()
    for photo in find_photos([str(path)], lambda name, reason: complaints.append(reason)):
        try:
            with reader.photo(photo.path) as opened:
                assert isinstance(opened, bytes)
        except PhotoError as error:
            assert_sentence(error)
    reader.close()
    for reason in complaints:
        assert_sentence(reason)


def read_zip(data: bytes, folder: Path) -> None:
    """As `sort` and as the demo read it."""
    read_all(data, folder, "a.zip")
    for photo in sent_photos([{"path": str(folder / "a.zip"), "orig_name": "a.zip"}], str(folder)):
        try:
            with photo_errors(photo), unpacked(photo, str(folder), Budget("fuzz")) as file:
                assert Path(file.path).is_file() and "/../" not in f"/{photo.name}/"
        except PhotoError as error:
            assert_sentence(error)
    Budget.taken.clear()


def read_tar(data: bytes, folder: Path) -> None:
    read_all(data, folder, "a.tar.gz" if data[:1] == b"\x1f" else "a.tar")


def tables() -> list[bytes]:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    file = io.BytesIO()
    pq.write_table(pa.table({"image": pa.array([{"bytes": picture("PNG"), "path": "a.png"}] * 3, kind)}), file)
    return [file.getvalue()]


def read_parquet(data: bytes, folder: Path) -> None:
    read_all(data, folder, "a.parquet")


def decisions() -> list[bytes]:
    rows = [{"path": "/a.jpg", "decision": "keep"}, {"path": "/ö.jpg", "decision": "reject"}]
    return [json.dumps(rows).encode(), "\ufeffpath,decision\r\n/a.jpg,keep\r\n/ö.jpg,reject\r\n".encode()]


def read_decisions(data: bytes, folder: Path) -> None:
    path = folder / "decisions"
    path.write_bytes(data)
    try:
        found = decisions_by_hand.read_decisions(path)
    except ValueError as error:
        assert_sentence(error)
    else:
        assert set(found.values()) <= {"keep", "reject"} and all(isinstance(name, str) for name in found)


def undo_files() -> list[bytes]:
    copy = {"do": "copy", "from": "/nowhere/a.jpg", "to": "/nowhere/b.jpg", "bytes": 3, "modified": 10**18}
    mark = {"do": "xmp", "from": "/nowhere/a.xmp", "to": "/nowhere/a.xmp", "old": None, "marks": MARKS.to_dict()}
    mark |= {"modified": None}
    return ["".join(json.dumps(step) + "\n" for step in (copy, mark)).encode()]


def undo(data: bytes, folder: Path) -> None:
    path = folder / "undo.jsonl"
    path.write_bytes(data)
    try:
        with sentences_checked():
            actions.undo(path, dry_run=True)
    except (ValueError, OSError) as error:
        assert_sentence(error)


@contextlib.contextmanager
def sentences_checked() -> Iterator[None]:
    """What the package logs is checked."""
    logger, handler = logging.getLogger("abc_hf"), Checked()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


class Checked(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        (assert_sentence if record.levelno >= logging.WARNING else assert_sentence_or_list)(record.getMessage())


def assert_sentence_or_list(said: str) -> None:
    assert "Traceback" not in said


def assert_sentence(said: object, end: str = ".") -> None:
    text = str(said)
    assert text.endswith(end) and "\n" not in text and "Traceback" not in text, text


TARGETS: dict[str, tuple[Callable, Callable, int]] = {
    "photos": (photos, open_photo, 7000),
    "sidecars": (sidecars, merge_sidecar, 3000),
    "journals": (journals, read_journal, 1500),
    "rows of journals": (journal_texts, read_journal_texts, 1500),
    "zips": (zips, read_zip, 3000),
    "tars": (tars, read_tar, 1500),
    "Parquet files": (tables, read_parquet, 500),
    "decisions": (decisions, read_decisions, 2000),
    "undo files": (undo_files, undo, 1000),
}
"""By kind: its seeds, what reads it, and how many mutations there are."""
ARGUMENTS, HOSTS, CELLS = 2000, 1000, 500
"""Mutations of what is no file."""


def settings(count: int):
    """So many mutations, the same in each run with `SEED`."""

    def decorate(function):
        checks = list(hypothesis.HealthCheck)
        options = hypothesis.settings(
            max_examples=count, deadline=None, database=None, suppress_health_check=checks, print_blob=True
        )
        return hypothesis.seed(SEED)(options(function))

    return decorate


class Bounds:
    """Counts inputs, and fails where one takes too long or all of them too much memory."""

    def __init__(self):
        self.count, self.peak = 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def __enter__(self):
        self.count, self.started = self.count + 1, time.process_time()

    def __exit__(self, *_):
        assert time.process_time() - self.started < SECONDS

    def check(self, count: int) -> None:
        assert self.count >= count
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.peak) / 1024 < ROOM


@pytest.mark.parametrize("kind", TARGETS)
def test_mutated_files(kind, tmp_path):
    seeds, target, count = TARGETS[kind]
    bounds = Bounds()

    @settings(count)
    @hypothesis.given(st.sampled_from(seeds()), st.lists(MUTATION, min_size=1, max_size=6))
    def run(data, mutations):
        with bounds:
            target(mutated(data, mutations), tmp_path)

    run()
    bounds.check(count)


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
INNER = LEAF | st.lists(LEAF, max_size=3)
KEYS = st.sampled_from(("path", "orig_name", "url", "meta", "size")) | st.text(max_size=4)
VALUES = INNER | st.lists(INNER, max_size=3) | st.dictionaries(KEYS, INNER, max_size=4)


def test_arguments_of_any_kind(tmp_path):
    bounds = Bounds()
    (tmp_path / "a.jpg").write_bytes(b"a photo")

    @settings(ARGUMENTS)
    @hypothesis.given(VALUES, VALUES)
    def run(value, other):
        with bounds:
            for read, given in ((sent_file, value), (sent_photos, value), (sent_photos, [value, other])):
                try:
                    found = read(given, str(tmp_path))
                except UploadError as error:
                    assert_sentence(error)
                else:
                    assert found == [] or isinstance(found, Sent | list)
            named = sent_file({"path": str(tmp_path / "a.jpg"), "orig_name": value}, str(tmp_path))
            assert named.name and named.name.isprintable() and "/" not in named.name
            try:
                assert 0 <= check_threshold(value) <= 1
            except gr.Error as error:
                assert_sentence(error.message)

    run()
    bounds.check(ARGUMENTS)


def test_hosts_and_origins_of_any_kind():
    bounds = Bounds()
    guard = Guard(None, SimpleNamespace(share_url=None), "127.0.0.1", "https://photos.example/blur")
    names = st.sampled_from(("localhost", "127.0.0.1", "photos.example", "[::1]", "evil.example", "http://"))
    header = st.lists(names | st.text(st.characters(max_codepoint=255), max_size=6), max_size=4).map("".join)

    @settings(HOSTS)
    @hypothesis.given(header, header)
    def run(host, origin):
        with bounds:
            raw = [(b"host", host.encode("latin-1")), (b"origin", origin.encode("latin-1"))]
            refusal = guard.refusal(Headers(raw=raw))
            if refusal is None:
                assert origin.partition("://")[2].partition("/")[0].lower() in (host.lower(), "photos.example")
            else:
                assert_sentence(refusal)

    run()
    bounds.check(HOSTS)


def test_cells_of_any_text(tmp_path):
    bounds = Bounds()

    @settings(CELLS)
    @hypothesis.given(st.text(st.sampled_from("=+-@\t\r\n',;\"a 1|\u202e"), max_size=8), st.text(max_size=8))
    def run(name, reason):
        with bounds:
            path = write_csv([{"file": name, "sent": Sent(name), "error": reason}], 0.5, str(tmp_path))
            with path.open(encoding="utf-8-sig", newline="") as file:
                _, line = csv.reader(file)
            assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in line)

    run()
    bounds.check(CELLS)


def test_there_are_twenty_thousand_mutations():
    assert sum(count for *_, count in TARGETS.values()) + ARGUMENTS + HOSTS + CELLS >= 20_000
