"""The network as a file for ONNX Runtime or OpenVINO, for any number of photos of any size, checked against PyTorch."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import ImageOps

from ..common.files import check_results
from ..configuration_abc_fusenet import KINDS
from ..image_processing_abc_fusenet import ABCFuseNetImageProcessor
from ..modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding
from ..photos import load_photo
from .engines import OUTPUTS, Exportable, example, fold_batch_norm, import_openvino, quiet, to_openvino

FILES = {"onnx": "model.onnx", "openvino": "model.xml"}
"""The runtimes, and the file that programs open for each."""
TOLERANCE = 1e-3
"""The most by which an output may differ from PyTorch's."""
EXAMPLES = Path(__file__).parents[1] / "examples"
ASPECTS = {"bokeh.jpg": (3, 2), "missed-focus.jpg": (1, 1), "panning.jpg": (9, 16)}
"""The photos that check an export. Each is cropped to this ratio of width to height."""


def export(model: ABCFuseNetForBlurUnderstanding, image_processor, runtime: str, out: str | os.PathLike) -> float:
    """Write a model for another runtime, with its configuration, the settings of the image processor, and a README.md
    that says how to run it. Files of an earlier export are replaced.

    Args:
        image_processor: the model's.
        runtime: of `FILES`.
        out: the folder to write to.

    Returns:
        the largest difference between its outputs and those of PyTorch, over real photos of three aspect ratios.

    Raises:
        ValueError: if that is more than `TOLERANCE`, `out` is a file, or other files would be replaced.
        ImportError: if a package is not installed.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose a folder.")
    check_results(out, FILES[runtime], ["README.md", "config.json", "preprocessor_config.json"])
    out.mkdir(parents=True, exist_ok=True)
    write, run = {"onnx": (write_onnx, run_onnx), "openvino": (write_openvino, run_openvino)}[runtime]
    write(model, out / FILES[runtime])
    model.config.to_json_file(out / "config.json")
    image_processor.to_json_file(out / "preprocessor_config.json")
    (out / "README.md").write_text(readme(model.config, image_processor, runtime))
    return check_export(model, image_processor, run, out / FILES[runtime])


def check_export(model: ABCFuseNetForBlurUnderstanding, image_processor, run: Callable, path: Path) -> float:
    """The `largest_difference` of a file. Raises ValueError if that is more than `TOLERANCE`."""
    difference = largest_difference(model, image_processor, run(path))
    if not difference <= TOLERANCE:
        raise ValueError(
            f"{path} differs from PyTorch by {difference:.2g}, and at most {TOLERANCE:g} is allowed: do "
            "not use it; another version of PyTorch or of the exporter may help."
        )
    return difference


def largest_difference(model: ABCFuseNetForBlurUnderstanding, image_processor, run: Callable) -> float:
    """The largest difference between `run`, called with a NumPy array, and the model, for one photo and for two."""
    batches = []
    for name, (width, height) in ASPECTS.items():
        photo = load_photo(EXAMPLES / name)
        scale = min(photo.width / width, photo.height / height)
        photo = ImageOps.fit(photo, (round(width * scale), round(height * scale)))
        batches.append(image_processor(photo, return_tensors="pt")["pixel_values"])
    batches.append(torch.cat([batches[0], batches[0].flip(-1)]))
    reference, differences = Exportable(model), []
    for pixel_values in batches:
        with torch.inference_mode():
            expected = reference(pixel_values)
        found = run(pixel_values.numpy())
        differences += [np.abs(ours.numpy() - theirs).max() for ours, theirs in zip(expected, found, strict=True)]
    return float(np.max(differences))


def write_onnx(model: ABCFuseNetForBlurUnderstanding, path: Path):
    """One file, weights included."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ImportError('ONNX files need more packages; run `pip install "abc-fusenet[onnx]"`.') from None
    stride, size = model.config.stride, torch.export.Dim
    sides = {2: stride * size("h", min=1, max=512), 3: stride * size("w", min=1, max=512)}
    with quiet():
        program = torch.onnx.export(
            fold_batch_norm(Exportable(model)),
            (example(model.config),),
            dynamo=True,
            input_names=["pixel_values"],
            output_names=OUTPUTS,
            dynamic_shapes={"pixel_values": {0: size("batch", min=1, max=1024), **sides}},
            verbose=False,
        )
    program.save(path, external_data=False)  # type: ignore[union-attr]  # None only without dynamo


SMALL = {"fp16": "_fp16", "int8": "_quantized"}
"""The ways to store weights in an ONNX file, and the end of its name that transformers.js expects."""
FEWEST_WEIGHTS = 1024
"""Smaller tensors stay as they are."""


