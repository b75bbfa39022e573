"""The journal of `abc-fusenet sort` by itself; `test_sort.py` tests it in use."""

import contextlib
import math
from pathlib import Path

import pytest

from abc_hf.library.find import Found
from abc_hf.library.journal import Index
from abc_hf.library.shards import SHARD_COLUMNS, Writer, line_of, read_shard, shards
from tests.library.sort_toys import sort_row

PICTURES = {"pictures": [[1, 2], [3, 4]], "noted": 1.5}


def row_of(path: str, **others) -> dict:
    return dict.fromkeys(SHARD_COLUMNS.names) | sort_row(path) | {"certain": True} | PICTURES | others


def write(folder: Path, rows: list[dict], settings: dict | None = None) -> Path:
    writer = Writer(folder, settings or {"model": "m"})
    writer.add(rows)
    writer.close()
    return list(shards(folder).values())[-1]


def test_a_journal_cut_anywhere_gives_the_rows_before(tmp_path):
    shard = write(tmp_path, [row_of(f"é{number}") for number in range(3)])
    data = shard.read_bytes()
    ends = [position + 1 for position, byte in enumerate(data) if byte == ord("\n")]
    for cut in {*range(0, len(data), 11), *ends, *(end - 1 for end in ends)}:
        shard.write_bytes(data[:cut])
        settings, rows, damaged = read_shard(shard)
        assert [row["path"] for row in rows] == [f"é{number}" for number in range(sum(cut >= e for e in ends[1:]))]
        assert settings == ({"model": "m"} if cut >= ends[0] else None)
        assert damaged == 0, "a process that is killed leaves such a file"


@pytest.mark.parametrize("bit", [0, 6])
def test_a_flipped_bit_anywhere_is_noticed(tmp_path, bit):
    rows = [row_of(f"/{number}.jpg") for number in range(2)]
    shard = write(tmp_path, rows)
    data = shard.read_bytes()
    for place in {*range(0, len(data), 7), *(place for place, byte in enumerate(data) if byte in b" \n")}:
        shard.write_bytes(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])
        _settings, found, damaged = read_shard(shard)
        assert all(row in rows for row in found) and len(found) < 2
        assert damaged or place == len(data) - 1, "without the end of its line the last row counts as cut short"


@pytest.mark.parametrize(
    "change",
    [
        {"path": ""},
        {"path": None},
        {"path": 7},
        {"label": "great-blur"},
        {"label": None},
        {"score": None},
        {"score": 1.5},
        {"score": math.nan},
        {"score": "0.5"},
        {"p_no_blur": True},
        {"blur_fraction": -0.1},
        {"certain": None},
        {"reason": None},
        {"width": 2**31},
        {"width": 6000.5},
        {"bytes": "1000"},
        {"modified": math.inf},
        {"camera": ["Canon"]},
        {"camera": "\ud800"},
        {"more": 1},
        {"pictures": None},
        {"pictures": [[1, 2]]},
        {"pictures": [1, 2, 3]},
        {"noted": None},
    ],
    ids=str,
)
def test_rows_of_others_do_not_count(tmp_path, change):
    """Their checksums are right."""
    shard = write(tmp_path, [row_of("/0.jpg"), row_of("/1.jpg") | change, row_of("/2.jpg")])
    _, rows, damaged = read_shard(shard)
    assert ([row["path"] for row in rows], damaged) == (["/0.jpg", "/2.jpg"], 1)


@pytest.mark.parametrize("first", [[], "m", None, 5])
def test_a_shard_without_settings(tmp_path, first):
    shard = write(tmp_path, [row_of("/0.jpg")])
    shard.write_bytes(line_of(first) + line_of(row_of("/0.jpg")))
    assert read_shard(shard) == (None, [], 2)


def test_an_error_is_a_row(tmp_path):
    error = dict.fromkeys(SHARD_COLUMNS.names) | {"path": "/a.jpg", "error": "the file is empty."}
    assert read_shard(write(tmp_path, [error]))[1:] == ([error], 0)


def test_shards(tmp_path, monkeypatch):
    """Some hundred rows each; the later row of a photo counts; what is no use any more goes."""
    monkeypatch.setattr("abc_hf.library.shards.SHARD_ROWS", 3)
    writer = Writer(tmp_path, {"model": "m"})
    for number in range(7):
        writer.add([row_of(str(number), bytes=1, modified=None)])
    writer.close()
    assert [path.name for path in shards(tmp_path).values()] == [f"00001-0000{n}.jsonl" for n in (1, 2, 3)]
    (tmp_path / "00001-00002.jsonl").write_bytes(b"damaged\n")
    write(tmp_path, [row_of("0")], {"model": "other"})
    write(tmp_path, [row_of("6", bytes=2, modified=None)])
    (tmp_path / ".0123456789abcdef.partial").touch()
    with contextlib.closing(Index(tmp_path, {"model": "m"})) as index:
        assert index.load() == 1 and index.damaged == {"00001-00002": 1}
        index.find(Found(str(number), 2 if number == 6 else 1, None) for number in range(8))
        assert [row["path"] for row in index.rows()] == ["0", "1", "2", "6"]
        assert [photo.path for photo, _ in index.todo()] == ["3", "4", "5", "7"]
        index.prune()
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "00001-00001.jsonl",
        "00001-00002.jsonl",
        "00003-00001.jsonl",
        "set-aside",
    ]


