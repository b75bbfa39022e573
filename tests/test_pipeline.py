import json
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification, pipeline
from transformers.pipelines.pt_utils import KeyDataset

import abc_hf
from abc_hf import BlurUnderstandingPipeline, load_pipeline
from abc_hf.photos import PhotoError

MIXED = [(200, 150), (150, 200), (200, 150), (64, 48), (33, 90), (200, 150)]


@pytest.fixture(scope="module")
def pipe(tiny_folder):
    return load_pipeline(tiny_folder, device="cpu")


def assert_same(report, other, tolerance=1e-5):
    assert report.size == other.size
    assert list(report.probabilities.values()) == pytest.approx(list(other.probabilities.values()), abs=tolerance)
    np.testing.assert_allclose(report.small_blur_map, other.small_blur_map, atol=tolerance)
    np.testing.assert_allclose(report.small_attention_map, other.small_attention_map, atol=tolerance)


# --- photos in, reports out ---


def test_public_names():
    names = (
        "Assess ABCFuseNetConfig ABCFuseNetForBlurUnderstanding ABCFuseNetImageProcessor ABCFuseNetModel BlurReport "
        "BlurUnderstandingPipeline VARIANTS load_photo load_pipeline"
    )
    assert sorted(abc_hf.__all__) == sorted(names.split())
    assert all(hasattr(abc_hf, name) for name in abc_hf.__all__)


def test_the_report_holds_what_the_model_says_of_the_processed_photo(pipe, photo):
    image = photo(200, 150)
    report = pipe(image)
    with torch.no_grad():
        outputs = pipe.model(**pipe.image_processor(image, return_tensors="pt"))
    expected = outputs.logits.softmax(-1)[0].tolist()
    assert list(report.probabilities) == ["no-blur", "good-blur", "ok-blur", "bad-blur"]
    assert list(report.probabilities.values()) == pytest.approx(expected, abs=1e-5)
    assert report.preview.size == (96, 72)
    np.testing.assert_allclose(report.small_blur_map, outputs.blur_map[0, 0, :72, :96], atol=1e-5)
    np.testing.assert_allclose(report.small_attention_map, outputs.attention_map[0, 0, :72, :96], atol=1e-5)
    assert report.small_blur_map.std() > 0.1, "the test model must tell places apart"


def test_every_kind_of_photo_gives_the_same_report(pipe, photo, tmp_path):
    image = photo(80, 60)
    image.save(tmp_path / "photo.png")
    reference = pipe(image)
    for kind in (
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
        (tmp_path / "photo.png").read_bytes(),
        np.asarray(image),
    ):
        assert_same(pipe(kind), reference)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 10])
def test_other_photos_of_a_batch_change_no_answer(pipe, photo, batch_size):
    photos = [photo(*size, seed) for seed, size in enumerate(MIXED)]
    alone = [pipe(image) for image in photos]
    together = pipe(photos, batch_size=batch_size)
    assert isinstance(together, list)
    for report, reference in zip(together, alone, strict=True):
        assert_same(report, reference)


def test_photos_of_one_shape_go_through_the_network_together(pipe, photo, monkeypatch):
    batches = []
    engine = pipe.engine
    monkeypatch.setattr(pipe, "engine", lambda values: batches.append(len(values)) or engine(values))
    pipe([photo(*size) for size in MIXED], batch_size=6)
    assert sorted(batches) == [1, 1, 4]  # the four of 200 x 150 and 150 x 200 are all padded to 96 x 96


