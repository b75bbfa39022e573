"""The page in a real browser."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from abc_hf import load_pipeline
from abc_hf.demo import batch_tab, build_demo, launch, photo_tab
from abc_hf.demo.batch_tab import COLUMNS
from abc_hf.demo.photo_tab import CAPTIONS, DOWNLOADS, EXAMPLES
from abc_hf.verdicts import VERDICTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("browser"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio"),  # Gradio's own: its use of pandas ...
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # ... and what it leaves open
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
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
def pipeline(tiny_folder):
    return load_pipeline(tiny_folder)


@pytest.fixture(scope="module")
def address(pipeline):
    demo = build_demo(pipeline)
    _, address, _ = launch(demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield address
    demo.close(verbose=False)


@pytest.fixture(scope="module")
def context(browser, address):
    """One for all pages: scripts of Gradio's are fetched and compiled once."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        context.grant_permissions(["clipboard-read", "clipboard-write", "camera"], origin=address.rstrip("/"))
        context.set_default_timeout(60_000)
        yield context


@pytest.fixture
def open_page(context, address):
    """The page, opened at a width; afterwards: nothing outside was asked for, and no script failed."""
    pages, outside, failures = [], [], []

    def note(request):
        if not request.url.startswith((address, "data:", "blob:")):
            outside.append(request.url)

    def open_at(width: int):
        page = context.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": 900})
        page.on("request", note)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda message: failures.append(message.text) if message.type != "log" else None)
        page.goto(address)
        wait_for_result(page, "tulips.jpg")
        return page

    yield open_at
    for page in pages:
        page.close()
    assert outside == []
    assert failures == []


@pytest.fixture
def page(open_page):
    return open_page(1280)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def example(name: str) -> bytes:
    return (EXAMPLES / f"{name}.jpg").read_bytes()


def upload(page, name: str, data: bytes):
    page.set_input_files("#photo input[type=file]", {"name": name, "mimeType": "image/jpeg", "buffer": data})


def files_of(*names: str) -> list[dict]:
    return [{"name": f"{name}.jpg", "mimeType": "image/jpeg", "buffer": example(name)} for name in names]


def open_tab(page, name: str):
    page.get_by_role("tab", name=name).click()
    page.get_by_role("tabpanel", name=name).wait_for()


def wait_for_result(page, name: str):
    page.wait_for_selector(f".one[data-state=judged] .eyebrow :text-is('{name}')")


def ask(page, x: float, y: float) -> tuple[float, int]:
    """Click a point of the photo, given as shares of its width and height: what is said of blur and attention."""
    box = page.locator(".stage").bounding_box()
    page.locator(".stage .base").click(position={"x": x * box["width"], "y": y * box["height"]}, force=True)
    page.wait_for_function("document.querySelector('.probe b')")
    text = page.inner_text(".probe")
    return float(re.search(r"\(([\d.]+) of 1", text)[1]), int(re.search(r"counts (\d+)%", text)[1])


def test_the_page_opens_with_a_verdict_and_its_map(page):
    assert page.inner_text(".verdict h2") in [*NAMES, "Not sure"]
    assert page.locator(".over .blur").is_visible()
    assert page.locator(".examples [aria-pressed=true]").inner_text() == "Tulips"
    assert page.evaluate("document.querySelector('.one').getBoundingClientRect().top") < 300


def test_an_upload_is_judged(page, pipeline):
    upload(page, "flower.jpg", example("bokeh"))
    wait_for_result(page, "flower.jpg")
    report = pipeline(EXAMPLES / "bokeh.jpg")
    assert page.inner_text(".verdict h2") == (VERDICTS[report.label][0] if report.certain else "Not sure")
    assert page.inner_text(".verdict .score b") == f"{report.score:.2f}"
    assert page.inner_text(".verdict .reason") == report.reason.removeprefix("Not sure: ")
    assert page.locator(".sides dt").count() == (0 if report.certain else 2)
    page.wait_for_function(f"{SIZE}('.viewer .base').join() == '640,427'")
    assert [text.split("\n")[0] for text in page.locator(".probabilities li").all_inner_texts()] == NAMES
    shares = [int(text) for text in re.findall(r"(\d+)%", page.inner_text(".viewer ul.levels"))]
    assert len(shares) == 4 and 98 <= sum(shares) <= 102
    assert page.locator(".panels img").count() == 4
    assert page.locator(".examples [aria-pressed=true]").count() == 0


