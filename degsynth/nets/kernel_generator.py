"""A network that draws blur kernels: standard normal numbers in, kernels of sum 1 and centroid 0 out (pdm, 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.nets.centred_softmax import CentredSoftmax
from degsynth.nets.encoder_decoder import Convolution


class KernelGenerator(nn.Module):
    """Numbers (B, Z, h, w) → a kernel for every place, (B, h, w, K²): a layer, residual blocks, a softmax over taps.

    For one kernel an image h = w = 1. ``neighbours``: the first layer sees 3×3 places, so that kernels side by side are
    alike (all layers of the authors' do); else places have nothing in common.

    ``signed``: the difference of two such, ``(1 + m) k₊ − m k₋`` with m ≥ 0, since a softmax has no negative lobes. m
    is a number of the network's own.

    Without batch norm, unlike the authors' code: of 1×1 inputs it knows nothing but the batch.
    """

    def __init__(self, numbers: int, width: int, blocks: int, size: int, signed: bool, neighbours: bool) -> None:
        super().__init__()
        self.size, self.signed = size, signed
        self.neighbours, self.rim = neighbours, nn.Buffer(binomial().square()[None, None])
        self.first = Convolution(numbers, width, 3 if neighbours else 1)
        self.inner = nn.ModuleList(Convolution(width, width, 1) for _ in range(blocks))
        self.outer = nn.ModuleList(Convolution(width, width, 1) for _ in range(blocks))
        self.last = Convolution(width, size * size * (2 if signed else 1) + (1 if signed else 0), 1)
        self.softmax = CentredSoftmax(size)

    def begin_smooth(self) -> None:
        """Let the first layer of 3×3 places do what one of 1×1 would, to their sum with weights 1 2 1 / √6 either way.

        The weights have norm 1: the sum is standard normal again, and kernels are drawn as from a single place.
        """
        weights = binomial()
        with torch.no_grad():
            middle = self.first.weight[:, :, 1:2, 1:2] * 3
            self.first.weight.copy_(middle * weights)

    def features(self, z: Tensor) -> Tensor:
        """Of every place, (B, width, h, w)."""
        x: Tensor = self.from_neighbours(z) if self.neighbours else self.first(z)
        for inner, outer in zip(self.inner, self.outer):  # noqa: B905 - TorchScript knows no strict
            x = x + outer(torch.relu(inner(torch.relu(x))))
        return torch.relu(x)

    def from_neighbours(self, z: Tensor) -> Tensor:
        """The first layer where it sees 3×3 places: beyond the rim there are none, and the rest counts for more.

        By as much as makes the sum that `begin_smooth` begins with standard normal there as well.
        """
        x = nn.functional.conv2d(z, self.first.weight, padding=1)
        variance = nn.functional.conv2d(torch.ones_like(z[:1, :1]), self.rim, padding=1)
        assert self.first.bias is not None
        return x * torch.rsqrt(variance) + self.first.bias[:, None, None]

    def taps(self, features: Tensor) -> Tensor:
        """Kernels (B, h, w, K²) of features (B, width, h, w)."""
        x = self.last(features).permute(0, 2, 3, 1)
        count = self.size * self.size
        taps: Tensor = self.softmax(x[..., :count])
        if self.signed:
            share = torch.nn.functional.softplus(x[..., -1:])
            taps = (1.0 + share) * taps - share * self.softmax(x[..., count : 2 * count])
        return taps

    def middle(self, z: Tensor) -> Tensor:
        """Kernels (B, K²) of the middle of numbers (B, Z, p, p), p odd."""
        at = z.shape[2] // 2
        return self.taps(self.features(z)[:, :, at : at + 1, at : at + 1])[:, 0, 0]

    def forward(self, z: Tensor) -> Tensor:  # noqa: D102
        return self.taps(self.features(z))


def binomial() -> Tensor:
    """1 2 1 either way, of norm 1: (3, 3)."""
    row = torch.tensor([1.0, 2.0, 1.0])
    return row[:, None] * row / 6
