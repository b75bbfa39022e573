import csv
import hashlib
import json
import logging
import logging.handlers
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image, ImageFilter

from abc_hf.cli import main
from abc_hf.library import actions
from abc_hf.library.actions import act, undo
from abc_hf.library.decisions import read_decisions
from abc_hf.library.lock import only_job
from abc_hf.library.plan import Request
from abc_hf.library.table import path_text
from abc_hf.library.undo_file import Moves, read_steps
from tests.library.sort_toys import sort_row, write_sorted
from tests.library.test_xmp import LIGHTROOM, values


@pytest.fixture
def library(tmp_path):
    """Photos of all kinds in two folders and the table of them in `out`; the toys' bytes are their names."""
    folder = tmp_path / "photos"
    rows = []
    for name, label in (
        ("a/one.jpg", "good-blur"),
        ("b/one.jpg", "good-blur"),  # the same name
        ("b/ONE.JPG", "good-blur"),
        ("a/pair.jpg", "no-blur"),
        ("a/bad.jpg", "bad-blur"),
        ("a/strange\n'\"\\ name.jpg", "ok-blur"),
        ("a/" + os.fsdecode(b"\xff\xfe.jpg"), "ok-blur"),
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
        os.utime(path, ns=(10**18, 10**18 + 123_456_789))
        rows.append(sort_row(path_text(str(path)), label))
    (folder / "a/pair.NEF").write_bytes(b"raw")
    (folder / "a/pair.xmp").write_bytes(LIGHTROOM)
    (folder / "a/one.jpg.xmp").write_bytes(LIGHTROOM)
    rows[3]["raw_path"] = str(folder / "a/pair.NEF")
    rows.append(sort_row(folder / "a/broken.jpg", None))
    (folder / "a/broken.jpg").write_bytes(b"broken")
    rows.append(sort_row(folder / "archive.zip!/c.jpg"))
    rows.append(sort_row(folder / "data.parquet!/image/07"))
    rows.append(sort_row("hf://datasets/user/name/d.jpg"))
    (folder / "archive.zip").write_bytes(b"PK")
    (folder / "data.parquet").write_bytes(b"PAR1")
    write_sorted(tmp_path / "out", rows, 0)
    return tmp_path


def state(folder: Path) -> dict[str, tuple]:
    """Each file's SHA-256 and time."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def hashes(folder: Path) -> list[str]:
    return sorted(digest for name, (digest, _) in state(folder).items() if not name.endswith(".xmp"))


def undo_file(library: Path) -> Path:
    return max((library / "out").glob("undo-*.jsonl"))


def run(library: Path, expected: int = 0, dry_run: bool = False, **options) -> list[str]:
    """Act; returns what was logged."""
    logger, handler = logging.getLogger("abc_hf.library"), logging.handlers.BufferingHandler(1000)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        assert act(library / "out", Request(**options), dry_run) == expected
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    return [record.getMessage() for record in handler.buffer]


@pytest.mark.parametrize("kind", ["copy", "move", "link"])
@pytest.mark.parametrize("xmp", [False, True])
def test_photos_go_into_class_folders_and_back(library, caplog, kind, xmp):
    before, to = state(library / "photos"), library / "sorted"
    said = run(library, kind=kind, to=to, xmp=xmp)
    assert any("3 photos lie in archives, in Parquet files or behind URLs" in line for line in said)
    names = {name for name in state(to) if not name.endswith(".xmp")}
    strange, broken = "ok-blur/strange\n'\"\\ name.jpg", "ok-blur/" + os.fsdecode(b"\xff\xfe.jpg")
    assert names == {
        "good-blur/one.jpg", "good-blur/one-2.jpg", "good-blur/ONE-3.JPG", "no-blur/pair.jpg", "no-blur/pair.NEF",
        "bad-blur/bad.jpg", strange, broken,
    }  # fmt: skip
    assert (to / "good-blur/one.jpg").read_bytes() == b"a/one.jpg"
    assert (to / "good-blur/one-2.jpg").read_bytes() == b"b/one.jpg"
    assert (to / "no-blur/pair.xmp").exists() and (to / "good-blur/one.jpg.xmp").exists()
    assert (to / "no-blur/pair.jpg.xmp").exists() == xmp
    after = state(library / "photos")
    if kind == "move":
        assert set(after) == {"a/broken.jpg", "archive.zip", "data.parquet"}
    else:
        assert after == before  # bytes, times and sidecars
        assert os.path.samefile(to / "no-blur/pair.NEF", library / "photos/a/pair.NEF") == (kind == "link")
    assert set(hashes(to)) <= {digest for digest, _ in before.values()}

    caplog.set_level(logging.INFO, "abc_hf.library")
    assert undo(undo_file(library), dry_run=True) == 0
    assert "Nothing was done" in caplog.messages[-1] and state(to)
    assert undo(undo_file(library)) == 0
    assert state(library / "photos") == before
    assert not to.exists()
    assert undo(undo_file(library)) == 0  # again: there is nothing to undo
    assert caplog.messages[-1] == "Taken back: nothing."


def test_sidecars_are_written_beside_the_photos_and_taken_back(library):
    before = state(library / "photos")
    run(library, xmp=True)
    after = state(library / "photos")
    assert {name for name in after if after[name] != before.get(name)} == {
        f"{name}.xmp" for name in ("a/one.jpg", "b/one.jpg", "b/ONE.JPG", "a/pair.jpg", "a/pair.NEF", "a/pair")
    } | {"a/bad.jpg.xmp", "a/strange\n'\"\\ name.jpg.xmp", "a/" + os.fsdecode(b"\xff\xfe.jpg.xmp")}
    assert all(after[name] == before[name] for name in before if not name.endswith(".xmp"))
    merged = (library / "photos/a/pair.xmp").read_bytes()
    assert values(merged, "xmp:Rating") == ["3"] and "no-blur" in values(merged, "dc:subject")
    assert run(library, xmp=True)[-1] == "There is nothing to do."
    assert len(list((library / "out").glob("undo-*"))) == 1
    assert undo(undo_file(library)) == 0
    assert state(library / "photos") == before


def test_a_dry_run_changes_nothing(library):
    before = state(library)
    said = run(library, dry_run=True, kind="move", to=library / "sorted", xmp=True)
    assert state(library) == before and not (library / "sorted").exists()
    assert sum(line.startswith("move: ") for line in said) == 10  # 8 files and 2 sidecars
    assert sum(line.startswith("xmp: ") for line in said) == 9
    assert said[-1].startswith("Nothing was done (--dry-run). Without it: 10 moved, 9 sidecars written")


def test_a_name_that_is_taken_is_never_overwritten(library):
    to = library / "sorted"
    (to / "good-blur").mkdir(parents=True)
    (to / "good-blur/one.jpg").write_bytes(b"other")
    (to / "no-blur").mkdir()
    (to / "no-blur/pair.NEF").write_bytes(b"other")
    run(library, kind="copy", to=to)
    assert (to / "good-blur/one.jpg").read_bytes() == b"other" == (to / "no-blur/pair.NEF").read_bytes()
    assert (to / "good-blur/one-2.jpg").read_bytes() == b"a/one.jpg"
    assert (to / "no-blur/pair-2.jpg").exists() and (to / "no-blur/pair-2.NEF").read_bytes() == b"raw"
    assert (to / "no-blur/pair-2.xmp").exists()  # a pair and its sidecar keep one name
    assert undo(undo_file(library)) == 0
    assert set(state(to)) == {"good-blur/one.jpg", "no-blur/pair.NEF"}


@pytest.mark.parametrize("threshold", [0, 0.35, 1.01])
def test_a_threshold_changes_no_folder(library, threshold):
    run(library, kind="copy", to=library / "sorted", threshold=threshold)
    assert (library / "sorted/bad-blur/bad.jpg").exists() and (library / "sorted/ok-blur").exists()
    assert {name.split("/")[0] for name in state(library / "sorted")} == {"good-blur", "no-blur", "ok-blur", "bad-blur"}


@pytest.mark.parametrize("kind", ["copy", "move", "link"])
def test_flagged_photos_go_to_rejected_if_that_is_asked_for(library, kind):
    """Scores: bad-blur 0.15, ok-blur 0.55, the others 0.85."""
    to = library / "sorted"
    run(library, kind=kind, to=to, threshold=0.6, rejects=True, xmp=True)
    folders = {folder.name: len(list(folder.glob("*.jpg"))) for folder in to.iterdir()}
    assert folders == {"rejected": 3, "good-blur": 2, "no-blur": 1}  # and one that ends in .JPG
    assert values((to / "rejected/bad.jpg.xmp").read_bytes(), "dc:subject") == ["bad-blur"]


def test_doubts_go_to_review_if_that_is_asked_for(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_text(name)
    doubt = {"between": "bad-blur or ok-blur"}
    rows = [sort_row(tmp_path / "a.jpg", "bad-blur", **doubt), sort_row(tmp_path / "b.jpg", "bad-blur")]
    write_sorted(tmp_path / "out", [*rows, sort_row(tmp_path / "c.jpg", "bad-blur", **doubt)], 0)
    for options, places in (
        ({}, ["bad-blur/a.jpg", "bad-blur/b.jpg", "bad-blur/c.jpg"]),
        ({"review": True}, ["bad-blur/b.jpg", "review/a.jpg", "review/c.jpg"]),
        ({"review": True, "rejects": True}, ["rejected/b.jpg", "review/a.jpg", "review/c.jpg"]),
        ({"review": True, "decisions": {str(tmp_path / "a.jpg"): "keep"}},
         ["bad-blur/b.jpg", "kept/a.jpg", "review/c.jpg"]),
    ):  # fmt: skip
        run(tmp_path, kind="copy", to=tmp_path / "sorted", **options)
        assert sorted(state(tmp_path / "sorted")) == places
        assert undo(undo_file(tmp_path)) == 0


@pytest.mark.parametrize("kind", ["copy", "move", "link"])
def test_decisions_come_before_verdicts(library, kind):
    folder, to = library / "photos", library / "sorted"
    decisions = {str(folder / "a/one.jpg"): "reject", str(folder / "a/bad.jpg"): "keep", "/gone.jpg": "keep"}
    said = run(library, kind=kind, to=to, xmp=True, decisions=decisions)
    assert "Decisions about photos that are not here: 1, such as /gone.jpg." in said
    assert (to / "kept/bad.jpg").exists() and not (to / "bad-blur").exists()
    assert (to / "rejected/one.jpg").exists() == (kind == "move")
    assert not (to / "good-blur/one.jpg").exists() or (to / "good-blur/one.jpg").read_bytes() == b"b/one.jpg"
    place = to / "rejected" if kind == "move" else folder / "a"
    assert values((place / "one.jpg.xmp").read_bytes(), "xmp:Rating") == ["-1"]
    assert undo(undo_file(library)) == 0
    assert (folder / "a/one.jpg.xmp").read_bytes() == LIGHTROOM


def test_sub_folders_are_kept_below_the_folder_of_the_verdict(library):
    to = library / "sorted"
    said = run(library, kind="move", to=to, tops=(library / "photos",))
    assert {"good-blur/a/one.jpg", "good-blur/b/one.jpg", "no-blur/a/pair.NEF", "good-blur/a/one.jpg.xmp"} <= {
        *state(to)
    }
    assert "Photos by folder: 3 good-blur, 2 ok-blur, 1 no-blur, 1 bad-blur." in said
    dry = run(library, kind="move", to=to, tops=(library / "photos",), dry_run=True, expected=0)
    assert "Nothing was done" in dry[-1]
    assert undo(undo_file(library)) == 0
    assert not to.exists()  # no empty folder is left


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"only": ("bad-blur",)}, ["bad-blur/bad.jpg"]),
        ({"only": ("rejected",), "rejects": True}, ["rejected/bad.jpg"]),
        ({"only": ("no-blur",)}, ["no-blur/pair.NEF", "no-blur/pair.jpg", "no-blur/pair.xmp"]),
        ({"only": ("kept",)}, []),
    ],
)
def test_only_one_folder_is_filled(library, options, names):
    before = state(library / "photos")
    run(library, kind="move", to=library / "sorted", xmp=False, **options)
    assert sorted(state(library / "sorted")) == names
    assert len(state(library / "photos")) == len(before) - len(names)


def test_an_unknown_folder_is_a_sentence():
    with pytest.raises(ValueError, match="--only rejects: choose from no-blur, .*, rejected, review"):
        Request("move", Path("x"), only=("rejects",))


def test_what_is_flagged(tmp_path):
    rows = {
        "sharp": sort_row("sharp.jpg"),
        "bad": sort_row("bad.jpg", "bad-blur"),
        "starred": sort_row("starred.jpg", "bad-blur", rating=4),
        "refused": sort_row("refused.jpg", rating=-1),
        "bracket": sort_row("bracket.jpg", "bad-blur", set=1, set_kind="exposure bracket"),
        "third": sort_row("third.jpg", burst=1, burst_rank=3),
        "doubt": sort_row("doubt.jpg", "bad-blur", between="bad-blur or ok-blur"),
        "soft": sort_row("soft.jpg", subject_sharpness=0.4),
        "soft eyes": sort_row("soft eyes.jpg", subject_sharpness=0.9, eye_sharpness=0.4),
        "soft bracket": sort_row("soft bracket.jpg", subject_sharpness=0.4, set=1, set_kind="exposure bracket"),
        "sharp eyes": sort_row("sharp eyes.jpg", subject_sharpness=0.4, eye_sharpness=0.9),
    }

    def rejected(**options) -> set[str]:
        request = Request("move", tmp_path, rejects=True, **options)
        done = {name: row for name, row in rows.items() if request.concerns(row, None)}
        return {name for name, row in done.items() if request.folder(row, None) == "rejected"}

    assert rejected() == {"bad", "refused", "doubt"}
    assert rejected(best=2) == {"bad", "refused", "doubt", "third"}
    assert rejected(best=3, only_certain=True) == {"bad", "refused"}
    assert rejected(reject_soft=0.5) == {"bad", "refused", "doubt", "soft", "soft eyes"}
    assert rejected(reject_soft=0.4) == {"bad", "refused", "doubt"}
    assert rejected(threshold=2) == rows.keys() - {"starred", "bracket", "soft bracket"}


def test_what_was_copied_is_not_copied_again(library):
    run(library, kind="copy", to=library / "sorted", tops=(library / "photos",))
    before = state(library / "sorted")
    assert run(library, kind="copy", to=library / "sorted", tops=(library / "photos",))[-1] == "There is nothing to do."
    assert state(library / "sorted") == before


def test_moves_are_followed(library):
    photo, to = library / "photos/a/bad.jpg", library / "sorted"
    run(library, kind="move", to=to)
    once = Moves(library / "out")
    assert once.place(str(photo)) == str(to / "bad-blur/bad.jpg")
    assert once.origins[str(to / "bad-blur/bad.jpg")] == str(photo)
    rows = [row | once.places(row) for row in pq.read_table(library / "out/photos.parquet").to_pylist()]
    write_sorted(library / "out", rows, 0)
    run(library, kind="move", to=library / "again")
    twice = Moves(library / "out")
    assert (
        twice.place(str(photo)) == str(library / "again/bad-blur/bad.jpg")
        and twice.origins.keys() != once.origins.keys()
    )
    first, second = sorted((library / "out").glob("undo-*.jsonl"))
    assert undo(second) == 0 == undo(first)
    assert Moves(library / "out").origins == {} and photo.exists()


def test_companions_go_along_and_what_stays_is_named(tmp_path):
    folder = tmp_path / "photos"
    names = ["IMG_1.JPG", "IMG_1.AAE", "IMG_1.MOV", "IMG_1.JPG.pp3", "IMG_1.psd", "CaptureOne/Settings1/IMG_1.JPG.cos"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    write_sorted(tmp_path / "out", [sort_row(folder / "IMG_1.JPG")], 0)
    (tmp_path / "sorted/good-blur").mkdir(parents=True)
    (tmp_path / "sorted/good-blur/IMG_1.aae").write_text("other")
    before = state(folder)
    said = run(tmp_path, kind="move", to=tmp_path / "sorted")
    assert any("1 files beside photos that move stay where they are, such as" in s and "IMG_1.psd" in s for s in said)
    assert sorted(state(folder)) == ["IMG_1.psd"]
    moved = ["CaptureOne/Settings1/IMG_1.JPG.cos", "IMG_1.AAE", "IMG_1.JPG", "IMG_1.JPG.pp3", "IMG_1.MOV"]
    assert sorted(state(tmp_path / "sorted/good-blur")) == sorted([*moved, "IMG_1.aae"])
    assert undo(undo_file(tmp_path)) == 0
    assert state(folder) == before


@pytest.mark.parametrize("name", ["b.xmp", "b.XMP", "b.jpg.XMP"])
def test_a_photo_has_one_sidecar(tmp_path, name):
    (tmp_path / "b.jpg").write_text("photo")
    (tmp_path / name).write_bytes(LIGHTROOM)
    write_sorted(tmp_path / "out", [sort_row(tmp_path / "b.jpg", rating=3)], 0)
    run(tmp_path, kind="move", to=tmp_path / "sorted", xmp=True)
    assert sorted(state(tmp_path / "sorted/good-blur")) == sorted(["b.jpg", name])
    data = (tmp_path / "sorted/good-blur" / name).read_bytes()
    assert values(data, "xmp:Rating") == ["3"] and "good-blur" in values(data, "dc:subject")


def test_what_the_report_exports_is_read(tmp_path):
    decisions = {'/a/strange\n"name",.jpg': "keep", "/b.jpg": "reject"}
    with (tmp_path / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "decision"), *decisions.items()])
    rows = [{"path": path, "decision": decision} for path, decision in decisions.items()]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    assert read_decisions(tmp_path / "d.csv") == decisions == read_decisions(tmp_path / "d.json")
    for text in ("", "a,b\n1,2\n", "[1]", "path,decision\na.jpg,maybe\n", "[{", "\xff"):
        (tmp_path / "bad").write_text(text, "latin-1")
        with pytest.raises(ValueError, match="holds no decisions"):
            read_decisions(tmp_path / "bad")


def test_undo_leaves_what_has_changed_since(library, caplog):
    folder, to = library / "photos", library / "sorted"
    run(library, kind="move", to=to)
    (to / "good-blur/one.jpg").write_bytes(b"edited since")
    (to / "bad-blur/bad.jpg").unlink()
    (folder / "a/pair.jpg").write_bytes(b"a new photo of this name")
    caplog.clear()
    assert undo(undo_file(library)) == 1
    assert (to / "good-blur/one.jpg").read_bytes() == b"edited since"
    assert (folder / "a/pair.jpg").read_bytes() == b"a new photo of this name"
    assert (to / "no-blur/pair.jpg").read_bytes() == b"a/pair.jpg"
    assert (folder / "a/pair.NEF").read_bytes() == b"raw"
    assert len(caplog.messages) == 3 and all("it is left as it is" in line for line in caplog.messages)


def test_undo_never_deletes_the_last_copy(library):
    folder, to = library / "photos", library / "sorted"
    for kind in ("copy", "link"):
        run(library, kind=kind, to=to / kind)
        (folder / "a/bad.jpg").rename(library / "elsewhere.jpg")
        assert undo(undo_file(library)) == 1
        assert list((to / kind).rglob("*.jpg")) == [to / kind / "bad-blur/bad.jpg"]
        (library / "elsewhere.jpg").rename(folder / "a/bad.jpg")


def test_undo_leaves_a_sidecar_that_was_edited(library):
    run(library, xmp=True)
    edited = library / "photos/a/pair.xmp"
    edited.write_bytes(edited.read_bytes().replace(b"0.35", b"0.70"))
    assert undo(undo_file(library)) == 1
    assert b"0.70" in edited.read_bytes() and not (library / "photos/b/one.jpg.xmp").exists()


@pytest.mark.parametrize("kind", ["copy", "move", "link"])
@pytest.mark.parametrize("after", [0, 1, 4, 7])
def test_what_was_interrupted_can_be_undone(library, monkeypatch, kind, after):
    """The plan is on the disk before the first step."""
    before, real, taken = state(library / "photos"), actions.carry_out, []

    def killed(step):
        assert len(list(read_steps(undo_file(library)))) == 19  # 8 files, 2 sidecars moved or copied, 9 written
        if len(taken) == after:
            raise KeyboardInterrupt
        taken.append(step)
        real(step)

    monkeypatch.setattr(actions, "carry_out", killed)
    with pytest.raises(KeyboardInterrupt):
        run(library, kind=kind, to=library / "sorted", xmp=True)
    monkeypatch.undo()
    assert undo(undo_file(library)) == 0
    assert state(library / "photos") == before and state(library / "sorted") == {}


def test_across_disks_a_move_is_a_copy_first(library, monkeypatch):
    """Another disk is played by `os.rename`; killed between copy and deletion, both are there."""
    before, rename = state(library / "photos"), os.rename

    def other_disk(old, new):
        if not str(old).endswith(".partial"):
            raise OSError(actions.errno.EXDEV, "Invalid cross-device link")
        rename(old, new)

    monkeypatch.setattr(os, "rename", other_disk)
    run(library, kind="move", to=library / "sorted")
    assert set(state(library / "photos")) == {"a/broken.jpg", "archive.zip", "data.parquet"}
    shutil.copy2(library / "sorted/bad-blur/bad.jpg", library / "photos/a/bad.jpg")
    assert undo(undo_file(library)) == 0
    assert state(library / "photos") == before and state(library / "sorted") == {}


def test_links_across_disks_are_refused_in_words(library, monkeypatch):
    def refuse(old, new):
        raise OSError(actions.errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    said = run(library, 1, kind="link", to=library / "sorted")
    assert sum("hard links stay on one disk; use --copy-to" in line for line in said) == 8


def test_a_full_disk_ends_it_and_leaves_no_half_file(library, monkeypatch):
    def full(source, file):
        file.write(b"half")
        raise OSError(actions.errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    said = run(library, 1, kind="copy", to=library / "sorted")
    assert sum("No space left on device" in line for line in said) == 1
    assert state(library / "sorted") == {}


def test_a_damaged_sidecar_is_left_as_it_is(library):
    (library / "photos/a/one.jpg.xmp").write_bytes(b"<x:xmp")
    said = run(library, xmp=True)
    [line] = [line for line in said if "one.jpg.xmp: this sidecar is left as it is (it is no XML: " in line]
    assert "string" not in line
    assert (library / "photos/a/one.jpg.xmp").read_bytes() == b"<x:xmp"


def test_a_file_that_is_gone_is_told(library):
    (library / "photos/a/bad.jpg").unlink()
    said = run(library, 1, kind="copy", to=library / "sorted")
    assert any("1 photos of the table are not there now, such as" in line and "bad.jpg;" in line for line in said)
    assert said[-1] == "Done: 9 copied."
    assert undo(undo_file(library)) == 0


def test_a_sidecar_of_two_photos_goes_with_the_first(tmp_path):
    for name in ("a.jpg", "a.png", "a.xmp"):
        (tmp_path / name).write_text(name)
    write_sorted(tmp_path / "out", [sort_row(tmp_path / "a.jpg"), sort_row(tmp_path / "a.png")], 0)
    run(tmp_path, kind="move", to=tmp_path / "sorted")
    assert sorted(state(tmp_path / "sorted")) == ["good-blur/a-2.png", "good-blur/a.jpg", "good-blur/a.xmp"]


def test_links_are_not_moved(library):
    photo = library / "photos/a/bad.jpg"
    photo.rename(library / "photos/a/real")
    photo.symlink_to("real")
    said = run(library, kind="move", to=library / "sorted")
    assert photo.is_symlink() and any("this is a symbolic link" in line for line in said)


def test_another_file_is_no_undo_file(tmp_path):
    for text in ("{}\n", "[1]\n", "hello\n", '{"do": "delete"}\n', "\xff\n"):
        (tmp_path / "x").write_text(text, "latin-1")
        with pytest.raises(ValueError, match="is no undo file"):
            undo(tmp_path / "x")


def shoot(path: Path, picture: Image.Image, second: int):
    """Save a photo as a camera would."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Toy", "Toy One"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"2026:05:01 12:00:{second:02}"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, exif=exif, quality=95)


