import io
import os
import tarfile
import zipfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from abc_hf.library import containers
from abc_hf.library.containers import Reader
from abc_hf.library.find import Found, find_photos
from abc_hf.library.table import path_from_text, path_text
from abc_hf.photos import PhotoError


@pytest.fixture
def find():
    """`find(*sources, skip=())` is (what was found, what was complained of)."""

    def run(*sources, skip=()):
        complaints = []
        found = list(find_photos(map(str, sources), lambda name, reason: complaints.append((name, reason)), skip))
        return found, complaints

    return run


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode("utf-8", "surrogateescape"))
    return folder


def names(found: list[Found], top: object) -> list[str]:
    return [photo.path.removeprefix(f"{top}/") for photo in found]


def test_a_folder_stands_for_its_photos_and_those_below(find, tmp_path):
    top = make(tmp_path / "top", "b.JPG", "a.png", "notes.txt", "z/c.tif", "d/deep/e.webp", "x.jpg/inside.jpg")
    make(top, "._a.png", ".hidden/f.jpg", "out/thumbs/g.jpg", "d/photos.zip")
    found, complaints = find(top, skip=[top / "out"])
    assert names(found, top) == ["a.png", "b.JPG", "d/deep/e.webp", "x.jpg/inside.jpg", "z/c.tif"]
    assert not complaints
    status = (top / "a.png").stat()
    assert found[0] == Found(f"{top}/a.png", 5, status.st_mtime)


def test_names_are_absolute_and_what_is_named_needs_no_extension(find, tmp_path, monkeypatch):
    make(tmp_path, "photos/a.jpg", "other/b.jpg", "scan")
    monkeypatch.chdir(tmp_path)
    found, complaints = find("photos", "scan", "gone.jpg", f"file://{tmp_path}/other/b.jpg")
    assert names(found, tmp_path) == ["photos/a.jpg", "gone.jpg", "scan", "other/b.jpg"]
    assert found[1] == Found(f"{tmp_path}/gone.jpg", None, None)
    assert not complaints


def test_globs(find, tmp_path, monkeypatch):
    make(tmp_path, "2024/a.jpg", "2024/b.png", "2024/notes.txt", "2025/deep/c.jpg", "2025/[d].jpg")
    monkeypatch.chdir(tmp_path)
    assert names(find("2024/*")[0], tmp_path) == ["2024/a.jpg", "2024/b.png"]
    assert names(find("**/*.jpg")[0], tmp_path) == ["2024/a.jpg", "2025/[d].jpg", "2025/deep/c.jpg"]
    assert names(find("2025/[d].jpg")[0], tmp_path) == ["2025/[d].jpg"], "a file of that very name"
    assert names(find("20*")[0], tmp_path) == ["2024/a.jpg", "2024/b.png", "2025/[d].jpg", "2025/deep/c.jpg"]
    assert names(find("**/*.jpg", skip=["2025/deep"])[0], tmp_path) == ["2024/a.jpg", "2025/[d].jpg"]
    assert find("*.bmp") == ([], [(str(tmp_path / "*.bmp"), "no photo has such a name.")])


@pytest.mark.parametrize("how", ["folder", "files"])
def test_raw_and_jpeg_of_one_shot_count_once(find, tmp_path, how):
    make(tmp_path, "1.CR2", "1.JPG", "2.nef", "3.jpg", "3.png", "4.arw", "4.HIF", "below/1.dng", "5.raf", "5.png")
    make(tmp_path, "both.jpeg", "both.cr3", "both.jpg")
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    found, complaints = find(tmp_path) if how == "folder" else find(*files)
    pairs = {photo.path.removeprefix(f"{tmp_path}/"): photo.raw_path for photo in found}
    assert pairs == {
        "1.JPG": f"{tmp_path}/1.CR2",
        "2.nef": None,
        "3.jpg": None,
        "3.png": None,
        "4.HIF": f"{tmp_path}/4.arw",
        "5.png": None,
        "5.raf": None,
        "both.jpeg": f"{tmp_path}/both.cr3",
        "both.jpg": None,
        "below/1.dng": None,
    }
    assert not complaints


