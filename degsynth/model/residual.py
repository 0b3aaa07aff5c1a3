"""The module that adds what a model leaves out to its LR, as noise; `degsynth.model.degrader.Degrader` holds one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.ops.edge_noise import DIRECTIONS, along_taps
from degsynth.ops.grain import separable
from degsynth.ops.residual_noise import ResidualNoise, isotropic_noise, no_share, residual_noise, surroundings


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
        self.factors = nn.Buffer(torch.ones(2, 1, 1) if noise is None else separable(noise.taps).float())
        self.mixing = nn.Buffer(torch.zeros(1, 1) if noise is None else noise.mixing.float())
        share = no_share() if noise is None else noise.share
        self.edge_planes = DIRECTIONS if bool((share > 0).any()) else 0
        self.share = nn.Buffer(share.float())
        self.along = nn.Buffer(along_taps().float())
        self.across = nn.Buffer(torch.ones(1) if noise is None else noise.across.float())
        self.tint = nn.Buffer(torch.ones(1) if noise is None else noise.tint.float())
        self.weights = nn.Buffer(surroundings())

    @torch.jit.export
    def planes(self, channels: int) -> int:
        """Return how many planes of random numbers an image of so many channels needs."""
        if self.channels == 0:
            return 0
        return (channels if channels == self.channels else 1) + self.edge_planes

    def forward(self, lr: Tensor, white: Tensor) -> Tensor:
        """Return the noise for lr (B, C, h, w) in [0, 1] from standard normal numbers (B, planes(C), h, w)."""
        same = lr.shape[1] == self.channels
        mixing = self.mixing if same else torch.ones(lr.shape[1], 1, dtype=lr.dtype, device=lr.device)
        if self.edge_planes == 0:
            return isotropic_noise(lr, white, self.sigma, self.factors, mixing, self.weights)
        tint = self.tint if same else torch.ones(1, dtype=lr.dtype, device=lr.device)
        edges = self.share, self.along, self.across, tint
        return residual_noise(lr, white, self.sigma, self.factors, mixing, *edges, self.weights)
