import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from abc_hf import BlurReport, BlurUnderstandingPipeline, __version__, load_pipeline, photos
from abc_hf.cli import main
from abc_hf.cli.assess import expand
from abc_hf.cli.main import build_parser
from abc_hf.common.files import unique_stems
from abc_hf.common.text import printable
from abc_hf.inference import processes


@pytest.fixture
def assess(tiny_folder, capsys, pipelines_once):
    """Run `abc-fusenet assess` with the tiny model: `assess(*arguments)` is (status, stdout, stderr)."""

    def run(*arguments):
        status = main(["assess", *map(str, arguments), "--model", str(tiny_folder), "--device", "cpu"])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def folder(photo, tmp_path):
    """Two photos and a file that is none but is named like one, in this order."""
    photo(64, 48, 0).save(tmp_path / "a.jpg")
    (tmp_path / "broken.png").write_bytes(b"no photo")
    photo(60, 90, 1).save(tmp_path / "c.png")
    (tmp_path / "notes.txt").write_text("not shown")
    return tmp_path


def test_table(assess, folder, tiny_folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = assess(folder / "a.jpg", folder / "c.png")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["photo", "verdict", "score", "subject", "background"]
    report = load_pipeline(tiny_folder, device="cpu")(folder / "a.jpg")
    figures = [f"{x:.2f}" for x in (report.score, report.blur_on_subject, report.blur_on_background)]
    assert lines[1].split()[-4:] == [report.label, *figures]
    assert report.reason in " ".join(out.split())
    assert lines[1].split("  ")[0].endswith("a.jpg")
    assert lines[0].index("verdict") == lines[1].index(report.label)


def test_whatever_happens_to_one_photo_the_others_are_in_the_json(assess, folder, photo, monkeypatch):
    """One cannot be decoded, one resized, one judged, one written."""
    for number, width in enumerate((70, 71, 72, 73)):
        photo(width, 48, number).save(folder / f"{width}.png")
    opened, resize, save = photos.load_photo, Image.Image.resize, BlurReport.save
    answer = BlurUnderstandingPipeline._answer

    def load_photo(photo, **options):
        if photo.name == "70.png":
            raise MemoryError
        return opened(photo, **options)

    def resize_photo(self, *arguments, **options):
        if self.width == 71:
            raise MemoryError
        return resize(self, *arguments, **options)

    def answer_photos(self, photos):
        if any(photo["size"][0] == 72 for photo in photos):
            raise RuntimeError("no\nanswer")
        answer(self, photos)

    def save_report(self, *arguments):
        if self.size[0] == 73:
            raise MemoryError
        return save(self, *arguments)

    monkeypatch.setattr(processes, "WITHIN_LIMITS", True)
    monkeypatch.setattr(photos, "load_photo", load_photo)
    monkeypatch.setattr(Image.Image, "resize", resize_photo)
    monkeypatch.setattr(BlurUnderstandingPipeline, "_answer", answer_photos)
    monkeypatch.setattr(BlurReport, "save", save_report)
    status, out, err = assess(folder, "--json", "--batch-size", 3, "--save", folder / "out")
    entries = {Path(entry["file"]).name: entry for entry in json.loads(out)}
    assert status == 1 and len(err.splitlines()) == 6  # five photos, and the file that is none
    assert {name: entry.get("error", "").removeprefix(f"{folder / name}: ") for name, entry in entries.items()} == {
        "70.png": "there is not enough memory to open it.",
        "71.png": "there is not enough memory to open it.",
        "72.png": "it cannot be judged (no answer).",
        "73.png": "there is not enough memory to open it.",
        "a.jpg": "",
        "broken.png": entries["broken.png"]["error"].removeprefix(f"{folder / 'broken.png'}: "),
        "c.png": "",
    }


def test_json(assess, folder, tiny_folder):
    status, out, _err = assess("--json", "--batch-size", 2, folder / "a.jpg", folder / "gone.jpg", folder / "c.png")
    first, gone, last = json.loads(out)
    assert status == 1
    assert [entry["file"] for entry in (first, gone, last)] == [str(folder / n) for n in ("a.jpg", "gone.jpg", "c.png")]
    assert gone == {"file": str(folder / "gone.jpg"), "error": f"{folder / 'gone.jpg'}: there is no such file."}
    report = load_pipeline(tiny_folder, device="cpu")(folder / "c.png").to_dict()
    assert last.keys() == {"file", *report}
    assert last["score"] == pytest.approx(report["score"], abs=1e-5)
    assert last["reason"] == report["reason"]


def test_a_folder_stands_for_its_photos_and_a_bad_one_does_not_stop_the_rest(assess, folder):
    status, out, err = assess(folder)
    assert status == 1
    broken, left_out = err.splitlines()
    assert broken.startswith(f"abc-fusenet: {folder}/broken.png: ")
    assert left_out == "abc-fusenet: Left out: 1 .txt."
    photos = [line.split()[0] for line in out.splitlines()[1:] if not line.startswith("  ")]
    assert [name[-5:] for name in photos] == ["a.jpg", "c.png"]


def test_expand(folder):
    (folder / "UPPER.JPG").touch()
    (folder / "sub").mkdir()
    named = [str(folder / "notes.txt"), str(folder)]
    (folder / "._a.jpg").touch()
    (folder / "album.jpg").mkdir()
    photos, empty, left_out = expand([*named, str(folder / "sub")])
    assert left_out == {".txt": 1}
    assert [path.name for path in photos] == ["notes.txt", "UPPER.JPG", "a.jpg", "broken.png", "c.png"]
    assert empty == {folder / "sub": "the folder holds no photos."}


def test_an_empty_folder_does_not_stop_the_rest(assess, folder):
    (folder / "sub").mkdir()
    status, out, err = assess(folder / "sub", folder / "a.jpg", "--json")
    assert status == 1
    assert err == f"abc-fusenet: {folder}/sub: the folder holds no photos.\n"
    assert ["error" in entry for entry in json.loads(out)] == [True, False]
    status, out, err = assess(folder / "sub", "--json")
    assert status == 1 and len(json.loads(out)) == 1


def test_save(assess, folder, photo):
    (folder / "other").mkdir()
    photo(50, 40, 3).save(folder / "other" / "A.PNG")
    out = folder / "out"
    status, *_ = assess(folder / "a.jpg", folder / "other" / "A.PNG", "--save", out)
    assert status == 0
    sizes = {stem: json.loads((out / f"{stem}.json").read_text())["width"] for stem in ("a", "A-2")}
    assert sizes == {"a": 64, "A-2": 50}
    assert len(list(out.iterdir())) == 12
    with Image.open(out / "A-2_blur_16bit.png") as image:
        assert image.size == (50, 40)


def test_unique_stems():
    paths = [Path(p) for p in ("x/a.jpg", "y/a.png", "a-2.jpg", "A.gif", "b.jpg")]
    assert unique_stems(paths) == ["a", "a-2", "a-2-2", "A-3", "b"]


def test_a_file_of_the_users_is_not_replaced_by_a_result(assess, folder):
    (folder / "out").mkdir()
    (folder / "out" / "a.json").write_text("mine")
    status, _out, err = assess(folder / "a.jpg", "--save", folder / "out")
    assert status == 1 and "a.json is no result of this command; choose another folder" in err
    assert [path.read_text() for path in (folder / "out").iterdir()] == ["mine"]


def test_what_cannot_be_saved_is_an_error_of_that_photo(assess, folder):
    (folder / "out").mkdir()
    (folder / "out" / "a.json").mkdir()
    status, _out, err = assess(folder / "a.jpg", folder / "c.png", "--save", folder / "out")
    assert status == 1
    assert err.count("\n") == 1 and "a.json" in err
    assert (folder / "out" / "c.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--save", "."], "--save . is a folder of photos to assess; choose another one."),
        (["--save", "a.jpg"], "--save a.jpg is a file; choose a folder."),
        (["--model", "empty"], "No ABC-FuseNet model can be loaded from empty ("),
    ],
)
def test_a_mistake_is_one_sentence(folder, monkeypatch, capsys, tiny_folder, arguments, message):
    monkeypatch.chdir(folder)
    (folder / "empty").mkdir()
    assert main(["assess", "--model", str(tiny_folder), "a.jpg", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"abc-fusenet: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["assess"], ["assess", "a.jpg", "--batch-size", "0"], ["demo", "--port", "99999"], ["asses", "a.jpg"]],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: abc-fusenet" in capsys.readouterr().err


def test_printable():
    assert printable("día 1.jpg") == "día 1.jpg"
    assert printable(Path("a\nb\x1b[31m\udcff.jpg")) == r"a\nb\x1b[31m\udcff.jpg"


def test_the_demo_without_gradio_is_one_sentence(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[:2] == ["abc_hf", "demo"]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    # It would be so for all tests after this one.
    monkeypatch.setattr("abc_hf.inference.allocator.one_arena", lambda: None)
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == 'abc-fusenet: The demo needs Gradio; run `pip install "abc-fusenet[demo]"`.\n'


def test_demo_options(monkeypatch, tiny_folder):
    demo = pytest.importorskip("abc_hf.demo")
    launched, steps = {}, []
    monkeypatch.setattr("abc_hf.inference.allocator.one_arena", lambda: steps.append("one arena"))
    monkeypatch.setattr("abc_hf.inference.loading.load_engine", lambda *_: steps.append("weights"))
    monkeypatch.setattr(demo, "build_demo", lambda pipe: pipe.model.config.model_type)
    monkeypatch.setattr(demo, "launch", lambda page, **options: launched.update(options, page=page))
    assert main(["demo", "--model", str(tiny_folder), "--port", "7999", "--no-browser"]) == 0
    assert launched == {
        "page": "abc_fusenet",
        "mcp": False,
        "server_port": 7999,
        "share": False,
        "inbrowser": False,
    }
    assert steps == ["one arena", "weights"]
    assert build_parser().parse_args(["demo"]).port is None


def test_the_command(folder, tiny_folder):
    """As users run it, with names that are neither one line nor UTF-8, on a terminal that knows ASCII only."""
    names = [b"a.jpg", b"d\xc3\xada.jpg", b"two\nlines.jpg", b"\xff.jpg"]
    for name in names[1:]:
        os.link(folder / "a.jpg", os.fsencode(folder) + b"/" + name)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "abc_hf",
            "assess",
            *names,
            "bad\n\udcff.jpg",
            "--model",
            tiny_folder,
            "--device",
            "cpu",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert run.stderr == "abc-fusenet: bad\\n\\udcff.jpg: there is no such file.\n"
    rows = [line.split("  ")[0] for line in run.stdout.splitlines() if not line.startswith("  ")]
    assert rows == ["photo", "a.jpg", r"d\xeda.jpg", r"two\nlines.jpg", r"\udcff.jpg"]


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"abc-fusenet {__version__}\n"


COMMAND = [sys.executable, "-m", "abc_hf"]
HERE = {"cwd": Path(__file__).parents[2], "text": True}


def test_help_does_not_wait_for_torch():
    for option in ("--version", "--help"):
        run = subprocess.run(
            [sys.executable, "-X", "importtime", *COMMAND[1:], option], capture_output=True, check=True, **HERE
        )
        imported = {line.split("|")[-1].strip() for line in run.stderr.splitlines()}
        assert "argparse" in imported and not {"torch", "transformers", "matplotlib"} & imported
        assert "abc-fusenet" in run.stdout


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
@pytest.mark.parametrize("module", ["torch._ops", pytest.param("abc_hf.modeling_abc_fusenet", marks=pytest.mark.slow)])
def test_ctrl_c_during_the_imports_is_quiet(module):
    arguments = [sys.executable, "-X", "importtime", *COMMAND[1:], "assess", "a.jpg"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **HERE) as process:
        assert any(line.split("|")[-1].strip() == module for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert out == "" and all(line.startswith("import time:") for line in err.splitlines())


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_during_the_photos_is_quiet(folder, tiny_folder):
    """The last photo is a pipe that nobody writes to: the command waits for it."""
    os.mkfifo(folder / "endless.jpg")
    arguments = [*COMMAND, "assess", "gone.jpg", folder / "endless.jpg", "--model", tiny_folder, "--device", "cpu"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **HERE) as process:
        assert process.stderr.readline() == "abc-fusenet: gone.jpg: there is no such file.\n"
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate()
    assert (process.returncode, err) == (130, "")


@pytest.mark.slow
def test_a_reader_that_stops_reading_ends_the_command_quietly(folder, tiny_folder):
    """As `| head -1` does."""
    arguments = [*COMMAND, "assess", folder / "a.jpg", "--model", tiny_folder, "--device", "cpu"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **HERE) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.slow
@pytest.mark.skipif("ABC_SHARED" not in os.environ, reason="ABC_SHARED does not name the folder of research data")
def test_many_bad_files_in_one_call():
    """With the bundled weights, as a user would."""
    files = sorted(path for path in (Path(os.environ["ABC_SHARED"]) / "bad_inputs").rglob("*") if path.is_file())
    start = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, "assess", "--json", "--device", "cpu", *files],
        capture_output=True,
        text=True,
    )
    assert time.monotonic() - start < 50
    entries = json.loads(run.stdout)
    assert [entry["file"] for entry in entries] == [str(file) for file in files]
    errors = [entry["error"] for entry in entries if "error" in entry]
    assert all(entry["file"] in entry["error"] for entry in entries if "error" in entry)
    assert 0 < len(errors) < len(files)
    *complaints, memory = run.stderr.splitlines()
    assert complaints == [f"abc-fusenet: {printable(error)}" for error in errors]
    assert int(memory) < 2e6, "kilobytes"
    assert run.returncode == 1


MEASURED = """
import resource, sys
from abc_hf.cli import main
status = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""