def test_links_are_followed_and_loops_end(find, tmp_path):
    top = make(tmp_path / "top", "a/1.jpg", "b/2.jpg")
    make(tmp_path, "elsewhere/3.jpg")
    (top / "a" / "loop").symlink_to(top)
    (top / "a" / "self").symlink_to(top / "a" / "self")
    (top / "b" / "again").symlink_to(top / "a")
    (top / "c").symlink_to(tmp_path / "elsewhere")
    (top / "loop.jpg").symlink_to(top / "loop.jpg")
    found, complaints = find(top, top / "b", top)
    assert names(found, top) == ["loop.jpg", "a/1.jpg", "b/2.jpg", "c/3.jpg"]
    assert found[0] == Found(f"{top}/loop.jpg", None, None)
    assert not complaints


def test_a_folder_that_cannot_be_read_does_not_stop_the_rest(find, tmp_path, monkeypatch):
    top = make(tmp_path, "a/1.jpg", "b/2.jpg", "c/3.jpg")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, complaints = find(top)
    assert names(found, top) == ["a/1.jpg", "c/3.jpg"]
    assert complaints == [(f"{top}/b", "the folder cannot be read (Permission denied).")]


def test_what_holds_no_photos_is_told(find, tmp_path):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("notes.txt", "")
    make(tmp_path, "broken.zip", "broken.tar.gz")
    found, complaints = find(tmp_path / "empty", tmp_path / "pipe.jpg", *sorted(tmp_path.glob("*.*[pz]")))
    assert not found
    assert dict(complaints).keys() == {
        f"{tmp_path}/{name}" for name in ("empty", "pipe.jpg", "empty.zip", "broken.zip", "broken.tar.gz")
    }
    assert all(reason.endswith(".") and "\n" not in reason for _, reason in complaints)


MEMBERS = {
    "b.jpg": b"b",
    "./sub/a.CR2": b"raw",
    "./sub/a.jpg": b"a",
    "__MACOSX/._b.jpg": b"",
    ".hidden/c.jpg": b"",
    "notes.txt": b"",
    "sub/d.dng": b"dng",
}


def archive_of(path: Path, members: dict) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name, (2024, 5, 1, 12, 30, 10)), data)
        return path
    with tarfile.open(path, f"w:{path.suffix[1:].replace('tar', '').replace('tgz', 'gz')}") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), 1714566610
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.tar.xz"])
def test_archives(find, tmp_path, name):
    path = archive_of(tmp_path / name, MEMBERS)
    found, complaints = find(path)
    assert not complaints
    jpeg = next(photo for photo in found if photo.path.endswith("sub/a.jpg"))
    assert jpeg == Found(f"{path}!/./sub/a.jpg", 1, 1714566610.0, f"{path}!/./sub/a.CR2")
    assert {Path(photo.path).name for photo in found} == {"a.jpg", "b.jpg", "d.dng"} and len(found) == 3
    reader = Reader()
    for photo in reversed(found):
        with reader.photo(photo.path) as opened:
            if photo.path.endswith("dng"):  # told by its extension, so it needs a name
                assert Path(opened).suffix == ".dng" and Path(opened).read_bytes() == b"dng"
            else:
                assert opened == MEMBERS[photo.path.split("!/")[1]]
    assert not Path(opened).exists() if isinstance(opened, str) else True
    reader.close()


def test_an_archive_cut_short_gives_what_is_left(find, tmp_path):
    path = archive_of(tmp_path / "a.tar", {f"{number}.jpg": os.urandom(2000) for number in range(9)})
    path.write_bytes(path.read_bytes()[:7000])
    found, complaints = find(path)
    assert names(found, f"{path}!")[:2] == ["0.jpg", "1.jpg"]
    assert len(complaints) == 1 and "cannot be read to its end" in complaints[0][1]


