"""The module that adds what a model leaves out to its LR, as noise; `degsynth.model.degrader.Degrader` holds one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.ops.edge_noise import WHITE_PLANES, tap_powers
from degsynth.ops.grain import compact, filtered_noise, middle, separable, tap_reach
from degsynth.ops.resample import luma
from degsynth.ops.residual_noise import (
    ResidualNoise,
    contrast_of,
    edge_part,
    no_share,
    sigma_at,
    structure,
    table_position,
)


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
        self.factors = nn.Buffer(torch.ones(2, 1, 1) if noise is None else compact(separable(noise.taps)).float())
        self.mixing = nn.Buffer(torch.zeros(1, 1) if noise is None else noise.mixing.float())
        share = no_share() if noise is None else noise.share
        self.edge_planes = WHITE_PLANES if bool((share > 0).any()) else 0
        self.share = nn.Buffer(share.float())
        across = torch.ones(1) if noise is None else middle(noise.across, tap_reach(noise.across[None]))
        self.across = nn.Buffer(across.float())
        self.tint = nn.Buffer(torch.ones(1) if noise is None else noise.tint.float())
        self.powers = nn.Buffer(tap_powers(self.across) if self.edge_planes else torch.zeros(1, 1, 1))

    @torch.jit.export
    def planes(self, channels: int) -> int:
        """Return how many planes of random numbers an image of so many channels needs."""
        if self.channels == 0:
            return 0
        return (channels if channels == self.channels else 1) + self.edge_planes

    def forward(self, lr: Tensor, white: Tensor) -> Tensor:
        """Return the noise for lr (B, C, h, w) in [0, 1] from standard normal numbers (B, planes(C), h, w)."""
        level, same = luma(lr), lr.shape[1] == self.channels
        tensor = structure(level)
        row, column = table_position(level, contrast_of(tensor))
        grains = lr.shape[1] if same else 1
        mixing = self.mixing if same else torch.ones(lr.shape[1], 1, dtype=lr.dtype, device=lr.device)
        noise = torch.einsum("cd,ndhw->nchw", mixing, filtered_noise(white[:, :grains], self.factors))
        if self.edge_planes > 0:
            edges, rest = edge_part(tensor, column, white[:, grains:], self.share, self.across, self.powers)
            noise = rest * noise + (edges * self.tint.view(1, -1, 1, 1) if same else edges)
        return sigma_at(self.sigma, row, column) * noise
