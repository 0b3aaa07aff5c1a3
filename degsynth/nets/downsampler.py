"""The downsampling network of adl (its Table 4: 0.9 M weights), changed so that it keeps the level of the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.ops.convolution import convolution
from degsynth.ops.resample import without_surroundings

SURROUNDINGS = 10
"""Without instance norm the network sees the difference from the mean over this many HR px to each side."""
EPSILON = 1e-5
"""This is added to the variance by which instance norm divides."""


class Layer(nn.Module):
    """A convolution with or without bias. With stride 1 and an odd size its borders are replicated.

    It is written out for the reason given at `nets.encoder_decoder.Convolution`.
    """

    def __init__(self, inputs: int, outputs: int, size: int, bias: bool, stride: int = 1) -> None:
        super().__init__()
        template = nn.Conv2d(inputs, outputs, size)
        assert template.bias is not None
        self.weight = template.weight
        self.bias = template.bias if bias else None
        self.stride, self.pad = stride, size // 2 if stride == 1 and size % 2 == 1 else 0

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if self.pad > 0:
            x = F.pad(x, [self.pad, self.pad, self.pad, self.pad], mode="replicate")
        return convolution(x, self.weight, self.bias, self.stride, self.stride)


class Step(nn.Module):
    """A convolution, then instance norm if ``norm``, then a ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, norm: bool, stride: int = 1) -> None:
        super().__init__()
        self.layer, self.norm, self.epsilon = Layer(inputs, outputs, size, bias=norm, stride=stride), norm, EPSILON

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        y = self.layer(x)
        if self.norm:
            mean = y.mean([2, 3], keepdim=True)
            y = (y - mean) * torch.rsqrt((y - mean).square().mean([2, 3], keepdim=True) + self.epsilon)
        return torch.relu(y)


class Downsampler(nn.Module):
    """A network that maps hr (B, C, s·h, s·w) to lr (B, C, h, w): the mean over s×s px, plus a learnt change.

    Its layers are: one 3×3; four 5×5; one s×s with stride s, which doubles the width; three 3×3; one 1×1. The groups of
    four and of three are bridged by skip connections. It follows the authors' code, with two differences. Borders are
    replicated instead of reflected, since an image may be one pixel high. And the level of the image is kept: with
    instance norm, whose statistics are those of the whole image, the mean of the change is subtracted; without, the
    network sees only differences and has no biases. So a flat image stays flat, and without norm tiles equal the whole.
    """

    def __init__(self, channels: int, scale: int, width: int, norm: bool) -> None:
        super().__init__()
        self.scale, self.norm, self.surroundings = scale, norm, SURROUNDINGS
        self.first = Step(channels, width, 3, norm)
        self.fine = nn.ModuleList([Step(width, width, 5, norm) for _ in range(4)])
        self.down = Step(width, 2 * width, scale, norm, stride=scale)
        self.coarse = nn.ModuleList([Step(2 * width, 2 * width, 3, norm) for _ in range(3)])
        self.last = Layer(2 * width, channels, 1, bias=norm)

    def reach(self) -> int:
        """Return how many HR px the network reads beyond an LR pixel's own block, apart from instance norm."""
        return 9 + 3 * self.scale + (0 if self.norm else SURROUNDINGS)

    def forward(self, hr: Tensor) -> Tensor:
        """Return the LR image."""
        inputs = 2 * hr - 1 if self.norm else 2 * without_surroundings(hr, self.surroundings)
        x = self.first(inputs)
        y = x
        for step in self.fine:
            y = y + step(y)
        x = self.down(x + y)
        y = x
        for step in self.coarse:
            y = y + step(y)
        change = 0.5 * self.last(x + y)
        if self.norm:
            change = change - change.mean([2, 3], keepdim=True)
        lr: Tensor = F.avg_pool2d(hr, self.scale) + change
        return lr
