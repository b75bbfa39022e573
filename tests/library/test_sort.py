import contextlib
import csv
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import datasets
import fsspec
import imagehash
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import ExifTags, Image

from abc_hf import BlurUnderstandingPipeline, load_pipeline
from abc_hf.cli import main
from abc_hf.library import assess, sort
from abc_hf.library import workers as sort_workers
from abc_hf.library.find import Found
from abc_hf.library.shards import line_of, read_shard, shards
from abc_hf.library.table import COLUMNS, PROBABILITIES, thumbnail_files
from abc_hf.photos import load_photo

ROOT = Path(__file__).parents[2]


@pytest.fixture
def library(photo, tmp_path):
    """Nine photos of three shapes."""
    folder = tmp_path / "photos"
    for number in range(9):
        path = folder / ("a", "b/c", "b")[number % 3] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo(*((64, 48), (48, 64), (96, 96))[number % 3], number).save(path)
    return folder


@pytest.fixture
def run(tiny_folder, tmp_path, capsys, pipelines_once):
    """Run `abc-fusenet sort` with the tiny model: `run(*arguments)` is (status, stdout, stderr)."""

    def run(*arguments, workers=0, model=tiny_folder, batch_size=2):
        options = ["--out", tmp_path / "out", "--model", model, "--workers", workers, "--batch-size", batch_size]
        status = main(["sort", *map(str, [*arguments, *options]), "--device", "cpu"])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def judged(monkeypatch):
    """The paths of the photos that are judged, in order, by one thread."""
    paths = []
    judge_batch = sort.Sort.judge_batch

    def spy(self, batch):
        rows = judge_batch(self, batch)
        paths.extend(photo.path for photo, _ in batch)
        return rows

    monkeypatch.setattr(sort, "JUDGES", 1)

    monkeypatch.setattr(sort.Sort, "judge_batch", spy)
    return paths


