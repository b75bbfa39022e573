import csv
import json
import subprocess
import zipfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from abc_hf import load_pipeline
from abc_hf.demo.batch_tab import (
    FIELDS,
    VIEW,
    WORST_FIRST,
    gallery_value,
    judged,
    public_rows,
    sorted_rows,
    write_csv,
    write_json,
    write_keepers,
)
from abc_hf.demo.style import web_file
from abc_hf.demo.uploads import Budget, Sent, sent_photos
from abc_hf.verdicts import KINDS


def row(name, no=0.0, good=0.0, ok=0.0, bad=0.0, path="", between=None, kind="defocus") -> dict:
    """A row as `judged` gives it, with the score of `BlurReport`."""
    shares = {"no-blur": no, "good-blur": good, "ok-blur": ok, "bad-blur": bad}
    label = max(shares, key=shares.get)
    return {
        "file": name,
        "sent": Sent(name, path),
        "label": label,
        "certain": between is None,
        "between": between,
        "kind": None if label == "no-blur" else kind,
        "probabilities": shares,
        "score": no + good + ok / 2,
        "reason": "Because.",
        "blur_on_subject": 0.1,
        "blur_on_background": 0.2,
        "blur_fraction": 0.3,
        "width": 4,
        "height": 3,
        "picture": {"path": "/tmp/x", "url": "/x"},
        "map": {"path": "/tmp/y", "url": "/y"},
    }


ROWS = [
    row("bad.jpg", bad=0.8, ok=0.2),  # scores 0.1
    row("good.jpg", good=0.9, bad=0.1),  # 0.9
    {"file": "<b>.jpg", "sent": Sent("<b>.jpg", "/tmp/b"), "error": "it is <empty>."},
    row("no.jpg", no=0.6, ok=0.4),  # 0.8
    row("doubtful.jpg", bad=0.55, good=0.45, between=["bad-blur", "good-blur"]),  # 0.45
    row("better.jpg", good=1.0, kind="motion"),  # 1.0
]


def names(rows, threshold):
    groups = {label: [] for label in WORST_FIRST}
    for each in sorted_rows(rows, threshold):
        if "error" not in each:
            groups[each["label"]].append(each["file"])
    return groups


@pytest.mark.parametrize(
    ("threshold", "rejects"),
    [
        (0, []),
        (0.1, []),  # "bad.jpg" scores 0.1, which is not below
        (0.45, ["bad.jpg"]),
        (0.46, ["bad.jpg", "doubtful.jpg"]),
        (0.85, ["bad.jpg", "doubtful.jpg", "no.jpg"]),
    ],
)
def test_a_threshold_flags_and_moves_nothing(threshold, rejects):
    assert names(ROWS, threshold) == {
        "bad-blur": ["bad.jpg", "doubtful.jpg"],
        "ok-blur": [],
        "good-blur": ["good.jpg", "better.jpg"],
        "no-blur": ["no.jpg"],
    }
    assert sorted(each["file"] for each in sorted_rows(ROWS, threshold) if each.get("reject")) == rejects
    assert sorted_rows(ROWS, threshold)[-1]["error"]


@pytest.mark.parametrize(
    ("show", "kind", "files"),
    [
        ("All", "All", ["bad.jpg", "doubtful.jpg", "good.jpg", "better.jpg", "no.jpg"]),
        ("Certain", "All", ["bad.jpg", "good.jpg", "better.jpg", "no.jpg"]),
        ("Not sure", "All", ["doubtful.jpg"]),
        ("Reject", "All", ["bad.jpg"]),
        ("All", "Motion", ["better.jpg"]),
        ("All", "None", ["no.jpg"]),
        ("Certain", "Defocus", ["bad.jpg", "good.jpg"]),
        ("Not sure", "Camera shake", []),
    ],
)
def test_filters(show, kind, files):
    """Node.js runs the script of the page."""
    photos, view = gallery_value(ROWS)["photos"], VIEW | {"show": show, "kind": kind}
    arguments = ", ".join(map(json.dumps, (photos, view, KINDS)))
    script = f"{web_file('rows.js')} console.log(JSON.stringify(chosen({arguments}).map(photo => photo.file)))"
    try:
        found = subprocess.run(["node", "-e", script], check=True, text=True, capture_output=True).stdout
    except FileNotFoundError:
        pytest.skip("Node.js is not installed")
    assert json.loads(found) == files


def test_the_gallery_spells_names():
    gallery = gallery_value(ROWS)
    assert [(photo["number"], photo["label"]) for photo in gallery["photos"]] == [
        (0, "bad-blur"),
        (1, "bad-blur"),
        (2, "good-blur"),
        (3, "good-blur"),
        (4, "no-blur"),
    ]
    assert gallery["failed"] == [{"file": "&lt;b&gt;.jpg", "error": "it is &lt;empty&gt;."}]
    assert gallery_value([row("<i>.jpg", bad=1.0)])["photos"][0]["file"] == "&lt;i&gt;.jpg"


