"""transformers' `ConfigTester`, `ModelTesterMixin` and `PipelineTesterMixin` on our classes."""

import unittest
from unittest.mock import patch

import pytest
import torch
import upstream
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from abc_hf import VARIANTS, ABCFuseNetConfig, ABCFuseNetForBlurUnderstanding, ABCFuseNetImageProcessor, ABCFuseNetModel

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


class ABCFuseNetModelTester:
    batch_size, num_channels, image_size = 3, 3, 64
    is_training = True

    def __init__(self, **overrides):
        self.overrides = overrides

    def get_config(self) -> ABCFuseNetConfig:
        return ABCFuseNetConfig(**self.overrides)

    def prepare_config_and_inputs_for_common(self):
        shape = (self.batch_size, self.num_channels, self.image_size, self.image_size)
        return self.get_config(), {"pixel_values": upstream.modeling.floats_tensor(shape)}


class ImageClassificationPipelineTests:
    """Upstream's is not in the sdist: the stock pipeline gives the four classes, best first."""

    def get_test_pipeline(self, model, tokenizer=None, image_processor=None, dtype="float32", **components):
        pipeline = upstream.pipelines.transformers_module.pipeline(
            "image-classification", model=model, image_processor=image_processor, dtype=dtype
        )
        return pipeline, [upstream.fixture_photo("")] * 2

    def run_pipeline_test(self, pipeline, examples):
        for answer in pipeline(examples, top_k=4):
            assert sorted(entry["label"] for entry in answer) == ["bad-blur", "good-blur", "no-blur", "ok-blur"]
            scores = [entry["score"] for entry in answer]
            assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1, abs=1e-3)


class ABCFuseNetConfigTest(unittest.TestCase):
    def test_config(self):
        upstream.configuration.ConfigTester(
            self,
            config_class=ABCFuseNetConfig,
            has_text_modality=False,
            common_properties=["num_channels", "num_labels"],
            decoder_channels=24,
        ).run_common_tests()


class ABCFuseNetModelTest(
    upstream.modeling.ModelTesterMixin, upstream.pipelines.PipelineTesterMixin, unittest.TestCase
):
    """`tiny`: Inception-V2 and ResNet."""

    overrides = VARIANTS["tiny"]
    all_model_classes = (ABCFuseNetModel, ABCFuseNetForBlurUnderstanding)
    pipeline_model_mapping = {"image-classification": ABCFuseNetForBlurUnderstanding}
    has_attentions = False  # no transformer layers
    test_resize_embeddings = False  # no embeddings
    test_torch_exportable = False  # its tests are not in the sdist; ours is test_exports_with_dynamic_height_and_width

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # upstream writes all weights out for messages of failures, before it knows of any
        torch.set_printoptions(threshold=0, edgeitems=1)
        cls.addClassCleanup(torch.set_printoptions, profile="default")
        # where upstream looks up that a class is a base model, which has no loss
        cls.enterClassContext(patch.dict(MODEL_MAPPING_NAMES, {ABCFuseNetConfig.model_type: ABCFuseNetModel.__name__}))
        network = ABCFuseNetForBlurUnderstanding(ABCFuseNetConfig(**cls.overrides))
        processor = ABCFuseNetImageProcessor(size={"longest_edge": 64})
        upstream.offer_tiny_model(network, processor, "image-classification", ImageClassificationPipelineTests)

    def setUp(self):
        self.model_tester = ABCFuseNetModelTester(**self.overrides)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        """Upstream gives labels to the classes of its own auto mappings."""
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if return_labels and model_class is ABCFuseNetForBlurUnderstanding:
            batch, _, height, width = inputs["pixel_values"].shape
            inputs["labels"] = inputs["kind_labels"] = torch.zeros(batch, dtype=torch.long)
            inputs["blur_labels"] = torch.ones(batch, height, width, dtype=torch.long)
        return inputs

    def test_hidden_states_output(self):
        """Upstream's expects layers of one width; ours are the trunk's features, the pyramid and the refined ones."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        for model_class in self.all_model_classes:
            model = model_class(config).eval()
            self.assertIsNone(model(**inputs).hidden_states)
            on_request = model(**inputs, output_hidden_states=True).hidden_states
            self.assertEqual([states.shape[-1] for states in on_request], [4, 4, 32])
        config.output_hidden_states = True
        self.assertEqual(len(ABCFuseNetModel(config)(**inputs).hidden_states), 3)

    @unittest.skip("takes pixels, not token embeddings")
    def test_inputs_embeds(self):
        pass

    @unittest.skip("has no token embeddings")
    def test_model_get_set_embeddings(self):
        pass


class ABCFuseNetMobileNetModelTest(ABCFuseNetModelTest):
    """`mobile` at a tenth of its width: MobileNetV2, shared by attention and content."""

    overrides = VARIANTS["mobile"] | {"width_multiplier": 0.1}
