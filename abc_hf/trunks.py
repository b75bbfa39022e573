# Copyright 2026 The ABC-FuseNet authors. Licensed under the Apache License, Version 2.0.
"""The trunks of ABC-FuseNet's branches.

A trunk turns pixels into a dict of features by name: "2", "4", "8" (their strides, where the trunk has them) and
"last".
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import MobileNetV2Config, MobileNetV2Model, ResNetConfig, ResNetModel
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_abc_fusenet import ABCFuseNetConfig


class ConvLayer(nn.Sequential):
    """Convolution (zero-padded to keep the grid), BatchNorm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1, dilation: int = 1):
        super().__init__()
        padding = (kernel_size // 2) * dilation
        self.convolution = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=padding, dilation=dilation, bias=False
        )
        self.normalization = nn.BatchNorm2d(out_channels)
        self.activation = nn.ReLU(inplace=True)


class InceptionBlock(GradientCheckpointingLayer):
    """One block of BN-Inception: 1x1, 3x3, double 3x3 and pooling paths, concatenated.

    A block without a 1x1 path reduces the grid: both 3x3 paths have `stride`, and the pooling path is only a max pool.
    `dilation` applies to the 3x3 convolutions; pooling stays 3x3.
    """

    def __init__(self, in_channels, convolutions, pool, project, stride=1, dilation=1):
        super().__init__()
        conv1, reduce3, conv3, reduce5, conv5 = convolutions
        self.conv_1x1 = ConvLayer(in_channels, conv1, 1) if conv1 else None
        self.conv_3x3 = nn.Sequential(
            ConvLayer(in_channels, reduce3, 1), ConvLayer(reduce3, conv3, 3, stride, dilation)
        )
        self.double_3x3 = nn.Sequential(
            ConvLayer(in_channels, reduce5, 1),
            ConvLayer(reduce5, conv5, 3, 1, dilation),
            ConvLayer(conv5, conv5, 3, stride, dilation),
        )
        if pool == "max":
            pooling: nn.Module = nn.MaxPool2d(3, stride, padding=1)
        else:
            pooling = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
        self.pool = nn.Sequential(pooling, ConvLayer(in_channels, project, 1) if project else nn.Identity())
        self.out_channels = conv1 + conv3 + conv5 + (project or in_channels)

    def forward(self, features):
        paths = [self.conv_3x3, self.double_3x3, self.pool]
        if self.conv_1x1 is not None:
            paths.insert(0, self.conv_1x1)
        return torch.cat([path(features) for path in paths], dim=1)


class Trunk(nn.Module):
    channels: dict[str, int]
    """The number of channels of each of its features."""


class InceptionV2Trunk(Trunk):
    """BN-Inception (Ioffe & Szegedy 2015, table 1), fully convolutional, from the first convolution to 5b.

    Dilation replaces the downsampling before 4a (in 3c), and with `output_stride=8` also the one before 5a (in 4e).
    """

    #            1x1  #3x3r 3x3  #d3x3r d3x3  pool  project
    BLOCKS = {
        "3a": (64, 64, 64, 64, 96, "avg", 32),
        "3b": (64, 64, 96, 64, 96, "avg", 64),
        "3c": (0, 128, 160, 64, 96, "max", 0),
        "4a": (224, 64, 96, 96, 128, "avg", 128),
        "4b": (192, 96, 128, 96, 128, "avg", 128),
        "4c": (160, 128, 160, 128, 160, "avg", 96),
        "4d": (96, 128, 192, 160, 192, "avg", 96),
        "4e": (0, 128, 192, 192, 256, "max", 0),
        "5a": (352, 192, 320, 160, 224, "avg", 128),
        "5b": (352, 192, 320, 192, 224, "max", 128),
    }

    def __init__(self, config: ABCFuseNetConfig, output_stride: int):
        super().__init__()

        def width(channels: int) -> int:
            return round(channels * config.width_multiplier) if channels else 0

        self.conv1 = ConvLayer(config.num_channels, width(64), 7, stride=2)
        self.conv2 = nn.Sequential(ConvLayer(width(64), width(64), 1), ConvLayer(width(64), width(192), 3))
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        channels, dilation = width(192), 1
        self.channels = {"2": width(64), "4": width(192)}
        dilated = ("3c",) if output_stride == 16 else ("3c", "4e")
        for name, (*convolutions, pool, project) in self.BLOCKS.items():
            stride = 2 if convolutions[0] == 0 and name not in dilated else 1
            block = InceptionBlock(channels, [width(c) for c in convolutions], pool, width(project), stride, dilation)
            self.add_module(f"inception_{name}", block)
            channels = block.out_channels
            if name in dilated:
                dilation *= 2
            if name == "3b":
                self.channels["8"] = channels
        self.channels["last"] = channels

    def forward(self, pixel_values):
        features = {"2": self.conv1(pixel_values)}
        features["4"] = self.conv2(self.pool(features["2"]))
        last = self.pool(features["4"])
        for name in self.BLOCKS:
            last = getattr(self, f"inception_{name}")(last)
            if name == "3b":
                features["8"] = last
        return {**features, "last": last}


