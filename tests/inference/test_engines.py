"""Every engine says what the model says."""

import copy
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from abc_hf import VARIANTS, ABCFuseNetConfig, ABCFuseNetForBlurUnderstanding, cli, load_pipeline
from abc_hf.inference import engines
from abc_hf.inference.engines import ENGINES, OUTPUTS, TorchEngine, fold_batch_norm, load_engine


def check_agrees(name, found, expected):
    """All engines are exact but "bf16". It has 8 bits, that is 1/256 in each of some dozens of layers: few values are
    far off, and none on average."""
    difference = np.abs(np.asarray(found) - np.asarray(expected))
    assert difference.mean() < 0.03 if name == "bf16" else difference.max() < 1e-4


def pixels(batch, height, width):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(height)) * 2 - 1


SLOWLY_MADE = [pytest.param(name, marks=pytest.mark.slow) for name in ("openvino", "bf16")]


@pytest.fixture(scope="module", params=["auto", "torch", *SLOWLY_MADE])
def loaded(request, tiny_folder):
    """An engine's name, and a pipeline with it."""
    if request.param in ("openvino", "bf16"):
        pytest.importorskip("openvino")
    return request.param, load_pipeline(tiny_folder, device="cpu", engine=request.param)


def test_it_agrees_with_the_model_at_any_size(loaded):
    name, pipe = loaded
    for batch, height, width in ((1, 96, 64), (3, 64, 96), (1, 32, 160)):
        pixel_values = pixels(batch, height, width)
        with torch.no_grad():
            expected = pipe.model(pixel_values)
        found = pipe.engine(pixel_values)
        assert list(found) == list(OUTPUTS)
        for output in OUTPUTS[1:]:
            check_agrees(name, found[output].float(), expected[output])
        check_agrees(name, found["logits"].float().softmax(-1), expected["logits"].softmax(-1))


def test_answers_stay_when_the_next_photo_comes(loaded):
    """An engine may keep its memory, and must not give it away."""
    _, pipe = loaded
    first = pipe.engine(pixels(1, 64, 64))
    kept = {name: values.clone() for name, values in first.items()}
    pipe.engine(-pixels(1, 64, 64))
    assert all(torch.equal(first[name], kept[name]) for name in OUTPUTS)


def test_reports_come_from_the_engine(loaded, photo, tiny_folder):
    name, pipe = loaded
    expected, found = load_pipeline(tiny_folder, device="cpu")(photo()), pipe(photo())
    check_agrees(name, found.small_blur_map, expected.small_blur_map)
    ran = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipe, "engine", lambda pixel_values: ran.append(1) or pipe.model(pixel_values))
        pipe(photo())
    assert ran == [1]


def test_the_pipelines_model_stays_as_it_was(tiny_folder):
    """It is saved, trained on and scored as ever."""
    model = load_pipeline(tiny_folder, device="cpu").model
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) > 20
    saved = ABCFuseNetForBlurUnderstanding.from_pretrained(tiny_folder).state_dict()
    assert all(torch.equal(values, saved[name]) for name, values in model.state_dict().items())


@pytest.mark.parametrize(("variant", "left"), [("tiny", 1), ("mobile", 1)])
def test_every_normalization_after_a_convolution_is_folded(variant, left):
    """The classifier's, over the stack of maps, follows no convolution."""
    torch.manual_seed(0)
    overrides = VARIANTS[variant] | {"width_multiplier": 0.125}
    model = ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig(**overrides)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
    with torch.no_grad():
        expected = model(pixels(2, 64, 96))
        found = fold_batch_norm(model)(pixels(2, 64, 96))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == left
    for name in OUTPUTS:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-4)


def test_an_accelerator_runs_the_model_itself():
    model = ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig(**VARIANTS["tiny"])).to("meta")
    assert load_engine("torch", model) is None and load_engine("auto", model) is None
    with pytest.raises(ValueError, match='The engine bf16 runs on a CPU, not on meta; give the device "cpu", or auto'):
        load_engine("bf16", model)


def test_auto_computes_in_float16_on_a_gpu(monkeypatch):
    """There is no GPU here, so another device stands for one; what float16 changes is seen on the CPU."""
    torch.manual_seed(0)
    model = ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig(**VARIANTS["tiny"])).eval()
    monkeypatch.setattr(engines, "HALVED", ("meta",))
    assert load_engine("auto", copy.deepcopy(model).to("meta")).model.dtype == torch.float16
    with torch.no_grad():
        expected = model(pixels(2, 64, 96))
    found = TorchEngine(model, torch.float16)(pixels(2, 64, 96))
    for name in ("logits", "kind_logits"):
        off = found[name].float().softmax(-1) - expected[name].softmax(-1)
        assert 0 < off.abs().max() < 0.02
    for name in ("blur_map", "attention_map"):
        assert 0 < (found[name].float() - expected[name]).abs().mean() < 0.005


class Faster:
    """Takes the place of `OpenVINOEngine`, whose start takes seconds."""

    def __init__(self, model, at_once):
        self.engine, self.sizes = TorchEngine(model), []

    def __call__(self, pixel_values):
        self.sizes.append(len(pixel_values))
        return self.engine(pixel_values)


def judge_batches(pipe, sizes):
    return [pipe.engine(pixels(size, 32, 64))["logits"] for size in sizes]


