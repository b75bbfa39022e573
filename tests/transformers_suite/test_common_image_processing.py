"""transformers' `ImageProcessingTestMixin` on our image processor."""

import pickle
import subprocess
import sys
import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import upstream
from transformers.image_utils import infer_channel_dimension_format

from abc_hf import ABCFuseNetImageProcessor

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

WITHOUT_TORCHVISION = """
import pickle, sys
sys.modules["torchvision"] = None  # an ImportError for whoever imports it
from transformers import AutoImageProcessor
import abc_hf

folder, photos, answers = sys.argv[1:]
processor = AutoImageProcessor.from_pretrained(folder)
assert type(processor) is abc_hf.ABCFuseNetImageProcessor
with open(photos, "rb") as file, open(answers, "wb") as output:
    pickle.dump(processor(pickle.load(file))["pixel_values"], output)
"""


class ABCFuseNetImageProcessingTester(upstream.image_processing.ImageProcessingTester):
    def __init__(self, parent, **kwargs):
        kwargs.setdefault("size", {"longest_edge": 64})
        kwargs.setdefault("batch_size", 4)
        super().__init__(parent, **kwargs)

    def _get_image_processing_classes(self):
        """Upstream's looks them up by the name of the test's folder."""
        return {"pil": ABCFuseNetImageProcessor}

    def expected_output_image_shape(self, images):
        """The long side comes to 64 or stays below it; both sides are padded to 32, and to the largest of the batch."""
        sides = []
        for image in images:
            if hasattr(image, "size") and not hasattr(image, "shape"):
                height, width = image.size[::-1]
            elif infer_channel_dimension_format(image, num_channels=(1, 3, 4)) == "channels_first":
                height, width = image.shape[1:]
            else:
                height, width = image.shape[:2]
            scale = min(1, 64 / max(height, width))
            sides.append([-(-round(side * scale) // 32) * 32 for side in (height, width)])
        return self.num_channels, *np.max(sides, axis=0).tolist()


class ABCFuseNetImageProcessingTest(upstream.image_processing.ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = ABCFuseNetImageProcessingTester

    @unittest.skip("one class on Pillow is what this project promises: it depends on no torchvision")
    def test_new_models_require_torchvision_backend(self):
        pass

    def test_pil_can_run_without_torchvision(self):
        """Upstream's starts a process that does not import abc_hf, and so does not know the registered class."""
        processor = ABCFuseNetImageProcessor(**self.image_processor_dict)
        photos = self.image_processor_tester.prepare_image_inputs()
        with TemporaryDirectory() as folder:
            processor.save_pretrained(folder)
            files = [Path(folder) / "photos.pkl", Path(folder) / "answers.pkl"]
            files[0].write_bytes(pickle.dumps(photos))
            subprocess.run([sys.executable, "-c", WITHOUT_TORCHVISION, folder, *files], check=True)
            answers = pickle.loads(files[1].read_bytes())
        np.testing.assert_array_equal(answers, processor(photos)["pixel_values"])