class TFSameConv2d(nn.Conv2d):
    """A 3x3 convolution of stride 2, padded as TensorFlow pads even sizes: no cell before, one cell after."""

    def forward(self, features):
        return super().forward(F.pad(features, (0, 1, 0, 1)))


class BackboneTrunk(Trunk):
    """A trunk made of transformers' blocks. Activation checkpointing does not know these, so `run` recomputes them."""

    backbone: Any
    gradient_checkpointing = False  # `activation_checkpointing_enable` sets this and the function that recomputes
    _gradient_checkpointing_func: Callable

    def run(self, block: nn.Module, features: torch.Tensor) -> torch.Tensor:
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(block, features)
        return block(features)


class MobileNetV2Trunk(BackboneTrunk):
    """transformers' MobileNetV2 up to its last inverted residual.

    The original computes its padding from the size of the features, and that cannot be exported. Here the sides are
    multiples of the stride, so one padding fits all sizes. A test compares the outputs.
    """

    def __init__(self, config: ABCFuseNetConfig, output_stride: int):
        super().__init__()
        trunk_config = MobileNetV2Config(
            num_channels=config.num_channels,
            depth_multiplier=config.width_multiplier,
            output_stride=output_stride,
            tf_padding=False,
            hidden_act="relu6",
        )
        self.backbone = MobileNetV2Model(trunk_config, add_pooling_layer=False)
        self.backbone.conv_1x1 = nn.Identity()  # belongs to the classifier; we use the features before it
        stem = self.backbone.conv_stem
        for layer in (stem.first_conv, *(block.conv_3x3 for block in self.backbone.layer)):
            conv = layer.convolution
            if conv.stride == (2, 2):
                layer.convolution = TFSameConv2d(
                    conv.in_channels, conv.out_channels, 3, stride=2, groups=conv.groups, bias=False
                )
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.01  # the port has TensorFlow's decay of 0.997, which would keep only the last batch
        blocks = [block.reduce_1x1.convolution.out_channels for block in self.backbone.layer]
        first = stem.first_conv.convolution.out_channels
        self.channels = {"2": first, "4": blocks[1], "8": blocks[4], "last": blocks[-1]}

    def forward(self, pixel_values):
        stem = self.backbone.conv_stem
        features = {"2": stem.first_conv(pixel_values)}
        last = stem.reduce_1x1(stem.conv_3x3(features["2"]))
        for index, block in enumerate(self.backbone.layer):
            last = self.run(block, last)
            if index == 1:
                features["4"] = last
            elif index == 4:
                features["8"] = last
        return {**features, "last": last}


class ResNetTrunk(BackboneTrunk):
    """transformers' ResNet up to res5c, of the kind v1.5: the 3x3 convolution of a bottleneck has the stride. In the
    original, and in the paper's Caffe weights, the first 1x1 convolution has it."""

    def __init__(self, config: ABCFuseNetConfig, output_stride: int):
        super().__init__()
        self.backbone = ResNetModel(
            ResNetConfig(
                num_channels=config.num_channels,
                embedding_size=config.resnet_embedding_size,
                hidden_sizes=list(config.resnet_hidden_sizes),
                depths=list(config.resnet_depths),
                layer_type=config.resnet_layer_type,
            )
        )
        self.channels = {"last": config.resnet_hidden_sizes[-1]}

    def forward(self, pixel_values):
        last = self.backbone.embedder(pixel_values)
        for stage in self.backbone.encoder.stages:
            for block in stage.layers:
                last = self.run(block, last)
        return {"last": last}


TRUNKS: dict[str, Callable[[ABCFuseNetConfig, int], Trunk]] = {
    "inception_v2": InceptionV2Trunk,
    "mobilenet_v2": MobileNetV2Trunk,
    "resnet": ResNetTrunk,
}
