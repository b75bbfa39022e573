"""The page that judges photos in the browser: its JavaScript says what Python says, and it works without a network."""

import base64
import functools
import json
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from abc_hf import ABCFuseNetImageProcessor, cli, load_pipeline
from abc_hf.demo import static
from abc_hf.pipeline import prepare
from abc_hf.verdicts import WORTH, explain, judge, read_maps

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
        assert told["reason"] == reason
        assert (told["verdict"]["label"], told["verdict"]["kind"]) == (verdict.label, verdict.kind)
        assert (told["verdict"]["certain"], tuple(told["verdict"]["between"])) == (verdict.certain, verdict.between)
        assert told["verdict"]["score"] == pytest.approx(verdict.score)
    assert {verdict.label for _, verdict, _ in expected if verdict.certain} == set(labels)
    assert len({"".join(c for c in reason if not c.isdigit()) for _, _, reason in expected}) > 20


def test_a_folder_is_never_replaced(plain_pipe, tmp_path):
    (tmp_path / "page").mkdir()
    with pytest.raises(FileExistsError, match="page exists; choose another folder, or remove it."):
        static.write_static(plain_pipe, tmp_path / "page")


def test_without_npm_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="needs ONNX Runtime Web from npm, which is not installed: install Node."):
        static.copy_runtime(tmp_path / "ort")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory):
    """What the command writes, with the bundled weights."""
    pytest.importorskip("onnxscript")
    if not shutil.which("npm"):
        pytest.skip("there is no npm")
    folder = tmp_path_factory.mktemp("static") / "page"
    assert cli.main(["demo", "--static", str(folder)]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_works_with_the_network_cut(page_folder, browser, axe, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(page_folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, outside, wrong = f"http://127.0.0.1:{server.server_port}/", [], []
    context = browser.new_context()
    context.on(
        "request", lambda request: request.url.startswith((address, "blob:", "data:")) or outside.append(request.url)
    )
    page = context.new_page()
    page.set_default_timeout(600_000)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.wait_for_selector("html[data-engine][data-offline=ready]")
    server.shutdown()
    server.server_close()

    page.goto("about:blank")
    page.goto(address)  # from what the service worker keeps
    page.wait_for_selector("html[data-engine]")
    assert page.evaluate("crossOriginIsolated")
    (tmp_path / "no photo.jpg").write_bytes(b"\xff\xd8 no photo")
    names = ("bokeh.jpg", "missed-focus.jpg")
    page.set_input_files("#files", [*(str(EXAMPLES / name) for name in names), str(tmp_path / "no photo.jpg")])
    page.wait_for_function("window.photos.length == 3 && window.photos.every(photo => photo.answer || photo.error)")
    told = page.evaluate("""window.photos.map(({answer, error}) => ({error, ...answer,
        blur: answer && Array.from(answer.blur), attention: answer && Array.from(answer.attention)}))""")
    assess = load_pipeline(device="cpu")
    for name, answer in zip(names, told, strict=False):
        report = assess(EXAMPLES / name)
        assert (answer["label"], answer["kind"]) == (report.label, report.kind)
        for ours, theirs in ((report.small_blur_map, "blur"), (report.small_attention_map, "attention")):
            assert np.abs(ours.ravel() - answer[theirs]).max() < 0.02
    assert "this browser cannot open it" in told[2]["error"]
    page.wait_for_selector("#viewer .levels")
    assert page.inner_text("#photos li:nth-child(3) b").startswith("this browser cannot open it")
    assert page.locator("#verdict h2").inner_text() and page.inner_text("#status").startswith("3 photos are judged")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(axe)
        found = page.evaluate("axe.run()")["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
    assert wrong == [] and outside == []
    context.close()
    sizes = {path.name: path.stat().st_size for path in page_folder.rglob("*") if path.is_file()}
    assert sizes["network.onnx"] < 10e6
    for other in ("jspi", "simd-threaded.wasm"):  # a browser loads one of the two runtimes
        assert sum(size for name, size in sizes.items() if other not in name) < 30e6