def test_members_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MAX_MEMBER_BYTES", 2**20)
    path = archive_of(tmp_path / "a.zip", {"locked.jpg": b"1", "bomb.jpg": bytes(2**21), "good.jpg": b"2"})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the bit for encryption, in the photo's own header ...
    data[data.index(b"PK\x01\x02") + 8] |= 1  # ... and in the directory
    path.write_bytes(data)
    reader = Reader()
    for name, message in (("locked", "password"), ("bomb", "unpacks to more than 1 MB"), ("gone", "cannot be read")):
        with pytest.raises(PhotoError, match=message), reader.photo(f"{path}!/{name}.jpg"):
            pass
    with reader.photo(f"{path}!/good.jpg") as opened:
        assert opened == b"2"
    with pytest.raises(PhotoError, match="no such file"), reader.photo("memory://gone.zip!/a.jpg"):
        pass
    reader.close()


def test_a_folder_named_like_a_member(tmp_path):
    make(tmp_path, "wow.zip!/a.jpg")
    with Reader().photo(f"{tmp_path}/wow.zip!/a.jpg") as opened:
        assert opened == f"{tmp_path}/wow.zip!/a.jpg"


def parquet_of(path: Path, files: list[bytes], column: str = "image") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({column: pa.array([{"bytes": file, "path": "a.jpg"} for file in files], kind)})
    pq.write_table(table, path, row_group_size=4)
    return path


def test_parquet_files(find, tmp_path, monkeypatch):
    """Each row is a photo, in files that are named and in those of a folder or a glob."""
    make(tmp_path, "set/b.jpg", "set/labels.csv")
    files = [bytes([number]) for number in range(11)]
    path = parquet_of(tmp_path / "set" / "data" / "train.Parquet", files)
    parquet_of(tmp_path / "set" / ".cache" / "old.parquet", files)
    parquet_of(tmp_path / "out" / "thumbs.parquet", files)
    rows = [f"set/data/train.Parquet!/image/{number:02}" for number in range(11)]
    monkeypatch.chdir(tmp_path)
    for sources, expected in (
        (["set"], ["set/b.jpg", *rows]),
        (["set/data/train.Parquet"], rows),
        (["**/*"], ["set/b.jpg", *rows]),
        ([f"file://{tmp_path}/set/data"], rows),
    ):
        found, complaints = find(*sources, skip=["out"])
        assert sorted(set(names(found, tmp_path))) == sorted(expected) and not complaints
    assert found[3] == Found(f"{path}!/image/03", None, path.stat().st_mtime)
    reader = Reader()
    for photo, file in zip(found, files, strict=True):
        with reader.photo(photo.path) as opened:
            assert opened == file
    no_row = pytest.raises(PhotoError, match=r"train.Parquet!/image/11: there is no such row\.$")
    with no_row, reader.photo(f"{path}!/image/11"):
        pass
    reader.close()


def test_parquet_files_without_photos(find, tmp_path):
    pq.write_table(pa.table({"label": [1, 2]}), tmp_path / "a.parquet")
    parquet_of(tmp_path / "b.parquet", [])
    make(tmp_path, "c.parquet")
    parquet_of(tmp_path / "d.parquet", [b"1"])
    found, complaints = find(tmp_path)
    assert names(found, tmp_path) == ["d.parquet!/image/0"]
    reasons = [
        "none of its columns holds photos (a struct of bytes and path, as datasets.Image is).",
        "there are no photos in it.",
        "the Parquet file cannot be read (",
    ]
    assert [name for name, _ in complaints] == [f"{tmp_path}/{name}.parquet" for name in "abc"]
    assert all(reason.startswith(start) for (_, reason), start in zip(complaints, reasons, strict=True))


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_urls(find, memory, tmp_path):
    """By fsspec's file system in memory."""
    for name in ("a.jpg", "a.nef", "notes.txt", ".hidden/b.jpg", "deep/c.png", "deep/._c.png"):
        memory.pipe(f"/photos/{name}", name.encode())
    memory.pipe("/d.zip", archive_of(tmp_path / "d.zip", MEMBERS).read_bytes())
    found, complaints = find("memory://photos")
    created = memory.created("/photos/a.jpg").timestamp()
    assert found == [
        Found("memory:///photos/a.jpg", 5, created, "memory:///photos/a.nef"),
        Found("memory:///photos/deep/c.png", 10, memory.created("/photos/deep/c.png").timestamp()),
    ]
    assert names(find("memory://photos/**/*.png")[0], "memory:///photos") == ["deep/c.png"]
    assert names(find("memory://photos/a.jpg")[0], "memory:///photos") == ["a.jpg"]
    assert len(find("memory://d.zip")[0]) == 3
    assert not complaints
    reader = Reader()
    memory.pipe("/photos/deep/e.parquet", parquet_of(tmp_path / "e.parquet", [b"e"], "shot").read_bytes())
    memory.pipe("/photos/deep/f.tar", archive_of(tmp_path / "f.tar", MEMBERS).read_bytes())
    found, complaints = find("memory://photos/deep")
    assert names(found, "memory:///photos/deep") == ["c.png", "e.parquet!/shot/0"], "an archive has to be named"
    assert found[1].modified == memory.modified("/photos/deep/e.parquet").timestamp()
    assert found[1:] == find("memory:///photos/deep/e.parquet")[0] == find("memory:///photos/*/*.parquet")[0]
    assert len(find("memory://photos/deep/*")[0]) == 5 and not complaints
    with reader.photo("memory:///photos/deep/e.parquet!/shot/0") as opened:
        assert opened == b"e"
    with reader.photo("memory:///photos/a.jpg") as opened:
        assert opened == b"a.jpg"
    with reader.photo("memory://d.zip!/b.jpg") as opened:
        assert opened == b"b"
    reader.close()


