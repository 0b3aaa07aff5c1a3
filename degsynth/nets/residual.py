"""Filters without bias, and networks built from them: residual blocks, and decoders from features to an image.

A flat image must stay flat and keep its level. Without biases a network of convolutions and ReLUs is homogeneous: its
output for a flat image of level c is c times its output for level 1, so dividing by the latter keeps every level.
Besides, the sum of a filter's taps, its *total*, can be held at 1 or 0. With total 1 it maps a flat image with level c
in all channels to level c. With total 0 it is *blind*: it maps every flat image to 0, and the layers after it see only
differences within the image, never its brightness. So a learnt threshold after a blind filter does not change the level
of flat images, if its function maps 0 to 0 (`Hinge`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.ops.convolution import convolution


class Filter(nn.Module):
    """A convolution without bias that keeps every ``stride``-th sample; borders are replicated.

    It reads size − stride px beyond a sample's own ``stride`` px; the larger half of them lies before it.
    """

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, total: float | None = None) -> None:
        """``total`` is the sum of the taps of each output, over all inputs; None leaves it to be learnt."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, size, size))
        nn.init.normal_(self.weight, std=math.sqrt(2.0 / (inputs * size * size)))
        self.stride, self.held, self.total = stride, total is not None, total or 0.0
        self.before, self.after = (size - stride + 1) // 2, (size - stride) // 2

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        weight: Tensor = self.weight
        if self.held:  # the nearest weights with that sum
            excess = weight.sum([1, 2, 3], keepdim=True) - self.total
            weight = weight - excess / (weight.shape[1] * weight.shape[2] * weight.shape[3])
        if self.before > 0:
            x = F.pad(x, [self.before, self.after, self.before, self.after], mode="replicate")
        return convolution(x, weight, None, self.stride, self.stride)

    def copying(self, share: float, noise: float) -> Filter:
        """Set the weights so that the filter copies, plus ``noise`` times its random weights; return the filter.

        Output c is ``share`` times input c; where the numbers of outputs and inputs differ, it is ``share`` times the
        sum of all inputs.
        """
        outputs, inputs, size, _ = self.weight.shape
        middle = torch.zeros(size, size)
        first, last = (size - 1) // 2, size // 2
        middle[first : last + 1, first : last + 1] = 1.0
        with torch.no_grad():
            self.weight.mul_(noise)
            copied = torch.eye(outputs, inputs) if outputs == inputs else torch.ones(outputs, inputs)
            self.weight.add_(share * copied.view(outputs, inputs, 1, 1) * middle / middle.sum())
        return self

    def silent(self) -> Filter:
        """Set the weights to 0, and return the filter."""
        nn.init.zeros_(self.weight)
        return self


class Hinge(nn.Module):
    """The function ``relu(x + b) − relu(b)``: a ReLU with a learnt threshold −b, shifted so that it is 0 at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bend = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.relu(x + self.bend) - torch.relu(self.bend)


def branch(inputs: int, width: int, outputs: int, blind: bool) -> nn.Sequential:
    """Return the layers filter, ReLU or `Hinge` (if ``blind``), filter; at the start their output is 0."""
    relu = Hinge(width) if blind else nn.ReLU()
    first = Filter(inputs, width, 3, total=0.0 if blind else None)
    return nn.Sequential(first, relu, Filter(width, outputs, 3).silent())


class ResidualEncoder(nn.Module):
    """A network from a gray image to ``width`` channels: a filter, then residual blocks.

    At the start all channels are copies of the image.
    """

    def __init__(self, width: int, blocks: int, blind: bool) -> None:
        super().__init__()
        self.copies = Filter(1, width, 3, total=1.0 if blind else None).copying(1.0, 0.0)
        self.blocks = nn.ModuleList(branch(width, width, width, blind) for _ in range(blocks))
        self.reach = 1 + 2 * blocks

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.copies(x)
        for block in self.blocks:
            x = x + block(x)
        return x


class SumDecoder(nn.Module):
    """A network from channels to an image: one filter over all channels, plus a branch for what is not linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = Filter(width, 1, 5, total=1.0).copying(1.0 / width, 0.02)
        self.rest = branch(width, width, 1, blind=True)
        self.reach = 2

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        out: Tensor = self.linear(x) + self.rest(x)
        return out


class StridedDecoder(nn.Module):
    """A network from channels to an image that is ``scale`` times smaller: filters, some with stride, and ReLUs."""

    def __init__(self, width: int, scale: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.reach, unit = 0, 1
        for number, stride in enumerate([2, 2] if scale == 4 else [scale]):
            # At even scales the blur before has an even kernel, so its samples lie half a pixel further. Therefore the
            # first filter is odd, and a second one, whose samples lie between those of the first, is even.
            size = 4 if number == 1 else 3
            layers += [Filter(width, width, size, stride).copying(1.0, 0.1), nn.ReLU()]
            self.reach += unit * ((size - stride + 1) // 2)
            unit *= stride
        layers += [Filter(width, width, 3).copying(1.0, 0.1), nn.ReLU(), Filter(width, 1, 3).copying(1.0 / width, 0.1)]
        self.reach += 2 * unit
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        out: Tensor = self.layers(x)
        return out
