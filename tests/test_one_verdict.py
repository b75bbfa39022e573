"""One photo, one verdict: table, folder, sidecar, report page, demo and words agree on a mixed folder."""

import csv
import json
import re
import shutil
import subprocess

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from abc_hf import BlurReport, load_pipeline
from abc_hf.cli import main
from abc_hf.configuration_abc_fusenet import DESIRABILITY
from abc_hf.library import sort
from tests.library.test_html_report import chunk_of
from tests.library.test_xmp import values

COLOURS = {"no-blur": ["Blue"], "good-blur": ["Green"], "ok-blur": ["Yellow"], "bad-blur": ["Red"]}
NAMES = {"no-blur": "No blur", "good-blur": "Good blur", "ok-blur": "OK blur", "bad-blur": "Bad blur"}
CASES = {  # probabilities of no, good, ok and bad blur; kind; blur of subject and background; label; certain; score
    "sharp": ((0.9, 0.0, 0.1, 0.0), "motion", (0.0, 0.0), "no-blur", True, 0.95),
    "sharp?": ((0.4, 0.3, 0.3, 0.0), "motion", (0.0, 0.0), "no-blur", False, 0.85),
    "sharp but for its maps": ((0.9, 0.0, 0.1, 0.0), "defocus", (0.8, 0.8), "no-blur", False, 0.95),
    "bokeh": ((0.0, 0.8, 0.0, 0.2), "defocus", (0.0, 0.9), "good-blur", True, 1.0),
    "water": ((0.0, 0.7, 0.1, 0.2), "motion", (0.9, 0.9), "good-blur", True, 0.75),
    "bokeh?": ((0.0, 0.4, 0.3, 0.3), "defocus", (0.0, 0.9), "good-blur", False, 0.55 / 0.7),
    "bokeh but for its maps": ((0.0, 0.8, 0.0, 0.2), "defocus", (0.9, 0.9), "good-blur", False, 0.8),
    "harmless": ((0.0, 0.0, 0.7, 0.3), "defocus", (0.3, 0.3), "ok-blur", True, 0.35),
    "harmless and nearly bad": ((0.0, 0.0, 0.65, 0.35), "defocus", (0.3, 0.3), "ok-blur", True, 0.325),
    "harmless?": ((0.0, 0.1, 0.46, 0.44), "camera-shake", (0.3, 0.3), "ok-blur", False, 0.33),
    "shaken": ((0.0, 0.0, 0.1, 0.9), "camera-shake", (0.9, 0.9), "bad-blur", True, 0.05),
    "bad, with a score": ((0.3, 0.1, 0.0, 0.6), "defocus", (0.9, 0.1), "bad-blur", True, 0.4),
    "bad?": ((0.0, 0.4, 0.15, 0.45), "defocus", (0.9, 0.9), "bad-blur", False, 0.475),
    "bad but for its maps": ((0.0, 0.0, 0.1, 0.9), "defocus", (0.0, 0.0), "ok-blur", False, 0.5),
}


def report_of(name: str, size: tuple[int, int], preview: Image.Image) -> BlurReport:
    """The report of a case: the subject is the left half of the photo."""
    shares, kind, (subject, background), *_ = CASES[name]
    left = np.arange(preview.width) < preview.width / 2
    blur = np.tile(np.where(left, subject, background).astype(np.float32), (preview.height, 1))
    attention = np.tile(left.astype(np.float32), (preview.height, 1))
    kinds = {each: 0.8 if each == kind else 0.1 for each in ("defocus", "motion", "camera-shake")}
    probabilities = dict(zip(DESIRABILITY, shares, strict=True))
    return BlurReport(probabilities, size, preview, blur, attention, kinds, certain_from=0.6)