@contextlib.contextmanager
def ctrl_c_after(count: int, judged: list[str], monkeypatch):
    """Ctrl-C comes before the first batch after `count` photos."""
    judge_batch = sort.Sort.judge_batch

    def interrupted(self, batch):
        if len(judged) >= count:
            raise KeyboardInterrupt
        return judge_batch(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(sort.Sort, "judge_batch", interrupted)
        yield


def table(out: Path) -> list[dict]:
    return pq.read_table(out / "photos.parquet").to_pylist()


def assert_same(rows: list[dict], others: list[dict]):
    """But for what the company of a batch does to the last digits."""
    assert len(rows) == len(others)
    for row, other in zip(rows, others, strict=True):
        for name in row:
            expected = pytest.approx(other[name], abs=1e-5) if isinstance(other[name], float) else other[name]
            assert row[name] == expected, (name, row["path"])


def test_the_table(run, library, tmp_path, tiny_folder):
    """Against the pipeline, one photo at a time."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "NIKON CORPORATION", "NIKON D850"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:05:01 12:34:56"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.SubsecTimeOriginal] = "07"
    first = library / "a" / "0.jpg"
    with Image.open(first) as image:
        image.save(first, exif=exif)
    (library / "a" / "0.nef").touch()
    status, out, err = run(library)
    assert (status, err) == (0, "")
    assert "9 photos, of which 0 were judged before." in out and "Judged 9 photos in" in out
    written = pq.read_table(tmp_path / "out" / "photos.parquet")
    assert written.schema.equals(COLUMNS)
    rows = written.to_pylist()
    assert [row["path"] for row in rows] == sorted(str(path) for path in library.rglob("*.jpg"))
    pipe = load_pipeline(tiny_folder, device="cpu")
    for row in rows:
        report = pipe(row["path"])
        assert (row["width"], row["height"], row["label"]) == (*report.size, report.label)
        assert [row[name] for name in PROBABILITIES] == pytest.approx(list(report.probabilities.values()), abs=1e-5)
        for name in ("score", "blur_on_subject", "blur_on_background", "blur_fraction"):
            assert row[name] == pytest.approx(getattr(report, name), abs=2e-3 if name == "blur_fraction" else 1e-5)
        assert (row["certain"], row["kind"], row["reason"]) == (report.certain, report.kind, report.reason)
        assert row["between"] == (None if report.certain else " or ".join(report.verdict.between))
        assert row["perceptual_hash"] == str(imagehash.phash(load_photo(row["path"])))
        assert (row["bytes"], row["modified"]) == (os.stat(row["path"]).st_size, os.stat(row["path"]).st_mtime)
        assert row["error"] is row["burst"] is row["burst_rank"] is None
        for name in ("subject_sharpness", "subject_blur_radius", "eye_sharpness", "faces", "closer_look"):
            value = getattr(report, name)
            assert row[name] == (pytest.approx(value, abs=1e-4) if isinstance(value, float) else value), name
    assert (rows[0]["taken"], rows[0]["camera"]) == ("2024-05-01T12:34:56.07", "NIKON D850")
    assert rows[0]["raw_path"] == f"{library}/a/0.nef"
    assert rows[1]["taken"] is rows[1]["camera"] is rows[1]["raw_path"] is None
    with (tmp_path / "out" / "photos.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == COLUMNS.names
    assert [line["path"] for line in lines] == [row["path"] for row in rows]
    assert [float(line["score"]) for line in lines] == pytest.approx([row["score"] for row in rows], abs=1e-6)


def test_thumbnails(run, library, photo, tmp_path, tiny_folder):
    photo(800, 200).save(library / "wide.png")
    run(library)
    picture, map = thumbnail_files(tmp_path / "out", f"{library}/wide.png")
    with Image.open(picture) as picture, Image.open(map) as map:
        assert (picture.size, picture.format) == ((96, 24), "JPEG"), "the working size, which is smaller than 320"
        assert (map.size, map.mode, map.format) == ((96, 24), "L", "PNG")
        report = load_pipeline(tiny_folder, device="cpu")(library / "wide.png")
        assert np.abs(np.asarray(map) / 255 - report.small_blur_map).max() < 0.003
    assert len(list((tmp_path / "out" / "thumbs").rglob("*.*"))) == 20
    with Image.open(io.BytesIO(sort_workers.thumbnail(Image.new("RGB", (512, 256))))) as picture:
        assert picture.size == (320, 160)


def test_nothing_is_done_twice(run, library, photo, tmp_path, judged, monkeypatch):
    run(library)
    assert len(judged) == 9
    before, written = table(tmp_path / "out"), (tmp_path / "out" / "photos.csv").stat()
    judged.clear()
    finished = []
    monkeypatch.setattr(sort, "write_report", lambda out, *options: finished.append(out))
    status, out, _ = run(library, batch_size=3)
    assert status == 0 and "9 photos, of which 9 were judged before." in out
    assert (tmp_path / "out" / "photos.csv").stat() == written and not finished, "unchanged, so not written again"

    (library / "a" / "0.jpg").unlink()
    photo(64, 48, 77).save(library / "a" / "3.jpg")
    photo(64, 48, 78).save(library / "new.jpg")
    (library / "a" / "6.cr2").touch()
    run(library)
    assert judged == [f"{library}/new.jpg", f"{library}/a/3.jpg"]
    after = {row["path"]: row for row in table(tmp_path / "out")}
    assert after.keys() == {row["path"] for row in before} - {f"{library}/a/0.jpg"} | {f"{library}/new.jpg"}
    assert after[f"{library}/a/6.jpg"]["raw_path"] == f"{library}/a/6.cr2"
    changed = {row["path"] for row in before if after.get(row["path"]) not in (row, None)}
    assert changed == {f"{library}/a/3.jpg", f"{library}/a/6.jpg"}
    assert finished == [tmp_path / "out"]


def test_content_decides_where_it_is_asked_for(run, library, photo, tmp_path, judged):
    run(library, "--verify-content")
    judged.clear()
    touched, same_time = library / "a" / "0.jpg", library / "a" / "3.jpg"
    os.utime(touched, (1, 1))
    status = same_time.stat()
    data = bytearray(same_time.read_bytes())
    data[-10] ^= 1
    same_time.write_bytes(data)
    os.utime(same_time, ns=(status.st_atime_ns, status.st_mtime_ns))
    run(library)
    assert judged == [str(touched)], "by time"
    judged.clear()
    os.utime(touched, (2, 2))
    run(library, "--verify-content")
    assert judged == [str(touched), str(same_time)], "the last run did not look at contents"
    judged.clear()
    os.utime(touched, (3, 3))
    run(library, "--verify-content")
    assert not judged
    assert {row["path"]: row["modified"] for row in table(tmp_path / "out")}[str(touched)] == 3


def test_results_of_another_model_do_not_count(run, library, tiny_folder, tmp_path, judged):
    run(library)
    other = tmp_path / "other"
    other.mkdir()
    for path in tiny_folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    processor = json.loads((other / "preprocessor_config.json").read_text())
    (other / "preprocessor_config.json").write_text(json.dumps(processor | {"size": {"longest_edge": 64}}))
    judged.clear()
    _, out, _ = run(library, model=other)
    assert "9 results of another model, engine or version do not count; those photos are judged again." in out
    assert len(judged) == 9
    assert len(table(tmp_path / "out")) == 9 and len(shards(tmp_path / "out" / "shards")) == 1


def test_rows_of_an_older_version_are_judged_again(run, library, tmp_path, judged):
    """Rows that lack columns, of the same model: they are neither taken nor stumbled over."""
    run(library)
    [shard] = (tmp_path / "out" / "shards").iterdir()
    settings, rows, _ = read_shard(shard)
    old = [{name: row[name] for name in row if name not in ("certain", "between", "kind")} for row in rows]
    settings["columns"] = "others"
    shard.write_bytes(b"".join(map(line_of, [settings, *old])))
    judged.clear()
    status, out, err = run(library)
    assert (status, err) == (0, "") and len(judged) == 9
    assert "9 results of another model, engine or version do not count; those photos are judged again." in out
    assert all(row["certain"] is not None for row in table(tmp_path / "out"))
    judged.clear()
    run(library)
    assert not judged


def test_the_summary_counts_what_is_certain(run, library, tmp_path):
    (library / "broken.jpg").write_bytes(b"no photo")
    _, out, _ = run(library)
    certain = [row["certain"] for row in table(tmp_path / "out")]
    assert certain.count(None) == 1
    assert f"Certain: {certain.count(True)}; not sure: {certain.count(False)}. The column" in out


def test_another_threshold_makes_the_report_anew(run, library, tmp_path, judged):
    run(library)
    judged.clear()
    run(library, "--threshold", 0.8)
    assert not judged and '"threshold":0.8' in (tmp_path / "out" / "report" / "settings.js").read_text()


def test_a_photo_that_cannot_be_opened_does_not_stop_the_rest(run, library, tmp_path, judged):
    (library / "broken.jpg").write_bytes(b"no photo")
    (library / "two\nlines.jpg").write_bytes(b"")
    odd = os.fsdecode(os.fsencode(library) + b"/\xff.jpg")
    os.link(library / "a" / "0.jpg", odd)
    status, _out, err = run(library, library / "gone.png", library / "nothing")
    assert status == 1
    assert sorted(err.splitlines()) == [
        f"abc-fusenet: {library}/broken.jpg: not a photo that can be read; if it is one, save it as JPEG or PNG.",
        f"abc-fusenet: {library}/gone.png: there is no such file.",
        f"abc-fusenet: {library}/nothing: there is no such file.",
        rf"abc-fusenet: {library}/two\nlines.jpg: the file is empty.",
    ]
    rows = {row["path"]: row for row in table(tmp_path / "out")}
    assert rows[f"{library}/two\nlines.jpg"]["error"] == "the file is empty."
    assert rows[f"{library}/gone.png"]["error"] == "there is no such file."
    assert rows[f"{library}/gone.png"]["label"] is None
    assert rows[f"file://{library}/%FF.jpg"]["label"] == rows[f"{library}/a/0.jpg"]["label"]
    with (tmp_path / "out" / "photos.csv").open(newline="", encoding="utf-8") as file:
        assert {line["path"] for line in csv.DictReader(file)} == rows.keys()

    judged.clear()
    (library / "broken.jpg").unlink()
    os.link(library / "a" / "0.jpg", library / "gone.png")
    status, _, err = run(library, library / "gone.png", library / "nothing")
    assert status == 1 and err.count("\n") == 2, "those that failed are tried again"
    assert sorted(map(os.path.basename, judged)) == ["gone.png", "nothing", "two\nlines.jpg"]


def test_archives_and_urls(run, library, tmp_path):
    """The same photos from a folder, a zip and fsspec's file system in memory, which worker processes do not share."""
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in library.rglob("*.jpg"):
            archive.write(path, path.relative_to(library))
        archive.writestr("broken.jpg", b"no photo")
    memory = fsspec.filesystem("memory")
    memory.put(str(library), "/photos", recursive=True)
    try:
        status, out, err = run(library, tmp_path / "photos.zip", "memory://photos")
    finally:
        memory.rm("/photos", recursive=True)
    assert status == 1 and "28 photos, of which 0 were judged before." in out
    assert err.startswith(f"abc-fusenet: {tmp_path}/photos.zip!/broken.jpg: not a photo that can be read;")
    rows = {row.pop("path"): row for row in table(tmp_path / "out")}
    for path in map(str, library.rglob("*.jpg")):
        for elsewhere in (f"{tmp_path}/photos.zip!/", "memory:///photos/"):
            other = rows[path.replace(f"{library}/", elsewhere)]
            assert [other[name] for name in PROBABILITIES] == pytest.approx(
                [rows[path][name] for name in PROBABILITIES], abs=1e-5
            )
            same = ("bytes", "width", "height", "label", "perceptual_hash")
            assert [other[name] for name in same] == [rows[path][name] for name in same]


def parquet_of(path: Path, photos: list, rows_per_group: int = 4) -> Path:
    """Written by `datasets`, each photo's file as it is."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = [{"image": photo and {"bytes": photo.read_bytes(), "path": photo.name}, "label": 1} for photo in photos]
    path.parent.mkdir(exist_ok=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(path, batch_size=rows_per_group)
    return path


@pytest.mark.parametrize("workers", [0, 1])
def test_photos_in_parquet_files(run, library, photo, tmp_path, judged, monkeypatch, workers):
    """The same photos in a folder and in two Parquet files; interrupted, and gone on with; one file written anew."""
    photos = sorted(library.rglob("*.jpg"))
    photos.insert(2, None)
    first = parquet_of(tmp_path / "set" / "train-00000-of-00002.parquet", photos[:6])
    parquet_of(tmp_path / "set" / "train-00001-of-00002.parquet", photos[6:], 100)
    with ctrl_c_after(12, judged, monkeypatch):
        assert run(library, tmp_path / "set", workers=workers)[0] == 130
    before = len(judged)
    assert 12 <= before < 18
    status, out, err = run(library, tmp_path / "set", workers=workers)
    inside = f"{first}!/image"
    assert (status, err) == (1, f"abc-fusenet: {inside}/2: the row holds no photo.\n")
    assert "19 photos, of which" in out
    assert {path for path in judged if judged.count(path) > 1} <= {f"{inside}/2"}, "what failed is tried again"

    rows = table(tmp_path / "out")
    where = [f"{inside}/{row}" for row in range(6)]
    where += [f"{tmp_path}/set/train-00001-of-00002.parquet!/image/{row}" for row in range(4)]
    assert [row["path"] for row in rows if ".parquet!/" in row["path"]] == where
    by_path = {row["path"]: row for row in rows}
    for path, there in zip(photos, where, strict=True):
        one, other = by_path.get(str(path)), by_path[there]
        assert other["bytes"] is None and other["modified"] == os.stat(there.split("!")[0]).st_mtime
        if path is None:
            assert (other["label"], other["error"]) == (None, "the row holds no photo.")
            continue
        assert [other[name] for name in PROBABILITIES] == pytest.approx([one[name] for name in PROBABILITIES], abs=1e-5)
        same = ("width", "height", "label", "perceptual_hash")
        assert [other[name] for name in same] == [one[name] for name in same]
        pictures, others = (thumbnail_files(tmp_path / "out", name) for name in (str(path), there))
        assert [file.read_bytes() for file in pictures] == [file.read_bytes() for file in others]

    judged.clear()
    parquet_of(first, photos[3:5])
    os.utime(first, (5, 5))
    status, out, _ = run(library, tmp_path / "set", workers=workers)
    assert (status, judged) == (0, [f"{inside}/0", f"{inside}/1"])
    assert [row["path"] for row in table(tmp_path / "out") if row["path"].startswith(inside)] == judged


def test_an_empty_library(run, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _out, err = run(tmp_path / "empty")
    assert (status, err) == (1, f"abc-fusenet: {tmp_path}/empty: the folder holds no photos.\n")
    assert table(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "file"], "--out file cannot be a folder, because a file has that name"),
        (["--out", "mine"], "mine/photos.csv is no result of this command; choose another folder, or move it away."),
        (["--model", "empty"], "No ABC-FuseNet model can be loaded from empty ("),
        (["--engine", "steam"], "There is no engine steam; there are auto, torch, openvino, bf16."),
        (["--device", "steam"], "The device steam cannot be used here ("),
    ],
)
def test_a_mistake_is_one_sentence(library, tmp_path, tiny_folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photos.csv").write_text("mine")
    defaults = {"--out": "out", "--model": str(tiny_folder), "--device": "cpu", "--workers": "0"}
    options = defaults | {arguments[0]: arguments[1]}
    assert main(["sort", str(library), *(word for option in options.items() for word in option)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"abc-fusenet: {message}") and err.count("\n") == 1
    assert [(path.name, path.read_text()) for path in (tmp_path / "mine").iterdir()] == [("photos.csv", "mine")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b"], "Name the folder to write to with --out; only for one folder or archive it can be left out."),
        (["mistyped"], "mistyped: there is no such file or folder."),
        (["a", "--review"], "--review and --rejects go with --copy-to"),
        (["a", "--xmp", "--out", "file/x"], "--out file/x cannot be a folder, because a file has that name"),
        (["a", "--move-to", "file"], "--move-to file cannot be a folder, because a file has that name"),
        ([], "Name a folder or photos to sort, or give --undo FILE alone."),
    ],
)
def test_options_are_checked_before_torch_is_imported(tmp_path, arguments, message):
    (tmp_path / "file").touch()
    (tmp_path / "a").mkdir()
    program = "import sys; from abc_hf.cli import main; status = main(); print(status, 'torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(
        [sys.executable, "-c", program, "sort", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.stderr.startswith(f"abc-fusenet: {message}") and run.stderr.count("\n") == 1
    assert run.stdout == "1 False\n"


@pytest.mark.parametrize(("source", "out"), [("Pictures", "Pictures-sorted"), ("all.tar.gz", "all-sorted")])
def test_results_go_beside_what_is_sorted(library, tmp_path, tiny_folder, capsys, source, out):
    library.rename(tmp_path / "Pictures")
    with tarfile.open(tmp_path / "all.tar.gz", "w") as archive:
        archive.add(tmp_path / "Pictures", "Pictures")
    options = ["--model", str(tiny_folder), "--device", "cpu", "--workers", "0"]
    main(["sort", str(tmp_path / source), *options])
    assert len(table(tmp_path / out)) > 0


def test_a_rerun_after_a_move_keeps_the_table(run, library, judged, tmp_path):
    """Moved photos keep their rows and their paths, wherever they are, and are not judged again."""
    run(library)
    before = table(tmp_path / "out")
    for to in (tmp_path / "culled", library / "culled"):
        assert run(library, "--move-to", to)[0] == 0
        rows = table(tmp_path / "out")
        assert all(row["moved_to"].startswith(str(to)) and Path(row["moved_to"]).exists() for row in rows)
    assert str(library / "culled") in (tmp_path / "out" / "report" / "photos-0000.js").read_text()
    status, out, _ = run(library)
    assert (status, len(judged)) == (0, 9) and "9 photos, of which 9 were judged before." in out
    assert_same([row | {"moved_to": None} for row in table(tmp_path / "out")], before)
    for undo_file in sorted((tmp_path / "out").glob("undo-*.jsonl"), reverse=True):
        assert main(["sort", "--undo", str(undo_file)]) == 0
    assert_same(table(tmp_path / "out"), before)
    assert run(library)[0] == 0 and len(judged) == 9
    assert_same(table(tmp_path / "out"), before)


def test_files_left_out_are_counted(run, library):
    for name in ("a/notes.txt", "b/clip.mp4", "b/c/clip.MP4", "@eaDir/thumb.jpg", "a/0.jpg.xmp"):
        (library / name).parent.mkdir(exist_ok=True)
        (library / name).write_text("x")
    out = run(library)[1]
    assert "Left out: 2 .mp4, 1 .txt." in out and "9 photos, of which 0" in out


def test_what_a_person_said_is_in_the_table(run, library, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Rating] = 4
    with Image.open(library / "a" / "0.jpg") as image:
        image.save(library / "a" / "0.jpg", exif=exif)
    packet = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    packet += '<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="2"/></rdf:RDF></x:xmpmeta>'
    with Image.open(library / "b" / "2.jpg") as image:
        image.save(library / "b" / "2.jpg", xmp=packet.encode())
    (library / "b" / "5.XMP").write_text(packet.replace('"2"', '"-1"'))
    run(library)
    rated = {Path(row["path"]).stem: row["rating"] for row in table(tmp_path / "out") if row["rating"]}
    assert rated == {"0": 4, "2": 2, "5": -1}
    (library / "b" / "5.XMP").write_text(packet)  # a rating alone makes a new table, and nothing is judged again
    out = run(library)[1]
    assert "of which 9 were judged before" in out
    assert {Path(row["path"]).stem: row["rating"] for row in table(tmp_path / "out") if row["rating"]}["5"] == 2


def test_one_job_at_a_time(run, library, tmp_path):
    (tmp_path / "out").mkdir()
    with sort.only_job(tmp_path / "out"):
        status, _, err = run(library)
    assert status == 1 and "in use by another sort or watch" in err
    assert run(library)[0] == 0


def test_ctrl_c_keeps_what_is_done(run, library, tmp_path, judged, monkeypatch):
    with ctrl_c_after(4, judged, monkeypatch):
        status, out, err = run(library)
    assert (status, err) == (130, "")
    assert "Interrupted. The finished photos are kept; run the same command to go on." in out
    assert {row["path"] for row in table(tmp_path / "out")} == set(judged)
    assert run(library)[0] == 0
    assert len(judged) == len(set(judged)) == 9 == len(table(tmp_path / "out"))


def test_a_full_disk_is_one_sentence_and_keeps_what_is_done(run, library, tmp_path, judged):
    """No file may grow beyond some rows of the journal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        status, _, err = run(library)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 1
    assert err.startswith(f"abc-fusenet: There is no room to write to {tmp_path}/out or for ")
    assert "File too large). Finished photos are kept: make room" in err
    assert err.count("\n") == 1
    assert 0 < len(judged) < 9
    status, out, _ = run(library)
    assert status == 0 and "9 photos, of which 0 were" not in out
    assert len(set(judged)) == 9 == len(table(tmp_path / "out"))
    assert len(judged) <= 13, "only two batches of two, which were ahead of the journal, are judged again"


def test_batches_are_of_one_shape():
    def photo(number, shape):
        return Found(str(number), 1, 1.0), {"pixel_values": np.zeros(shape)}

    stream = [photo(0, 1), photo(1, 2), (Found("2", 1, 1.0), {"error": "damaged"}), photo(3, 1), photo(4, 2)]
    batches = [[int(found.path) for found, _ in batch] for batch in assess.by_shape(stream, 2)]
    assert batches == [[2], [0, 3], [1, 4]]
    stream = [photo(number, number) for number in range(50)]
    sizes = [len(batch) for batch in assess.by_shape(stream, 2, waiting=4)]
    assert sizes == [1] * 50, "shapes without company do not wait for ever"


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", **more}


@pytest.mark.slow
def test_a_killed_run_goes_on(run, photo, tmp_path, tiny_folder, judged):
    """SIGKILL while workers, network and journal are busy; the result is that of a run that nothing disturbed."""
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for number in range(30):
        photo(*((64, 48), (48, 64))[number % 2], number).save(folder / f"{number}.png")
    run(folder)
    undisturbed = table(out)
    out.rename(tmp_path / "undisturbed")
    judged.clear()

    options = ["--out", out, "--model", tiny_folder, "--device", "cpu", "--workers", "1", "--batch-size", "2"]
    command = [sys.executable, "-c", STUCK, "sort", folder, *options]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True, process_group=0) as process:
        assert "stuck\n" in process.stdout
        process.kill()
    with contextlib.suppress(ProcessLookupError):
        for _ in range(600):  # its workers end with it
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        pytest.fail("a worker outlived the process")
    before = {row["path"] for path in shards(out / "shards").values() for row in read_shard(path)[1]}
    assert 12 <= len(before) < 16

    status, text, _ = run(folder)
    assert status == 0 and f"30 photos, of which {len(before)} were judged before." in text
    assert len(judged) == len(set(judged)) and set(judged) == {row["path"] for row in undisturbed} - before
    assert_same(table(out), undisturbed)


