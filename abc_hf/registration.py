"""The public names of `abc_hf`. Importing this module registers the model with transformers."""
# ruff: noqa: F401

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification
from transformers.models.auto.video_processing_auto import AutoVideoProcessor  # from other modules it needs torchvision
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_abc_fusenet import VARIANTS, ABCFuseNetConfig
from .image_processing_abc_fusenet import ABCFuseNetImageProcessor
from .inference.loading import load_pipeline
from .modeling_abc_fusenet import ABCFuseNetForBlurUnderstanding, ABCFuseNetModel
from .photos import load_photo
from .pipeline import BlurUnderstandingPipeline
from .report import BlurReport

AutoConfig.register(ABCFuseNetConfig.model_type, ABCFuseNetConfig, exist_ok=True)
AutoModel.register(ABCFuseNetConfig, ABCFuseNetModel, exist_ok=True)
AutoModelForImageClassification.register(ABCFuseNetConfig, ABCFuseNetForBlurUnderstanding, exist_ok=True)
AutoImageProcessor.register(ABCFuseNetConfig, image_processor_classes={"pil": ABCFuseNetImageProcessor}, exist_ok=True)
# Without this entry, `pipeline("image-classification", ...)` would ask whether to run code of the repository.
AutoVideoProcessor.register(ABCFuseNetConfig, None, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(
    "blur-understanding", BlurUnderstandingPipeline, pt_model=AutoModelForImageClassification, type="image"
)

# So folders of `save_pretrained` work with `trust_remote_code=True` where this package is not installed.
ABCFuseNetConfig.register_for_auto_class()
ABCFuseNetModel.register_for_auto_class("AutoModel")
ABCFuseNetForBlurUnderstanding.register_for_auto_class("AutoModelForImageClassification")
ABCFuseNetImageProcessor.register_for_auto_class()
