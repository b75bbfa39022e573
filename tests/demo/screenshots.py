"""Take a screenshot of every state of the demo, to be looked at: `python -m tests.demo.screenshots OUT`.

`--docs` instead draws the two pictures that README.md and docs/demo.md show. `--address` names a demo that runs;
without it one is started, with the bundled weights.
"""

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

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
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(address + query)
        page.wait_for_selector(".one[data-state=judged]")
        page.wait_for_timeout(500)
        yield page


def send(page: Page, selector: str, files: list[Path] | dict, until: str) -> None:
    page.set_input_files(f"{selector} input[type=file]", files)
    page.wait_for_selector(until)
    page.wait_for_timeout(800)


def states(page: Page) -> Iterator[str]:
    """Bring the page to each state, and say its name."""
    yield "first-sight"
    page.locator(".maps label").last.click()
    page.locator(".stage").click(position={"x": 60, "y": 60})
    for summary in page.locator("summary").all():
        summary.click()
    yield "attention-and-details"
    broken = {"name": "holiday.jpg", "mimeType": "image/jpeg", "buffer": b"not a photo"}
    send(page, "#photo", broken, ".one[data-state=failed]")
    yield "broken-file"
    page.get_by_role("tab", name="Many photos").click()
    page.wait_for_timeout(500)
    yield "many-empty"
    send(page, "#photos", EXAMPLES, "#gallery .summary")
    page.wait_for_selector("#table td")
    yield "many"
    page.locator("#gallery [data-photo]").first.click()
    page.wait_for_selector("#gallery dialog[open] img")
    page.wait_for_timeout(500)
    yield "many-large"
    page.keyboard.press("Escape")
    page.get_by_role("tab", name="Compare shots").click()
    page.wait_for_timeout(500)
    yield "compare-empty"
    send(page, "#shots", EXAMPLES[:1], "#ranking .ask")
    yield "compare-one"
    night = [path for path in EXAMPLES if path.stem in ("night", "panning")]
    send(page, "#shots", night, "#ranking .shots")
    yield "compare"


def take_all(browser: Browser, address: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        for theme in THEMES:
            with opened(browser, address, width, theme) as page:
                for state in states(page):
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
