# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""ABC-FuseNet: blur map (B), attention map (A) and content features (C), fused to judge whether blur is wanted.

Zhang et al., "Learning to Understand Image Blur", CVPR 2018, section 4. Where the paper is silent (its supplementary
material is not public) the choice made here is named in the docstring of the part concerned.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_abc_fusenet import KINDS, ABCFuseNetConfig
from .losses import class_loss, map_loss
from .trunks import TRUNKS, ConvLayer

BRANCHES = ("blur", "attention", "content")


@dataclass
class ABCFuseNetOutput(ModelOutput):
    """The answers of the network for a batch of B photos of H x W pixels.

    Args:
        loss: scalar, equation (2), when any label was given.
        logits: (B, 4), no-blur, good-blur, ok-blur, bad-blur; already divided by the calibration temperature, so that
            their softmax is the probability.
        kind_logits: (B, 3), defocus, motion, camera-shake: the kind of blur, if there is blur.
        blur_map: (B, 1, H, W), 0 = sharp, 1/3 = low, 2/3 = medium, 1 = high blur.
        attention_map: (B, 1, H, W), 0 = unimportant, 1 = the subject of the photo.
        content_features: (B, channels, H / s, W / s) of the content trunk, s its output stride.
        blur_features: the same of the blur trunk.
        blur_loss, attention_loss, desirability_loss, kind_loss: the terms of `loss`, unweighted.
        hidden_states: of the blur branch, on request: trunk, pyramid, and the features the blur logit is read from.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    kind_logits: torch.Tensor | None = None
    blur_map: torch.Tensor | None = None
    attention_map: torch.Tensor | None = None
    content_features: torch.Tensor | None = None
    blur_loss: torch.Tensor | None = None
    attention_loss: torch.Tensor | None = None
    desirability_loss: torch.Tensor | None = None
    kind_loss: torch.Tensor | None = None
    blur_features: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


def upsample(features: torch.Tensor, size: torch.Size | tuple[int, int]) -> torch.Tensor:
    return F.interpolate(features, size=size, mode="bilinear", align_corners=False)


# ---------------------------------------------------------------------------------------------------------- branches


def bin_means(length: int, bins: int, like: torch.Tensor) -> torch.Tensor:
    """(bins, length) matrix whose product with a signal is its adaptive average pooling.

    Bin i averages the cells floor(i * length / bins) ... ceil((i + 1) * length / bins) - 1, as `adaptive_avg_pool`
    does, but as plain arithmetic, which also exports with a symbolic length.
    """
    cell = torch.arange(length, device=like.device)[None]
    index = torch.arange(bins, device=like.device)[:, None]
    inside = ((cell >= index * length // bins) & (cell < ((index + 1) * length + bins - 1) // bins)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


class PyramidPooling(nn.Module):
    """Section 4.2: average-pool to each grid, reduce by 1x1 convolution, upsample, concatenate with the input."""

    def __init__(self, in_channels: int, bins: Sequence[int]):
        super().__init__()
        self.bins = tuple(bins)
        reduced = in_channels // max(1, len(bins))
        self.reductions = nn.ModuleList(nn.Conv2d(in_channels, reduced, 1) for _ in bins)
        self.out_channels = in_channels + len(bins) * reduced

    def forward(self, features):
        height, width = features.shape[-2:]
        levels = [features]
        for bins, reduction in zip(self.bins, self.reductions, strict=True):
            pooled = bin_means(height, bins, features) @ features @ bin_means(width, bins, features).T
            levels.append(upsample(F.relu(reduction(pooled)), (height, width)))
        return torch.cat(levels, dim=1)


class BoundaryRefinement(GradientCheckpointingLayer):
    """Densely connected 3x3 layers: each reads the input and all layers before it (section 4.2)."""

    def __init__(self, in_channels: int, growth: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(ConvLayer(in_channels + i * growth, growth) for i in range(layers))
        self.out_channels = in_channels + layers * growth

    def forward(self, features):
        for layer in self.layers:
            features = torch.cat([features, layer(features)], dim=1)
        return features


class BlurBranch(nn.Module):
    """B: trunk features -> pyramid -> joined by low-level features at stride 2 -> boundary refinement -> one logit.

    Between pyramid and upsampling stands PSPNet's 3x3 bottleneck (to `decoder_channels`), on which the paper is
    silent: without it the 2048 channels of the pyramid would have to be refined at stride 2.
    """

    def __init__(self, config: ABCFuseNetConfig, channels: dict[str, int]):
        super().__init__()
        self.skips = [str(stride) for stride in config.skip_strides]
        self.pyramid = PyramidPooling(channels["last"], config.pyramid_bins)
        self.bottleneck = ConvLayer(self.pyramid.out_channels, config.decoder_channels)
        joined = config.decoder_channels + sum(channels[skip] for skip in self.skips)
        self.refinement = BoundaryRefinement(joined, config.refinement_growth, config.refinement_layers)
        self.logit = nn.Conv2d(self.refinement.out_channels, 1, 1)

    def forward(self, features: dict[str, torch.Tensor]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        size = features["2"].shape[-2:]
        pyramid = self.pyramid(features["last"])
        joined = [self.bottleneck(pyramid), *(features[skip] for skip in self.skips)]
        refined = self.refinement(torch.cat([upsample(f, size) for f in joined], dim=1))
        return self.logit(refined), (features["last"], pyramid, refined)


class AttentionBranch(nn.Module):
    """A: a fully convolutional head, one logit at the stride of its trunk.

    The paper says only "fully convolutional networks": this is a trunk, two 3x3 convolutions and a 1x1 score.
    """

    def __init__(self, config: ABCFuseNetConfig, channels: dict[str, int]):
        super().__init__()
        hidden = config.attention_channels
        self.head = nn.Sequential(ConvLayer(channels["last"], hidden), ConvLayer(hidden, hidden, dilation=2))
        self.logit = nn.Conv2d(hidden, 1, 1)

    def forward(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.logit(self.head(features["last"]))


PROFILE_AMOUNTS = (1 / 12, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 5 / 6)
CORE = 0.7
"""Attention from which a pixel belongs to the subject's core."""
STEP_WIDTH = 0.04
"""Width of the soft steps at `PROFILE_AMOUNTS` and at `CORE`: shares keep a gradient."""