def test_the_good_rows_of_a_damaged_shard_are_written_anew(tmp_path):
    rows = [row_of(f"/{number}.jpg") for number in range(3)]
    shard = write(tmp_path, rows)
    lines = shard.read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:2], b"x" + lines[2], lines[3]])
    shard.write_bytes(damaged)
    with contextlib.closing(Index(tmp_path, {"model": "m"})) as index:
        index.load()
        index.prune()
    assert read_shard(shard) == ({"model": "m"}, [rows[0], rows[2]], 0)
    assert (tmp_path / "set-aside" / shard.name).read_bytes() == damaged


KNOWN = [
    "/disk/a.jpg",
    "/disk/b/c.jpg",
    "/disk2/a.jpg",
    "/disk/x.zip!/d.jpg",
    "file:///disk/%FF.jpg",
    "s3://bucket/photos/e.jpg",
    "s3://bucket/photos2/f.jpg",
    "/disk/[old]/g.jpg",
]


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("/disk", [0, 1, 3, 4, 7]),
        ("/disk/", [0, 1, 3, 4, 7]),
        ("/disk/b", [1]),
        ("/disk/a.jpg", [0]),
        ("/disk/x.zip", [3]),
        ("/", [0, 1, 2, 3, 4, 7]),
        ("/disk?/*.jpg", [2]),
        ("/disk/**/*.jpg", [0, 1, 3, 7]),
        ("/disk/[ab].jpg", [0]),
        ("/disk/[!a]", [1]),
        ("s3://bucket/photos", [5]),
        ("/elsewhere", []),
    ],
)
def test_what_is_kept_of_a_source_that_is_missing(tmp_path, source, kept):
    write(tmp_path, [row_of(path, raw_path="/raw.nef") for path in KNOWN])
    with contextlib.closing(Index(tmp_path, {"model": "m"})) as index:
        index.load()
        index.find([Found("/here.jpg", 1, 1.0), Found(source.rstrip("/"), None, None)])
        assert index.keep(source.rstrip("/") or "/") == len(kept)
        assert [row["path"] for row in index.rows()] == sorted(KNOWN[number] for number in kept)
        assert all(row["raw_path"] == "/raw.nef" for row in index.rows())
        assert "/here.jpg" in [photo.path for photo, _ in index.todo(judged=True)]
        assert not {photo.path for photo, _ in index.todo(judged=True)} & set(KNOWN)


def test_folders_that_are_missing_or_empty_and_held_photos(tmp_path):
    """A disk inside a folder, an archive in it, a folder of a name like a glob; deleted photos are no lost folder."""
    top = tmp_path / "library"
    held = ["here/1.jpg", "here/deleted.jpg", "disk/x/2.jpg", "disk/x/a.zip!/in/3.jpg", "empty/4.jpg", "[raw]/y/5.jpg"]
    held = [str(top / path) for path in [*held, "half/gone/6.jpg", "there!/7.jpg"]]
    others = [str(tmp_path / "other/8.jpg"), "s3://bucket/library/9.jpg", str(top) + "2/10.jpg"]
    rows = [row_of(path) for path in held + others]
    write(tmp_path / "shards", [*rows, row_of(str(top / "bad/11.jpg"), label=None, error="damaged.")])
    for folder in ("here", "empty", "half/stays", "there!"):
        (top / folder).mkdir(parents=True)
    (top / "here" / "1.jpg").touch()
    (top / "there!" / "other.txt").touch()
    index = Index(tmp_path / "shards", {"model": "m"})
    index.load()
    index.find([Found(held[0], rows[0]["bytes"], rows[0]["modified"])])
    lost = {str(top / name) for name in ("disk", "empty", "[raw]", "half/gone")}
    assert index.lost_folders(str(top)) == index.lost_folders(f"{top}/") == lost
    assert index.lost_folders(f"{top}/*/") == index.lost_folders(f"{tmp_path}/lib*/") - {f"{top}2"} == lost
    assert index.lost_folders(str(top / "disk")) == {str(top / "disk")}
    assert index.lost_folders("s3://bucket/library") == set()
    assert [index.keep(folder) for folder in sorted(lost)] == [1, 2, 1, 1]
    assert index.lost_folders(str(top)) == set()
    kept = {row["path"] for row in index.rows()}
    assert kept == {*held} - {str(top / "here/deleted.jpg"), str(top / "there!/7.jpg")}
    index.close()
