"""VDSR, Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016.

The names of layers are those of the usual implementation in PyTorch (``input``, ``residual_layer``, ``output``). The
network works on the bicubic enlargement, which is made here, so that it takes LR images as the other networks do.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.ops.resample import enlarged

START = 0.1
"""Factor of the last layer's first weights, so that training begins close to the bicubic enlargement."""


class Layer(nn.Module):
    """A convolution without bias, and a ReLU."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.relu(self.conv(x))


class VDSR(nn.Module):
    """Super-resolves lr (B, C, h, w) in [0, 1] to (B, C, s·h, s·w): its bicubic enlargement plus what is learnt."""

    def __init__(self, scale: int, channels: int, layers: int = 20, features: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.input = nn.Conv2d(channels, features, 3, padding=1, bias=False)
        self.residual_layer = nn.Sequential(*(Layer(features) for _ in range(layers - 2)))
        self.output = nn.Conv2d(features, channels, 3, padding=1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        with torch.no_grad():
            self.output.weight.mul_(START)

    def forward(self, lr: Tensor) -> Tensor:  # noqa: D102
        large = enlarged(lr, self.scale)
        out: Tensor = self.output(self.residual_layer(F.relu(self.input(large))))
        return large + out
