"""Take a screenshot of every state of the demo, to be looked at: `python -m tests.demo.screenshots OUT`.

`--docs` instead draws the two pictures that README.md and docs/demo.md show. `--address` names a demo that runs;
without it one is started, with the bundled weights.
"""

import argparse
import contextlib
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pillow_heif
from PIL import Image, ImageFilter
from playwright.sync_api import Browser, Page, Route, sync_playwright

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "abc_hf" / "examples").glob("*.jpg"))
WIDTHS = {1440: 900, 1024: 768, 390: 844}
"""The sizes of the window, width: height [pixels]. The narrowest is a phone."""
THEMES = ("light", "dark")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
PICTURES = ROOT / "hub" / "figures"


@contextlib.contextmanager
def running(address: str | None) -> Iterator[str]:
    """The address of a running demo."""
    if address:
        yield address
        return
    from abc_hf import load_pipeline
    from abc_hf.demo import build_demo, launch

    demo = build_demo(load_pipeline())
    _, address, _ = launch(demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield address
    demo.close(verbose=False)


@contextlib.contextmanager
def opened(browser: Browser, address: str, width: int, theme: str, query: str = "") -> Iterator[Page]:
    """The demo in a window, its first example judged."""
    phone = width < 500
    options = {"has_touch": phone, "is_mobile": phone, "device_scale_factor": 2 if phone else 1}
    size = {"width": width, "height": WIDTHS[width]}
    with browser.new_context(viewport=size, color_scheme=theme, reduced_motion="reduce", **options) as context:
        context.set_default_timeout(300_000)
        page = context.new_page()
        page.goto(address + query)
        page.wait_for_selector(".one[data-state=judged]")
        page.wait_for_timeout(500)
        yield page


def send(page: Page, selector: str, files: list | dict, until: str) -> None:
    page.set_input_files(f"{selector} input[type=file]", files)
    page.wait_for_selector(until)
    page.wait_for_timeout(800)


@contextlib.contextmanager
def held(page: Page, address: str) -> Iterator[None]:
    """Requests to this address wait until the end."""
    waiting: list[Route] = []
    page.route(address, lambda route: waiting.append(route))
    yield
    for route in waiting:
        route.continue_()
    page.unroute(address)


def upload(name: str, picture: Image.Image | None = None) -> dict:
    """A file as Playwright sends it: the picture in the format that the name says, or text."""
    data = io.BytesIO(b"not a photo")
    if picture:
        pillow_heif.register_heif_opener()
        picture.save(data, "HEIF" if name.endswith(".heic") else "JPEG")
    return {"name": name, "mimeType": "application/octet-stream", "buffer": data.getvalue()}


def zipped(name: str) -> dict:
    """A zip of photos in folders, with one file that is none and one hidden file."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for photo in EXAMPLES[:3]:
            archive.write(photo, f"holiday in the mountains/first day/DSC_20260814_153012_{photo.name}")
        archive.writestr("holiday in the mountains/broken.jpg", b"not a photo")
        archive.writestr("__MACOSX/._broken.jpg", b"hidden")
    return {"name": name, "mimeType": "application/zip", "buffer": data.getvalue()}


def burst() -> list[dict]:
    """Four shots of one scene."""
    with Image.open(EXAMPLES[-1]) as scene:
        shots = [scene.filter(ImageFilter.GaussianBlur(radius)) for radius in (2, 0, 1, 4)]
    return [upload(f"IMG_2026081415301{number}_long_name.jpg", shot) for number, shot in enumerate(shots)]


def states(page: Page) -> Iterator[str]:
    """Bring the page to each state, and say its name."""
    yield "first-sight"
    page.locator(".maps label").last.click()
    page.locator(".stage").click(position={"x": 60, "y": 60})
    for summary in page.locator("summary").all():
        summary.click()
    yield "attention-and-details"
    for summary in page.locator("summary").all():
        summary.click()
    with Image.open(EXAMPLES[0].with_stem("tulips")) as photo:
        upright = photo.crop((0, 0, photo.height * 2 // 3, photo.height))
    with Image.open(EXAMPLES[0].with_stem("missed-focus")) as photo:
        phone = photo.copy()
    with held(page, "**/upload*"):
        send(page, "#photo", upload("upright.jpg", upright), ".one[data-state=judging] img.base")
        yield "sending-another"
    page.wait_for_selector(".one[data-state=judged]")
    page.wait_for_timeout(500)
    yield "upright"
    with held(page, "**/queue/join*"):
        send(page, "#photo", upload("IMG_0042.heic", phone), ".one[data-state=judging] .nothing")
        yield "judging-heic"
    page.wait_for_selector(".one[data-state=judged]")
    page.wait_for_timeout(500)
    yield "heic"
    send(page, "#photo", upload("holiday.jpg"), ".one[data-state=failed]")
    yield "broken-file"
    send(
        page,
        "#photo",
        upload("pixel.jpg", Image.new("RGB", (1, 1))),
        ".one:is([data-state=failed], [data-state=judged])",
    )
    yield "one-pixel"
    page.get_by_role("tab", name="Many photos").click()
    page.wait_for_timeout(500)
    yield "many-empty"
    with held(page, "**/queue/join*"):
        photos = [{"name": path.name, "mimeType": "image/jpeg", "buffer": path.read_bytes()} for path in EXAMPLES]
        send(page, "#photos", [*photos, upload("notes.jpg")], "#photos .again:visible")
        yield "many-judging"
    page.wait_for_selector(".sheet td")
    page.wait_for_timeout(800)
    yield "many"
    send(page, "#photos", [zipped("holiday.zip")], "#gallery .failed :text('mountains')")
    yield "many-zip"
    page.locator("#gallery [data-photo]").first.click()
    page.wait_for_selector("#gallery dialog[open] img")
    page.wait_for_timeout(500)
    yield "many-large"
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Compare shots").click()
    page.wait_for_timeout(500)
    yield "compare-empty"
    send(page, "#shots", burst()[:1], "#ranking .ask")
    yield "compare-one"
    send(page, "#shots", burst()[1:], "#ranking .shots")
    yield "compare-four"
    send(page, "#shots", [path for path in EXAMPLES if path.stem == "panning"], "#ranking .ask")
    yield "compare-unrelated"


def take_all(browser: Browser, address: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        for theme in THEMES:
            with opened(browser, address, width, theme) as page:
                for state in states(page):
                    page.evaluate("scrollTo(0, 0)")
                    for name, full in (("", False), ("-whole", True)):
                        page.screenshot(path=out / f"{state}-{width}-{theme}{name}.png", full_page=full)


def draw_docs(browser: Browser, address: str) -> None:
    """The pictures of README.md and docs/demo.md."""
    with opened(browser, address, 1440, "light", "?example=bokeh") as page:
        page.screenshot(path=PICTURES / "demo.jpg", quality=85)
        page.get_by_role("tab", name="Many photos").click()
        send(page, "#photos", EXAMPLES, "#gallery .summary")
        page.screenshot(path=PICTURES / "demo_many.jpg", quality=85)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.demo.screenshots", description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path("screenshots"))
    parser.add_argument("--docs", action="store_true", help="draw the pictures of README.md and docs/demo.md")
    parser.add_argument("--address", help="of a demo that runs")
    args = parser.parse_args(argv)
    with running(args.address) as address, sync_playwright() as playwright:
        chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS.split())
        if args.docs:
            draw_docs(browser, address)
        else:
            take_all(browser, address, args.out)
        browser.close()


if __name__ == "__main__":
    main()