def store_weights(path: Path, kind: str) -> Path:
    """Write a copy of an ONNX file, beside it, whose weights are stored in fewer bits. Every runtime brings them back
    to float32 when it loads or runs the file, so features are computed as before.

    Args:
        kind: of `SMALL`. "int8" has a scale for each output channel.

    Returns:
        the file.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    restored = []
    for weights in list(graph.initializer):
        values = numpy_helper.to_array(weights)
        if values.dtype != np.float32 or values.size < FEWEST_WEIGHTS:
            continue
        stored = [f"{weights.name}_stored"]
        if kind == "fp16":
            arrays = [values.astype(np.float16)]
            node = helper.make_node("Cast", stored, [weights.name], to=onnx.TensorProto.FLOAT)
        else:
            axes = tuple(range(1, values.ndim))
            scale = np.maximum(np.abs(values).max(axes, keepdims=True) / 127, np.float32(1e-12))
            arrays = [np.rint(values / scale).astype(np.int8), scale.reshape(-1)]
            stored.append(f"{weights.name}_scale")
            node = helper.make_node("DequantizeLinear", stored, [weights.name], axis=0)
        graph.initializer.remove(weights)
        graph.initializer.extend(map(numpy_helper.from_array, arrays, stored))
        restored.append(node)
    nodes = [*restored, *graph.node]
    for node in nodes:
        del node.metadata_props[:]  # a megabyte of stack traces
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    small = path.with_stem(path.stem + SMALL[kind])
    onnx.save(model, small)
    return small


def run_onnx(path: Path) -> Callable:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pixel_values: session.run(list(OUTPUTS), {"pixel_values": pixel_values})


def write_openvino(model: ABCFuseNetForBlurUnderstanding, path: Path):
    """model.xml, and its weights in model.bin."""
    openvino = import_openvino()
    openvino.save_model(to_openvino(model), path, compress_to_fp16=False)


def run_openvino(path: Path) -> Callable:
    program = import_openvino().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pixel_values: [program(pixel_values)[name] for name in OUTPUTS]


RUNS = {
    "onnx": """import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
names = ["logits", "kind_logits", "blur_map", "attention_map"]
logits, kind_logits, blur, attention = session.run(names, {"pixel_values": pixel_values})
""",
    "openvino": """import openvino

# OpenVINO prefers bfloat16 where the CPU has it, which is faster, and changes a verdict here and there.
program = openvino.compile_model("model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
outputs = program(pixel_values)
logits, kind_logits = outputs["logits"], outputs["kind_logits"]
blur, attention = outputs["blur_map"], outputs["attention_map"]
""",
}


def readme(config, image_processor: ABCFuseNetImageProcessor, runtime: str) -> str:
    """The README.md beside an exported network: how to run it with its runtime, NumPy and Pillow only."""
    classes = list(config.id2label.values())
    longest, divisor = image_processor.size["longest_edge"], image_processor.size_divisor
    return f"""# ABC-FuseNet, {FILES[runtime]}

Written by `abc-fusenet export --format {runtime}`.

- `pixel_values`: float32 (B, 3, H, W), H and W multiples of {divisor}.
- `blur_map` (B, 1, H, W): 0 = sharp, 1/3 = low, 2/3 = medium, 1 = high blur.
- `attention_map` (B, 1, H, W): 0 = unimportant, 1 = the subject of the photo.
- `logits` (B, {len(classes)}): of {", ".join(classes)}. They are divided by the temperature of the
  calibration ({config.temperature:g}) already, so that their softmax is the probability.
- `kind_logits` (B, {len(KINDS)}): of {", ".join(KINDS)}. Their softmax is the
  probability of each kind, if there is blur.

This runs it on an upright sRGB photo:

```python
import numpy as np
from PIL import Image

photo = Image.open("photo.jpg").convert("RGB")
scale = min(1, {longest} / max(photo.size))
width, height = (max(1, round(side * scale)) for side in photo.size)
pixels = np.asarray(photo.resize((width, height), Image.Resampling.BICUBIC), np.float32) / 255
pixels = (pixels - np.float32({list(image_processor.image_mean)})) / np.float32({list(image_processor.image_std)})
pixels = np.pad(pixels, [(0, -height % {divisor}), (0, -width % {divisor}), (0, 0)], "reflect")
pixel_values = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])

{RUNS[runtime]}
blur, attention = blur[0, 0, :height, :width], attention[0, 0, :height, :width]
for names, scores in (({classes}, logits[0]), ({list(KINDS)}, kind_logits[0])):
    probabilities = np.exp(scores - scores.max())
    print(dict(zip(names, (probabilities / probabilities.sum()).round(3).tolist())))
print(blur.mean(), attention.mean())
```
"""
