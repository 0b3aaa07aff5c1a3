"""EDSR, Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017.

The names of layers are those of BasicSR, so that its EDSR loads the weights (with ``img_range=1`` and a mean of 0).
Nothing is subtracted from the images and nothing is multiplied: values are in [0, 1], as everywhere in degsynth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.ops.resample import enlarged

START = 0.1
"""Factor of the first weights of the layers that end a residual block, so that a block begins close to the identity."""


class ResidualBlock(nn.Module):
    """Two convolutions with a ReLU between them, added to the input. There is no batch normalisation."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(START)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        out: Tensor = x + self.conv2(F.relu(self.conv1(x)))
        return out


def upsampler(features: int, scale: int) -> nn.Sequential:
    """Return convolutions and pixel shuffles that enlarge ``scale`` times: 1, 2, 3 or 4. Scale 1 has no layers."""
    layers: list[nn.Module] = []
    for factor in {1: [], 2: [2], 3: [3], 4: [2, 2]}[scale]:
        layers += [nn.Conv2d(features, factor**2 * features, 3, padding=1), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)


class EDSR(nn.Module):
    """Super-resolves lr (B, C, h, w) in [0, 1] to (B, C, s·h, s·w); values may lie a little outside [0, 1].

    ``skip`` adds the bicubic enlargement of the input to the output, which the network of the paper does not do: so
    the network only has to learn what the enlargement lacks.
    """

    def __init__(self, scale: int, channels: int, blocks: int = 16, features: int = 64, skip: bool = False) -> None:
        super().__init__()
        self.scale, self.skip = scale, skip
        self.conv_first = nn.Conv2d(channels, features, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.conv_after_body = nn.Conv2d(features, features, 3, padding=1)
        self.upsample = upsampler(features, scale)
        self.conv_last = nn.Conv2d(features, channels, 3, padding=1)
        if skip:
            with torch.no_grad():
                self.conv_last.weight.mul_(START)
                self.conv_last.bias.zero_()  # type: ignore[union-attr]

    def forward(self, lr: Tensor) -> Tensor:  # noqa: D102
        first = self.conv_first(lr)
        out: Tensor = self.conv_last(self.upsample(first + self.conv_after_body(self.body(first))))
        return out + enlarged(lr, self.scale) if self.skip else out
