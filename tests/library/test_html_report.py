import base64
import io
import json
import os
import re
import subprocess

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from abc_hf.configuration_abc_fusenet import DESIRABILITY
from abc_hf.library.html_report import CHUNK, SCRIPTS, SINGLE_FILE_PHOTOS, as_json, write_report
from abc_hf.library.table import path_text
from abc_hf.visualization import COLORS, LABEL_COLORS
from tests.library.sort_toys import sort_row, write_sorted

STRANGE = [
    "/a/plain.jpg",
    "/a/\"quotes\" & 'apostrophes'.jpg",
    "/a/</script><script>alert(1)</script>.jpg",
    "/a/new\nline\r and \u2028 separators.jpg",
    "/a/${x} `y` \\ {{title}} \x1b[31m.jpg",
    "/a/日本語 \u202egpj.jpg",
    path_text(os.fsdecode(b"/a/\xff\xfe.jpg")),
]


def chunk_of(text: str) -> list[dict]:
    """The columns that data scripts bring."""
    return [json.loads(each) for each in re.findall(r"receive\((\{.*\})\);", text)]


def test_the_page_is_told_what_the_table_says(tmp_path):
    rows = [sort_row(path, DESIRABILITY[number % 4], share=0.4 + number / 20) for number, path in enumerate(STRANGE)]
    rows[1] |= {"camera": 'Nikon "D750"', "taken": "2026-05-01T12:00:00.5", "raw_path": "/a/b.NEF", "burst": 3}
    rows.append(sort_row("/a/broken.jpg", None))
    page = write_report(write_sorted(tmp_path, rows))
    assert page == tmp_path / "report.html"
    [data] = chunk_of((tmp_path / "report" / "photos-0000.js").read_text())
    assert data["path"] == [row["path"] for row in rows]
    assert data["score"] == pytest.approx([row["score"] for row in rows[:-1]] + [None], abs=1e-4)
    assert data["error"] == [None] * len(STRANGE) + ["cannot be read; it is damaged."]
    assert [data["texts"][number] for number in data["reason"][:-1]] == [row["reason"] for row in rows[:-1]]
    assert data["camera"][0] == -1 and data["texts"][data["camera"][1]] == rows[1]["camera"]
    assert (data["taken"][1], data["raw"][1], data["burst"][1]) == ("2026-05-01T12:00:00.5", "/a/b.NEF", 3)
    for picture, map in zip(data["picture"][:-1], data["map"][:-1], strict=True):
        assert (tmp_path / "thumbs" / picture[:2] / picture).exists()
        assert (tmp_path / "thumbs" / map[:2] / map).exists()
    assert data["picture"][-1] is None is data["map"][-1]


def test_the_page_is_told_each_verdict_and_the_threshold(tmp_path):
    rows = [sort_row(f"/{n}.jpg", label) for n, label in enumerate(DESIRABILITY)]
    rows += [sort_row("/doubt.jpg", "bad-blur", between="bad-blur or ok-blur"), sort_row("/broken.jpg", None)]
    write_report(write_sorted(tmp_path, rows, 0), threshold=0.6)
    [data] = chunk_of((tmp_path / "report" / "photos-0000.js").read_text())
    assert data["label"] == [0, 1, 2, 3, 3, None]
    assert data["certain"] == [True] * 4 + [False, None]
    assert data["between"] == [None] * 4 + [[3, 2], None]
    assert data["kind"] == [None] + ["defocus"] * 4 + [None]
    settings = json.loads((tmp_path / "report" / "settings.js").read_text().removeprefix("const REPORT = ")[:-2])
    assert settings["threshold"] == 0.6 and list(settings["kinds"]) == ["defocus", "motion", "camera-shake"]
    assert settings["labels"] == list(DESIRABILITY)


@pytest.mark.parametrize("score", [0.3499, 0.35, 0.350001, 1 / 3])
def test_the_page_flags_what_sort_flags(tmp_path, score):
    """Both compare the number of the table, which is not rounded for the page."""
    out = write_sorted(tmp_path, [sort_row("/a.jpg", score=score)], 0)
    write_report(out)
    [data] = chunk_of((tmp_path / "report" / "photos-0000.js").read_text())
    [kept] = pq.read_table(out / "photos.parquet")["score"].to_pylist()
    assert data["score"] == [kept]


def test_data_comes_in_chunks(tmp_path):
    rows = [sort_row(f"/{number}.jpg") for number in range(2 * CHUNK + 1)]
    write_report(write_sorted(tmp_path, rows, 0))
    files = sorted((tmp_path / "report").glob("photos-*.js"))
    assert [len(chunk_of(file.read_text())[0]["path"]) for file in files] == [CHUNK, CHUNK, 1]
    settings = (tmp_path / "report" / "settings.js").read_text()
    assert f'"total":{len(rows)},"chunks":3' in settings
    write_report(write_sorted(tmp_path, rows[:3], 0))  # again, and smaller
    assert len(list((tmp_path / "report").glob("photos-*.js"))) == 1


