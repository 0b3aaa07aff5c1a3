"""The module that adds what a model leaves out to its LR, as noise; `degsynth.model.degrader.Degrader` holds one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.ops.residual_noise import ResidualNoise, residual_noise, surroundings


class Residual(nn.Module):
    """Noise of the kind `degsynth.ops.residual_noise`, or none.

    It was measured in images of ``channels`` channels. In images of another number of channels, the luma of the noise
    is added to all channels alike.
    """

    def __init__(self, noise: ResidualNoise | None = None) -> None:
        """Take the measured noise; None: there is none."""
        super().__init__()
        self.channels = 0 if noise is None else len(noise.mixing)
        self.sigma = nn.Buffer(torch.zeros(2, 2) if noise is None else noise.sigma.float())
        self.taps = nn.Buffer(torch.ones(1, 1) if noise is None else noise.taps.float())
        self.mixing = nn.Buffer(torch.zeros(1, 1) if noise is None else noise.mixing.float())
        self.weights = nn.Buffer(surroundings())

    @torch.jit.export
    def planes(self, channels: int) -> int:
        """Return how many planes of random numbers an image of so many channels needs."""
        if self.channels == 0:
            return 0
        return channels if channels == self.channels else 1

    def forward(self, lr: Tensor, white: Tensor) -> Tensor:
        """Return the noise for lr (B, C, h, w) in [0, 1] from standard normal numbers (B, planes(C), h, w)."""
        same = lr.shape[1] == self.channels
        mixing = self.mixing if same else torch.ones(lr.shape[1], 1, dtype=lr.dtype, device=lr.device)
        return residual_noise(lr, white, self.sigma, self.taps, mixing, self.weights)
