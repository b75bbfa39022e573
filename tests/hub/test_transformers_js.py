"""The pushed model in JavaScript: transformers.js, from the npm registry, in Node, by the snippet of the card."""

import re
import shutil
from pathlib import Path

import pytest

from abc_hf import load_pipeline
from abc_hf.inference import export
from abc_hf.inference.loading import BUNDLED
from hub import push_model

EXAMPLES = Path(__file__).parents[2] / "abc_hf" / "examples"
PHOTO = EXAMPLES / "bokeh.jpg"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_each_network_loads_by_name_and_judges_alike(stand, transformers_js, monkeypatch):
    """The bundled weights; for each type the snippet runs word for word but for the Hub's address and the type."""
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(push_model, "check", lambda pipeline, folder: 0.0)
    push_model.main(["--repo", "tester/blur", "--yes"])
    files = stand.hub.files("model", "tester/blur")
    assert {name for name in files if name.startswith("onnx/")} == {
        *("onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_quantized.onnx")
    }
    assert len(files["onnx/model_quantized.onnx"]) < 6e6 and len(files["onnx/model_fp16.onnx"]) < 10e6
    snippet = re.search(r"```js\n(.*?)```", files["README.md"].decode(), re.DOTALL)[1]
    shutil.copy(PHOTO, transformers_js / "photo.jpg")
    label = load_pipeline(BUNDLED, device="cpu")(PHOTO).label
    for dtype in ("q8", "fp16", "fp32"):
        said = stand.run_node(snippet.replace('"q8"', f'"{dtype}"'), transformers_js)
        assert said.startswith(f"{label} [ 1, 1,"), said


def test_stored_weights_change_little(tmp_path):
    """A convolution and a matrix product: in float16 and in int8 the file shrinks, and every value stays near."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(64, 3, 3, 3, generator=generator).numpy()
    product = torch.randn(64, 40, generator=generator).numpy()
    nodes = [
        onnx.helper.make_node("Conv", ["pixel_values", "kernel"], ["features"]),
        onnx.helper.make_node("GlobalAveragePool", ["features"], ["means"]),
        onnx.helper.make_node("Flatten", ["means"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "product"], ["logits"]),
    ]
    shapes = {"pixel_values": [1, 3, 9, 9], "logits": [1, 40]}
    ends = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in shapes.items()]
    weights = [onnx.numpy_helper.from_array(kernel, "kernel"), onnx.numpy_helper.from_array(product, "product")]
    graph = onnx.helper.make_graph(nodes, "toy", ends[:1], ends[1:], weights)
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10), path)
    pixel_values = torch.randn(1, 3, 9, 9, generator=generator).numpy()

    def logits(file: Path):
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return session.run(None, {"pixel_values": pixel_values})[0]

    expected, whole = logits(path), path.stat().st_size
    for kind, share, off in (("fp16", 0.6, 2e-3), ("int8", 0.45, 0.03)):
        small = export.store_weights(path, kind)
        assert small.name == f"model{export.SMALL[kind]}.onnx" and small.stat().st_size < share * whole
        found = abs(logits(small) - expected).max() / abs(expected).max()
        assert 0 < found < off
