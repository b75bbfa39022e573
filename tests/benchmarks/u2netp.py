"""U2NetP (Qin et al., "U2-Net", Pattern Recognition 2020, the small one), with random weights: only its time counts.

A convolution with a bias before a BatchNorm, as the authors write it, costs what one without does.
"""

import torch
import torch.nn.functional as F
from torch import nn

from abc_hf.modeling_abc_fusenet import upsample
from abc_hf.trunks import ConvLayer

DEPTHS = (7, 6, 5, 4, None, None)
"""Of the residual U-blocks of the six encoder stages; None is the flat one, which dilates instead of pooling."""


def pool(features: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(features, 2, 2, ceil_mode=True)


class ResidualUBlock(nn.Module):
    """RSU-`depth`, or RSU-4F: a U-Net of 16 channels inside, whose output is added to its input convolution."""

    def __init__(self, in_channels: int, depth: int | None, inside: int = 16, out_channels: int = 64):
        super().__init__()
        self.flat = depth is None
        layers = depth or 4
        dilations = [2**level if self.flat else 1 for level in range(layers - 1)]
        self.input = ConvLayer(in_channels, out_channels)
        self.down = nn.ModuleList(
            ConvLayer(inside if level else out_channels, inside, dilation=dilation)
            for level, dilation in enumerate(dilations)
        )
        self.bottom = ConvLayer(inside, inside, dilation=8 if self.flat else 2)
        self.up = nn.ModuleList(
            ConvLayer(2 * inside, inside if level else out_channels, dilation=dilation)
            for level, dilation in enumerate(dilations)
        )

    def forward(self, pixels):
        first = features = self.input(pixels)
        levels = []
        for level, layer in enumerate(self.down):
            features = layer(pool(features) if level and not self.flat else features)
            levels.append(features)
        features = self.bottom(features)
        for layer, skip in zip(reversed(self.up), reversed(levels), strict=True):
            features = layer(torch.cat([upsample(features, skip.shape[-2:]), skip], dim=1))
        return features + first


class U2NetP(nn.Module):
    """`forward` takes (B, 3, H, W) to the fused map (B, 1, H, W), in 0..1."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList(ResidualUBlock(64 if stage else 3, depth) for stage, depth in enumerate(DEPTHS))
        self.up = nn.ModuleList(ResidualUBlock(128, depth) for depth in DEPTHS[:-1])
        self.side = nn.ModuleList(nn.Conv2d(64, 1, 3, padding=1) for _ in DEPTHS)
        self.fuse = nn.Conv2d(len(DEPTHS), 1, 1)

    def forward(self, pixels):
        features, levels = pixels, []
        for stage, block in enumerate(self.down):
            features = block(pool(features) if stage else features)
            levels.append(features)
        outputs = [levels.pop()]
        for block, skip in zip(reversed(self.up), reversed(levels), strict=True):
            outputs.append(block(torch.cat([upsample(outputs[-1], skip.shape[-2:]), skip], dim=1)))
        size = pixels.shape[-2:]
        maps = [upsample(side(output), size) for side, output in zip(self.side, reversed(outputs), strict=True)]
        return torch.sigmoid(self.fuse(torch.cat(maps, dim=1)))
