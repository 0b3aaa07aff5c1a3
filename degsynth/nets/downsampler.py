"""The downsampling network of adl (its Table 4: 0.9 M weights), and how it keeps levels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.ops.convolution import convolution
from degsynth.ops.resample import without_surroundings

SURROUNDINGS = 10
"""Without instance norm the network sees what differs from the mean over so many HR px to each side."""
EPSILON = 1e-5


class Layer(nn.Module):
    """A convolution with or without bias, borders repeated; written out as `nets.encoder_decoder.Convolution` is."""

    def __init__(self, inputs: int, outputs: int, size: int, bias: bool, stride: int = 1) -> None:
        super().__init__()
        like = nn.Conv2d(inputs, outputs, size)
        assert like.bias is not None
        self.weight = like.weight
        self.bias = like.bias if bias else None
        self.stride, self.pad = stride, size // 2 if stride == 1 and size % 2 == 1 else 0

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        if self.pad > 0:
            x = F.pad(x, [self.pad, self.pad, self.pad, self.pad], mode="replicate")
        return convolution(x, self.weight, self.bias, self.stride, self.stride)


class Step(nn.Module):
    """ReLU(norm(conv(x)))."""

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
    """hr (B, C, s·h, s·w) → lr (B, C, h, w): mean over s×s px, plus what the network makes of the picture.

    3×3, four 5×5, s×s with stride s to twice the width, three 3×3, 1×1, each group bridged. As the authors' code has
    it, but that borders are repeated instead of reflected (an image may be one pixel high), and that a level is kept:
    with instance norm, whose statistics are the whole image's, the network's part has its mean taken off; without, it
    sees differences only and has no biases. So flat stays flat, and without norm tiles equal the whole.
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
        """HR px beyond an LR pixel's own block that it reads, but for statistics."""
        return 9 + 3 * self.scale + (0 if self.norm else SURROUNDINGS)

    def forward(self, hr: Tensor) -> Tensor:
        """The LR image."""
        seen = 2 * hr - 1 if self.norm else 2 * without_surroundings(hr, self.surroundings)
        x = self.first(seen)
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
