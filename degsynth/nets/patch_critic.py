"""The network of the two-sample test: it tells from which of two sets of images a patch comes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.ops.resample import without_surroundings

REACH = 4
"""Distance over which the surroundings are subtracted, px."""
FAINT = 2 / 255
"""Size of detail below which the input is linear in it, and above which it is logarithmic."""


class PatchCritic(nn.Module):
    """Four 3×3 layers, the second of them followed by means over 2×2 px, and a linear layer on the means of a patch.

    The mean of the surroundings of each pixel is subtracted first, because scenes differ in levels and colours more
    than cameras do. Detail is then compressed: noise is a hundred times weaker than edges, and as important.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)]

        self.layers = nn.Sequential(
            *layer(channels, width), *layer(width, width), nn.AvgPool2d(2), *layer(width, width), *layer(width, width)
        )
        self.last = nn.Linear(width, 1)

    def forward(self, patches: Tensor) -> Tensor:
        """Return a logit (B,) for each of the patches (B, C, h, w) in [0, 1]: positive where it seems real."""
        detail = without_surroundings(patches, REACH)
        x = torch.sign(detail) * torch.log1p(detail.abs() / FAINT)
        logits: Tensor = self.last(self.layers(x).mean((2, 3)))[:, 0]
        return logits
