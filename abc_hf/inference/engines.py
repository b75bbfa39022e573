"""Engines run the network: PyTorch, or a faster one on a CPU. `load_pipeline(engine=...)` and `--engine` choose."""

import contextlib
import copy
import importlib.util
import logging
import platform
import queue
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..common.text import first_line
from ..modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding
from .allocator import keep_freed_memory

logger = logging.getLogger(__name__)

OUTPUTS = ("logits", "kind_logits", "blur_map", "attention_map")
"""The names of the outputs of engines and exported networks."""


class TorchEngine:
    """PyTorch: the model with its BatchNorm folded into the convolutions, channels last, computed in `dtype`."""

    def __init__(self, model: ABCFuseNetForBlurUnderstanding, dtype: torch.dtype | None = None):
        keep_freed_memory()
        folded = fold_batch_norm(copy.deepcopy(model).eval()).to(dtype or model.dtype)
        self.model = folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it

    def __call__(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the network on `pixel_values` (B, 3, H, W) of the image processor. Returns `OUTPUTS`, like the model, but
        on the CPU."""
        with torch.inference_mode():
            output = self.model(pixel_values.to(self.model.dtype, memory_format=torch.channels_last))
        return {name: output[name].cpu() for name in OUTPUTS}


KEPT = 200
"""The layers, of all shapes of photos, that OpenVINO keeps ready. Its own number is 5000, which takes more memory in a
long job, and saves no time (EXPERIMENTS.md)."""


class OpenVINOEngine:
    """OpenVINO on a CPU, with features of the precision "f32" or "bf16". `at_once` threads may share it; the cores are
    divided among them. Raises ImportError without OpenVINO."""

    def __init__(self, model: ABCFuseNetForBlurUnderstanding, precision: str = "f32", at_once: int = 1):
        settings: dict = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": precision}
        settings |= {"NUM_STREAMS": at_once, "CPU_RUNTIME_CACHE_CAPACITY": KEPT}
        program = import_openvino().compile_model(to_openvino(model), "CPU", settings)
        self.requests: queue.SimpleQueue = queue.SimpleQueue()
        for _ in range(at_once):
            self.requests.put(program.create_infer_request())

    def __call__(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        request = self.requests.get()
        try:
            found = request.infer([pixel_values.float().numpy()], share_inputs=True)
        finally:
            self.requests.put(request)
        return {name: torch.from_numpy(values) for name, values in zip(OUTPUTS, found.values(), strict=True)}


FEW = 64
"""The photos after which "auto" has OpenVINO. About so many pay for its start."""


class AutoEngine:
    """PyTorch for the first `FEW` photos, because it starts at once. Then OpenVINO in float32, because it is faster, if
    it is installed and the CPU is of the kind that it was measured on. Both give the same answers but for rounding."""

    def __init__(self, model: ABCFuseNetForBlurUnderstanding, at_once: int = 1):
        self.model, self.at_once = model, at_once
        self.engine: Callable = TorchEngine(model)
        self.waiting = model.dtype == torch.float32 and openvino_suits()
        self.photos, self.lock = 0, threading.Lock()

    def __reduce__(self):
        """A copy begins with PyTorch again: OpenVINO and locks cannot be copied."""
        return AutoEngine, (self.model, self.at_once)

    def __call__(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        with self.lock:
            self.photos += len(pixel_values)
            enough = self.waiting and self.photos > FEW
            self.waiting &= not enough
        if enough:  # other threads go on with PyTorch
            try:
                self.engine = OpenVINOEngine(self.model, at_once=self.at_once)
            except Exception as error:  # PyTorch can judge all photos
                logger.warning("OpenVINO does not start here (%s); PyTorch judges all photos.", first_line(error))
        return self.engine(pixel_values)


ENGINES: dict[str, Callable] = {
    "auto": AutoEngine,
    "torch": lambda model, at_once: TorchEngine(model),
    "openvino": lambda model, at_once: OpenVINOEngine(model, "f32", at_once),
    "bf16": lambda model, at_once: OpenVINOEngine(model, "bf16", at_once),
}
"""The engines for a CPU. "torch" and "openvino" agree with the model to rounding. "bf16" computes in bfloat16, with 8
bits of each feature; docs/python.md says how many verdicts that changes. EXPERIMENTS.md names the engines that were
left out."""


def load_engine(name: str, model: ABCFuseNetForBlurUnderstanding, at_once: int = 1):
    """The engine that is called with `pixel_values` (B, 3, H, W) in place of a model. None means the model itself:
    that is "torch" on an accelerator. "auto" is float16 on a GPU of CUDA or XPU. `at_once` threads call an engine for a
    CPU at the same time. Raises ValueError if there is no such engine, or it does not run where the model is, and
    ImportError if it needs a package that is not installed."""
    if name not in ENGINES:
        raise ValueError(f"There is no engine {name}; there are {', '.join(ENGINES)}.")
    if model.device.type == "cpu":
        if name == "bf16" and not has_bfloat16():
            logger.warning("The engine bf16: %s; the engine auto suits it.", SLOW_BFLOAT16)
        return ENGINES[name](model, at_once)
    if name == "auto" and model.device.type in HALVED and model.dtype == torch.float32:
        return TorchEngine(model, torch.float16)
    if name not in ("auto", "torch"):
        raise ValueError(f'The engine {name} runs on a CPU, not on {model.device}; give the device "cpu", or auto.')
    return None


HALVED = ("cuda", "xpu")
"""The accelerators on which "auto" computes in float16. It has 11 bits of each feature, bfloat16 only 8."""


def openvino_suits() -> bool:
    """Whether OpenVINO is installed and the CPU is one of x86-64."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and sys.modules.get("openvino", ...) is not None and importlib.util.find_spec("openvino") is not None


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Fold each BatchNorm after a convolution into the weights of the convolution, in place. For inference only."""
    for module in list(model.modules()):
        convolution, normalization = getattr(module, "convolution", None), getattr(module, "normalization", None)
        if isinstance(convolution, nn.Conv2d) and isinstance(normalization, nn.BatchNorm2d):
            module.convolution, module.normalization = fuse_conv_bn_eval(convolution, normalization), nn.Identity()
    return model


SLOW_BFLOAT16 = "this CPU computes in bfloat16 many times slower than in float32"


def has_bfloat16() -> bool:
    """Whether the CPU has instructions with which PyTorch computes in bfloat16 (AVX-512 or better on x86)."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class Exportable(nn.Module):
    """A model that returns only `OUTPUTS`, as a tuple. Exporters need that."""

    def __init__(self, model: ABCFuseNetForBlurUnderstanding):
        super().__init__()
        self.model = copy.deepcopy(model).float().cpu()
        self.eval()

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = self.model(pixel_values)
        return tuple(output[name] for name in OUTPUTS)


def import_openvino():
    """The module openvino, without the part that reports its use to Intel's server. Raises ImportError without
    OpenVINO."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if that part were not installed, which openvino allows
    try:
        import openvino
    except ImportError:
        raise ImportError('OpenVINO is not installed; run `pip install "abc-fusenet[openvino]"`.') from None
    return openvino


def to_openvino(model: ABCFuseNetForBlurUnderstanding):
    """A model as an `openvino.Model` for any number of photos of any size; inputs and outputs are named."""
    openvino = import_openvino()
    shape = openvino.PartialShape([-1, model.config.num_channels, -1, -1])
    with quiet():
        program = openvino.convert_model(Exportable(model), example_input=example(model.config), input=[shape])
    program.inputs[0].tensor.set_names({"pixel_values"})
    for output, name in zip(program.outputs, OUTPUTS, strict=True):
        output.tensor.set_names({name})
    return program


def example(config) -> torch.Tensor:
    """An input whose every size differs from the others."""
    return torch.zeros(2, config.num_channels, 3 * config.stride, 4 * config.stride)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence exporters: they warn about their own code, and log that torchvision is missing."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