STUCK = """
import sys, threading
from abc_hf.library import assess, sort
from abc_hf import cli
forward, photos = sort.write_thumbnails, []
def write_thumbnails(*arguments):
    photos.append(arguments)
    if len(photos) == 16:
        print("stuck", flush=True)
        threading.Event().wait(5)
    return forward(*arguments)
sort.write_thumbnails = write_thumbnails
if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_ctrl_c_in_a_terminal(photo, tmp_path, tiny_folder):
    """SIGINT reaches the workers, too."""
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for number in range(30):
        photo(64, 48, number).save(folder / f"{number}.png")
    options = ["--out", out, "--model", tiny_folder, "--device", "cpu", "--workers", "1", "--batch-size", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, "sort", folder, *options],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert "stuck\n" in process.stdout
    os.killpg(process.pid, signal.SIGINT)
    text, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "Interrupted. The finished photos are kept; run the same command to go on." in text
    assert 8 <= len(table(out)) < 16


@pytest.mark.slow
def test_workers_change_nothing(run, library, tmp_path):
    (library / "broken.jpg").write_bytes(b"no photo")
    run(library)
    alone = table(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "alone")
    status, _, err = run(library, workers=2)
    assert status == 1 and err.count("\n") == 1
    assert_same(table(tmp_path / "out"), alone)


def test_a_photo_that_cannot_be_judged_or_written_does_not_stop_the_rest(run, library, tmp_path, monkeypatch):
    """In a batch of two, whose other photo is judged alone."""
    answer, write = BlurUnderstandingPipeline._answer, sort.write_thumbnails

    def memory_error(self, photos):
        if len(photos) > 1 or photos[0]["preview"].getpixel((0, 0)) == bad:
            raise MemoryError
        answer(self, photos)

    def value_error(out, path, *others):
        if path.endswith("4.jpg"):
            raise ValueError("cannot\nwrite")
        return write(out, path, *others)

    bad = load_photo(library / "a" / "3.jpg").getpixel((0, 0))
    monkeypatch.setattr(BlurUnderstandingPipeline, "_answer", memory_error)
    monkeypatch.setattr(sort, "write_thumbnails", value_error)
    status, out, err = run(library)
    assert status == 1 and "2 without a verdict" in out
    rows = {os.path.basename(row["path"]): row for row in table(tmp_path / "out")}
    assert {name: row["error"] for name, row in rows.items() if row["error"]} == {
        "3.jpg": "it cannot be judged (MemoryError).",
        "4.jpg": "its small pictures cannot be written (cannot).",
    }
    assert len(rows) == 9 and len(err.splitlines()) == 2
    assert all((row["label"] is None) == (row["error"] is not None) for row in rows.values())


@pytest.mark.slow
@pytest.mark.skipif("ABC_SHARED" not in os.environ, reason="ABC_SHARED does not name the folder of research data")
def test_bad_files(tmp_path):
    """With the bundled weights and workers, as a user would."""
    bad = Path(os.environ["ABC_SHARED"]) / "bad_inputs"
    command = [sys.executable, "-m", "abc_hf", "sort", bad, "--out", tmp_path, "--device", "cpu"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    rows = table(tmp_path)
    errors = [row for row in rows if row["error"]]
    assert done.returncode == 1
    assert 0 < len(errors) < len(rows) and len(rows) > 300
    assert len(done.stderr.splitlines()) == len(errors)
    assert "Traceback" not in done.stderr
    assert all("\n" not in row["error"] and row["error"].endswith(".") for row in errors)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says so how much memory it is now")
def test_memory_stays_flat(photo, tmp_path, tiny_folder):
    """In the second half of 1600 photos, whose previews are of 28 KB; the first shard, of 500, costs 40 MB."""
    folder = tmp_path / "photos"
    folder.mkdir()
    photo(96, 96).save(folder / "0.png")
    for number in range(1, 1600):
        os.link(folder / "0.png", folder / f"{number}.png")
    options = ["--out", tmp_path / "out", "--model", tiny_folder, "--device", "cpu", "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "sort", folder, *options], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    memory = [int(line) for line in done.stderr.split()]
    assert len(memory) == 4
    assert memory[-1] - memory[1] < 15e3, "kilobytes"


MEASURED = r"""
import re, sys
from pathlib import Path
from abc_hf.library import assess, sort
from abc_hf import cli
batches = 0
judge_batch = sort.Sort.judge_batch
def measured(self, batch):
    global batches
    rows = judge_batch(self, batch)
    batches += 1
    if batches % 400 == 0:  # photos, as the batch on a CPU is one
        print(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1], file=sys.stderr)
    return rows
