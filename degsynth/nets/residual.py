"""Filters without bias, and what is built of them: residual blocks, and decoders from features to an image.

A flat picture must stay flat, and keep its level. Without biases a network of convolutions and ReLUs is homogeneous:
what it makes of a flat c is c times what it makes of a flat 1, so dividing by that holds every level. A filter can
besides be held at a *total*, the sum of its taps: at 1 it makes a flat c of channels that are all c; at 0 it is blind
to the level of such channels, and what follows sees what a picture differs by, never how bright it is. Behind a blind
filter a threshold does no harm, if it passes through the origin (`Hinge`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.ops.convolution import convolution


class Filter(nn.Module):
    """A convolution without bias that keeps every ``stride``-th sample, borders repeated.

    Of the size − stride px beyond a sample's own stride the larger half lies before it.
    """

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, total: float | None = None) -> None:
        """``total``: what the taps of each output sum to, over all inputs; None: whatever they are learnt to."""
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
        """Start as a copy: output c is input c (or a ``share`` of each, where there is one output), and some noise."""
        outputs, inputs, size, _ = self.weight.shape
        middle = torch.zeros(size, size)
        first, last = (size - 1) // 2, size // 2
        middle[first : last + 1, first : last + 1] = 1.0
        with torch.no_grad():
            self.weight.mul_(noise)
            which = torch.eye(outputs, inputs) if outputs == inputs else torch.ones(outputs, inputs)
            self.weight.add_(share * which.view(outputs, inputs, 1, 1) * middle / middle.sum())
        return self

    def silent(self) -> Filter:
        """Start as nothing."""
        nn.init.zeros_(self.weight)
        return self


class Hinge(nn.Module):
    """``relu(x + b) − relu(b)``: a ReLU whose bend lies where it is learnt to lie, and which is 0 at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bend = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.relu(x + self.bend) - torch.relu(self.bend)


def branch(inputs: int, width: int, outputs: int, blind: bool) -> nn.Sequential:
    """Filter, bend, filter; silent at the start."""
    bend = Hinge(width) if blind else nn.ReLU()
    first = Filter(inputs, width, 3, total=0.0 if blind else None)
    return nn.Sequential(first, bend, Filter(width, outputs, 3).silent())


class ResidualEncoder(nn.Module):
    """A gray image to ``width`` channels, all of them copies of it at the start: a filter, then residual blocks."""

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
    """Channels to an image: one filter over all of them, and a branch that adds what is not linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = Filter(width, 1, 5, total=1.0).copying(1.0 / width, 0.02)
        self.rest = branch(width, width, 1, blind=True)
        self.reach = 2

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        out: Tensor = self.linear(x) + self.rest(x)
        return out


class StridedDecoder(nn.Module):
    """Channels to an image that is ``scale`` times smaller: filters with stride, a ReLU after each."""

    def __init__(self, width: int, scale: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.reach, unit = 0, 1
        for number, stride in enumerate([2, 2] if scale == 4 else [scale]):
            # The blur before has an even kernel at even scales, whose samples lie half a pixel further: there the first
            # filter is odd, and a second, whose samples lie between the first's, even.
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