def test_chains_of_urls(find, memory, tmp_path):
    """The photos of a zip file as those of a file system, in memory."""
    members = {name.removeprefix("./"): data for name, data in MEMBERS.items()}
    memory.pipe("/d.zip", archive_of(tmp_path / "d.zip", members).read_bytes())
    raw = "zip://sub/a.CR2::memory://d.zip"
    found, complaints = find("zip://::memory://d.zip")
    assert [(photo.path.removesuffix("::memory://d.zip"), photo.bytes, photo.raw_path) for photo in found] == [
        ("zip://b.jpg", 1, None),
        ("zip://sub/a.jpg", 1, raw),
        ("zip://sub/d.dng", 3, None),
    ]
    assert find("zip://sub/*.jpg::memory://d.zip")[0] == [found[1]._replace(raw_path=None)]
    assert find("simplecache::zip://sub::memory://d.zip")[0] == found[1:]
    assert find("simplecache::zip://b.jpg::memory://d.zip")[0] == found[:1] and not complaints
    reader = Reader()
    for photo, data in zip(found, (b"b", b"a", b"dng"), strict=True):
        with reader.photo(photo.path) as opened:
            assert (opened if isinstance(opened, bytes) else Path(opened).read_bytes()) == data
    assert Path(opened).suffix == ".dng"
    reader.close()


@pytest.mark.parametrize(
    "url", ["memory://nothing", "nosuch://photos", "memory://*.jpg", "zip://a.jpg::memory://d.zip"]
)
def test_urls_that_hold_nothing(find, memory, url):
    found, ((name, reason),) = find(url)
    assert (found, name) == ([], url)
    assert reason.endswith(".") and "\n" not in reason


@pytest.mark.parametrize("name", ["gone.zip", "gone.tar", "gone.parquet"])
@pytest.mark.parametrize("where", ["/gone/", "file:///gone/", "memory:///gone/"])
def test_files_that_are_not_there(find, memory, where, name):
    assert find(where + name) == ([], [(where.removeprefix("file://") + name, "there is no such file.")])


def test_weird_names(find, tmp_path):
    weird = ["two\nlines.jpg", os.fsdecode(b"\xff%20.jpg"), "día.jpg", "100%.jpg"]
    make(tmp_path, *weird)
    found, _ = find(tmp_path)
    assert sorted(names(found, tmp_path)) == sorted(weird)
    for photo in found:
        text = path_text(photo.path)
        assert path_from_text(text) == photo.path
        assert text.encode().decode() == text
    assert path_text(f"{tmp_path}/día\n100%.jpg") == f"{tmp_path}/día\n100%.jpg"
    assert path_text(os.fsdecode(b"/a/\xff%20.zip!/b c.jpg")) == "file:///a/%FF%2520.zip!/b%20c.jpg"