sort.Sort.judge_batch = measured
if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
"""


def names(out: Path) -> list[str]:
    return [os.path.basename(row["path"]) for row in table(out) if row["label"]]


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_a_damaged_journal_is_said_and_set_aside(run, library, tmp_path, judged, damage):
    run(library)
    before = table(tmp_path / "out")
    [shard] = shards(tmp_path / "out" / "shards").values()
    lines = shard.read_bytes().splitlines(keepends=True)
    if damage == "cut":
        lines[4:6] = [lines[4][:50] + lines[5]]
    elif damage == "flipped":
        lines[4] = lines[4].replace(b"a", b"e", 1)
        lines[5] = bytes([lines[5][0] ^ 1]) + lines[5][1:]
    elif damage == "foreign":
        lines[4:6] = [line_of({"path": "/other.jpg"}), line_of(["no row"])]
    else:
        lines[4:6] = [b"\n", b"\xff\xfe\0\n"]
    shard.write_bytes(b"".join(lines))
    judged.clear()
    status, _out, err = run(library)
    number = 1 if damage == "cut" else 2
    assert f"{shard}: {number} of its lines are damaged or foreign; their photos are judged again" in err
    assert err.count("\n") == 1 and status == 0 and len(judged) == 2
    assert_same(table(tmp_path / "out"), before)
    aside = tmp_path / "out" / "shards" / "set-aside"
    assert [path.read_bytes() for path in aside.iterdir()] == [b"".join(lines)]
    judged.clear()
    assert run(library)[2] == "" and not judged


def test_files_of_others_in_the_journal_are_set_aside(run, library, tmp_path):
    run(library)
    folder = tmp_path / "out" / "shards"
    (folder / "00001-00001.parquet").write_bytes(b"PAR1")
    (folder / "notes.jsonl").write_text("mine")
    status, _, err = run(library)
    assert status == 0 and err.count("this is no file of the journal; it is kept in") == 2 == err.count("\n")
    assert {path.name for path in (folder / "set-aside").iterdir()} == {"00001-00001.parquet", "notes.jsonl"}
    assert run(library)[2] == ""


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_what_is_missing_or_damaged_is_written_again(run, library, tmp_path, judged, damage):
    run(library)
    judged.clear()
    files = [path for path in (tmp_path / "out").rglob("*.*") if "thumbs" not in path.parts and path.suffix != ".jsonl"]
    assert {"photos.csv", "photos.parquet", "report.html", "photos-0000.js", "sort.json"} <= {f.name for f in files}
    before = {path: path.read_bytes() for path in files}
    for path, data in before.items():
        path.unlink()
        if damage != "missing":
            middle = len(data) // 2
            path.write_bytes(data[:middle] + (bytes([data[middle] ^ 1]) + data[middle + 1 :]) * (damage == "flipped"))
        status, out, err = run(library)
        assert (status, err) == (0, "") and not judged
        assert {path: path.read_bytes() for path in files} == before
        assert path.name == "sort.json" or f"{path} is missing or damaged; table and report are written again." in out


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_small_pictures_that_are_missing_or_damaged_are_made_again(run, library, tmp_path, judged, damage):
    run(library)
    paths = sorted(map(str, library.rglob("*.jpg")))[:3]
    files = [thumbnail_files(tmp_path / "out", paths[0])[0], thumbnail_files(tmp_path / "out", paths[1])[1]]
    files.append(thumbnail_files(tmp_path / "out", paths[2])[1])
    for file in files:
        data = file.read_bytes()
        file.unlink()
        if damage != "missing":
            file.write_bytes(data[:50] + (bytes([data[50] ^ 1]) + data[51:]) * (damage == "flipped"))
    judged.clear()
    status, out, err = run(library)
    assert (status, err, sorted(judged)) == (0, "", paths)
    assert "The small pictures of 3 photos are missing or damaged; these photos are judged again." in out
    for file in files:
        with Image.open(file) as picture:
            picture.load()
    judged.clear()
    assert run(library)[0] == 0 and not judged


@pytest.mark.parametrize("unplugged", ["gone", "empty"])
def test_a_source_that_is_missing_does_not_empty_the_table(run, library, photo, tmp_path, judged, unplugged):
    """A folder, an archive, a glob and a photo of it are gone, or the folder where a disk was is empty."""
    here = tmp_path / "here"
    here.mkdir()
    photo(64, 48, 20).save(here / "20.jpg")
    photo(64, 48, 21).save(here / "21.jpg")
    disk = tmp_path / "disk"
    (disk / "glob").mkdir(parents=True)
    photo(64, 48, 22).save(disk / "glob" / "22.jpg")
    library.rename(disk / "photos")
    with zipfile.ZipFile(disk / "a.zip", "w") as archive:
        archive.write(here / "20.jpg", "23.jpg")
    (disk / "photos" / "0.cr2").touch()
    sources = [here, disk / "photos", disk / "a.zip", f"{disk}/glob/*.jpg", disk / "photos" / "a" / "0.jpg"]
    assert run(*sources)[0] == 1, "the RAW file is empty"
    before = [row for row in table(tmp_path / "out") if row["label"]]
    assert len(before) == 13

    disk.rename(tmp_path / "unplugged")
    if unplugged == "empty":
        (disk / "photos").mkdir(parents=True)
    (here / "21.jpg").unlink()
    judged.clear()
    status, _, err = run(*sources)
    kept = [row for row in table(tmp_path / "out") if row["label"]]
    assert status == 1 and kept == [row for row in before if not row["path"].endswith("21.jpg")]
    assert f"{disk / 'photos'} is missing: 9 photos of it stay in the table; --prune drops them." in err
    assert f"{disk / 'a.zip'} is missing: 1 photos of it stay in the table" in err
    assert f"{disk}/glob/*.jpg is missing: 1 photos of it stay in the table" in err
    assert "Traceback" not in err

    if unplugged == "empty":
        (disk / "photos").rmdir()
        disk.rmdir()
    (tmp_path / "unplugged").rename(disk)
    judged.clear()
    run(*sources)
    assert {os.path.basename(path) for path in judged} <= {"0.cr2"}, "nothing of the disk is judged again"
    disk.rename(tmp_path / "unplugged")
    status, _out, err = run(*sources, "--prune")
    assert status == 1 and names(tmp_path / "out") == ["20.jpg"]
    assert "stay in the table" not in err


@pytest.mark.parametrize("unplugged", ["gone", "empty"])
def test_a_disk_inside_a_folder_may_be_missing(run, library, tmp_path, judged, unplugged):
    assert run(library)[0] == 0
    before = table(tmp_path / "out")
    (library / "b").rename(tmp_path / "b")
    (library / "a" / "0.jpg").unlink()
    if unplugged == "empty":
        (library / "b").mkdir()
    for _ in range(2):
        judged.clear()
        status, _, err = run(library)
        assert status == 1 and not judged
        sentence = f"{library / 'b'} is missing or empty: 6 photos of it stay in the table; --prune drops them."
        assert err.splitlines() == [f"abc-fusenet: {sentence}"]
        assert table(tmp_path / "out") == [row for row in before if not row["path"].endswith("/a/0.jpg")]
    status, _, err = run(library, "--prune")
    assert (status, err, names(tmp_path / "out")) == (0, "", ["3.jpg", "6.jpg"])


def test_a_photo_that_takes_too_long_without_workers(run, library, slow_photo, tmp_path, tight_limits):
    (library / "slow.jpg").symlink_to(slow_photo)
    status, _, err = run(library, workers=0)
    sentence = "opening it takes more than 0.3 seconds of CPU time."
    assert status == 1 and f"{library}/slow.jpg: {sentence}\n" in err and err.count("abc-fusenet:") == 1
    errors = {os.path.basename(row["path"]): row["error"] for row in table(tmp_path / "out")}
    assert errors == {f"{number}.jpg": None for number in range(9)} | {"slow.jpg": sentence}


def test_no_cell_of_the_csv_is_a_formula(run, photo, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = '=HYPERLINK("http://evil","x")'
    (tmp_path / "photos").mkdir()
    photo(64, 48).save(tmp_path / "photos" / "=1.jpg", exif=exif)
    run(tmp_path / "photos")
    with (tmp_path / "out" / "photos.csv").open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert row["camera"] == '\'=HYPERLINK("http://evil","x")'
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())
    assert table(tmp_path / "out")[0]["camera"] == '=HYPERLINK("http://evil","x")', "the data themselves stay"


@pytest.mark.slow
def test_hostile_files_are_errors_and_the_table_is_written(run, library, tmp_path):
    """In a process of its own, as by default."""
    attack = Path(__file__).parents[1] / "cases"
    for name in ("wide99M.png", "bomb.parquet"):
        (library / name).write_bytes((attack / name).read_bytes())
    os.mkfifo(library / "pipe.jpg")
    os.mkfifo(library / "pipe.parquet")
    status, _out, err = run(library, workers=1)
    rows = {row["path"].removeprefix(f"{library}/"): row["error"] for row in table(tmp_path / "out")}
    assert status == 1 and len(rows) == 12
    assert {name for name, error in rows.items() if error} == {
        "wide99M.png",
        "bomb.parquet!/image/0",
        "bomb.parquet!/image/1",
    }
    assert "its row group 0 unpacks from 101 KB to 1900 MB" in rows["bomb.parquet!/image/0"]
    assert f"{library}/pipe.parquet: " in err
