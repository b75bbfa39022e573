import io
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification, pipeline
from transformers.dynamic_module_utils import get_imports, get_relative_imports

from abc_hf import close_ups, exif, formats, image_processing_abc_fusenet, photos
from abc_hf.image_processing_abc_fusenet import ABCFuseNetImageProcessor, resize_map, working_shape
from abc_hf.photos import load_photo

SHAPES = [
    (1, 1),
    (1, 5000),
    (5000, 1),
    (17, 4000),
    (4000, 17),
    (480, 640),
    (641, 640),
    (333, 500),
    (6000, 8000),
    (2999, 4001),
]


def random_photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixel_values(photos, processor=None, **options):
    return (processor or ABCFuseNetImageProcessor())(photos, return_tensors="pt", **options)["pixel_values"]


def as_values(photo):
    """H x W x 3 of 0..255 to (3, H, W) in -1..1."""
    return torch.from_numpy(photo / 127.5 - 1).permute(2, 0, 1).float()


# --- size ---


@pytest.mark.parametrize("shape", SHAPES)
def test_long_side_fits_and_the_aspect_is_kept(shape):
    height, width = working_shape(*shape, 640)
    exact = [max(Fraction(1), side * min(Fraction(1), Fraction(640, max(shape)))) for side in shape]
    assert max(height, width) == min(640, max(shape))
    assert abs(height - exact[0]) <= Fraction(1, 2)
    assert abs(width - exact[1]) <= Fraction(1, 2)


@pytest.mark.parametrize("shape", SHAPES)
def test_photos_of_any_shape_are_padded_to_the_stride(shape):
    photo = Image.linear_gradient("L").resize(shape[::-1], Image.Resampling.NEAREST)
    values = pixel_values(photo)
    for padded, side in zip(values.shape[2:], working_shape(*shape, 512), strict=True):
        assert padded % 32 == 0
        assert 0 <= padded - side < 32
    assert values.shape[:2] == (1, 3)
    assert values.min() >= -1
    assert values.max() <= 1


def test_small_photos_are_not_resampled():
    photo = random_photo(32, 64)
    torch.testing.assert_close(pixel_values(photo)[0], as_values(photo))


def test_size_is_an_option_of_the_call_and_of_the_processor():
    photo = random_photo(400, 500)
    assert pixel_values(photo, size={"longest_edge": 320}).shape == (1, 3, 256, 320)
    assert pixel_values(photo, size=320).shape == (1, 3, 256, 320)
    assert pixel_values(photo, ABCFuseNetImageProcessor(size=160, size_divisor=64)).shape == (1, 3, 128, 192)
    assert pixel_values(photo).shape == (1, 3, 416, 512)


@pytest.mark.parametrize("size", [{"height": 8, "width": 8}, {"shortest_edge": 8}, {"longest_edge": 0}, 0, (8, 8)])
def test_other_sizes_are_refused(size):
    with pytest.raises(ValueError, match='size must be {"longest_edge": pixels}'):
        ABCFuseNetImageProcessor(size=size)


def test_24_megapixels_and_its_1_megapixel_copy_look_the_same():
    scene = Image.fromarray(random_photo(200, 300)).resize((6000, 4000), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    scene.save(file, "JPEG", quality=95)
    copy = scene.resize((1224, 816), Image.Resampling.LANCZOS)
    reduced = load_photo(file.getvalue(), working_size=640)
    assert reduced.size == (1500, 1000)
    full, copied, drafted = (pixel_values(photo) for photo in (scene, copy, reduced))
    assert full.std() > 0.3
    for other in (copied, drafted):
        assert other.shape == full.shape
        assert (other - full).abs().mean() < 0.015


# --- padding ---


def reflected(index, length):
    """Where a mirror at the first and the last pixel sends an index beyond them."""
    period = max(1, 2 * (length - 1))
    return min(index % period, period - index % period) if length > 1 else 0


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 3), (5, 7), (1, 40), (33, 31)])
def test_padding_is_a_reflection_at_the_bottom_and_the_right(shape):
    photo = random_photo(*shape)
    values = pixel_values(Image.fromarray(photo))[0]
    rows, columns = ([reflected(i, n) for i in range(total)] for total, n in zip(values.shape[1:], shape, strict=True))
    torch.testing.assert_close(values, as_values(photo[rows][:, columns]))