def test_generators_and_data_sets_are_read_lazily(pipe, photo):
    read = []

    def photos():
        for seed in range(4):
            read.append(seed)
            yield photo(64, 48, seed)

    reports = iter(pipe(photos()))
    first = next(reports)
    assert len(read) <= 2
    assert_same(first, pipe(photo(64, 48, 0)))
    assert len(list(reports)) == 3

    class Photos(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return {"image": photo(64, 48, index)}

    for index, report in enumerate(pipe(KeyDataset(Photos(), "image"), batch_size=2)):
        assert_same(report, pipe(photo(64, 48, index)))
    assert index == 2
    assert pipe([]) == []
    for report in pipe(photo(64, 48, seed) for seed in [0]):  # any iterator, not generators alone
        assert_same(report, first)


@pytest.mark.parametrize(("size", "file_format"), [((1, 1), "PNG"), ((17, 4000), "PNG"), ((8000, 6000), "JPEG")])
def test_odd_sizes_from_file_to_files(pipe, size, file_format, tmp_path):
    path = tmp_path / f"photo.{file_format}"
    Image.radial_gradient("L").resize(size).save(path, file_format)
    report = pipe(str(path))
    assert report.blur_map.shape == report.attention_map.shape == size[::-1] and report.size == size
    if size[0] < 100:
        assert all(file.stat().st_size for file in report.save(tmp_path / "out"))


def test_a_photo_that_cannot_be_opened(pipe, photo):
    photos = [photo(), b"no photo", photo(90, 33)]
    with pytest.raises(PhotoError, match="not a photo"):
        pipe(photos, batch_size=2)
    for batch_size in (1, 2, 3):
        first, error, last = pipe(photos, batch_size=batch_size, on_error="return")
        assert isinstance(error, PhotoError)
        assert_same(first, pipe(photos[0]))
        assert_same(last, pipe(photos[2]))
    assert isinstance(pipe(b"", on_error="return"), PhotoError)


def test_options(pipe, photo):
    with pytest.raises(PhotoError, match="megapixels"):
        pipe(photo(40, 30), max_pixels=1000)
    with pytest.raises(TypeError, match="unknown option top_k; there are on_error, max_pixels"):
        pipe(photo(), top_k=1)
    with pytest.raises(ValueError, match='on_error must be "raise" or "return"; got \'skip\''):
        pipe(photo(), on_error="skip")


def test_a_large_photo_and_its_small_copy_get_the_same_answer(pipe, photo, tmp_path):
    large = photo(1200, 800).resize((6000, 4000), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=95)
    large.resize((1224, 816), Image.Resampling.LANCZOS).save(tmp_path / "small.png")
    large, small = pipe([tmp_path / "large.jpg", tmp_path / "small.png"])
    assert (large.size, small.size) == ((6000, 4000), (1224, 816))
    for map, other in (
        (large.small_blur_map, small.small_blur_map),
        (large.small_attention_map, small.small_attention_map),
    ):
        assert np.abs(map - other).mean() < 0.1 * map.std()
        assert np.abs(map - other).max() < 0.15
    assert large.probabilities == pytest.approx(small.probabilities, abs=0.01)
    assert large.label == small.label


# --- loading ---


def without_classifier(folder):
    abc_hf.ABCFuseNetModel(abc_hf.ABCFuseNetConfig(**abc_hf.VARIANTS["tiny"])).save_pretrained(folder)


def with_five_classes(folder):
    config = abc_hf.ABCFuseNetConfig(**abc_hf.VARIANTS["tiny"], num_labels=5)
    abc_hf.ABCFuseNetForBlurUnderstanding(config).save_pretrained(folder)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda folder: None, "config.json"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "vit"}'), "it is of the type vit"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "abc_fusenet"}'), "model.safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
        (without_classifier, "it lacks weights, among them classifier.conv1"),
        (with_five_classes, "its classifier has 5 classes, not 4"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_one_sentence(tmp_path, prepare, reason):
    prepare(tmp_path)
    with pytest.raises(ValueError) as error:
        load_pipeline(tmp_path)
    message = str(error.value)
    assert message.startswith(f"No ABC-FuseNet model can be loaded from {tmp_path} (")
    assert message.endswith("; give a folder or a Hub repository that holds one.")
    assert reason in message and "\n" not in message


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tiny_folder, tmp_path, value):
    shutil.copytree(tiny_folder, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    name = max(weights)
    weights[name].view(-1)[-1] = value
    save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"its weights are damaged: {name} holds values that are not finite"):
        load_pipeline(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("image_std", value)
            for value in ([0.5, 0, 0.5], [0.5], ["a"] * 3, 0, [math.nan] * 3, [-1, 1, 1], "abc", None)
        ),
        *(("image_mean", value) for value in ([math.inf] * 3, [], {"a": 1}, None)),
        *(("rescale_factor", value) for value in (0, "1/255", math.nan, None, [1])),
        *(
            ("size", value)
            for value in ({"longest_edge": 0}, {"longest_edge": "512"}, {"height": 3, "width": 3}, 10**9, [])
        ),
        *(("size_divisor", value) for value in (0, -32, 31, "32", None, 1.5)),
        *(("resample", value) for value in (99, -1, "x", None)),
        *(("do_normalize", value) for value in ("yes", 3)),
    ],
)
def test_a_preprocessor_that_cannot_work_is_refused(tiny_folder, tmp_path, name, value):
    shutil.copytree(tiny_folder, tmp_path / "model")
    path = tmp_path / "model" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(ValueError, match=r"^No ABC-FuseNet model can be loaded from [^\n]*\.$"):
        load_pipeline(tmp_path / "model")


