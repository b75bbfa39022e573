"""The page that judges photos in the browser: its JavaScript says what Python says, and it works without a network."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from abc_hf import ABCFuseNetImageProcessor, cli, load_pipeline
from abc_hf.demo import static
from abc_hf.pipeline import prepare
from abc_hf.verdicts import WORTH, explain, judge, read_maps
from tests.served import ISOLATED, answers_of, served

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "abc_hf" / "examples"
SHAPES = ((64, 48), (700, 500), (512, 33), (1, 90), (1500, 40), (2300, 1300))
"""Widths and heights of photos: small, large, with odd sides, and one that a JPEG file is decoded smaller for."""


@pytest.fixture
def node() -> str:
    return shutil.which("node") or pytest.skip("there is no Node")


def ask(node: str, questions: dict) -> dict:
    command = [node, str(HERE / "judge_check.mjs")]
    done = subprocess.run(command, input=json.dumps(questions), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_javascript_prepares_photos_as_python_does(node, plain_pipe, photo, tmp_path):
    processor = ABCFuseNetImageProcessor()
    questions = {"settings": static.settings(plain_pipe) | {"longest_edge": 512}, "photos": [], "maps": []}
    expected = []
    for index, (width, height) in enumerate(SHAPES):
        image = photo(width, height, index)
        raw, jpeg = tmp_path / f"{index}.rgba", (width, height) == SHAPES[-1]
        given = image
        if jpeg:
            image.save(tmp_path / "photo.jpg", quality=95)
            given, image = tmp_path / "photo.jpg", Image.open(tmp_path / "photo.jpg")
        raw.write_bytes(image.convert("RGBA").tobytes())
        questions["photos"].append({"file": str(raw), "width": width, "height": height, "jpeg": jpeg})
        expected.append((jpeg, prepare(given, processor)))
    for told, (jpeg, made) in zip(ask(node, questions)["photos"], expected, strict=True):
        values = np.frombuffer(base64.b64decode(told["data"]), np.float32).reshape(told["dims"])
        assert (told["width"], told["height"]) == made["preview"].size
        off = np.abs(values - made["pixel_values"].numpy())
        if jpeg:  # Python's decoder makes it smaller in another way
            assert off.mean() < 0.02
        else:
            assert off.max() < 1e-6


def test_javascript_reads_maps_and_judges_as_python_does(node, plain_pipe):
    """At random, among them maps without a subject, without blur, and with all the attention; all sentences occur."""
    rng = np.random.default_rng(0)
    labels, questions, expected = list(WORTH), [], []
    for index in range(600):
        blur, attention = rng.random((2, 12, 17)).astype(np.float32) ** rng.choice([0.3, 1, 4, 60], (2, 1, 1))
        attention = {0: np.zeros_like(attention), 1: np.ones_like(attention)}.get(index % 7, attention)
        probabilities = dict(zip(labels, rng.dirichlet([0.3] * 4).tolist(), strict=True))
        kinds = dict(zip(static.KINDS, rng.dirichlet([1] * 3).tolist(), strict=True))
        certain_from = float(rng.choice([0, 0.9]))
        facts = read_maps(blur.astype(np.float32), attention.astype(np.float32))
        verdict = judge(probabilities, kinds, facts, certain_from)
        expected.append((facts, verdict, explain(verdict, facts)))
        maps = {"blur": blur.ravel().tolist(), "attention": attention.ravel().tolist()}
        questions.append(maps | {"probabilities": probabilities, "kinds": kinds, "certain_from": certain_from})
    answers = ask(node, {"settings": static.settings(plain_pipe), "photos": [], "maps": questions})["maps"]
    for told, (facts, verdict, reason) in zip(answers, expected, strict=True):
        for name in ("subject", "background", "blurred", "background_blurred", "core"):
            assert told["facts"][name] == pytest.approx(getattr(facts, name), abs=1e-6)
        assert (told["reason"], told["verdict"]["left_out"]) == (reason, verdict.left_out)
        assert (told["verdict"]["label"], told["verdict"]["kind"]) == (verdict.label, verdict.kind)
        assert (told["verdict"]["certain"], tuple(told["verdict"]["between"])) == (verdict.certain, verdict.between)
        assert told["verdict"]["score"] == pytest.approx(verdict.score)
    assert {verdict.label for _, verdict, _ in expected if verdict.certain} == set(labels)
    assert len({"".join(c for c in reason if not c.isdigit()) for _, _, reason in expected}) > 20
    assert {verdict.left_out for _, verdict, _ in expected} == {"good-blur", "bad-blur", None}


def test_the_reasons_in_words(node, plain_pipe, make_report):
    attention = np.zeros((40, 60))
    attention[10:30, 20:40] = 1
    nothing = np.zeros((40, 60))
    reports = (
        make_report(1 - attention, attention, "good-blur", defocus=0.9, motion=0.1),
        make_report(np.ones((40, 60)), nothing, "no-blur", defocus=1),
        make_report(attention * 0.5, attention, "no-blur", motion=1),
        make_report(nothing, attention, "ok-blur", defocus=1),
    )
    questions = [
        {
            "blur": report.small_blur_map.ravel().tolist(),
            "attention": report.small_attention_map.ravel().tolist(),
            "probabilities": report.probabilities,
            "kinds": dict.fromkeys(static.KINDS, 0) | report.kind_probabilities,
            "certain_from": 0,
        }
        for report in reports
    ]
    answers = ask(node, {"settings": static.settings(plain_pipe), "photos": [], "maps": questions})["maps"]
    told = [(dict(answer["why"]), answer["sides"]) for answer in answers]
    unsure = {"How sure": "Not sure: look at the photo yourself."}
    assert told == [
        (
            {
                "Subject": "Sharp.",
                "Background": "All of it is blurred.",
                "Kind of blur": "Defocus: the blurred part is out of focus.",
                "How sure": "Sure: 70% for Good blur.",
            },
            [],
        ),
        (
            {"Subject": "None stands out.", "Photo": "All of it is blurred.", **unsure},
            [
                ["no-blur", "For it: the look of the photo, not its maps."],
                ["good-blur", "For it: all of the photo is blurred."],
            ],
        ),
        (
            {"Subject": "Clearly blurred.", "Background": "None of it is blurred.", **unsure},
            [
                ["no-blur", "For it: only 17% of the photo is blurred."],
                ["good-blur", "For it: the look of the photo, not its maps."],
            ],
        ),
        (
            {
                "Subject": "Sharp.",
                "Background": "None of it is blurred.",
                "Kind of blur": "Defocus: the blurred part is out of focus.",
                **unsure,
            },
            [
                ["ok-blur", "For it: the subject is sharp."],
                ["no-blur", "For it: the subject is sharp and none of the photo is blurred."],
            ],
        ),
    ]


def test_a_folder_is_never_replaced(plain_pipe, tmp_path):
    (tmp_path / "page").mkdir()
    with pytest.raises(FileExistsError, match="page exists; choose another folder, or remove it."):
        static.write_static(plain_pipe, tmp_path / "page")


def test_without_npm_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="needs ONNX Runtime Web from npm, which is not installed: install Node."):
        static.copy_runtime(tmp_path / "ort")


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory):
    """What the command writes, with the bundled weights."""
    pytest.importorskip("onnxscript")
    if not shutil.which("npm"):
        pytest.skip("there is no npm")
    folder = tmp_path_factory.mktemp("static") / "page"
    assert cli.main(["demo", "--static", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def webgpu_browser(browser):
    """Chromium whose WebGPU runs on the CPU."""
    flags = ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
    other = browser.browser_type.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=flags)
    yield other
    other.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_works_with_the_network_cut(page_folder, browser, axe, tmp_path):
    outside, wrong = [], []
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(600_000)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    with served(page_folder) as address:
        ours = (address, "blob:", "data:")
        context.on("request", lambda request: request.url.startswith(ours) or outside.append(request.url))
        page.goto(address)
        page.wait_for_selector("html[data-engine][data-offline=ready]")

    page.goto("about:blank")
    page.goto(address)  # from what the service worker keeps
    page.wait_for_selector("html[data-engine]")
    assert page.evaluate("crossOriginIsolated") and page.get_attribute("html", "data-engine").startswith("WebAssembly")
    (tmp_path / "no photo.jpg").write_bytes(b"\xff\xd8 no photo")
    names = ("bokeh.jpg", "missed-focus.jpg")
    page.set_input_files("#files", [*(str(EXAMPLES / name) for name in names), str(tmp_path / "no photo.jpg")])
    told = answers_of(page, 3)
    assess = load_pipeline(device="cpu")
    for name, answer in zip(names, told, strict=False):
        check_answer(answer, assess(EXAMPLES / name))
    assert "this browser cannot open it" in told[2]["error"]
    page.wait_for_selector("#viewer .levels")
    assert page.inner_text("#photos li:nth-child(3) b").startswith("This browser cannot open it")
    assert page.locator("#verdict h2").inner_text() and page.inner_text("#status").startswith("2 photos are judged")
    assert page.inner_text("#status").endswith("; 1 could not be opened.")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(axe)
        found = page.evaluate("axe.run()")["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
    with page.expect_download() as download:
        page.click("#verdict .share")
    with Image.open(download.value.path()) as shared:
        assert (download.value.suggested_filename, shared.format, shared.width) == ("blur-verdict.jpg", "JPEG", 1200)
    assert wrong == [] and outside == []
    context.close()
    sizes = {path.name: path.stat().st_size for path in page_folder.rglob("*") if path.is_file()}
    assert sizes["network.onnx"] < 10e6
    for other in ("jspi", "simd-threaded.wasm"):  # a browser loads one of the two runtimes
        assert sum(size for name, size in sizes.items() if other not in name) < 30e6


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("headers", [{}, ISOLATED], ids=["any server", "a Space"])
def test_one_visit_loads_the_large_files_once_and_is_enough_for_offline(page_folder, browser, headers):
    sent = []
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(600_000)
    with served(page_folder, headers, sent) as address:
        page.goto(address)
        page.wait_for_selector("html[data-engine][data-offline=ready]")
    large = [path for path in sent if (page_folder / path.strip("/")).is_file() and path.endswith((".onnx", ".wasm"))]
    assert sorted(large) == ["/network.onnx", "/ort/ort-wasm-simd-threaded.wasm"]
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("html[data-engine]")
    assert page.evaluate("crossOriginIsolated")
    context.close()


def write_odd_photos(folder: Path) -> list[Path]:
    """Turned by EXIF, with transparency, printed colours, 16 bits, frames, red and blue swapped by the colour profile,
    of one pixel, a JPEG under a wrong name, and one that Python's decoder makes smaller."""
    photo, exif = Image.open(EXAMPLES / "missed-focus.jpg"), Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", quality=95, exif=exif)
    clear = photo.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(photo.size))
    clear.save(folder / "clear.png")
    photo.convert("CMYK").save(folder / "print.jpg", quality=95)
    Image.fromarray(np.asarray(photo.convert("L"), np.uint16) * 257).save(folder / "deep.png")
    photo.save(folder / "moving.gif", save_all=True, append_images=[Image.new("RGB", photo.size)])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"swap").replace(b"bXYZ", b"rXYZ").replace(b"swap", b"bXYZ")
    photo.save(folder / "wide.png", icc_profile=swapped)
    Image.new("RGB", (1, 1), "gray").save(folder / "pixel.png")
    shutil.copy(EXAMPLES / "missed-focus.jpg", folder / "named.png")
    photo.resize((3001, 2003), Image.Resampling.BICUBIC).save(folder / "large.jpg", quality=95)
    return sorted(folder.iterdir())