def test_batches_are_padded_to_their_largest_photo():
    photos = [random_photo(20, 40), random_photo(70, 10)]
    values = pixel_values(photos)
    assert values.shape == (2, 3, 96, 64)
    for value, photo in zip(values, photos, strict=True):
        torch.testing.assert_close(value[:, : photo.shape[0], : photo.shape[1]], as_values(photo))
    assert [value.shape for value in ABCFuseNetImageProcessor(do_pad=False)(photos)["pixel_values"]] == [
        (3, 20, 40),
        (3, 70, 10),
    ]


# --- kinds of input ---


def test_pil_numpy_and_torch_agree():
    photo = random_photo(40, 50)
    expected = pixel_values(photo)
    channels_first = np.ascontiguousarray(photo.transpose(2, 0, 1))
    for given in (Image.fromarray(photo), channels_first, torch.from_numpy(channels_first), [photo]):
        assert torch.equal(pixel_values(given), expected)


def test_grey_and_transparent_photos_become_rgb():
    grey = random_photo(40, 50)[..., :1]
    expected = pixel_values(grey.repeat(3, axis=2))
    assert torch.equal(pixel_values(grey), expected)
    assert torch.equal(pixel_values(Image.fromarray(grey[..., 0])), expected)
    clear = pixel_values(Image.new("RGBA", (32, 32), (255, 0, 0, 0)))
    assert torch.equal(clear, torch.ones(1, 3, 32, 32))


# --- label maps ---


def test_label_maps_go_the_same_way_and_stay_labels():
    photo = random_photo(100, 200)
    levels = np.zeros((100, 200), np.uint8)
    levels[:, 60:], levels[50:, 100:], levels[:, 180:] = 3, 254, 255
    for blur_map in (levels, Image.fromarray(levels), torch.from_numpy(levels.astype(np.int64))):
        inputs = ABCFuseNetImageProcessor(size=50)(photo, blur_maps=blur_map, return_tensors="pt")
        labels = inputs["blur_labels"]
        assert labels.dtype == torch.int64
        assert labels.shape == (1, *inputs["pixel_values"].shape[2:]) == (1, 32, 64)
        assert labels[0, 5].tolist() == [0] * 15 + [3] * 30 + [255] * 19
        assert labels[0, 20].tolist() == [0] * 15 + [3] * 10 + [254] * 20 + [255] * 19
        assert labels[0, 25:].unique().tolist() == [255]


def test_label_maps_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"blur_maps must have the shapes of their photos"):
        ABCFuseNetImageProcessor()(random_photo(40, 50), blur_maps=np.zeros((50, 40), np.uint8))
    with pytest.raises(ValueError, match=r"blur_maps must have the shapes of their photos"):
        ABCFuseNetImageProcessor()([random_photo(40, 50)] * 2, blur_maps=np.zeros((40, 50), np.uint8))


# --- back to the photo ---


@pytest.mark.parametrize("shape", [(8, 8), (1, 7), (13, 40)])
def test_resize_map_is_bilinear_without_aligned_corners(shape):
    map = np.random.default_rng(0).random(shape, np.float32)
    expected = F.interpolate(torch.from_numpy(map)[None, None], size=(60, 77), mode="bilinear", align_corners=False)
    resized = resize_map(map, (60, 77))
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, expected[0, 0].numpy(), atol=1e-5)


def outputs_for(maps, logits=None):
    logits = torch.zeros(len(maps), 4) if logits is None else logits
    return {"logits": logits, "kind_logits": torch.zeros(len(maps), 3), "blur_map": maps, "attention_map": 1 - maps}


@pytest.mark.parametrize(("height", "width"), [(300, 500), (500, 300), (333, 1000), (90, 70), (1501, 2003)])
def test_an_edge_returns_to_its_place(height, width):
    photo = np.zeros((height, width, 3), np.uint8)
    bottom, right = height // 3, 3 * width // 4
    photo[:bottom, :right] = 255
    processor = ABCFuseNetImageProcessor(size=250)
    maps = (pixel_values(photo, processor)[:, :1] + 1) / 2
    report = processor.post_process_blur_understanding(outputs_for(maps), [(height, width)], resize=True)[0]
    assert report["blur_map"].shape == report["attention_map"].shape == (height, width)
    found = report["blur_map"] > 0.5
    assert abs(found[0].sum().item() - right) <= 1
    assert abs(found[:, 0].sum().item() - bottom) <= 1
    torch.testing.assert_close(report["attention_map"], 1 - report["blur_map"])