def test_nothing_in_a_name_is_code(tmp_path):
    rows = [sort_row(path, reason=path, camera=path) for path in STRANGE] + [
        sort_row(STRANGE[2], None, error=STRANGE[2])
    ]
    out = tmp_path / "<script>alert(2)</script>"
    page = write_report(write_sorted(out, rows), single_file=True).read_text()
    assert "alert(1)</script>" not in page and "<script>alert(" not in page
    assert page.count("<script>") == page.count("</script>") == 1 + len(SCRIPTS) + 1
    assert chunk_of(page)[0]["path"] == [row["path"] for row in rows]
    assert (
        re.findall(r"\{\{\w+\}\}", page) == ["{{title}}"] * 2
    )  # as a path, and as reason and camera, which share a text


@pytest.mark.parametrize(
    ("paths", "title"),
    [
        (["/home/me/Pictures/a.jpg", "/home/me/Pictures/2/b.jpg"], "Pictures"),
        (["/home/me/<b>&/a.jpg", "/home/me/<b>&/b.jpg"], "&lt;b&gt;&amp;"),
        (["/a.jpg", "hf://datasets/user/name/b.jpg"], "out"),
        (["/x/20/a.jpg", "/x/21/b.jpg"], "x"),
        (["/x/2.zip!/a/1.jpg", "/x/2.zip!/a/2.jpg"], "2.zip"),
        (["hf://datasets/me/set/1.parquet!/image/10", "hf://datasets/me/set/1.parquet!/image/11"], "1.parquet"),
        (["/x/data/1.parquet!/image/1", "/x/data/2.parquet!/image/1"], "data"),
        ([], "out"),
    ],
)
def test_its_title_is_the_folder_of_the_photos(tmp_path, paths, title):
    page = write_report(write_sorted(tmp_path / "out", [sort_row(path) for path in paths], 0)).read_text()
    assert f"<h1>{title}</h1>" in page and f"<title>{title} – sorted by blur</title>" in page


def test_the_page_names_no_host(tmp_path):
    write_report(write_sorted(tmp_path, [sort_row("/a.jpg")], 0))
    for file in [tmp_path / "report.html", *(tmp_path / "report").iterdir()]:
        assert not re.search(
            r"https?:|['\"(]//|@import|fetch\(|XMLHttpRequest", file.read_text().replace("file://", "")
        ), file


def test_a_single_file_holds_its_pictures(tmp_path):
    rows = [sort_row(f"/{number}.jpg") for number in range(3)] + [sort_row("/without picture.jpg")]
    page = write_report(write_sorted(tmp_path, rows, 3), single_file=True).read_text()
    assert not (tmp_path / "report").exists() and 'src="' not in page and 'href="report' not in page
    [data] = chunk_of(page)
    assert data["picture"][3] is None is data["map"][3]
    for uri, kind in ((data["picture"][0], "JPEG"), (data["map"][0], "PNG")):
        with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
            assert image.format == kind and image.size == (32, 21)


def test_a_single_file_has_its_limit(tmp_path):
    rows = [sort_row(f"/{number}.jpg") for number in range(SINGLE_FILE_PHOTOS + 1)]
    with pytest.raises(ValueError, match="--single-file holds up to 500 photos and there are 501"):
        write_report(write_sorted(tmp_path, rows, 0), single_file=True)
    assert not (tmp_path / "report.html").exists()


def test_maps_have_the_house_s_colours(tmp_path):
    """The filter interpolates between stops as SVG says; at each of 256 greys it is the colour of `visualization`."""
    page = write_report(write_sorted(tmp_path, [], 0)).read_text()
    tables = [np.array(list(map(float, text.split()))) for text in re.findall(r'tableValues="([^"]*)"', page)]
    assert len(tables) == 3
    for channel, table in enumerate(tables):
        values = 255 * np.interp(np.arange(256) / 255, np.linspace(0, 1, len(table)), table)
        assert np.abs(values - COLORS[:, channel]).max() < 6
    assert LABEL_COLORS["bad-blur"] in (tmp_path / "report" / "page.css").read_text()


def test_json_is_safe_in_a_script():
    text = as_json({"a": "</script>\u2028é", "b": None})
    assert text.isascii() and "<" not in text and json.loads(text) == {"a": "</script>\u2028é", "b": None}
    with pytest.raises(ValueError):
        as_json(float("nan"))


def test_its_scripts_parse():
    """Where there is Node.js, which reads them as a browser does."""
    folder = os.path.join(os.path.dirname(__file__), "..", "..", "abc_hf", "library", "report_page")
    for name in SCRIPTS:
        try:
            subprocess.run(["node", "--check", os.path.join(folder, name)], check=True)
        except FileNotFoundError:
            pytest.skip("there is no Node.js")