@pytest.fixture
def folder(tmp_path):
    """A grey photo for each case, whose grey is its number."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(CASES):
        Image.new("L", (64, 48), 16 * number + 8).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def judged_by_hand(tiny_folder, monkeypatch):
    """`sort` with the reports above in place of the network's."""
    pipe = load_pipeline(tiny_folder, device="cpu")
    names = list(CASES)

    def postprocess(outputs):
        photo = outputs["photo"]
        return report_of(names[photo["preview"].convert("L").getpixel((9, 9)) // 16], photo["size"], photo["preview"])

    monkeypatch.setattr(pipe, "postprocess", postprocess)
    monkeypatch.setattr(sort, "load_pipeline", lambda *arguments, **options: pipe)
    return pipe


def folder_of(name: str, threshold: float, options: list[str]) -> str:
    *_, label, certain, score = CASES[name]
    if "--review" in options and not certain:
        return "review"
    return "rejected" if "--rejects" in options and score < threshold else label


@pytest.mark.parametrize("threshold", [0.1, 0.35, 0.9])
@pytest.mark.parametrize("options", [[], ["--rejects"], ["--review"], ["--review", "--rejects"]], ids=" ".join)
def test_all_say_the_same(folder, judged_by_hand, tiny_folder, tmp_path, capsys, threshold, options):
    out, to = tmp_path / "out", tmp_path / "sorted"
    command = ["sort", folder, "--out", out, "--model", tiny_folder, "--device", "cpu", "--workers", 0, "--copy-to", to]
    assert main([*map(str, command), "--xmp", "--threshold", str(threshold), *options]) == 0
    said = capsys.readouterr().out
    assert "14 photos; 3 no-blur, 4 good-blur, 4 ok-blur, 3 bad-blur." in said
    assert "Certain: 7; not sure: 7. The column `between` names the two labels in question." in said

    rows = {row["path"].split("/")[-1][:-4]: row for row in pq.read_table(out / "photos.parquet").to_pylist()}
    with (out / "photos.csv").open(newline="") as file:
        lines = {line["path"].split("/")[-1][:-4]: line for line in csv.DictReader(file)}
    [data] = chunk_of((out / "report" / "photos-0000.js").read_text())
    page = {path.split("/")[-1][:-4]: number for number, path in enumerate(data["path"])}
    settings = (out / "report" / "settings.js").read_text()
    assert json.loads(re.search(r'"threshold":([\d.]+)', settings)[1]) == threshold
    assert rows.keys() == lines.keys() == page.keys() == CASES.keys()
    placed = {path.stem: path for path in to.rglob("*.png")}

    for name, (shares, kind, _, label, certain, score) in CASES.items():
        row, line, number = rows[name], lines[name], page[name]
        ranked = [
            DESIRABILITY[at] for at in sorted(range(4), key=lambda at: -shares[at])
        ]  # at a tie the first comes first
        second = next(each for each in ranked if each != label)
        kind = None if label == "no-blur" else kind
        assert (row["label"], row["certain"], row["kind"]) == (label, certain, kind)
        assert row["between"] == (None if certain else f"{label} or {second}")
        assert row["score"] == pytest.approx(score, abs=1e-6)
        assert (line["label"], line["certain"], line["kind"]) == (label, str(certain).lower(), kind or "")
        assert line["between"] == (row["between"] or "") and line["reason"] == row["reason"]

        assert row["reason"].startswith("Not sure: ") == (not certain)
        if not certain:
            assert row["reason"].lower().startswith(f"not sure: {NAMES[label]} or {NAMES[second]};".lower())
        assert ("spoils" in row["reason"] or "missed" in row["reason"]) == (certain and label == "bad-blur")

        assert placed[name].parent.name == folder_of(name, threshold, options)
        sidecar = placed[name].with_name(f"{name}.png.xmp").read_bytes()
        assert values(sidecar, "dc:subject") == ([label] if certain else [label, "not sure"])
        assert values(sidecar, "xmp:Label") == (COLOURS[label] if certain else [])

        assert (DESIRABILITY[data["label"][number]], data["certain"][number]) == (label, certain)
        assert data["between"][number] == (None if certain else [DESIRABILITY.index(each) for each in (label, second)])
        assert (data["kind"][number], data["score"][number]) == (kind, row["score"])
        assert data["texts"][data["reason"][number]] == row["reason"]


@pytest.mark.parametrize("threshold", [0.1, 0.35, 0.9])
def test_the_demo_says_the_same(tmp_path, threshold):
    batch_tab = pytest.importorskip("abc_hf.demo.batch_tab")
    blank = Image.new("RGB", (64, 48))
    drawn = {key: {} for key in ("thumbnail", "picture", "map")}
    rows = [{"file": name, **drawn, **report_of(name, (64, 48), blank).to_dict()} for name in CASES]
    if shutil.which("node") is None:
        pytest.skip("Node.js is not installed")
    photos, view = (json.dumps(each) for each in (batch_tab.gallery_value(rows)["photos"], {"threshold": threshold}))
    script = f"{batch_tab.web_file('rows.js')} console.log(JSON.stringify(flagged({photos}, {view})))"
    answer = subprocess.run(["node", "-e", script], check=True, text=True, capture_output=True).stdout
    shown = {photo["file"]: photo for photo in json.loads(answer)}
    with batch_tab.write_csv(rows, threshold, str(tmp_path)).open(encoding="utf-8-sig", newline="") as file:
        lines = {line["file"]: line for line in csv.DictReader(file)}
    for row in rows:
        name = row["file"]
        _, kind, _, label, certain, score = CASES[name]
        assert (shown[name]["label"], shown[name]["certain"]) == (label, certain)
        assert shown[name]["reject"] == (score < threshold), "at 0.35 exactly it is kept"
        assert shown[name]["kind"] == (None if label == "no-blur" else kind)
        assert shown[name]["reason"] == row["reason"]
        assert (lines[name]["label"], lines[name]["certain"]) == (label, str(certain))
        assert lines[name]["reject"] == str(score < threshold)
        assert lines[name]["between"] == (" or ".join(row["between"]) if row["between"] else "")