def test_reports_hold_probabilities_and_cropped_maps():
    maps = torch.rand(2, 1, 64, 96, dtype=torch.bfloat16)
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]]).log1p()
    processor = ABCFuseNetImageProcessor(size=90)
    padded = processor.post_process_blur_understanding(outputs_for(maps, logits))
    cropped = processor.post_process_blur_understanding(outputs_for(maps, logits), [(40, 30), (100, 180)])
    np.testing.assert_allclose(cropped[0]["probabilities"], [0.25] * 4)
    np.testing.assert_allclose(cropped[1]["probabilities"], np.array([2, 3, 4, 5]) / 14, rtol=1e-6)
    assert cropped[0]["probabilities"].dtype == np.float32
    np.testing.assert_allclose(cropped[0]["kind_probabilities"], [1 / 3] * 3, rtol=1e-6)
    assert [report["blur_map"].shape for report in padded] == [(64, 96), (64, 96)]
    assert [report["blur_map"].shape for report in cropped] == [(40, 30), (50, 90)]
    assert torch.equal(cropped[1]["blur_map"], maps[1, 0, :50, :90].float())
    assert cropped[1]["attention_map"].dtype == torch.float32


def test_post_processing_says_what_is_missing():
    processor, outputs = ABCFuseNetImageProcessor(), outputs_for(torch.rand(2, 1, 32, 32))
    with pytest.raises(ValueError, match="target_sizes has 1 sizes for 2 photos"):
        processor.post_process_blur_understanding(outputs, [(32, 32)])
    with pytest.raises(ValueError, match="resize=True needs target_sizes"):
        processor.post_process_blur_understanding(outputs, resize=True)


def test_no_photo_is_one_sentence():
    with pytest.raises(ValueError, match="There is no photo in the list; give one or more."):
        ABCFuseNetImageProcessor()([])


# --- as a part of transformers ---


def test_save_and_load(tmp_path):
    processor = ABCFuseNetImageProcessor(size={"longest_edge": 96}, size_divisor=16, image_mean=[0.4, 0.5, 0.6])
    processor.save_pretrained(tmp_path)
    loaded = ABCFuseNetImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    photo = random_photo(100, 130)
    assert torch.equal(pixel_values(photo, loaded), pixel_values(photo, processor))
    assert ABCFuseNetImageProcessor().size.longest_edge == 512


def test_stock_image_classification_pipeline():
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", num_labels=4)
    classify = pipeline(
        "image-classification",
        model=ResNetForImageClassification(config).eval(),
        image_processor=ABCFuseNetImageProcessor(),
    )
    scores = classify(Image.fromarray(random_photo(40, 50)), top_k=4)
    assert sum(score["score"] for score in scores) == pytest.approx(1, abs=1e-5)


def test_the_file_travels_with_what_opens_photos():
    path = image_processing_abc_fusenet.__file__
    assert get_relative_imports(path) == ["photos"]
    assert sorted(get_relative_imports(photos.__file__)) == ["close_ups", "exif", "formats"]
    for each in (path, photos.__file__, close_ups.__file__, exif.__file__, formats.__file__):
        assert {*get_imports(each)} - {*sys.stdlib_module_names} <= {"numpy", "PIL", "torch", "transformers"}


@pytest.mark.parametrize("kind", ["I;16", "array"])
def test_grey_of_16_bits_is_scaled(kind):
    grey = np.linspace(0, 65535, 64 * 48).reshape(48, 64).round().astype(np.uint16)
    photo = Image.fromarray(grey) if kind == "I;16" else np.stack([grey] * 3)
    eight = Image.fromarray((grey / 257).round().astype(np.uint8)).convert("RGB")
    processor = ABCFuseNetImageProcessor()
    expected = processor(eight, return_tensors="pt")["pixel_values"]
    assert torch.equal(processor(photo, return_tensors="pt")["pixel_values"], expected)
    assert torch.equal(processor([photo], return_tensors="pt")["pixel_values"], expected)


class OnGpu(torch.Tensor):
    """A tensor that NumPy cannot read, as one on a GPU."""

    def numpy(self, *_, **__):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = numpy

    def cpu(self):
        return self.as_subclass(torch.Tensor)


def test_tensors_on_a_gpu_are_copied():
    photo = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    far, processor = photo.as_subclass(OnGpu), ABCFuseNetImageProcessor()
    with pytest.raises(TypeError, match="cuda"):
        far.numpy()
    expected = processor(photo, return_tensors="pt")["pixel_values"]
    for given in (far, [far], far[None]):
        assert torch.equal(processor(given, return_tensors="pt")["pixel_values"], expected)
