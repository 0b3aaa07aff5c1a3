"""Features of a photograph from which its blur can be read: its spectrum, and how steep its edges are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from degsynth.ops.spectra import SIDE, Bins, power

QUANTILES = (0.5, 0.9, 0.98, 0.998)
"""Quantiles of the absolute differences that measure the steepness of edges."""
RING_GROUPS = 6
"""Number of groups into which the rings of the spectrum are gathered for directional contrasts."""


class Features:
    """The features of a photograph (h, w) in [0, 1] from which its blur is read."""

    def __init__(self) -> None:
        bins = Bins(SIDE)
        frequency = torch.fft.fftfreq(SIDE, dtype=torch.float64)
        angle = torch.atan2(frequency[:, None].expand(SIDE, SIDE), frequency[None, :].expand(SIDE, SIDE))
        self.bins = bins
        self.waves = torch.stack([bins(torch.cos(2 * angle)), -bins(torch.sin(2 * angle))])
        rings = int(bins.ring.max()) + 1
        self.rings = torch.nn.functional.one_hot(bins.ring, rings).double()
        self.rings /= self.rings.sum(0)
        group = torch.arange(rings) * RING_GROUPS // rings
        self.groups = torch.nn.functional.one_hot(group, RING_GROUPS).double()

    def __call__(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (P,) that do not depend on direction, and contrasts between directions, (2, Q).

        The contrasts are those from which b and c are read, the elongation of the blur (`ops.blur_widths`). They change
        sign if the photograph is rotated by 90°.
        """
        log = torch.log(self.bins(power(gray, SIDE)) * 255**2 + 1e-2)
        contrast = (self.waves * log) @ self.rings @ self.groups
        return torch.cat([log @ self.rings, _steepness(255 * gray)]), contrast


def _steepness(gray: Tensor) -> Tensor:
    """Return the logs of quantiles of the absolute first, second and third differences, minus those over 4 px.

    The distances between the quantiles of the differences over 4 px come last.
    """
    first, second, third = (_log_quantiles(gray, weights) for weights in ((-1, 1), (1, -2, 1), (-1, 3, -3, 1)))
    coarse = _log_quantiles(gray, (-1, 0, 0, 0, 1))
    return torch.cat([first - coarse, second - coarse, third - coarse, coarse.diff()])


def _log_quantiles(gray: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the logs of `QUANTILES` of the absolute values of an image filtered along both axes."""
    step = torch.tensor(weights, dtype=gray.dtype)[None, None]
    values = [
        torch.nn.functional.conv2d(gray[None, None], kernel[None]).abs().flatten()
        for kernel in (step, step.transpose(1, 2))
    ]
    sample = torch.cat(values).sort().values
    index = torch.tensor(QUANTILES) * (len(sample) - 1)
    return torch.log(sample[index.long()].double() + 0.3)