def test_while_a_photo_is_judged_no_other_map_is_shown(page):
    upload(page, "flower.jpg", example("bokeh"))
    page.wait_for_selector(".one[data-state=judging]")
    assert page.locator(".over").count() == 0
    assert page.inner_text(".verdict h2") == "Looking …"
    upload(page, "night.jpg", example("night"))
    wait_for_result(page, "night.jpg")
    page.wait_for_timeout(500)
    assert page.inner_text(".verdict .eyebrow").endswith("night.jpg")  # the answer to the first photo came, too


def test_the_answer_moves_nothing(open_page):
    for width in (390, 1280):
        page = open_page(width)
        page.evaluate("document.fonts.ready")
        page.wait_for_timeout(1500)  # Gradio's own blocks settle
        page.evaluate(
            "() => { window.shift = 0; new PerformanceObserver(list => list.getEntries().forEach(entry => "
            "{ window.shift += entry.value; })).observe({type: 'layout-shift'}); }"
        )
        upload(page, "flower.jpg", example("bokeh"))
        wait_for_result(page, "flower.jpg")
        page.wait_for_timeout(500)
        assert page.evaluate("window.shift") < 0.1


def test_a_portrait_leaves_controls_and_legend_on_the_screen(page):
    with Image.open(EXAMPLES / "panning.jpg") as image:
        file = io.BytesIO()
        image.rotate(90, expand=True).save(file, "JPEG")
    upload(page, "portrait.jpg", file.getvalue())
    wait_for_result(page, "portrait.jpg")
    for part in (".tools", "ul.levels", ".probe"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= 900


def test_heic_is_judged(page):
    heif = pytest.importorskip("pillow_heif")
    data = io.BytesIO()
    with Image.open(EXAMPLES / "bokeh.jpg") as image:
        heif.from_pillow(image).save(data)
    page.set_input_files("#photo input[type=file]", {"name": "IMG_1.HEIC", "mimeType": "", "buffer": data.getvalue()})
    wait_for_result(page, "IMG_1.HEIC")


def test_a_link_opens_an_example(page, address):
    page.goto(f"{address}?example=night")
    wait_for_result(page, "night.jpg")
    page.locator("[data-example=bokeh]").click()
    wait_for_result(page, "bokeh.jpg")
    assert page.url == f"{address}?example=bokeh"
    page.get_by_role("button", name="Copy the link").click()
    page.wait_for_selector(":text-is('Copied')")
    assert page.evaluate("navigator.clipboard.readText()") == f"{address}?example=bokeh"
    upload(page, "flower.jpg", example("bokeh"))
    wait_for_result(page, "flower.jpg")
    assert page.url == address


def test_a_verdict_is_shared_as_a_picture(page):
    with page.expect_download() as download:
        page.get_by_role("button", name="Share as a picture").click()
    assert download.value.suggested_filename == "blur-verdict.jpg"
    with Image.open(download.value.path()) as image:
        assert image.width == 1200 and len(image.convert("RGB").getcolors(10**7)) > 1000


def test_the_legend_is_that_of_the_map(page):
    assert page.locator("ul.levels").is_visible() and not page.locator(".counts").is_visible()
    page.locator(".maps label", has_text="Attention").click()
    assert page.locator(".counts").is_visible() and not page.locator("ul.levels").is_visible()


def test_a_click_says_the_values_of_the_maps(page, pipeline):
    upload(page, "flower.jpg", example("bokeh"))
    wait_for_result(page, "flower.jpg")
    report = pipeline(EXAMPLES / "bokeh.jpg")
    height, width = report.small_blur_map.shape
    for x, y in ((0.3, 0.4), (0.8, 0.2), (0.1, 0.9)):
        blur, attention = ask(page, x, y)
        column, row = int(x * width), int(y * height)
        near = (slice(max(row - 1, 0), row + 2), slice(max(column - 1, 0), column + 2))  # a click is to a whole pixel
        assert report.small_blur_map[near].min() - 0.01 <= blur <= report.small_blur_map[near].max() + 0.01
        assert report.small_attention_map[near].min() - 0.01 <= attention / 100
        assert attention / 100 <= report.small_attention_map[near].max() + 0.01


def test_the_viewer_is_worked_by_keyboard(page):
    upload(page, "flower.jpg", example("bokeh"))
    wait_for_result(page, "flower.jpg")
    page.locator(".stage").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.probe b')")
    left = page.evaluate("document.querySelector('.pin').style.left")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.querySelector('.pin').style.left") != left
    for control, name, before in ((".split", "--split", "50%"), (".opacity", "--opacity", "0.8")):
        assert (
            page.evaluate(f"document.querySelector('{control}').closest('[style]').style.getPropertyValue('{name}')")
            == before
        )
        page.locator(control).focus()
        page.keyboard.press("ArrowLeft")
        after = page.evaluate(
            f"document.querySelector('{control}').closest('[style]').style.getPropertyValue('{name}')"
        )
        assert after in ("49%", "0.79")
    assert page.locator(".over .blur").is_visible() and not page.locator(".over .attention").is_visible()
    page.locator("input[value=blur]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".over .attention").is_visible() and not page.locator(".over .blur").is_visible()


def test_the_slider_is_dragged_on_the_photo(page):
    upload(page, "flower.jpg", example("bokeh"))
    wait_for_result(page, "flower.jpg")
    page.locator(".stage").scroll_into_view_if_needed()
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 40, steps=4)
    page.mouse.up()
    assert abs(float(page.input_value(".split")) - 25) <= 1


def test_files_are_made_when_they_are_downloaded(page, pipeline):
    upload(page, "flower.jpg", example("bokeh"))
    wait_for_result(page, "flower.jpg")
    report = pipeline(EXAMPLES / "bokeh.jpg")
    page.get_by_text("Download at full size").click()
    for kind, name in DOWNLOADS.items():
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        assert download.value.suggested_filename.startswith(f"flower_{kind}")
        path = download.value.path()
        if kind == "report":
            assert json.loads(path.read_text())["score"] == report.score
            continue
        with Image.open(path) as image:
            assert image.size == report.size
            if kind == "blur_16bit":
                assert (np.asarray(image) == np.rint(report.blur_map * 65535)).all()


def test_many_photos_are_sorted(page, pipeline):
    open_tab(page, "Many photos")
    assert "Good blur" in page.inner_text("#gallery .empty")
    files = [*files_of(*CAPTIONS), {"name": "<i>broken.jpg", "mimeType": "image/jpeg", "buffer": b"not a photo"}]
    page.set_input_files("#photos input[type=file]", files)
    page.wait_for_selector("#gallery .summary")
    reports = {name: pipeline(EXAMPLES / f"{name}.jpg") for name in CAPTIONS}
    scores = {name: report.score for name, report in reports.items()}

    def groups() -> dict[str, list[str]]:
        """The photos under each verdict."""
        sections = page.locator("#gallery .group:not(.failed)").all()
        return {
            section.locator("h2").inner_text().rsplit(" ", 1)[0]: sorted(section.locator(".name").all_inner_texts())
            for section in sections
        }

    def badges(text: str) -> set[str]:
        """The photos with a badge."""
        cells = page.locator("#gallery li", has=page.locator(f".badge:text-is('{text}')"))
        return set(cells.locator(".name").all_inner_texts())

    page.wait_for_selector("#gallery .failed")
    assert "not a photo" in page.inner_text("#gallery .failed dd")
    by_label: dict[str, list[str]] = {name: [] for name in NAMES}
    for name, report in sorted(reports.items()):
        by_label[VERDICTS[report.label][0]].append(f"{name}.jpg")
    assert groups() == by_label
    assert badges("not sure") == {f"{name}.jpg" for name, report in reports.items() if not report.certain}
    assert badges("reject") == {f"{name}.jpg" for name, score in scores.items() if score < 0.35}
    assert sum(int(text) for text in page.locator("#gallery .group:not(.failed) h2 span").all_inner_texts()) == 8

    middle = sorted(scores.values())[3]
    slider = page.locator("[name=threshold]")
    slider.fill(f"{middle + 0.006:.2f}")
    page.wait_for_function("!document.querySelector('#gallery .summary').innerText.startsWith('8 of')")
    threshold = float(slider.input_value())
    kept = {f"{name}.jpg" for name, score in scores.items() if score >= threshold}
    page.wait_for_function(f"document.querySelector('#gallery .summary').innerText.startsWith('{len(kept)} of 8')")

    assert groups() == by_label, "a threshold moves nothing"
    assert badges("reject") == {f"{name}.jpg" for name in CAPTIONS} - kept

    with page.expect_download() as download:
        page.get_by_role("button", name="Download the keepers").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert set(archive.namelist()) == kept
        assert archive.read(min(kept)) == example(min(kept)[:-4])
    for name, ending in (("Table as CSV", "csv"), ("Table as JSON", "json")):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        assert download.value.suggested_filename == f"blur.{ending}"
    rows = json.loads(download.value.path().read_text())
    assert {row["file"] for row in rows if row.get("reject") is False} == kept

    assert page.locator(".sheet th").all_inner_texts() == list(COLUMNS.values())
    table = page.locator(".sheet tbody tr").all_inner_texts()
    assert [line.split("\t")[0] for line in table] == [row["file"] for row in rows if "error" not in row]

    page.get_by_role("group", name="Show").get_by_text("Reject").click()
    page.wait_for_function(f"document.querySelectorAll('#gallery li').length == {8 - len(kept)}")
    assert badges("reject") == {f"{name}.jpg" for name in CAPTIONS} - kept
    page.get_by_role("group", name="Kind of blur").get_by_text("None").click()
    sharp = {f"{name}.jpg" for name, report in reports.items() if report.label == "no-blur"} - kept
    page.wait_for_function(f"document.querySelectorAll('#gallery li').length == {len(sharp)}")


def test_a_click_on_a_heading_sorts_the_table_by_it_alone(page, pipeline):
    open_tab(page, "Many photos")
    page.set_input_files("#photos input[type=file]", files_of(*CAPTIONS))
    page.wait_for_selector(".sheet td")
    reports = {f"{name}.jpg": pipeline(EXAMPLES / f"{name}.jpg") for name in CAPTIONS}

    def files() -> list[str]:
        return page.locator(".sheet td:first-child").all_inner_texts()

    def click(heading: str) -> str:
        """Where the arrow stands afterwards, and its direction."""
        page.get_by_role("button", name=heading, exact=True).click()
        page.wait_for_function(f"document.querySelector('.sheet [aria-sort]').innerText == '{heading}'")
        return page.locator(".sheet [aria-sort]").get_attribute("aria-sort")

    grouped = files()
    assert click("Photo") == "ascending"
    assert files() == sorted(reports)
    assert click("Score") == "ascending"
    assert files() == sorted(reports, key=lambda file: reports[file].score)
    page.keyboard.press("Enter")  # on the heading clicked last
    page.wait_for_selector(".sheet [aria-sort=descending]")
    assert files() == sorted(reports, key=lambda file: -reports[file].score)
    assert click("Blur, subject") == "ascending"
    assert files() == sorted(reports, key=lambda file: reports[file].blur_on_subject)

    slider = page.get_by_role("slider", name="Reject scores below")
    slider.fill("1")
    page.wait_for_function("document.querySelector('#gallery .summary').innerText.startsWith('0 of')")
    assert all(text.endswith("reject") for text in page.locator(".sheet td:nth-child(2)").all_inner_texts())
    assert files() == sorted(reports, key=lambda file: reports[file].blur_on_subject)  # stays as it was sorted
    slider.fill("0.35")
    page.wait_for_function("!document.querySelector('#gallery .summary').innerText.startsWith('0 of')")
    assert click("Verdict") == "ascending"
    assert files() == grouped


def test_a_zip_is_sorted_and_limits_are_sentences(page):
    open_tab(page, "Many photos")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("holiday/flower.jpg", example("bokeh"))
    page.set_input_files(
        "#photos input[type=file]", {"name": "a.zip", "mimeType": "application/zip", "buffer": file.getvalue()}
    )
    page.wait_for_selector("#gallery .summary")
    assert page.locator("#gallery .name").all_inner_texts() == ["holiday/flower.jpg"]
    open_tab(page, "Compare shots")
    page.set_input_files("#shots input[type=file]", files_of(*["bokeh"] * 13))
    page.wait_for_selector("#ranking .ask")
    assert page.inner_text("#ranking .ask") == "At most 12 photos at a time, please; send fewer."


def test_a_tap_enlarges_a_photo(page, pipeline):
    open_tab(page, "Many photos")
    page.set_input_files("#photos input[type=file]", files_of("bokeh", "night"))
    page.wait_for_selector("#gallery .summary")
    first, second = page.locator("#gallery .name").all_inner_texts()
    page.get_by_role("button", name=f"Enlarge {first}").click()
    page.wait_for_selector("dialog[open] .over img")
    assert pipeline(EXAMPLES / first).reason in page.inner_text(".large .about")
    page.keyboard.press("ArrowRight")
    assert second in page.inner_text(".large .about")
    page.get_by_role("button", name="Blur map").click()
    assert not page.locator(".large .over").is_visible()
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog.large", state="hidden")


def test_photos_can_be_added(page):
    open_tab(page, "Many photos")
    for names in (("bokeh",), ("night", "tulips")):
        page.set_input_files("#photos input[type=file]", files_of(*names))
        page.wait_for_selector(f"#gallery .summary:has-text('of {len(names) * 2 - 1}')")
    page.get_by_role("button", name="Start over").click()
    page.wait_for_selector("#gallery .empty")


def test_on_a_phone_the_results_stand_above_the_fold(open_page):
    page = open_page(390)
    open_tab(page, "Many photos")
    page.set_input_files("#photos input[type=file]", files_of("bokeh", "night"))
    page.wait_for_selector("#gallery .summary")
    assert page.locator("#gallery .group").first.bounding_box()["y"] < 500
    page.locator("summary", has_text="Filter and download").click()
    page.get_by_role("radio", name="Not sure").wait_for()


def test_a_lost_server_is_named(page):
    page.route("**/queue/join*", lambda route: None)
    page.evaluate(
        "() => { const real = fetch; window.fetch = (url, ...options) => "
        "url === 'robots.txt' ? Promise.reject(Error('lost')) : real(url, ...options); }"
    )
    upload(page, "flower.jpg", example("bokeh"))
    page.wait_for_selector(".one[data-state=failed]")
    assert page.inner_text(".verdict .reason") == photo_tab.NO_ANSWER
    open_tab(page, "Many photos")
    page.set_input_files("#photos input[type=file]", files_of("bokeh"))
    page.wait_for_selector(f"#photos .note:text-is('{batch_tab.NO_ANSWER}')")


@pytest.mark.parametrize(("tab", "sender"), [("Many photos", "#photos"), ("Compare shots", "#shots")])
def test_a_server_that_ends_while_it_judges_is_named(context, address, tab, sender):
    """Gradio then no longer waits for an answer."""
    ended = []

    def answer(route):
        if "queue/data" in route.request.url:  # the photos are sent, and the page begins to listen
            ended.append(route)
        route.abort() if ended else route.continue_()

    page = context.new_page()  # Chromium's console names what fails
    page.goto(address)
    wait_for_result(page, "tulips.jpg")
    open_tab(page, tab)
    page.route("**/*", answer)
    page.set_input_files(f"{sender} input[type=file]", files_of("bokeh", "night"))
    page.wait_for_selector(f"{sender} .note:text-is('{batch_tab.NO_ANSWER}')")
    assert ended and page.locator(".lost").count() == 1
    page.close()


def test_shots_are_ranked(page):
    open_tab(page, "Compare shots")
    files = []
    with Image.open(EXAMPLES / "all-sharp.jpg") as scene:
        for radius in (2, 0, 1):
            data = io.BytesIO()
            scene.filter(ImageFilter.GaussianBlur(radius)).save(data, "JPEG", quality=92)
            files.append({"name": f"{radius}.jpg", "mimeType": "image/jpeg", "buffer": data.getvalue()})
    page.set_input_files("#shots input[type=file]", files[:1])
    page.wait_for_selector("#ranking .ask:has-text('Add one more')")
    page.set_input_files("#shots input[type=file]", files[1:])
    page.wait_for_selector("#ranking .shots")
    assert page.locator("#ranking .name").all_inner_texts() == ["0.jpg", "1.jpg", "2.jpg"]
    page.get_by_role("button", name="Larger").click()
    page.locator(".loupe").first.focus()
    page.keyboard.press("ArrowLeft")
    moved = page.evaluate(
        "[...document.querySelectorAll('.loupe img')].map(image => getComputedStyle(image).transform)"
    )
    assert len(moved) == 3 and len(set(moved)) == 1, "all shots show the same place"
    assert moved[0].startswith("matrix(2, 0, 0, 2")
    page.keyboard.press("z")  # the eye, or else the sharpest place
    assert page.locator("#ranking output").text_content() in ("200%", "400%", "800%")
    page.keyboard.press("z")
    assert page.locator("#ranking output").text_content() == "100%"


def states(page) -> Iterator[None]:
    """Each tab with a result, after the page as it was opened."""
    yield
    upload(page, "flower.jpg", example("bokeh"))
    wait_for_result(page, "flower.jpg")
    yield
    open_tab(page, "Many photos")
    page.set_input_files("#photos input[type=file]", files_of("bokeh", "night"))
    page.wait_for_selector("#gallery .summary")
    page.wait_for_selector(".sheet td")
    yield
    open_tab(page, "Compare shots")
    page.set_input_files("#shots input[type=file]", files_of("bokeh", "night"))
    page.wait_for_selector("#ranking .shots")
    yield


def turn(page, theme: str):
    """The visitor's system turns light or dark, which the page follows."""
    page.emulate_media(color_scheme=theme)
    background = {"light": "rgb(255, 255, 255)", "dark": "rgb(30, 41, 59)"}[theme]
    page.wait_for_function(
        f"getComputedStyle(document.querySelector('.verdict, .plain')).backgroundColor == '{background}'"
    )


def seriously_wrong(page) -> list[str]:
    """What axe-core calls serious or critical."""
    page.wait_for_timeout(1000)  # half-faded text has little contrast
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['html'][:300]}"
        for each in result["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def test_axe_finds_nothing_serious(page, axe):
    page.evaluate(axe)
    found = []
    for _ in states(page):
        for theme in ("light", "dark"):
            turn(page, theme)
            found += seriously_wrong(page)
    assert sorted(set(found)) == []


def test_a_photo_taken_sideways_is_shown_upright(page):
    with Image.open(EXAMPLES / "bokeh.jpg") as image:
        file, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", exif=exif)
    upload(page, "sideways.jpg", file.getvalue())
    wait_for_result(page, "sideways.jpg")
    page.wait_for_function(f"{SIZE}('.viewer .base').join() == '640,427'")


def test_the_examples_are_judged(page):
    for name in CAPTIONS:
        page.locator(f"[data-example={name}]").click()
        wait_for_result(page, f"{name}.jpg")
        with Image.open(EXAMPLES / f"{name}.jpg") as image:
            size = list(image.size)
        page.wait_for_function(f"{SIZE}('.viewer .base').join() == '{size[0]},{size[1]}'")


@pytest.mark.parametrize("damage", [example("night")[:9000], b"not a photo"], ids=["cut short", "text"])
def test_a_bad_file_gets_one_sentence_in_the_card_and_no_old_verdict(page, damage):
    page.evaluate(DROP, [".one", base64_of(damage), "<i>bad.jpg"])
    page.wait_for_selector(".one[data-state=failed]")
    message = page.inner_text(".verdict .reason")
    assert message.startswith("<i>bad.jpg: ") and message.endswith(".") and str(EXAMPLES) not in message
    assert page.locator(".frame img, .more details").count() == 0
    upload(page, "flower.jpg", example("bokeh"))
    wait_for_result(page, "flower.jpg")


def test_a_photo_from_the_clipboard_is_judged(page):
    page.evaluate(COPY, base64_of(example("all-sharp")))
    page.get_by_role("button", name="Paste").click()
    wait_for_result(page, "pasted.png")


def test_a_photo_from_the_webcam_is_judged(page):
    page.get_by_role("button", name="Camera").click()
    page.wait_for_function("document.querySelector('#photo video')?.videoWidth > 0")
    page.get_by_role("button", name="Take the photo").click()
    wait_for_result(page, "camera.jpg")


@pytest.mark.parametrize("width", [375, 768, 1280])
def test_the_page_fits_its_width(open_page, width):
    page = open_page(width)
    for _ in states(page):
        for theme in ("light", "dark"):
            turn(page, theme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width


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
    app = Path(__file__).parents[2] / "app.py"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, app], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            address = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
            page = browser.new_page()
            page.set_default_timeout(120_000)
            page.goto(address)
            wait_for_result(page, "tulips.jpg")
            assert page.inner_text(".verdict h2") in [*NAMES, "Not sure"]
            page.close()
        finally:
            process.terminate()
    assert not (tmp_path / "outside.txt").exists()


def test_how_it_works_leads_to_the_pages_of_the_docs(page, address):
    page.locator("summary", has_text="How it works").click()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="How it works, step by step").click()
    docs = opened.value
    assert docs.locator("h1").inner_text() == "How it works"
    docs.goto(address + docs.get_by_role("link", name="training.md").get_attribute("href"))
    assert docs.locator("h1").inner_text() == "Training"
    docs.get_by_role("link", name="Back to the demo").wait_for()
    docs.close()
    assert page.get_by_role("navigation").all_inner_texts() == [page.inner_text(".examples")]  # no bar above the demo
