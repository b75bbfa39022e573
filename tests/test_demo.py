import gc
import json
import runpy
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import abc_hf
from abc_hf import load_photo, load_pipeline
from abc_hf.demo import CAPTIONS, EXAMPLES, PAGE_SIDE, VERDICTS, about, build_demo, launch
from abc_hf.pipeline import BUNDLED
from abc_hf.visualization import LABEL_COLORS, overlay

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
def address(pipeline):
    demo = build_demo(pipeline)
    _, address, _ = launch(demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield address
    demo.close(verbose=False)


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


def call(address, photo) -> str:
    """What the endpoint answers, asked by plain HTTP: `Client` would upload a file that it is given the path of."""
    url, data = f"{address}gradio_api/call/assess", json.dumps({"data": [photo]}).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{url}/{event}") as answer:
        return answer.read().decode()


def assess(client, path):
    return client.predict(photo=handle_file(path), api_name="/assess")


def test_the_page_says_what_the_pipeline_says(client, pipeline, photo, tmp_path):
    path = tmp_path / "photo.png"
    photo(96, 72).save(path)
    figures, (before, after), attention, probabilities = assess(client, str(path))
    report = pipeline(str(path))
    assert figures == report.to_dict()
    assert {entry["label"]: entry["confidence"] for entry in probabilities["confidences"]} == report.probabilities
    assert probabilities["label"] == report.label
    for shown, expected in (
        (before, load_photo(path)),
        (after, overlay(load_photo(path), report.blur_map)),
        (attention, overlay(load_photo(path), report.attention_map)),
    ):
        with Image.open(shown) as image:
            assert np.abs(np.asarray(image).astype(int) - np.asarray(expected)).mean() < 8  # a JPEG of quality 75


def test_large_photos_are_shown_smaller(client, save):
    figures, (before, after), attention, _ = assess(client, save("large.png", 2400, 900))
    assert (figures["width"], figures["height"]) == (2400, 900)
    for shown in (before, after, attention):
        with Image.open(shown) as image:
            assert image.size == (PAGE_SIDE, PAGE_SIDE * 900 // 2400)


def test_photos_are_shown_upright(client, save):
    exif = Image.Exif()
    exif[0x0112] = 8  # the photo's top is at the right
    figures, (before, _), _, _ = assess(client, save("sideways.jpg", 64, 48, exif=exif, quality=95))
    assert (figures["width"], figures["height"]) == (48, 64)
    with Image.open(before) as image:
        assert image.size == (48, 64)
        assert image.getpixel((24, 8)) == pytest.approx(RIGHT, abs=12)
        assert image.getpixel((24, 56)) == pytest.approx(LEFT, abs=12)


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


def test_no_photo_no_answer(client):
    assert client.predict(photo=None, api_name="/assess")[:3] == (None, None, None)


def test_the_endpoint_is_documented(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/assess"]
    assert endpoints["/assess"]["description"].startswith("Judge the blur")
    assert [parameter["parameter_name"] for parameter in endpoints["/assess"]["parameters"]] == ["photo"]
    assert len(endpoints["/assess"]["returns"]) == 4


def test_only_the_examples_and_the_visitor_s_own_files_can_be_read(client, address, tmp_path):
    def fetch(path):
        with urllib.request.urlopen(f"{address}gradio_api/file={path}") as answer:
            return answer.read()

    assert fetch(EXAMPLES / "bokeh.jpg") == (EXAMPLES / "bokeh.jpg").read_bytes()
    for path in (abc_hf.__file__, EXAMPLES / "../demo.py", "/etc/passwd"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            fetch(path)
    secret = tmp_path / "secret.jpg"
    secret.write_bytes((EXAMPLES / "bokeh.jpg").read_bytes())
    for file in ({"path": str(secret)}, {"url": "data:image/png;base64,AAAA"}):
        for meta in ({}, {"meta": {"_type": "gradio.FileData"}}):
            assert call(address, file | meta).startswith("event: error")


def test_manners(pipeline):
    demo = build_demo(pipeline)
    assert demo.analytics_enabled is False
    assert demo.delete_cache == (3600, 3600)
    assert (
        not Path(abc_hf.demo.__file__).with_suffix(".pyi").exists()
    )  # Gradio writes one for a subclass of a component
    assert list(VERDICTS) == list(LABEL_COLORS) == list(abc_hf.ABCFuseNetConfig().id2label.values())


def test_examples():
    credits = (EXAMPLES / "README.md").read_text()
    assert sorted(path.stem for path in EXAMPLES.glob("*.jpg")) == sorted(CAPTIONS)
    for name in CAPTIONS:
        path = EXAMPLES / f"{name}.jpg"
        assert f"`{path.name}`" in credits
        assert path.stat().st_size < 120_000
        with Image.open(path) as image:
            assert max(image.size) <= 800


def test_examples_can_be_made_again():
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    photos = runpy.run_path(str(Path(__file__).parents[1] / "hub" / "make_examples.py"))["make_examples"]()
    assert sorted(photos) == sorted(CAPTIONS)
    for name, made in photos.items():
        kept = np.asarray(load_photo(EXAMPLES / f"{name}.jpg")).astype(int)
        assert kept.shape == made.shape
        assert np.abs(kept - made).mean() < 4  # what JPEG of quality 88 changes


def test_about_says_the_scores_of_the_weights(tmp_path):
    """Each figure is that of run.json, found here by its own path."""
    record = json.loads((BUNDLED / "run.json").read_text())
    text = about(str(BUNDLED))
    assert f"precision of {record['cuhk']['blur_map']['all']['pooled_ap']:.3f}" in text
    assert f"for {100 * record['validation']['desirability']['accuracy']:.1f}% of" in text
    record["cuhk"]["blur_map"]["all"]["pooled_ap"] = 0.123
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert "precision of 0.123" in about(str(tmp_path))
    assert "without scores" in about("someone/elses")