def write_no_photos(folder: Path) -> dict[Path, str]:
    """Files that the page cannot judge, and its sentences."""
    folder.mkdir()
    Image.new("RGB", (2000, 2)).save(folder / "line.png")
    whole = (EXAMPLES / "bokeh.jpg").read_bytes()
    for name, data in {"cut.jpg": whole[: len(whole) // 2], "empty.jpg": b"", "text_of_a_letter.jpg": b"Dear"}.items():
        (folder / name).write_bytes(data)
    (folder / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="60" height="40"></svg>')
    sentences = {
        "line.png": "it is 2000 x 2, and the long side may be 500 times the short one; cut it.",
        "cut.jpg": "this browser cannot open it; it is damaged, cut short or too large.",
        "empty.jpg": "the file is empty.",
        "drawing.svg": "this browser cannot open it; choose a JPEG, PNG or WebP file.",
        "text_of_a_letter.jpg": "this browser cannot open it; choose a JPEG, PNG or WebP file.",
    }
    return {folder / name: sentence for name, sentence in sentences.items()}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_odd_photos_get_the_verdict_of_python_or_a_sentence(page_folder, browser, tmp_path):
    photos, refused = write_odd_photos(tmp_path), write_no_photos(tmp_path / "refused")
    (tmp_path / "text.jpg").write_text("no photo")
    assess = load_pipeline(device="cpu")
    with served(page_folder) as address:
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(address)
        page.wait_for_selector("html[data-engine]")
        page.set_input_files("#files", str(tmp_path / "text.jpg"))
        answers_of(page, 1)
        said = "text.jpg: this browser cannot open it; choose a JPEG, PNG or WebP file."
        assert page.locator("#verdict .reason").all_inner_texts() == [said]
        page.set_input_files("#files", list(map(str, [*refused, *photos])))
        answers = answers_of(page, len(photos) + len(refused) + 1)
        assert page.locator("#photos img").count() == len(photos)  # a file that was not opened has no picture
        assert page.inner_html("#photos li:last-child .name") == photos[-1].name
        assert page.inner_html("#photos li:nth-child(6) .name") == "text_<wbr>of_<wbr>a_<wbr>letter.jpg"
        page.close()
    assert [answer["error"] for answer in answers[1 : len(refused) + 1]] == list(refused.values())
    for photo, answer in zip(photos, answers[len(refused) + 1 :], strict=True):
        assert not answer.get("error"), photo.name
        check_answer(answer, assess(photo), 0.06 if photo.stem == "large" else 0.02)  # another decoder makes it smaller


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_photo_and_map_are_on_the_first_screen(page_folder, browser, width, height):
    with served(page_folder) as address:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(600_000)
        page.goto(address)
        for count in (1, 3):  # alone, and beside others
            page.set_input_files("#files", [str(EXAMPLES / "bokeh.jpg")] * (count // 2 + 1))
            answers_of(page, count)
            page.wait_for_selector(f"#photos li:nth-child({max(1, count - 1)}) [aria-pressed=true]", state="attached")
            photo = page.locator("#viewer .stage").bounding_box()
            assert 0 < photo["y"] < photo["y"] + photo["height"] < height
            assert page.evaluate("document.documentElement.scrollWidth") == width
        page.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_speaks_for_each_side_is_shown_where_it_is_not_sure(page_folder, browser, tmp_path):
    """All photos are not sure for this copy of the page, as its settings say."""
    folder = shutil.copytree(page_folder, tmp_path / "page")
    settings = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps(settings | {"certain_from": 1.1}))
    with served(folder) as address:
        page = browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(address)
        page.set_input_files("#files", str(EXAMPLES / "tulips.jpg"))
        (answer,) = answers_of(page, 1)
        page.wait_for_selector("#verdict .why")
        assert answer["between"] == ["good-blur", "bad-blur"]
        assert page.inner_text("#verdict .reason").endswith(", so the score leaves out bad blur.")
        names = [settings["verdicts"][label][0] for label in answer["between"]]
        assert page.inner_text("#verdict h2") == "Not sure"
        assert page.locator("#verdict .sides dt").all_inner_texts() == names
        assert all(text.startswith("For it: ") for text in page.locator("#verdict .sides dd").all_inner_texts())
        assert page.locator("#verdict .why dt").all_inner_texts()[0] == "Subject"
        page.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("broken", [False, True])
def test_webgpu_is_used_where_there_is_one_and_can_fail(page_folder, webgpu_browser, tmp_path, broken):
    """With Chromium's GPU in software. A broken runtime stands for a browser whose WebGPU does not do: WebAssembly
    answers instead."""
    folder = page_folder
    if broken:
        folder = shutil.copytree(page_folder, tmp_path / "page")
        (folder / "ort" / "ort-wasm-simd-threaded.jspi.wasm").write_bytes(b"no program")
    with served(folder) as address:
        page = webgpu_browser.new_page()
        page.set_default_timeout(600_000)
        page.goto(address)
        page.wait_for_selector("html[data-engine]")
        assert page.get_attribute("html", "data-engine").partition(",")[0] == ("WebAssembly" if broken else "WebGPU")
        page.set_input_files("#files", str(EXAMPLES / "bokeh.jpg"))
        (answer,) = answers_of(page, 1)
        check_answer(answer, load_pipeline(device="cpu")(EXAMPLES / "bokeh.jpg"))
        page.close()


def check_answer(answer: dict, report, most: float = 0.02) -> None:
    """The verdict is that of Python, and both maps are near."""
    assert (answer["label"], answer["kind"]) == (report.label, report.kind)
    for ours, theirs in ((report.small_blur_map, "blur"), (report.small_attention_map, "attention")):
        assert np.abs(ours.ravel() - answer[theirs]).max() < most