def test_an_answer_that_is_no_number_is_the_photo_s_error(tiny_folder, photo, monkeypatch):
    """Finite weights can be so large that their sums are not."""
    pipe = load_pipeline(tiny_folder, device="cpu")
    engine = pipe.engine
    monkeypatch.setattr(
        pipe, "engine", lambda pixel_values: engine(pixel_values) | {"logits": torch.full((1, 4), math.inf)}
    )
    with pytest.raises(PhotoError, match="no number"):
        pipe(photo())
    (answer,) = pipe([photo()], on_error="return")
    assert isinstance(answer, PhotoError)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_missing_device_is_one_sentence(tiny_folder, device):
    with pytest.raises(ValueError, match=rf'^The device {device} cannot be used here \(.+\); "cpu" always can\.$'):
        load_pipeline(tiny_folder, device=device)


def test_auto_classes_know_the_model(tiny_folder, plain_pipe, photo):
    assert isinstance(AutoConfig.from_pretrained(tiny_folder), abc_hf.ABCFuseNetConfig)
    assert isinstance(AutoModel.from_pretrained(tiny_folder), abc_hf.ABCFuseNetModel)
    model = AutoModelForImageClassification.from_pretrained(tiny_folder)
    assert isinstance(model, abc_hf.ABCFuseNetForBlurUnderstanding)
    assert isinstance(AutoImageProcessor.from_pretrained(tiny_folder), abc_hf.ABCFuseNetImageProcessor)

    stock = pipeline("blur-understanding", model=str(tiny_folder), device="cpu")
    assert isinstance(stock, BlurUnderstandingPipeline)
    assert_same(stock(photo()), plain_pipe(photo()))


def test_the_stock_classification_pipeline_works(tiny_folder, pipe, photo):
    image = photo(200, 150)
    classes = pipeline("image-classification", model=str(tiny_folder), device="cpu")(image)
    expected = pipe(image).probabilities
    assert {entry["label"]: entry["score"] for entry in classes} == pytest.approx(expected, abs=1e-5)


REMOTE = """
import json, sys
sys.modules["abc_hf"] = None  # cannot be imported
import numpy as np, torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification, pipeline

folder, photo = sys.argv[1], Image.open(sys.argv[2])
trust = {"trust_remote_code": True}
assert AutoConfig.from_pretrained(folder, **trust).model_type == "abc_fusenet"
values = AutoImageProcessor.from_pretrained(folder, **trust)(photo, return_tensors="pt")
with torch.no_grad():
    maps = AutoModel.from_pretrained(folder, **trust)(**values)
    outputs = AutoModelForImageClassification.from_pretrained(folder, **trust)(**values)
classes = pipeline("image-classification", model=folder, device="cpu", **trust)(photo)
report = pipeline(model=folder, device="cpu", **trust)(photo)
report.save(sys.argv[3])
print(json.dumps({
    "base": [maps.blur_map.mean().item(), maps.attention_map.mean().item()],
    "whole": [outputs.blur_map.mean().item(), outputs.attention_map.mean().item()],
    "logits": outputs.logits[0].tolist(),
    "classes": {entry["label"]: entry["score"] for entry in classes},
    "report": report.to_dict(),
}))
"""


@pytest.mark.slow
def test_a_saved_folder_works_without_this_package(pipe, photo, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    photo(200, 150).save(tmp_path / "photo.png")
    run = subprocess.run(
        [sys.executable, "-c", REMOTE, "model", "photo.png", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "", "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    report = pipe(tmp_path / "photo.png")
    assert said["classes"] == pytest.approx(report.probabilities, abs=1e-4)
    assert torch.tensor(said["logits"]).softmax(0).tolist() == pytest.approx(
        list(report.probabilities.values()), abs=1e-4
    )
    assert said["base"] == pytest.approx(said["whole"], abs=1e-5)
    assert said["report"]["reason"] == report.reason
    assert said["report"]["score"] == pytest.approx(report.score, abs=1e-4)
    assert (tmp_path / "out" / "photo_figure.png").is_file()

    assert_same(load_pipeline(tmp_path / "model", device="cpu")(photo()), pipe(photo()))