def test_the_command(tmp_path, tiny_folder, photo, capsys):
    """From photos to a table with bursts, a report, folders, and back."""
    folder, out, to = tmp_path / "photos", tmp_path / "out", tmp_path / "sorted"
    scene = photo(320, 240, seed=3).resize((640, 480))
    for number, radius in enumerate((4, 0, 1.5)):
        shoot(folder / f"shot{number}.jpg", scene.filter(ImageFilter.GaussianBlur(radius)), number)
    shoot(folder / "other.jpg", photo(300, 200, seed=9), 30)
    before = state(folder)
    command = ["sort", str(folder), "--out", str(out), "--model", str(tiny_folder), "--workers", "0"]
    assert main(command) == 0
    table = {row["path"][len(str(folder)) + 1 :]: row for row in pq.read_table(out / "photos.parquet").to_pylist()}
    assert [table[f"shot{number}.jpg"]["burst_rank"] for number in range(3)] == [3, 1, 2]
    assert table["other.jpg"]["burst"] is None and table["shot1.jpg"]["camera"] == "Toy One"
    with (out / "photos.csv").open(newline="") as file:
        assert sum(row["burst"] == "1" for row in csv.DictReader(file)) == 3
    assert "shot2.jpg" in (out / "report" / "photos-0000.js").read_text()
    assert not (out / "report.html").read_text().count("data:image")

    capsys.readouterr()
    assert main([*command, "--single-file", "--copy-to", str(to), "--xmp", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("\ncopy: ") == 4 == said.count("\nxmp: ") and "4 copied, 4 sidecars written" in said
    assert (out / "report.html").read_text().count("data:image/jpeg") == 4
    assert not to.exists()

    decisions = tmp_path / "decisions.csv"
    decisions.write_text(f"path,decision\r\n{folder / 'shot0.jpg'},reject\r\n{folder / 'shot1.jpg'},keep\r\n")
    assert main([*command, "--move-to", str(to), "--xmp", "--decisions", str(decisions)]) == 0
    assert (to / "rejected" / "shot0.jpg").exists() and (to / "kept" / "shot1.jpg.xmp").exists()
    assert values((to / "kept" / "shot1.jpg.xmp").read_bytes(), "dc:subject")[-1] == "best-of-burst"
    assert hashes(to) == sorted(digest for digest, _ in before.values())
    capsys.readouterr()
    assert main(["sort", "--undo", str(undo_file(tmp_path))]) == 0
    assert capsys.readouterr().out == "Taken back: 4 moved, 4 sidecars written.\n"
    assert state(folder) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name a folder or photos to sort"),
        (["a", "--out", "b", "--dry-run"], "--decisions, --only, --only-certain and --dry-run go with"),
        (["a", "--out", "b", "--review"], "--review and --rejects go with --copy-to, --move-to or --link-to"),
        (["a", "--out", "b", "--xmp", "--rejects"], "--review and --rejects go with --copy-to, --move-to or --link-to"),
        (["a", "--out", "b", "--copy-to", "file"], "--copy-to file cannot be a folder, because a file has that name"),
        (["a", "--out", "b", "--xmp", "--decisions", "file"], "file holds no decisions"),
        (["a", "--out", "b", "--xmp", "--decisions", "gone"], "No such file"),
        (["--undo", "file"], "file is no undo file"),
    ],
)
def test_wrong_options_are_told_in_a_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("hello\n")
    assert main(["sort", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert sorted(os.listdir()) == ["file"]


@pytest.mark.parametrize("action", [{"xmp": True}, {"kind": "move"}, {"kind": "copy", "xmp": True}])
def test_a_sidecar_that_is_a_link_a_pipe_or_damaged_is_one_sentence(library, action):
    """What the link leads to stays as it is, nothing waits for the pipe, and the other sidecars are written."""
    folder, to = library / "photos", library / "sorted"
    (library / "precious").write_bytes(LIGHTROOM)
    (folder / "a/one.jpg.xmp").unlink()
    (folder / "a/one.jpg.xmp").symlink_to(library / "precious")
    os.mkfifo(folder / "a/bad.jpg.xmp")
    (folder / "b/one.jpg.xmp").write_bytes(b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>")
    options = action | ({"to": to} if "kind" in action else {})
    said = run(library, **options)
    if "xmp" in action:
        assert sum("a/one.jpg.xmp: this sidecar is left as it is (it is a symbolic link" in line for line in said) == 1
        assert sum("a/bad.jpg.xmp: this sidecar is left as it is (this is no file" in line for line in said) == 1
        assert sum("b/one.jpg.xmp: this sidecar is left as it is (it is no XML" in line for line in said) == 1
        written = to if "kind" in action else folder
        assert len(list(written.rglob("strange*.jpg.xmp"))) == 1
    if "kind" in action:
        assert sum("this is a link or a pipe and no sidecar; it stays here." in line for line in said) == 2
    assert (folder / "a/one.jpg.xmp").is_symlink() and (library / "precious").read_bytes() == LIGHTROOM
    assert not list(library.rglob("*.partial"))


def test_a_sidecar_that_became_a_link_meanwhile_is_not_written_through(library, monkeypatch):
    victim, sidecar = library / "precious", library / "photos/a/bad.jpg.xmp"
    victim.write_bytes(LIGHTROOM)
    write_ahead = actions.write_ahead

    def swapped(path, steps):
        number = write_ahead(path, steps)
        sidecar.symlink_to(victim)
        return number

    monkeypatch.setattr(actions, "write_ahead", swapped)
    said = run(library, xmp=True, expected=1)
    assert any("bad.jpg.xmp: it was left as it is (it is a symbolic link" in line for line in said)
    assert victim.read_bytes() == LIGHTROOM


def test_files_of_the_users_beside_the_target_are_not_touched(library):
    """The names that temporary files had before."""
    names = ["photos/a/bad.jpg.xmp.partial", "sorted/bad-blur/bad.jpg.partial", "sorted/good-blur/one.jpg.partial"]
    for name in names:
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).write_text("mine")
    (library / "photos/a/one.jpg.xmp.partial").symlink_to(library / "photos/a/pair.jpg")
    run(library, kind="copy", to=library / "sorted", xmp=True)
    run(library, xmp=True)
    assert [(library / name).read_text() for name in names] == ["mine"] * 3
    assert (library / "photos/a/pair.jpg").read_bytes() == b"a/pair.jpg"


@pytest.mark.parametrize("length", [248, 255])
def test_long_names(library, length):
    """A name of 255 bytes has no room for a sidecar's ending, which is one sentence."""
    photo, to = library / "photos" / ("x" * (length - 4) + ".jpg"), library / "sorted"
    photo.write_bytes(b"long")
    rows = pq.read_table(library / "out" / "photos.parquet").to_pylist()
    write_sorted(library / "out", [*rows, sort_row(photo, "bad-blur")], 0)
    said = run(library, kind="move", to=to, xmp=True)
    assert (to / "bad-blur" / photo.name).read_bytes() == b"long"
    assert (to / "bad-blur" / f"{photo.name}.xmp").exists() if length == 248 else any("too long" in s for s in said)
    assert undo(undo_file(library)) == 0
    assert photo.read_bytes() == b"long" and not to.exists()


def test_photos_that_are_gone_are_one_sentence(library):
    (library / "photos").rename(library / "unplugged")
    (library / "photos").mkdir()
    said = run(library, 1, kind="move", to=library / "sorted", xmp=True)
    assert sum("photos of the table are not there now, such as" in line for line in said) == 1 and len(said) < 4
    assert said[-1] == "There is nothing to do." and not (library / "sorted").exists()


def test_a_second_process_is_a_sentence(library):
    with only_job(library / "out"):
        for act_or_undo in (
            lambda: run(library, xmp=True),
            lambda: undo(write_undo_file(library / "out", [STEP])),
        ):
            with pytest.raises(ValueError, match="is in use by another sort or watch"):
                act_or_undo()
    assert not list((library / "photos").rglob("bad.jpg.xmp"))


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), "0.5", None])
def test_a_threshold_that_is_no_number(threshold):
    with pytest.raises(ValueError, match="The threshold must be a number such as"):
        Request(xmp=True, threshold=threshold)


