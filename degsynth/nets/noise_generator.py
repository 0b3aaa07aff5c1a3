"""A network that draws noise for a picture, of zero mean, from the picture and standard normal numbers (pdm, 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.nets.encoder_decoder import Convolution
from degsynth.ops.resample import without_surroundings

SURROUNDINGS = 8
"""Over so many px to each side noise that follows from the content alone has no mean."""


class NoiseGenerator(nn.Module):
    """lr (B, C, h, w) and numbers z (B, Z, h, w) → noise (B, C, h, w): 3×3 layers, residual blocks, no batch norm.

    The mean of noise is part of the picture, and a network that is asked for noise soon paints. So what is drawn is
    ``½ N(lr, z) − ½ N(lr, −z)``: z and −z are equally likely, and whatever the weights the mean over z is 0 at every
    pixel (ours). Without z all is decided by the content: what is drawn is then N(lr) less its mean round about, so
    that it changes no level.
    """

    def __init__(self, channels: int, numbers: int, width: int, blocks: int, sees: bool, draws: bool) -> None:
        """``sees``: the picture is looked at; ``draws``: there is something to draw."""
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
        """N."""
        parts: list[Tensor] = []
        if self.sees:
            parts.append(lr - 0.5)
        if self.draws:
            parts.append(z)
        x = self.first(torch.cat(parts, 1))
        for inner, outer in zip(self.inner, self.outer):  # noqa: B905 - TorchScript knows no strict
            x = x + outer(torch.relu(inner(torch.relu(x))))
        made: Tensor = self.last(torch.relu(x))
        return made

    def forward(self, lr: Tensor, z: Tensor) -> Tensor:  # noqa: D102
        if not self.draws:
            return without_surroundings(self.once(lr, z), self.surroundings)
        return 0.5 * (self.once(lr, z) - self.once(lr, -z))
