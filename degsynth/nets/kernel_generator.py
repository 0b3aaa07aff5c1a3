"""A network that turns standard normal numbers into blur kernels with sum 1 and centroid 0 (pdm, 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.nets.centred_softmax import CentredSoftmax
from degsynth.nets.encoder_decoder import Convolution


class KernelGenerator(nn.Module):
    """A network: random numbers (B, Z, h, w) → a kernel for every position, (B, h, w, K²).

    It consists of a first layer, residual blocks, and a softmax over the taps. For one kernel per image, h = w = 1.

    If ``neighbours``, the first layer sees 3×3 positions, so that neighbouring kernels are similar (in the authors'
    code all layers do so); else the kernels of different positions are independent.

    If ``signed``, a kernel is the difference ``(1 + m) k₊ − m k₋`` of two such kernels, because a softmax has no
    negative lobes. m ≥ 0 is another output of the network.

    There is no batch norm, unlike in the authors' code: for inputs of 1×1 its statistics would be those of the batch
    alone.
    """

    def __init__(self, numbers: int, width: int, blocks: int, size: int, signed: bool, neighbours: bool) -> None:
        super().__init__()
        self.size, self.signed = size, signed
        # `rim` holds the squared weights, which give the variance at the border. Its name is in files on users' disks.
        self.neighbours, self.rim = neighbours, nn.Buffer(binomial().square()[None, None])
        self.first = Convolution(numbers, width, 3 if neighbours else 1)
        self.inner = nn.ModuleList(Convolution(width, width, 1) for _ in range(blocks))
        self.outer = nn.ModuleList(Convolution(width, width, 1) for _ in range(blocks))
        self.last = Convolution(width, size * size * (2 if signed else 1) + (1 if signed else 0), 1)
        self.softmax = CentredSoftmax(size)

    def begin_smooth(self) -> None:
        """Set the weights of the 3×3 first layer so that it equals a weighted sum followed by a 1×1 layer.

        The sum of the 3×3 positions has the weights 1 2 1 / √6 in both directions. They have norm 1, so the sum is
        standard normal again, and the kernels are distributed as those of a single position.
        """
        weights = binomial()
        with torch.no_grad():
            middle = self.first.weight[:, :, 1:2, 1:2] * 3
            self.first.weight.copy_(middle * weights)

    def features(self, z: Tensor) -> Tensor:
        """Return the features (B, width, h, w) of every position."""
        x: Tensor = self.from_neighbours(z) if self.neighbours else self.first(z)
        for inner, outer in zip(self.inner, self.outer):  # noqa: B905 - TorchScript knows no strict
            x = x + outer(torch.relu(inner(torch.relu(x))))
        return torch.relu(x)

    def from_neighbours(self, z: Tensor) -> Tensor:
        """Return the output (B, width, h, w) of the first layer where it sees 3×3 positions.

        Beyond the border there are no random numbers, so near it the sum of `begin_smooth` has fewer terms. There the
        output is multiplied by a factor that makes this sum standard normal again.
        """
        x = nn.functional.conv2d(z, self.first.weight, padding=1)
        variance = nn.functional.conv2d(torch.ones_like(z[:1, :1]), self.rim, padding=1)
        assert self.first.bias is not None
        return x * torch.rsqrt(variance) + self.first.bias[:, None, None]

    def taps(self, features: Tensor) -> Tensor:
        """Return the kernels (B, h, w, K²) of features (B, width, h, w)."""
        x = self.last(features).permute(0, 2, 3, 1)
        count = self.size * self.size
        taps: Tensor = self.softmax(x[..., :count])
        if self.signed:
            m = torch.nn.functional.softplus(x[..., -1:])
            taps = (1.0 + m) * taps - m * self.softmax(x[..., count : 2 * count])
        return taps

    def middle(self, z: Tensor) -> Tensor:
        """Return the kernels (B, K²) of the middle position of random numbers (B, Z, p, p), where p is odd."""
        centre = z.shape[2] // 2
        return self.taps(self.features(z)[:, :, centre : centre + 1, centre : centre + 1])[:, 0, 0]

    def forward(self, z: Tensor) -> Tensor:  # noqa: D102
        return self.taps(self.features(z))


def binomial() -> Tensor:
    """Return the weights 1 2 1 in both directions, with norm 1: (3, 3)."""
    row = torch.tensor([1.0, 2.0, 1.0])
    return row[:, None] * row / 6