def test_files_to_download(tmp_path):
    for index, each in enumerate(ROWS):
        each["sent"] = Sent(each["file"], str(tmp_path / f"{index}.jpg"))
        Path(each["sent"].path).write_bytes(each["file"].encode())
    rows = [*ROWS, row("GOOD.jpg", good=0.7, bad=0.3, path=ROWS[1]["sent"].path)]

    with write_csv(rows, 0.35, str(tmp_path)).open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == FIELDS
    assert [line["file"] for line in lines] == [each["file"] for each in sorted_rows(rows, 0.35)]
    assert {line["file"] for line in lines if line["reject"] == "False"} == {
        "better.jpg",
        "good.jpg",
        "GOOD.jpg",
        "doubtful.jpg",
        "no.jpg",
    }
    doubt = next(line for line in lines if line["file"] == "doubtful.jpg")
    assert (doubt["certain"], doubt["between"], doubt["kind"]) == ("False", "bad-blur or good-blur", "defocus")
    assert json.loads(write_json(rows, 0.35, str(tmp_path)).read_text()) == public_rows(rows, 0.35)
    assert not any({"sent", "picture", "map"} & set(each) for each in public_rows(rows, 0.35))

    with zipfile.ZipFile(write_keepers(rows, 0.6, str(tmp_path), Budget())) as archive:
        assert archive.namelist() == ["GOOD.jpg", "good-2.jpg", "better.jpg", "no.jpg"]
        assert archive.read("good-2.jpg") == b"good.jpg"
    with pytest.raises(gr.Error, match="No photo"):
        write_keepers(rows[:1], 0.6, str(tmp_path), Budget())
    Path(ROWS[5]["sent"].path).unlink()
    with pytest.raises(gr.Error, match="deleted"):
        write_keepers(rows, 0.6, str(tmp_path), Budget())


def test_photos_are_judged_once_and_a_broken_one_is_listed(tiny_folder, photo, tmp_path):
    pipeline = load_pipeline(tiny_folder)
    photo(96, 64).save(tmp_path / "0.png")
    (tmp_path / "1.jpg").write_bytes(b"not a photo")
    sent = [
        Sent("a.png", str(tmp_path / "0.png")),
        Sent("b.jpg", str(tmp_path / "1.jpg")),
        Sent("c.jpg", error="locked."),
    ]
    rows = list(judged(pipeline, sent, str(tmp_path), Budget(), pictures=True))
    report = pipeline(tmp_path / "0.png").to_dict()
    assert {key: rows[0][key] for key in report} == report
    assert all(Path(rows[0][key]["path"]).is_file() for key in ("picture", "map"))
    assert rows[1]["error"].startswith("not a photo") and str(tmp_path) not in rows[1]["error"]
    assert rows[2]["error"] == "locked."

    def forbidden(*args, **options):
        raise AssertionError("judged again")

    known = {each["sent"]: each for each in rows}
    assert list(judged(forbidden, sent[:2], str(tmp_path), Budget(), known)) == rows[:2]


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError(), RuntimeError("torch")])
def test_whatever_happens_to_a_photo_is_its_row(make_report, photo, tmp_path, error):
    """Of the photos of a zip, one fails while it is judged; the others go on, and no file stays unpacked."""

    def judge(path, **options):
        if Path(path).read_bytes() == b"bad":
            raise error
        return make_report(np.full((4, 4), 0.1), np.full((4, 4), 0.5))

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("one", "bad", "two"):
            archive.writestr(f"day 1/{name}.jpg", name)
    sent = sent_photos([{"path": str(tmp_path / "a.zip"), "orig_name": "a.zip"}], str(tmp_path))
    rows = list(judged(judge, sent, str(tmp_path), Budget()))
    assert [each["file"] for each in rows] == ["day 1/one.jpg", "day 1/bad.jpg", "day 1/two.jpg"]
    assert ["error" in each for each in rows] == [False, True, False]
    assert rows[1]["error"].endswith(".") and str(tmp_path) not in rows[1]["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    with zipfile.ZipFile(write_keepers(rows, 0.0, str(tmp_path), Budget())) as archive:
        assert archive.namelist() == ["day 1/one.jpg", "day 1/two.jpg"] and archive.read("day 1/two.jpg") == b"two"


def test_no_cell_of_the_table_is_a_formula(tmp_path):
    name = '=HYPERLINK("http://evil.example").jpg'
    path = write_csv([{"file": name, "sent": Sent(name), "error": "@SUM(1)"}], 0.35, str(tmp_path))
    with path.open(encoding="utf-8-sig", newline="") as file:
        (line,) = csv.DictReader(file)
    assert (line["file"], line["error"]) == ("'" + name, "'@SUM(1)")
