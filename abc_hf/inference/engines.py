# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Engines run the network: PyTorch, or a faster one on a CPU. `load_pipeline(engine=...)` and `--engine` choose."""

import contextlib
import copy
import logging
import sys
import warnings
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding
from .allocator import keep_freed_memory

logger = logging.getLogger(__name__)

OUTPUTS = ("logits", "kind_logits", "blur_map", "attention_map")
"""The names of the outputs of engines and exported networks."""


class TorchEngine:
    """PyTorch on a CPU: the model with its BatchNorm folded into the convolutions, channels last.

    Args:
        dtype: of weights and features.
    """

    def __init__(self, model: ABCFuseNetForBlurUnderstanding, dtype: torch.dtype | None = None):
        keep_freed_memory()
        folded = fold_batch_norm(copy.deepcopy(model).eval()).to(dtype or model.dtype)
        self.model = folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it

    def __call__(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the network on `pixel_values` (B, 3, H, W) of the image processor. Returns `OUTPUTS`, like the model."""
        with torch.inference_mode():
            output = self.model(pixel_values.to(self.model.dtype, memory_format=torch.channels_last))
        return {name: output[name] for name in OUTPUTS}


class OpenVINOEngine:
    """OpenVINO on a CPU, in bfloat16 where the CPU has it (OpenVINO's own default), else in float32.

    Raises:
        ImportError: without OpenVINO.
    """

    def __init__(self, model: ABCFuseNetForBlurUnderstanding):
        threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
        program = import_openvino().compile_model(to_openvino(model), "CPU", threads)
        self.request = program.create_infer_request()

    def __call__(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Like `TorchEngine.__call__`."""
        found = self.request.infer([pixel_values.float().numpy()], share_inputs=True)
        return {name: torch.from_numpy(values) for name, values in zip(OUTPUTS, found.values(), strict=True)}


ENGINES = {
    "torch": TorchEngine,
    "bf16": lambda model: TorchEngine(model, torch.bfloat16),
    "openvino": OpenVINOEngine,
}
"""The engines for a CPU. "torch" agrees with the model to rounding. The others compute in bfloat16, with 8 bits of each
feature; docs/python.md says how many verdicts that changes. EXPERIMENTS.md names the engines that were left out."""


def load_engine(name: str, model: ABCFuseNetForBlurUnderstanding):
    """The engine that is called with `pixel_values` (B, 3, H, W) in place of a model. None stands for the model itself:
    that is "torch" on an accelerator.

    Raises:
        ValueError: if there is no such engine, or it does not run where the model is.
        ImportError: if it needs a package that is not installed.
    """
    if name not in ENGINES:
        raise ValueError(f"There is no engine {name}; there are {', '.join(ENGINES)}.")
    if model.device.type == "cpu":
        if name == "bf16" and not has_bfloat16():
            logger.warning("The engine bf16: %s; the engine torch suits it.", SLOW_BFLOAT16)
        return ENGINES[name](model)
    if name != "torch":
        raise ValueError(f'The engine {name} runs on a CPU, not on {model.device}; give the device "cpu", or torch.')
    return None


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
    """The module openvino, without the part that reports its use to Intel's server.

    Raises:
        ImportError: without OpenVINO.
    """
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
