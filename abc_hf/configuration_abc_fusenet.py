# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""Configuration of ABC-FuseNet (Zhang et al., "Learning to Understand Image Blur", CVPR 2018)."""

import dataclasses
import difflib
import math
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

DESIRABILITY = ("no-blur", "good-blur", "ok-blur", "bad-blur")
"""The four classes of section 3.2, in the order of the logits."""

KINDS = ("defocus", "motion", "camera-shake")
"""The kinds of blur, in the order of `kind_logits`. A photo judged no-blur has none."""

MAPS = ("blur", "attention", "content", "blur_attended", "blur_unattended")
"""The possible inputs of the classifier: B, A, C, B x A and B x (1 - A)."""


@strict
class ABCFuseNetConfig(PreTrainedConfig):
    """The architecture. `ABCFuseNetConfig()` is the paper's network, `VARIANTS` names small overrides.

    Trunks (`blur_trunk`, `attention_trunk`, `content_trunk`): "inception_v2", "resnet" or "mobilenet_v2". With
    `attention_trunk=None` the attention branch reads the content trunk's features, and the two share one trunk.

    Args:
        blur_output_stride: pixels of the photo per cell of the blur trunk's last features. The paper removes "the
            downsampling operator" before Inception_4a and dilates the convolutions from there on. Read literally that
            is one operator of five: stride 32 becomes 16, the default. 8 is the reading of PSPNet, which the paper
            follows for the pyramid: dilation also replaces the downsampling before 5a, at 1.5 times the cost.
        attention_output_stride: the same for the attention branch's own trunk; unused if the branch shares C's trunk.
        content_output_stride: of C. 32 is res5c of ResNet-50; "resnet" has no other.
        width_multiplier: scales the channels of the Inception-V2 and MobileNetV2 trunks.
        resnet_depths, resnet_hidden_sizes, resnet_embedding_size, resnet_layer_type: as in `ResNetConfig`.
        skip_strides: strides of the trunk features that join the decoder at stride 2. The paper takes those after the
            first convolution, (2,); 4 and 8 may be added. () leaves them out, as an ablation does.
        pyramid_bins: pooled grids of the pyramid (section 4.2), each reduced to 1/len(pyramid_bins) of the channels.
            () pools nothing.
        decoder_channels: channels of the pyramid after its bottleneck, before it meets the low-level features.
        refinement_layers, refinement_growth: densely connected 3x3 layers at stride 2, and the channels each adds.
        attention_channels: hidden channels of the attention branch's fully convolutional head.
        fusion_inputs: the maps stacked for the classifier, names of `MAPS`. The paper's baselines are ("content",),
            ("blur",), ("blur", "content"), ("blur", "attention") and ("blur", "attention", "content").
        fusion_channels: channels of the classifier's two convolutions.
        fusion_dropout: of the classifier's two dropout layers (0.5 in the paper).
        blur_profile: the classifier also reads the `blur_profile` of `modeling_abc_fusenet.py`: the spread of blur over
            subject and background, and its look. The paper's classifier reads only the stacked maps.
        blur_loss_reduction: "sum" adds the squared error over all pixels of a photo, which is equation (1); "mean"
            averages over the labelled pixels, so equation (2) does not depend on the size of the crop.
        desirability_loss_weight: lambda of equation (2).
        temperature: calibration; the classifier's scores are divided by it to give `logits`.
        certain_from: a verdict of at least this probability is certain. Training sets it on the validation split; 0
            takes every verdict as certain.
    """

    model_type = "abc_fusenet"

    num_channels: int = 3
    blur_trunk: Literal["inception_v2", "mobilenet_v2"] = "inception_v2"
    blur_output_stride: Literal[8, 16] = 16
    attention_trunk: Literal["inception_v2", "mobilenet_v2"] | None = "inception_v2"
    attention_output_stride: Literal[8, 16] = 16
    content_trunk: Literal["resnet", "mobilenet_v2"] = "resnet"
    content_output_stride: Literal[8, 16, 32] = 32
    width_multiplier: float = 1.0
    resnet_depths: list[int] | tuple[int, ...] = (3, 4, 6, 3)
    resnet_hidden_sizes: list[int] | tuple[int, ...] = (256, 512, 1024, 2048)
    resnet_embedding_size: int = 64
    resnet_layer_type: Literal["basic", "bottleneck"] = "bottleneck"
    skip_strides: list[int] | tuple[int, ...] = (2,)
    pyramid_bins: list[int] | tuple[int, ...] = (1, 2, 3, 6)
    decoder_channels: int = 256
    refinement_layers: int = 4
    refinement_growth: int = 32
    attention_channels: int = 256
    fusion_inputs: list[str] | tuple[str, ...] = ("blur_attended", "blur_unattended", "content")
    fusion_channels: int = 512
    fusion_dropout: float = 0.5
    blur_profile: bool = False
    initializer_range: float = 0.02
    blur_loss_reduction: Literal["sum", "mean"] = "sum"
    desirability_loss_weight: float = 0.1
    temperature: float = 1.0
    certain_from: float = 0.0

    def __post_init__(self, **kwargs):
        names = [field.name for field in dataclasses.fields(type(self))]
        for name in kwargs:  # transformers keeps any other keyword as an attribute, so a typo would pass unnoticed
            if close := difflib.get_close_matches(name, names, 1, cutoff=0.85):
                raise TypeError(f"ABCFuseNetConfig has no {name}; did you mean {close[0]}?")
        if not {"id2label", "label2id", "num_labels"} & kwargs.keys() and self.id2label is None:
            self.id2label = dict(enumerate(DESIRABILITY))
            self.label2id = {label: index for index, label in enumerate(DESIRABILITY)}
        if not __name__.startswith("transformers_modules"):  # the package has its own; a copy needs trust
            kwargs.pop("custom_pipelines", None)
        # a saved folder names one auto class per class, but the branches also load without the classifier
        kwargs["auto_map"] = kwargs.get("auto_map", {}) | {"AutoModel": "modeling_abc_fusenet.ABCFuseNetModel"}
        super().__post_init__(**kwargs)

    @property
    def stride(self) -> int:
        """The sides of photos must be multiples of this number of pixels."""
        return 32

    def validate_architecture(self):
        """Cross-field checks; `@strict` runs them on construction and before saving (types on every assignment)."""
        unknown = [name for name in self.fusion_inputs if name not in MAPS]
        if unknown or not self.fusion_inputs:
            raise ValueError(f"fusion_inputs must name some of {', '.join(MAPS)}; got {list(self.fusion_inputs)}.")
        if self.content_trunk == "resnet" and self.content_output_stride != 32:
            raise ValueError('content_trunk="resnet" has content_output_stride=32; choose "mobilenet_v2" for 8 or 16.')
        if self.content_trunk == "resnet" and self.attention_trunk is None:
            raise ValueError("attention_trunk=None shares the content trunk, which must then be mobilenet_v2.")
        if len(self.resnet_depths) != 4 or len(self.resnet_hidden_sizes) != 4:
            raise ValueError("resnet_depths and resnet_hidden_sizes need four entries, one per stage.")
        if min(self.pyramid_bins, default=1) < 1:
            raise ValueError(f"pyramid_bins must be positive grid sizes such as (1, 2, 3, 6); got {self.pyramid_bins}.")
        if not set(self.skip_strides) <= {2, 4, 8}:
            raise ValueError(f"skip_strides must be some of 2, 4 and 8; got {list(self.skip_strides)}.")
        if len(set(self.fusion_inputs)) < len(self.fusion_inputs):
            raise ValueError(f"fusion_inputs must name each map once; got {list(self.fusion_inputs)}.")
        sizes = {name: getattr(self, name) for name in ("num_channels", "resnet_embedding_size", "decoder_channels")}
        sizes |= {name: getattr(self, name) for name in ("refinement_growth", "attention_channels", "fusion_channels")}
        sizes |= {"resnet_depths": min(self.resnet_depths), "resnet_hidden_sizes": min(self.resnet_hidden_sizes)}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be 1 or more; got {size}.")
        if self.refinement_layers < 0:
            raise ValueError(f"refinement_layers must be 0 or more; got {self.refinement_layers}.")
        if not 1 / 16 <= self.width_multiplier <= 16:
            raise ValueError(f"width_multiplier must be between 1/16 and 16; got {self.width_multiplier}.")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be above 0; got {self.temperature}.")
        if not 0 <= self.desirability_loss_weight < math.inf:
            raise ValueError(f"desirability_loss_weight must be 0 or more; got {self.desirability_loss_weight}.")
        if not 0 <= self.certain_from <= 1:
            raise ValueError(f"certain_from is a probability, 0 to 1; got {self.certain_from}.")
        if not 0 <= self.fusion_dropout < 1:
            raise ValueError(f"fusion_dropout must be in [0, 1); got {self.fusion_dropout}.")


VARIANTS: dict[str, dict] = {
    "paper": {},
    "mobile": {
        "blur_trunk": "mobilenet_v2",
        "attention_trunk": None,
        "content_trunk": "mobilenet_v2",
        "content_output_stride": 16,
        "skip_strides": (2, 4, 8),
        "decoder_channels": 32,
        "refinement_layers": 2,
        "refinement_growth": 16,
        "attention_channels": 96,
        "fusion_channels": 128,
        "blur_profile": True,
        "blur_loss_reduction": "mean",
    },
    "tiny": {
        "width_multiplier": 0.125,
        "resnet_depths": (1, 1, 1, 1),
        "resnet_hidden_sizes": (16, 32, 48, 64),
        "resnet_embedding_size": 16,
        "resnet_layer_type": "basic",
        "decoder_channels": 16,
        "refinement_layers": 2,
        "refinement_growth": 8,
        "attention_channels": 16,
        "fusion_channels": 16,
        "blur_profile": True,
        "blur_loss_reduction": "mean",
    },
}
"""Named variants, each given by its differences from `ABCFuseNetConfig()`."""