@pytest.mark.parametrize("threshold", ["nan", "-inf", "half", ""])
def test_a_threshold_that_is_no_number_on_the_command_line(capsys, threshold):
    with pytest.raises(SystemExit, match="2"):
        main(["sort", "a", "--out", "b", "--xmp", f"--threshold={threshold}"])
    assert f"expected a number such as 0.5, got {threshold}" in capsys.readouterr().err


STEP = {"do": "copy", "from": "/a.jpg", "to": "/b.jpg", "bytes": 1, "modified": 1}
SIDECAR = {
    "do": "xmp",
    "from": "/a.xmp",
    "to": "/a.xmp",
    "marks": {"rating": 3, "label": "Red", "keywords": ["bad-blur"]},
    "old": "PGE+",
    "modified": 1,
}


def write_undo_file(folder: Path, steps: list) -> Path:
    path = folder / "undo-1.jsonl"
    path.write_text("".join(f"{json.dumps(step)}\n" for step in steps))
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"do": ["copy"]},
        {"from": 7},
        {"from": None},
        {"to": "relative.jpg"},
        {"bytes": "1"},
        {"bytes": 1.5},
        {"modified": [1]},
        {"modified": True},
    ],
    ids=str,
)
def test_an_undo_file_with_a_damaged_step_undoes_nothing(tmp_path, change):
    (tmp_path / "a.jpg").write_text("copied")
    shutil.copy2(tmp_path / "a.jpg", tmp_path / "b.jpg")
    times = {"bytes": 6, "modified": (tmp_path / "a.jpg").stat().st_mtime_ns}
    good = STEP | {"from": str(tmp_path / "a.jpg"), "to": str(tmp_path / "b.jpg")} | times
    with pytest.raises(ValueError, match=r"undo-1.jsonl is no undo file of .*, or line 1 of it is damaged"):
        undo(write_undo_file(tmp_path, [STEP | change, good]))
    assert (tmp_path / "b.jpg").exists()
    assert undo(write_undo_file(tmp_path, [good])) == 0
    assert not (tmp_path / "b.jpg").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"marks": None},
        {"marks": {"rating": 3}},
        {"marks": {"rating": 3, "label": "Red", "keywords": [1]}},
        {"marks": {"rating": 3, "label": ["Red"], "keywords": []}},
        {"old": "no base64!"},
        {"old": 7},
        {"modified": None},
    ],
    ids=str,
)
def test_a_damaged_step_of_a_sidecar(tmp_path, change):
    list(read_steps(write_undo_file(tmp_path, [SIDECAR])))
    with pytest.raises(ValueError, match="line 1 of it is damaged"):
        undo(write_undo_file(tmp_path, [SIDECAR | change]))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("read", [undo, read_decisions])
def test_files_that_cannot_be_read_are_a_sentence(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("gone", "No such file"), ("pipe", "no undo|no decisions"), (".", "cannot be read")):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        '[{"path": ["a"], "decision": "keep"}]',
        '[{"path": 7, "decision": "keep"}]',
        '[{"path": "a", "decision": ["keep"]}]',
        "[" * 100_000,
        "path,decision\n" + '"' + "a" * 200_000 + '",keep\n',
        "path,decision\na.jpg\n",
    ],
    ids=range(6),
)
def test_malformed_decisions_are_a_sentence(tmp_path, text):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(ValueError, match="d.csv holds no decisions; export them"):
        read_decisions(tmp_path / "d.csv")