def profile_channels(texture_channels: int) -> int:
    return 5 * (len(PROFILE_AMOUNTS) + 1) + 3 + texture_channels


def blur_profile(blur_map, attention_map, blur_features) -> torch.Tensor:
    """How blur is spread over subject and background, and its look: (B, profile_channels) for the classifier.

    Five regions follow from the attention map: the frame, the subject, the subject's core, its rim and the background.
    Each region gives its mean blur, and the share of it that reaches each of seven amounts, which tells its sharpest
    from its most blurred parts. Subject, core and rim also give their share of the frame. The look of the blur is the
    mean of the blur trunk's features over the blurred places. The paper has no such part.

    Args:
        blur_map, attention_map: (B, 1, H, W) in 0..1.
        blur_features: (B, channels, h, w) of the blur trunk.
    """
    blur, attention = (F.avg_pool2d(each.float(), 4).flatten(1) for each in (blur_map, attention_map))
    core = torch.sigmoid((attention - CORE) / STEP_WIDTH)
    rim = 4 * attention * (1 - attention)
    regions = torch.stack([torch.ones_like(core), attention, core, rim, 1 - attention], 1)
    regions = regions / (regions.sum(-1, keepdim=True) + 1e-3 * core.shape[-1])
    amounts = torch.tensor(PROFILE_AMOUNTS, device=blur.device)
    steps = torch.sigmoid((blur[:, None] - amounts[:, None]) / STEP_WIDTH)
    shares = regions @ torch.cat([steps, blur[:, None]], 1).transpose(1, 2)
    sizes = torch.stack([attention.mean(-1), core.mean(-1), rim.mean(-1)], 1)

    cell = blur_map.shape[-1] // blur_features.shape[-1]
    weights = F.avg_pool2d(blur_map.float(), cell).flatten(2)
    texture = (weights * blur_features.float().flatten(2)).sum(-1) / (weights.sum(-1) + 1e-3 * weights.shape[-1])
    texture = F.layer_norm(texture, texture.shape[-1:])
    return torch.cat([shares.flatten(1), sizes, texture], 1)


