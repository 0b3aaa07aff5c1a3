"""The fixed Gaussians of the adaptive blurring layer, integrated over pixels (abl, Eq. 6 and Algorithm 1).

With the *hardware factor* f, the four Gaussians of group one have the covariance ``f · R(α) diag(1, 0.3) R(α)ᵀ``, α =
0, 45, −45 and 90°, in units of two pixels; group two has the same four and four more with 1.2 f. So f scales the
variance: along its longer axis a Gaussian has σ = 2·√f px, across it 2·√(0.3 f) px.

A tap is the density integrated over its pixel, a square of 0.5 × 0.5 units. Along x the integral is exact: for a given
y, x is normally distributed about ``(S_xy / S_yy)·y`` with variance ``S_xx − S_xy²/S_yy``, so the integral is a
difference of two error functions. Along y it is computed by a Gauss–Legendre rule with 16 nodes per pixel, which is
accurate to 1e-9 for f ≥ 0.1. The taps are then divided by their sum, since a wide Gaussian reaches beyond the window
(by 3.5 % at f = 3.6).

The window has 16×16 pixels, [−4, 4]² (the loop printed in Algorithm 1 has 17 cells along it, one too many). At odd
scales an even kernel would be off by half a pixel, so the window there has 17×17 pixels of the same size,
[−4.25, 4.25]².
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ANGLES = (0.0, 45.0, -45.0, 90.0)
"""Angles of the Gaussians' longer axis, degrees, counter-clockwise as seen on screen."""
ACROSS = 0.3
"""Variance across the longer axis, relative to that along it."""
PIXEL = 0.5
"""Side of a pixel in the units of the covariance."""
WIDER = 1.2
"""Hardware factor of the other four Gaussians of group two, relative to that of the first four."""
MIN_FACTOR, MAX_FACTOR = 0.01, 10.0
"""Smallest and largest sensible hardware factor.

At the smallest a Gaussian is much smaller than a pixel; at the largest a fifth of it lies outside the window.
"""
LAYER_VARIANCE = (1 + ACROSS) / 2 / PIXEL**2
"""Variance that one unit of the hardware factor adds to a blur, mean of both axes: 2.6 px²."""


def window_side(scale: int) -> int:
    """Return the side of the window in pixels, for a blur of which every ``scale``-th sample is kept."""
    return 16 if scale % 2 == 0 else 17


def covariances() -> Tensor:
    """Return S_xx, S_yy, S_xy of the four Gaussians at factor 1, with y pointing down: (4, 3) float64."""
    rows = []
    for angle in ANGLES:
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        rows.append([c * c + ACROSS * s * s, s * s + ACROSS * c * c, -(1 - ACROSS) * c * s])
    return torch.tensor(rows, dtype=torch.float64)


def integrated(factor: Tensor, covariance: Tensor, nodes: Tensor, weights: Tensor, size: int) -> Tensor:
    """Return the kernels (N, G, size, size), of sum 1, float64, of G Gaussians at N hardware factors.

    ``factor`` is (N,); ``covariance`` (G, 3) holds the covariances at factor 1 as in `covariances`; ``nodes`` and
    ``weights`` are a Gauss–Legendre rule on [−1, 1].
    """
    spread = covariance * factor.to(covariance).view(-1, 1, 1)
    xx, yy, xy = (spread[..., part].view(spread.shape[0], spread.shape[1], 1, 1, 1) for part in range(3))
    edges = 0.5 * (torch.arange(size + 1, dtype=torch.float64, device=factor.device) - size / 2)
    y = (edges[:-1] + 0.25).view(-1, 1, 1) + 0.25 * nodes.view(1, -1, 1)
    density = torch.exp(-0.5 * y * y / yy) * (weights.view(1, -1, 1) / yy.sqrt())
    z = (edges - xy / yy * y) / (2.0 * (xx - xy * xy / yy)).sqrt()
    taps = (density * torch.erf(z).diff(dim=-1)).sum(3)
    return taps / taps.sum([2, 3], keepdim=True)
