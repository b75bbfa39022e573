import gc
import json
import re
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image, ImageFilter

import abc_hf
from abc_hf import load_photo, load_pipeline
from abc_hf.demo import about, build_demo, launch
from abc_hf.demo.photo_tab import CAPTIONS, EXAMPLES, PAGE_SIDE, photo_of, read, show, why_panels
from abc_hf.demo.uploads import Sent
from abc_hf.inference.loading import BUNDLED
from abc_hf.verdicts import VERDICTS
from abc_hf.visualization import LABEL_COLORS, colorize, overlay

pytestmark = [  # Gradio's own: its use of pandas, and what it leaves open
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
LEFT, RIGHT = (200, 40, 40), (40, 40, 200)


@pytest.fixture(scope="module", autouse=True)
def tidy():
    """What Gradio leaves open is found here, not in the tests of another file."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def pipeline(tiny_folder):
    return load_pipeline(tiny_folder)


@pytest.fixture(scope="module")
def address_and_demo(pipeline, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("sent")))
        demo = build_demo(pipeline)
        _, address, _ = launch(demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        yield address, demo
        demo.close(verbose=False)


@pytest.fixture(scope="module")
def address(address_and_demo):
    return address_and_demo[0]


@pytest.fixture(scope="module")
def client(address, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:  # the client, not the page, calls huggingface.co
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        patch.setattr("gradio_client.client.build_hf_headers", lambda **_: {})
        yield Client(address, verbose=False, analytics_enabled=False, download_files=tmp_path_factory.mktemp("answers"))


@pytest.fixture
def save(tmp_path):
    """Save a red and blue photo, and return its path."""

    def save(name, width, height, **options):
        pixels = np.where(np.arange(width)[None, :, None] < width / 2, LEFT, RIGHT)
        path = tmp_path / name
        Image.fromarray(np.broadcast_to(pixels, (height, width, 3)).astype(np.uint8)).save(path, **options)
        return str(path)

    return save


def call(address, *data, endpoint="assess") -> str:
    """What an endpoint answers, asked by plain HTTP: `Client` would upload a file that it is given the path of."""
    url, body = f"{address}gradio_api/call/{endpoint}", json.dumps({"data": data}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{url}/{event}") as answer:
        return answer.read().decode()


def assess(client, path):
    return client.predict(photo=handle_file(path), api_name="/assess")


def test_the_answer_is_the_pipeline_s(client, pipeline, photo, tmp_path):
    path = tmp_path / "photo.png"
    photo(96, 72).save(path)
    figures, *pictures = assess(client, str(path))
    report = pipeline(str(path))
    assert figures == report.to_dict()
    for shown, values in zip(pictures, (report.blur_map, report.attention_map), strict=True):
        with Image.open(shown) as image:
            expected = overlay(load_photo(path), values)
            assert np.abs(np.asarray(image).astype(int) - expected).mean() < 8  # a JPEG


def test_large_photos_are_shown_smaller(client, save):
    figures, *pictures = assess(client, save("large.png", 2400, 900))
    assert (figures["width"], figures["height"]) == (2400, 900)
    for shown in pictures:
        with Image.open(shown) as image:
            assert image.size == (PAGE_SIDE, PAGE_SIDE * 900 // 2400)


def test_photos_are_shown_upright(pipeline, save):
    exif = Image.Exif()
    exif[0x0112] = 8  # the photo's top is at the right
    path = save("sideways.jpg", 64, 48, exif=exif, quality=95)
    report, picture = read(pipeline, Sent("sideways.jpg", path))
    assert report.size == picture.size == (48, 64)
    assert picture.getpixel((24, 8)) == pytest.approx(RIGHT, abs=12)
    assert picture.getpixel((24, 56)) == pytest.approx(LEFT, abs=12)


def test_what_the_viewer_is_given(pipeline, photo, tmp_path):
    """The values behind a click are those of the maps, and the panels are the classifier's input."""
    report = pipeline(photo(96, 72))
    shown = show(report, report.preview, str(tmp_path))
    values = np.asarray(Image.open(shown["maps"]["values"]["path"]))
    assert np.abs(values[..., 0] - 255 * report.small_blur_map).max() <= 0.51
    assert np.abs(values[..., 1] - 255 * report.small_attention_map).max() <= 0.51
    assert shown["ratio"] == 96 / 72
    blur, attention = report.small_blur_map, report.small_attention_map
    panels = {title: picture["path"] for title, _, picture in why_panels(report, str(tmp_path))["panels"]}
    assert list(panels) == ["B", "A", "B × A", "B × (1 − A)"]
    for title, expected in (("B × A", blur * attention), ("B × (1 − A)", blur * (1 - attention))):
        assert (np.asarray(Image.open(panels[title])) == colorize(expected)).all()


def test_an_example_is_a_photo_and_no_other_name_is(tmp_path):
    assert photo_of({"example": "bokeh"}, str(tmp_path)).path == str(EXAMPLES / "bokeh.jpg")
    for name in ("../demo/page", "", None, ["bokeh"], 3):
        with pytest.raises(gr.Error, match="as a file"):
            photo_of({"example": name}, str(tmp_path))


def test_files_at_full_size(client, pipeline, save):
    path = save("wide.png", 400, 300)
    report = pipeline(path)

    def fetch(kind):
        return client.predict(photo=handle_file(path), kind=kind, api_name="/full_size")

    for kind, values, most in (
        ("blur", report.blur_map, 255),
        ("blur_16bit", report.blur_map, 65535),
        ("attention_16bit", report.attention_map, 65535),
    ):
        with Image.open(fetch(kind)) as image:
            assert image.size == (400, 300)
            assert np.abs(np.asarray(image).astype(int) - np.rint(values * most)).max() == 0
    with Image.open(fetch("overlay")) as image:
        assert image.size == (400, 300)
    assert json.loads(Path(fetch("report")).read_text()) == {"file": "wide.png", **report.to_dict()}
    with pytest.raises(AppError, match="one of overlay, blur"):
        fetch("everything")


def test_every_format_goes_through_the_one_door(client, save):
    heif = pytest.importorskip("pillow_heif")
    path = Path(save("photo.heic.png", 64, 48)).with_suffix("")
    heif.from_pillow(Image.open(f"{path}.png")).save(path)
    assert assess(client, str(path))[0]["width"] == 64


def test_a_bad_file_is_one_sentence_without_the_server_s_path(client, tmp_path):
    path = tmp_path / "cut <b>.jpg"
    path.write_bytes((EXAMPLES / "night.jpg").read_bytes()[:9000])
    with pytest.raises(AppError) as error:
        assess(client, str(path))
    message = str(error.value)
    assert "cut" in message and "cannot be read" in message and message.endswith(".")
    assert "/" not in message and "\n" not in message and "<" not in message

    path = tmp_path / "text.jpg"
    path.write_text("not a photo")
    with pytest.raises(AppError, match=r"text\.jpg: not a photo that can be read"):
        assess(client, str(path))
    with pytest.raises(AppError, match="Send a photo first"):
        client.predict(photo=None, api_name="/assess")


def test_photos_are_sorted(client, pipeline, photo, tmp_path):
    paths = []
    for index in range(4):
        paths.append(tmp_path / f"{index}.png")
        photo(96, 64, index).save(paths[-1])
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(paths[3], "in a folder/three.png")
        archive.writestr("broken.jpg", b"not a photo")
    sent = [handle_file(str(path)) for path in (*paths[:3], tmp_path / "more.zip")]
    scores = {path.name.replace("3.png", "in a folder/three.png"): pipeline(path).score for path in paths}
    labels = {path.name.replace("3.png", "in a folder/three.png"): pipeline(path).label for path in paths}
    threshold = sorted(scores.values())[2]
    rows, table, keepers = client.predict(photos=sent, threshold=threshold, api_name="/sort")
    assert {row["file"]: row["score"] for row in rows[:-1]} == scores
    assert rows[-1]["file"] == "broken.jpg" and rows[-1]["error"].startswith("not a photo")
    assert {row["file"]: row["label"] for row in rows[:-1]} == labels
    kept = {row["file"] for row in rows[:-1] if not row["reject"]}
    assert kept == {name for name, score in scores.items() if score >= threshold}
    with zipfile.ZipFile(keepers) as archive:
        assert set(archive.namelist()) == kept
    assert len(Path(table).read_text(encoding="utf-8-sig").splitlines()) == 6
    assert client.predict(photos=sent[:1], threshold=1, api_name="/sort")[2] is None
    with pytest.raises(AppError, match="from 0 to 1"):
        client.predict(photos=sent, threshold=35, api_name="/sort")


def test_shots_are_compared(client, photo, tmp_path):
    scene = photo(200, 150).resize((800, 600), Image.Resampling.NEAREST)
    for radius in (3, 0):
        scene.filter(ImageFilter.GaussianBlur(radius)).save(tmp_path / f"{radius}.png")
    sent = [handle_file(str(tmp_path / name)) for name in ("3.png", "0.png")]
    ranking, crops = client.predict(photos=sent, api_name="/compare")
    assert [shot["file"] for shot in ranking] == [Path(crop).name for crop in crops] == ["0.png", "3.png"]
    with pytest.raises(AppError, match="2 to 12"):
        client.predict(photos=sent[:1], api_name="/compare")


def test_the_example_of_the_docs_runs(client, address, photo, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "demo.md").read_text()
    code = re.search(r"<!-- api example -->\n```python\n(.*?)```", page, re.DOTALL)[1]
    assert code.count("http://127.0.0.1:7860") == 1
    for name in ("photo", "a", "b"):
        photo(96, 64, len(name)).save(tmp_path / f"{name}.jpg")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.write(tmp_path / "b.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gradio_client.Client", lambda url: client)
    answers = {}
    exec(code, answers)
    assert answers["report"]["width"] == 96 and len(answers["rows"]) == len(answers["ranking"]) == 2


def test_the_endpoints_are_documented(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    parameters = {
        name: [parameter["parameter_name"] for parameter in endpoint["parameters"]]
        for name, endpoint in endpoints.items()
    }
    assert parameters == {
        "/assess": ["photo"],
        "/full_size": ["photo", "kind"],
        "/sort": ["photos", "threshold"],
        "/compare": ["photos"],
    }
    assert {name: len(endpoint["returns"]) for name, endpoint in endpoints.items()} == {
        "/assess": 3,
        "/full_size": 1,
        "/sort": 3,
        "/compare": 2,
    }
    assert endpoints["/sort"]["description"].startswith("Judge many photos")


def test_only_the_examples_and_the_visitor_s_own_files_can_be_read(client, address, tmp_path):
    def fetch(path):
        with urllib.request.urlopen(f"{address}gradio_api/file={path}") as answer:
            return answer.read()

    assert fetch(EXAMPLES / "bokeh.jpg") == (EXAMPLES / "bokeh.jpg").read_bytes()
    for path in (abc_hf.__file__, EXAMPLES / "../demo/page.py", "/etc/passwd", "/proc/self/environ"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            fetch(path)
    secret = tmp_path / "secret.jpg"
    secret.write_bytes((EXAMPLES / "bokeh.jpg").read_bytes())
    for file in (
        {"path": str(secret)},
        {"url": "data:image/png;base64,AAAA"},
    ):
        for meta in ({}, {"meta": {"_type": "gradio.FileData"}}):
            assert call(address, file | meta).startswith("event: error")
            assert call(address, file | meta, "blur", endpoint="full_size").startswith("event: error")
            assert call(address, [file | meta] * 2, endpoint="compare").startswith("event: error")
            assert call(address, [file | meta], 0.5, endpoint="sort").startswith("event: error")


def test_manners(pipeline):
    demo = build_demo(pipeline)
    assert demo.analytics_enabled is False
    assert demo.delete_cache == (600, 3600)
    package = Path(abc_hf.__file__).parent
    assert not list(package.glob("*.pyi"))  # Gradio writes one for a subclass of a component
    assert list(VERDICTS) == list(LABEL_COLORS) == list(abc_hf.ABCFuseNetConfig().id2label.values())


def test_what_was_sent_is_deleted_after_an_hour(address_and_demo, client, photo, tmp_path):
    """Uploads, what is in zips, and all that is made of them."""
    demo = address_and_demo[1]
    photo(96, 64).save(tmp_path / "0.png")
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.write(tmp_path / "0.png", "0.png")
    folder = Path(demo.GRADIO_CACHE)

    def files():
        return {path for path in folder.rglob("*") if path.is_file()}

    before = files()
    client.predict(photos=[handle_file(str(tmp_path / "one.zip"))], threshold=0, api_name="/sort")
    client.predict(photo=handle_file(str(tmp_path / "0.png")), kind="overlay", api_name="/full_size")
    written = files() - before
    assert {"one.zip", "keepers.zip", "blur.csv"} <= {path.name for path in written}, written
    delete_files_created_by_app(demo, age=3600)
    assert written <= files()
    delete_files_created_by_app(demo, age=-1)
    assert not written & files()


def test_every_photo_is_judged_through_the_gpu_s_decorator(pipeline):
    """As ZeroGPU asks: no photo reaches the model outside the decorated function."""
    decorated = []

    def on_gpu(function):
        decorated.append(function)
        return function

    build_demo(pipeline, on_gpu=on_gpu)
    assert len(decorated) == 1
    assert decorated[0](EXAMPLES / "night.jpg").label in VERDICTS


def test_mcp_needs_its_package(pipeline, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"abc-fusenet\[mcp\]"):
        launch(build_demo(pipeline), mcp=True)


def test_examples():
    credits = (EXAMPLES / "README.md").read_text()
    assert sorted(path.stem for path in EXAMPLES.glob("*.jpg")) == sorted(CAPTIONS)
    for name in CAPTIONS:
        path = EXAMPLES / f"{name}.jpg"
        assert f"`{path.name}`" in credits
        assert path.stat().st_size < 120_000
        with Image.open(path) as image:
            assert max(image.size) <= 800


def test_about_says_the_scores_of_the_weights(tmp_path):
    """Each figure is that of run.json, found here by its own path."""
    record = json.loads((BUNDLED / "run.json").read_text())
    scores = record["validation"]["verdicts"]
    text = about(str(BUNDLED))
    for each in (scores["all"], scores["consumer/coco"]):
        for share in (each["agreed"]["accuracy"], each["always_one_label"], each["false_bad"]["share"]):
            assert f"{100 * share:.1f}%" in text
    assert f"{100 * scores['all']['bad_found']['share']:.1f}%" in text
    scores["all"]["agreed"]["accuracy"] = 0.123
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert "12.3%" in about(str(tmp_path))
    assert "without scores" in about("someone/elses")


def test_the_start_says_the_address_and_our_option(pipeline, capsys, monkeypatch):
    monkeypatch.setattr(gr.Blocks, "block_thread", lambda demo: print("it stays"))
    demo = build_demo(pipeline)
    launch(demo, server_name="127.0.0.1")
    said = capsys.readouterr().out
    demo.close(verbose=False)
    assert (
        said == f"The demo is at {demo.local_url} now. For a public link, run `abc-fusenet demo --share`.\nit stays\n"
    )