def test_auto_has_openvino_after_a_few_photos(tiny_folder, monkeypatch):
    monkeypatch.setattr(engines, "OpenVINOEngine", Faster)
    monkeypatch.setattr(engines, "openvino_suits", lambda: True)
    monkeypatch.setattr(engines, "FEW", 5)
    pipe = load_pipeline(tiny_folder, device="cpu")
    answers = judge_batches(pipe, (2, 3, 2, 4))
    assert pipe.engine.engine.sizes == [2, 4]
    torch.testing.assert_close(answers[0], answers[2])
    copied = pickle.loads(pickle.dumps(pipe.engine))  # as processes that only open photos are sent it
    torch.testing.assert_close(copied(pixels(2, 32, 64))["logits"], answers[0])


@pytest.mark.parametrize("reason", ["missing", "broken"])
def test_auto_stays_with_pytorch_where_openvino_cannot_run(tiny_folder, monkeypatch, caplog, reason):
    def fail(model, at_once):
        raise RuntimeError("no such plugin\nat line 5")

    monkeypatch.setattr(engines, "OpenVINOEngine", fail)
    monkeypatch.setattr(engines, "openvino_suits", lambda: reason == "broken")
    monkeypatch.setattr(engines, "FEW", 1)
    pipe = load_pipeline(tiny_folder, device="cpu")
    assert len(judge_batches(pipe, (2, 2, 2))) == 3 and isinstance(pipe.engine.engine, TorchEngine)
    said = [record.getMessage() for record in caplog.records if "OpenVINO" in record.getMessage()]
    assert said == ["OpenVINO does not start here (no such plugin); PyTorch judges all photos."] * (reason == "broken")


@pytest.mark.parametrize(("machine", "suits"), [("x86_64", True), ("AMD64", True), ("arm64", False)])
def test_openvino_suits_the_cpus_it_was_measured_on(monkeypatch, machine, suits):
    monkeypatch.setattr(engines.platform, "machine", lambda: machine)
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: name == "openvino")
    assert engines.openvino_suits() is suits
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert not engines.openvino_suits()


@pytest.mark.slow
def test_threads_share_openvino(tiny_folder):
    pytest.importorskip("openvino")
    engine = load_pipeline(tiny_folder, device="cpu", engine="openvino").engine
    batches = [pixels(1, 64, 32 * width) for width in range(1, 7)]
    expected = [engine(each)["logits"] for each in batches]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda each: engine(each)["logits"], batches))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_an_unknown_engine_is_refused(tiny_folder):
    with pytest.raises(ValueError, match="There is no engine turbo; there are auto, torch, openvino, bf16."):
        load_pipeline(tiny_folder, device="cpu", engine="turbo")


@pytest.mark.parametrize("fast", [True, False])
def test_a_slow_engine_says_so(tiny_folder, monkeypatch, caplog, fast):
    monkeypatch.setattr(engines, "has_bfloat16", lambda: fast)
    monkeypatch.setitem(ENGINES, "bf16", ENGINES["torch"])
    load_pipeline(tiny_folder, device="cpu", engine="bf16")
    assert ("many times slower than in float32; the engine auto suits it." in caplog.text) is not fast


def test_a_missing_package_is_named(tiny_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r'pip install "abc-fusenet\[openvino\]"'):
        load_pipeline(tiny_folder, device="cpu", engine="openvino")


def test_the_command_takes_an_engine(tiny_folder, photo, tmp_path, monkeypatch, capsys):
    photo().save(tmp_path / "photo.png")
    ran = []
    monkeypatch.setitem(ENGINES, "bf16", lambda model, at_once: ran.append(model) or ENGINES["torch"](model, 1))
    options = ["--model", str(tiny_folder), "--device", "cpu", "--engine", "bf16"]
    assert cli.main(["assess", str(tmp_path / "photo.png"), *options]) == 0
    assert len(ran) == 1 and "photo.png" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_of_the_network_is_kept_for_its_next_photo():
    """Page faults of a photo after the first few: tens of thousands where freed memory does not stay, and at most a
    tenth of them where it stays, whatever else the machine does."""
    code = """
import resource, sys, torch
from abc_hf.inference import engines
from abc_hf import ABCFuseNetForBlurUnderstanding, ABCFuseNetConfig, VARIANTS
if sys.argv[1] == "give back":
    engines.keep_freed_memory = lambda: None
engine = engines.TorchEngine(ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig(**VARIANTS["mobile"])))
for _ in range(3):
    engine(torch.zeros(2, 3, 352, 512))
faults = []
for _ in range(5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    engine(torch.zeros(2, 3, 352, 512))
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sorted(faults)[2])  # now and then a photo needs some pages more
"""
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "give back")
    )
    assert kept < given_back / 10 and given_back > 20_000


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_threads_share_one_arena():
    """As glibc counts them itself: `malloc_stats` writes about each."""
    code = """
import ctypes, sys, threading
from abc_hf.inference import allocator
if sys.argv[1] == "one":
    allocator.one_arena()
libc, gate = ctypes.CDLL(None), threading.Barrier(8)
def take():
    libc.malloc(100)
    gate.wait()
threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.malloc_stats()
"""
    one, many = (
        subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stderr.count(
            "Arena "
        )
        for how in ("one", "many")
    )
    assert one == 1 and many > 8


def test_help_names_every_engine(capsys):
    with pytest.raises(SystemExit):
        cli.main(["assess", "--help"])
    *others, last = ENGINES
    assert f"runs the network: {', '.join(others)} or {last} (" in " ".join(capsys.readouterr().out.split())