class DesirabilityClassifier(nn.Module):
    """The light classifier of section 4.3: two convolutions, two dropouts, one fully connected layer.

    Kernels of 1x1 (to mix the stacked maps) and 3x3, and an average over the grid before the last layer, are ours; and
    so is the BatchNorm over the stack, without which two maps in 0..1 are drowned by hundreds of content features. With
    `config.blur_profile` the last layer sees the `blur_profile` as well. Beside the desirability, the classifier names
    the kind of blur, on which the paper is silent.
    """

    def __init__(self, config: ABCFuseNetConfig, content_channels: int, texture_channels: int):
        super().__init__()
        stacked = sum(content_channels if name == "content" else 1 for name in config.fusion_inputs)
        hidden = config.fusion_channels
        self.normalization = nn.BatchNorm2d(stacked)
        self.conv1 = ConvLayer(stacked, hidden, 1)
        self.conv2 = ConvLayer(hidden, hidden, 3)
        self.dropout = nn.Dropout(config.fusion_dropout)
        self.profile = None
        if config.blur_profile:
            self.profile = nn.Sequential(nn.Linear(profile_channels(texture_channels), hidden), nn.ReLU())
        features = hidden if self.profile is None else 2 * hidden
        self.fc = nn.Linear(features, config.num_labels)  # type: ignore[arg-type]  # never None
        self.kind = nn.Linear(features, len(KINDS))

    def forward(self, stacked: torch.Tensor, profile: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of desirability (B, num_labels) and of the kind of blur (B, 3), from the answer of `fuse`."""
        features = self.dropout(self.conv1(self.normalization(stacked)))
        features = self.conv2(features).mean((-2, -1))
        if self.profile is not None and profile is not None:
            features = torch.cat([features, self.profile(profile.to(features.dtype))], 1)
        features = self.dropout(features)
        return self.fc(features), self.kind(features)


# ------------------------------------------------------------------------------------------------------------ models


class ABCFuseNetPreTrainedModel(PreTrainedModel):
    config: ABCFuseNetConfig
    base_model_prefix = "abc_fusenet"
    main_input_name = "pixel_values"
    input_modalities = ("image",)  # type: ignore[assignment]  # a tuple in all of transformers
    supports_gradient_checkpointing = True
    _no_split_modules = ["InceptionBlock", "BoundaryRefinement"]

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d) and module.bias is None:  # BatchNorm follows; layers with a bias start near 0
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @classmethod
    def from_pretrained(cls, *args, use_safetensors: bool = True, **options):  # type: ignore[override]  # its arguments
        """transformers' own, but of safetensors alone: other weights are pickles, which are code."""
        return super().from_pretrained(*args, use_safetensors=use_safetensors, **options)


class ABCFuseNetModel(ABCFuseNetPreTrainedModel):
    """The three branches: blur map, attention map and content features, without the classifier."""

    def __init__(self, config: ABCFuseNetConfig):
        super().__init__(config)
        trunks = {"blur": TRUNKS[config.blur_trunk](config, config.blur_output_stride)}
        if config.attention_trunk:
            trunks["attention"] = TRUNKS[config.attention_trunk](config, config.attention_output_stride)
        trunks["content"] = TRUNKS[config.content_trunk](config, config.content_output_stride)
        self.trunks = nn.ModuleDict(trunks)
        self.trunk_of = {branch: branch if branch in trunks else "content" for branch in BRANCHES}

        self.blur_branch = BlurBranch(config, trunks["blur"].channels)
        self.attention_branch = AttentionBranch(config, trunks[self.trunk_of["attention"]].channels)
        self.content_channels = trunks["content"].channels["last"]
        self.blur_channels = trunks["blur"].channels["last"]
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        branches: tuple[str, ...] = BRANCHES,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> ABCFuseNetOutput:
        """
        Args:
            pixel_values: (B, 3, H, W) as `ABCFuseNetImageProcessor` makes them; H and W multiples of `config.stride`.
            branches: which of "blur", "attention" and "content" to run. The answers of the others are None.

        Raises:
            ValueError: for sides that are no multiple of the stride, or an unknown branch.
        """
        height, width = pixel_values.shape[-2:]
        if height % self.config.stride or width % self.config.stride:
            raise ValueError(
                f"The sides of pixel_values must be multiples of {self.config.stride}; got {height}x{width}. "
                "ABCFuseNetImageProcessor pads photos so."
            )
        if not branches or not set(branches) <= set(BRANCHES):
            raise ValueError(f"branches must name one or more of {', '.join(BRANCHES)}; got {', '.join(branches)}.")
        trunks = {self.trunk_of[branch] for branch in branches}
        features = {name: trunk(pixel_values) for name, trunk in self.trunks.items() if name in trunks}

        blur_map = attention_map = content_features = blur_features = hidden_states = None
        if "blur" in branches:
            blur_logits, hidden_states = self.blur_branch(features["blur"])
            blur_map = torch.sigmoid(upsample(blur_logits, (height, width)))
            blur_features = features["blur"]["last"]
        if "attention" in branches:
            attention_logits = self.attention_branch(features[self.trunk_of["attention"]])
            attention_map = torch.sigmoid(upsample(attention_logits, (height, width)))
        if "content" in branches:
            content_features = features["content"]["last"]

        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return ABCFuseNetOutput(
            blur_map=blur_map,
            attention_map=attention_map,
            content_features=content_features,
            blur_features=blur_features,
            hidden_states=hidden_states if output_hidden_states else None,
        )


class ABCFuseNetForBlurUnderstanding(ABCFuseNetPreTrainedModel):
    """ABC-FuseNet with its classifier: where a photo is blurred, what matters in it, and whether the blur is wanted."""

    def __init__(self, config: ABCFuseNetConfig):
        super().__init__(config)
        self.abc_fusenet = ABCFuseNetModel(config)
        base = self.abc_fusenet
        self.classifier = DesirabilityClassifier(config, base.content_channels, base.blur_channels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        blur_labels: torch.Tensor | None = None,
        attention_labels: torch.Tensor | None = None,
        kind_labels: torch.Tensor | None = None,
        branches: tuple[str, ...] = BRANCHES,
        output_hidden_states: bool | None = None,
        label_counts: dict[str, torch.Tensor] | None = None,
        **kwargs,
    ) -> ABCFuseNetOutput:
        """
        Args:
            pixel_values: (B, 3, H, W) as `ABCFuseNetImageProcessor` makes them; H and W multiples of `config.stride`.
            labels: (B,) desirability classes 0..3, -100 where a photo has none; or (B, 4) float, the share of
                annotators who chose each class, all 0 where a photo has none.
            blur_labels: (B, H, W) blur levels 0..3; 254 = blurred, amount unknown; 255 = unknown.
            attention_labels: (B, H, W), the same coding with 0 and 3 for background and salient object; only the
                saliency pre-training gives them (in the paper's joint training attention learns from `labels` alone).
            kind_labels: (B,) the kind of blur, 0..2 in the order of `KINDS`; -100 where a photo has none.
            branches: which of "blur", "attention" and "content" to run; there are logits only when all three do.
            label_counts: the counts of `losses.count_labels` for the whole step that this batch is a part of.

        Raises:
            ValueError: for sides that are no multiple of the stride, map labels of another shape, an unknown branch, or
                labels of a branch that does not run.
        """
        output = self.abc_fusenet(pixel_values, branches=branches, output_hidden_states=output_hidden_states)
        given = {"blur": blur_labels, "attention": attention_labels}
        missing = [branch for branch, target in given.items() if target is not None and branch not in branches]
        classes = {"desirability": labels, "kind": kind_labels}
        if missing or (set(branches) != set(BRANCHES) and any(each is not None for each in classes.values())):
            raise ValueError(f"These labels need branches that do not run: branches is {', '.join(branches)}.")
        reduction, weight = self.config.blur_loss_reduction, self.config.desirability_loss_weight
        counts, losses = label_counts or {}, {}
        for name, values, target in (
            ("blur", output.blur_map, blur_labels),
            ("attention", output.attention_map, attention_labels),
        ):
            if target is not None:
                losses[f"{name}_loss"] = map_loss(values, target, reduction, counts.get(f"{name}_labels"))
        logits = kind_logits = None
        if set(branches) == set(BRANCHES):
            scores, kind_logits = self.classifier(*self.fuse(output))
            logits = scores / self.config.temperature
            if labels is not None:
                losses["desirability_loss"] = class_loss(logits, labels, counts.get("labels"))
            if kind_labels is not None:
                losses["kind_loss"] = class_loss(kind_logits, kind_labels, counts.get("kind_labels"))
        weights = {"desirability_loss": weight, "kind_loss": weight}
        terms = [weights.get(name, 1.0) * loss for name, loss in losses.items()]
        return ABCFuseNetOutput(
            loss=sum(terms[1:], terms[0]) if terms else None,
            logits=logits,
            kind_logits=kind_logits,
            blur_map=output.blur_map,
            attention_map=output.attention_map,
            content_features=output.content_features,
            blur_features=output.blur_features,
            hidden_states=output.hidden_states,
            **losses,
        )

    def fuse(self, output: ABCFuseNetOutput) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The input of the classifier: the maps of `config.fusion_inputs` stacked along channels on C's grid (the dual
        attention of section 4.3), and the `blur_profile` (None without `config.blur_profile`)."""
        names = ("blur_map", "attention_map", "content_features", "blur_features")
        blur, attention, content, blur_features = (output[name] for name in names)
        maps = {
            "blur": blur,
            "attention": attention,
            "blur_attended": blur * attention,
            "blur_unattended": blur * (1 - attention),
        }
        grid = {name: F.avg_pool2d(values, self.config.content_output_stride) for name, values in maps.items()}
        grid["content"] = content
        stacked = torch.cat([grid[name].to(content.dtype) for name in self.config.fusion_inputs], dim=1)
        profile = blur_profile(blur, attention, blur_features) if self.config.blur_profile else None
        return stacked, profile
