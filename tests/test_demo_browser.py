"""The page in a real browser: headless Chromium. The variable CHROMIUM names it if it is not /usr/bin/chromium."""

import base64
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from abc_hf import load_pipeline
from abc_hf.demo import CAPTIONS, EXAMPLES, VERDICTS, build_demo, launch

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason=f"there is no Chromium at {CHROMIUM}; set CHROMIUM"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio"),  # Gradio's own: its use of pandas ...
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # ... and what it leaves open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
).split()
NAMES = [name for name, _ in VERDICTS.values()]
DROP = """([selector, data, name]) => {
  const bytes = Uint8Array.from(atob(data), character => character.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type: "image/jpeg"}));
  for (const type of ["dragenter", "dragover", "drop"])
    document.querySelector(selector).dispatchEvent(
      new DragEvent(type, {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""
SIZE = "(selector => (image => [image?.naturalWidth, image?.naturalHeight])(document.querySelector(selector)))"
COPY = """async data => {
  const image = new Image();
  image.src = "data:image/jpeg;base64," + data;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), {width: image.width, height: image.height});
  canvas.getContext("2d").drawImage(image, 0, 0);
  const blob = await new Promise(resolve => canvas.toBlob(resolve, "image/png"));
  await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
}"""


@pytest.fixture(scope="module")
def address(tiny_folder):
    demo = build_demo(load_pipeline(tiny_folder))
    _, address, _ = launch(demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield address
    demo.close(verbose=False)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    """The page, open; afterwards: nothing outside was asked for, and no script failed."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        context.grant_permissions(["clipboard-read", "clipboard-write", "camera"], origin=address.rstrip("/"))
        context.set_default_timeout(120_000)
        page = context.new_page()
        outside, failures = [], []

        def guard(route):
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                outside.append(route.request.url)
                route.abort()

        page.route("**/*", guard)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#examples img")
        yield page
        assert outside == []
        assert failures == []


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def example(name: str) -> bytes:
    return (EXAMPLES / f"{name}.jpg").read_bytes()


def upload(page, name: str, data: bytes):
    page.set_input_files("#photo input[type=file]", {"name": name, "mimeType": "image/jpeg", "buffer": data})


def wait_for_result(page):
    page.wait_for_selector("#comparison img")
    page.wait_for_selector("#verdict .headline")


def test_an_upload_is_judged_and_can_be_removed(page):
    assert page.locator("#verdict dt").all_inner_texts() == NAMES  # before: what the verdicts mean
    upload(page, "flower.jpg", example("bokeh"))
    wait_for_result(page)
    assert page.inner_text("#verdict h2") in NAMES
    assert 0 <= float(page.inner_text("#verdict .score b")) <= 1
    assert page.inner_text("#verdict .reason").endswith(".")
    assert page.locator("#comparison img").count() == 2
    page.wait_for_function(f"{SIZE}('#attention img').join() == '640,427'")
    assert {label in page.inner_text("#probabilities") for label in VERDICTS} == {True}
    assert "%" in page.inner_text("#levels")

    page.get_by_label("Remove Image").click()
    page.wait_for_selector("#verdict dl")
    page.wait_for_selector("#results", state="hidden")


def test_a_photo_taken_sideways_is_shown_upright(page):
    with Image.open(EXAMPLES / "bokeh.jpg") as image:
        file, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", exif=exif)
    upload(page, "sideways.jpg", file.getvalue())
    wait_for_result(page)
    page.wait_for_function(f"{SIZE}('#comparison img').join() == '640,427'")


def test_the_examples_are_judged(page):
    for index, name in enumerate(CAPTIONS):
        page.locator("#examples button").nth(index).click()
        page.wait_for_selector(f'#photo img[src*="{name}"]')
        with Image.open(EXAMPLES / f"{name}.jpg") as image:
            size = list(image.size)
        page.wait_for_function(f"{SIZE}('#comparison img').join() == '{size[0]},{size[1]}'")
    wait_for_result(page)


@pytest.mark.parametrize("damage", [example("night")[:9000], b"not a photo"], ids=["cut short", "text"])
def test_a_bad_file_gets_one_sentence_and_no_old_verdict(page, damage):
    upload(page, "good.jpg", example("bokeh"))
    wait_for_result(page)
    page.evaluate(DROP, ["#photo img", base64_of(damage), "bad.jpg"])
    page.wait_for_selector("[data-testid=toast-text]")
    message = page.get_by_test_id("toast-text").inner_text()
    assert message.startswith("bad.jpg: ") and message.endswith(".") and "/" not in message and "\n" not in message
    page.wait_for_selector("#verdict dl")
    page.wait_for_selector("#results", state="hidden")


def test_a_photo_from_the_clipboard_is_judged(page):
    page.evaluate(COPY, base64_of(example("all-sharp")))
    page.get_by_label("Paste from clipboard").click()
    wait_for_result(page)


def test_a_photo_from_the_webcam_is_judged(page):
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("document.querySelector('#photo video')?.videoWidth > 0")
    page.get_by_label("capture photo").click()
    wait_for_result(page)


@pytest.mark.parametrize("width", [375, 768, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_its_width(page, address, width, theme):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address}?__theme={theme}")
    page.wait_for_selector("#examples img")
    upload(page, "flower.jpg", example("bokeh"))
    wait_for_result(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.querySelector('.verdict')).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(30, 41, 59)"}[theme]


def test_app_starts_without_a_network(browser, tmp_path):
    """`app.py`, from another folder and with no other machine to be found, judges the bokeh."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "resolve = socket.getaddrinfo\n"
        "def guarded(host, *args, **options):\n"
        "    if host not in ('localhost', '127.0.0.1', '::1', '0.0.0.0', None):\n"
        "        open('outside.txt', 'a').write(f'{host}\\n')\n"
        "        raise socket.gaierror(f'{host} is outside')\n"
        "    return resolve(host, *args, **options)\n"
        "socket.getaddrinfo = guarded\n"
    )
    app = Path(__file__).parents[1] / "app.py"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, app], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            address = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
            page = browser.new_page()
            page.set_default_timeout(120_000)
            page.goto(address)
            page.locator("#examples button").first.click()
            wait_for_result(page)
            assert page.inner_text("#verdict h2") == "Good blur"
            page.close()
        finally:
            process.terminate()
    assert not (tmp_path / "outside.txt").exists()
