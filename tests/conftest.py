import copy
import functools
import io
import os
import signal
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from abc_hf import (
    VARIANTS,
    ABCFuseNetConfig,
    ABCFuseNetForBlurUnderstanding,
    ABCFuseNetImageProcessor,
    BlurReport,
    BlurUnderstandingPipeline,
    load_pipeline,
)
from abc_hf.inference import engines, opening, processes

engines.FEW = 10**9  # the start of OpenVINO takes seven seconds; its own tests lower this number

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # as a shell's background job; commands that tests start and interrupt would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure():
    """Of several processes of tests (`pytest -n`), each takes its share of the cores, and so do commands it starts."""
    if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        threads = max(1, (os.cpu_count() or 1) // int(workers))
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Only this machine can be reached."""
    connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

    def check(host):
        if host not in ("localhost", "127.0.0.1", "::1", b"localhost", None):
            pytest.fail(f"a test tried to reach {host}")

    def guarded_connect(self, address):
        if isinstance(address, tuple):
            check(address[0])
        return connect(self, address)

    def guarded_getaddrinfo(host, *args, **kwargs):
        check(host)
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


def make_photo(width=64, height=48, seed=0) -> Image.Image:
    """Smooth random colours under fine noise, which fades from left to right: sharp there, blurred here."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    noise = rng.normal(0, 60, (height, width, 1)) * np.linspace(1, 0, width)[:, None]
    return Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8))


@pytest.fixture
def photo():
    """A maker of photos: `photo(width, height, seed)`."""
    return make_photo


@pytest.fixture(scope="session")
def slow_photo(tmp_path_factory):
    """A JPEG that takes a second to decode: it has hardly fewer scans than are refused."""
    file = io.BytesIO()
    Image.radial_gradient("L").resize((6000, 6000)).save(file, "JPEG", progressive=True, quality=30)
    start, mark, scan = file.getvalue().rpartition(b"\xff\xda")
    path = tmp_path_factory.mktemp("slow") / "slow.jpg"
    path.write_bytes(start + 40 * (mark + scan.removesuffix(b"\xff\xd9")) + b"\xff\xd9")
    return path


@pytest.fixture
def tight_limits(monkeypatch):
    """A process that opens a photo may take 0.3 seconds."""
    opening.stop()
    monkeypatch.setattr(processes, "CPU_SECONDS", 0.3)
    yield
    opening.stop()


@pytest.fixture
def make_report():
    """A maker of reports on a black photo with given maps: `make_report(blur, attention, label, size)`. The label has
    a probability of 0.7; kinds of blur have those given, by keyword."""

    def make(blur, attention, label="no-blur", size=None, certain_from=0.0, **kinds) -> BlurReport:
        blur, attention = np.asarray(blur, np.float32), np.asarray(attention, np.float32)
        height, width = blur.shape
        probabilities = dict.fromkeys(("no-blur", "good-blur", "ok-blur", "bad-blur"), 0.1) | {label: 0.7}
        photo = Image.new("RGB", (width, height))
        return BlurReport(probabilities, size or (width, height), photo, blur, attention, kinds, certain_from)

    return make


@pytest.fixture(scope="module")  # for no longer: its event loop stands in the way of others
def browser():
    """Headless Chromium. The variable CHROMIUM names it if it is not /usr/bin/chromium."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if not Path(chromium).exists():
        pytest.skip(f"there is no Chromium at {chromium}; set CHROMIUM")
    flags = (
        "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe(browser, tmp_path_factory) -> str:
    """The script of axe-core 4, from the npm registry."""
    folder = tmp_path_factory.mktemp("axe")
    subprocess.run(["npm", "install", "--silent", "--prefix", folder, "axe-core@4"], check=True)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A folder as `save_pretrained` writes it: a `tiny` network with random weights, and its processor at 96 pixels.

    Its network is loaded once and then copied: loading takes a second, and hundreds of tests do so.
    """
    torch.manual_seed(0)
    model = ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig(**VARIANTS["tiny"])).train()
    processor = ABCFuseNetImageProcessor(size={"longest_edge": 96})
    photos = processor([make_photo(96, 96, seed) for seed in range(16)], return_tensors="pt")
    with torch.no_grad():
        for _ in range(20):  # BatchNorm statistics, so that maps and classes differ from photo to photo
            model(**photos)
        for layer in (
            model.abc_fusenet.blur_branch.logit,
            model.abc_fusenet.attention_branch.logit,
            model.classifier.fc,
        ):
            layer.weight.mul_(30)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)

    loaded, load = {}, ABCFuseNetForBlurUnderstanding.from_pretrained.__func__

    def load_once(cls, pretrained_model_name_or_path, *arguments, **options):
        name = pretrained_model_name_or_path
        if str(name) != str(folder):
            return load(cls, name, *arguments, **options)
        key = str((cls, arguments, options))
        if key not in loaded:
            loaded[key] = load(cls, name, *arguments, **options)
        return copy.deepcopy(loaded[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ABCFuseNetForBlurUnderstanding, "from_pretrained", classmethod(load_once))
        yield folder


load_once = functools.cache(load_pipeline)


@pytest.fixture
def pipelines_once(monkeypatch):
    """Commands that judge with the same options share a pipeline: loading one takes longer than judging."""
    monkeypatch.setattr("abc_hf.inference.loading.load_pipeline", load_once)
    monkeypatch.setattr("abc_hf.library.sort.load_pipeline", load_once)
    monkeypatch.setattr("abc_hf.library.assess.load_pipeline", load_once)


@pytest.fixture(scope="session")
def plain_pipe(tiny_folder):
    """A pipeline that runs the tiny network itself; an engine, with its BatchNorm folded, agrees to rounding only."""
    loaded = load_pipeline(tiny_folder, device="cpu")
    return BlurUnderstandingPipeline(model=loaded.model, image_processor=loaded.image_processor, device="cpu")
