"""A network that computes zero-mean noise for an image from the image and standard normal numbers (pdm, 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.nets.encoder_decoder import Convolution
from degsynth.ops.resample import without_surroundings

SURROUNDINGS = 8
"""Noise that depends on the content alone has the mean over this many px to each side subtracted."""


class NoiseGenerator(nn.Module):
    """A network: lr (B, C, h, w) and random numbers z (B, Z, h, w) → noise (B, C, h, w).

    It has 3×3 layers and residual blocks, and no batch norm. If noise had a mean other than 0, the network could use it
    to change the image itself. So the noise is ``½ N(lr, z) − ½ N(lr, −z)``, where N is the network: z and −z are
    equally likely, so the mean over z is 0 at every pixel, whatever the weights (this is not from the paper). Without z
    the noise depends on the image alone. It is then N(lr) minus its local mean, so that it does not change the level.
    """

    def __init__(self, channels: int, numbers: int, width: int, blocks: int, sees: bool, draws: bool) -> None:
        """``sees`` says whether the network gets the image, ``draws`` whether it gets random numbers."""
        super().__init__()
        self.sees, self.draws = sees, draws
        self.first = Convolution((channels if sees else 0) + (numbers if draws else 0), width)
        self.inner = nn.ModuleList(Convolution(width, width) for _ in range(blocks))
        self.outer = nn.ModuleList(Convolution(width, width) for _ in range(blocks))
        self.last = Convolution(width, channels)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)
        self.surroundings = 0 if draws else SURROUNDINGS
        self.reach = 2 + 2 * blocks + self.surroundings

    def once(self, lr: Tensor, z: Tensor) -> Tensor:
        """Return N(lr, z), without the steps that make its mean 0."""
        parts: list[Tensor] = []
        if self.sees:
            parts.append(lr - 0.5)
        if self.draws:
            parts.append(z)
        x = self.first(torch.cat(parts, 1))
        for inner, outer in zip(self.inner, self.outer):  # noqa: B905 - TorchScript knows no strict
            x = x + outer(torch.relu(inner(torch.relu(x))))
        noise: Tensor = self.last(torch.relu(x))
        return noise

    def forward(self, lr: Tensor, z: Tensor) -> Tensor:  # noqa: D102
        if not self.draws:
            return without_surroundings(self.once(lr, z), self.surroundings)
        return 0.5 * (self.once(lr, z) - self.once(lr, -z))
