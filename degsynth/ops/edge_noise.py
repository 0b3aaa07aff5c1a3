"""Noise along edges: in the direction of an edge neighbouring pixels are nearly equal, across it they are not.

What a model of a camera gets wrong at an edge it gets wrong all along the edge, because the edge looks the same there.
In photographs of the City100 set, what `dml` leaves out at strong edges correlates by 0.9 from pixel to pixel along the
edge and by 0.7 over four pixels, but across it by 0.25 and by less than 0. Isotropic noise has neither.

There is a plane of noise for each of four directions of the slope, →, ↓, ↘ and ↗. Each is white noise, smoothed along
the edge and filtered by taps across it. Which of them a pixel gets follows from the structure tensor J of the LR, the
average of the products of its slopes around the pixel::

    slope towards → or ↓:  (Jxx - Jyy) / (Jxx + Jyy),    slope towards ↘ or ↗:  2 Jxy / (Jxx + Jyy)

These two numbers are the cosine and the sine of twice the angle of the slope, times the coherence, which is 1 at a
straight edge and 0 where no direction prevails. Their positive and negative parts, divided by the root of the
coherence, are the amplitudes of the planes, so the sum of the squares of these is the coherence.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DIRECTIONS = 4
"""Number of planes: slopes towards →, ↓, ↘ and ↗."""
EDGES = (1, 0), (0, 1), (-1, 1), (1, 1)
"""The directions (down, right) of the edges with these slopes. Steps along a diagonal go down and right in turn; with
steps in both directions at once, a filter would reach every second pixel only, like the bishop on a chessboard."""
ALONG_REACH, ACROSS_REACH = 7, 4
"""Reach of the two filters, along an edge and across it, in steps."""
EDGE_HALO = ACROSS_REACH + (ALONG_REACH + 1) // 2
"""LR px beyond a pixel that the planes depend on. It is farthest along a diagonal, where both filters add up."""
ALONG_STEPS = 3.2
"""Standard deviation of the Gaussian that smooths along an edge, in steps."""


def along_taps() -> Tensor:
    """Return the taps (2·ALONG_REACH + 1,) float64 of the filter along an edge, of norm 1."""
    place = torch.arange(-ALONG_REACH, ALONG_REACH + 1, dtype=torch.float64)
    taps = torch.exp(-(place**2) / (2 * ALONG_STEPS**2))
    unit: Tensor = taps / taps.norm()
    return unit


def directions(across: Tensor, down: Tensor, diagonal: Tensor) -> Tensor:
    """Return the amplitudes (B, DIRECTIONS, h, w) of the planes from Jxx, Jyy and Jxy (B, 1, h, w). TorchScript."""
    total = (across + down).clamp(min=1e-12)
    straight, slanted = (across - down) / total, 2.0 * diagonal / total
    coherence = (straight.square() + slanted.square()).sqrt()
    parts = torch.cat([straight, -straight, slanted, -slanted], 1).clamp(min=0.0)
    return parts / coherence.clamp(min=1e-6).sqrt()


def edge_planes(white: Tensor, along: Tensor, across: Tensor) -> Tensor:
    """Return the planes (B, DIRECTIONS, h, w) of noise of variance 1 from standard normal numbers of the same shape.

    ``along`` and ``across`` are the taps of the two filters, of norm 1. Beyond the border there is no noise: the part
    of a filter that lies inside is brought back to norm 1. It is TorchScript.
    """
    ones = torch.ones_like(white[:1, :1])
    planes: list[Tensor] = []
    for number, (down, right) in enumerate([(1, 0), (0, 1), (-1, 1), (1, 1)]):  # EDGES
        noise = _across(_along(white[:, number : number + 1], along, down, right), across, right, -down)
        power = _across(_along(ones, along.square(), down, right), across.square(), right, -down)
        planes.append(noise * torch.rsqrt(power))
    return torch.cat(planes, 1)


def _along(plane: Tensor, taps: Tensor, down: int, right: int) -> Tensor:
    """Filter a plane (B, 1, h, w) along an edge of this direction by taps (K,). It is TorchScript."""
    downs: list[int] = []
    rights: list[int] = []
    reach = taps.shape[0] // 2
    for place in range(taps.shape[0]):
        if down == 0 or right == 0:
            downs.append(down * (place - reach))
            rights.append(right * (place - reach))
        else:
            downs.append(down * ((place + 1) // 2 - (reach + 1) // 2))
            rights.append(right * (place // 2 - reach // 2))
    return _summed(plane, taps, downs, rights)


def _across(plane: Tensor, taps: Tensor, down: int, right: int) -> Tensor:
    """Filter a plane (B, 1, h, w) by taps (K,) in steps of this direction. It is TorchScript."""
    downs: list[int] = []
    rights: list[int] = []
    for place in range(taps.shape[0]):
        downs.append(down * (place - taps.shape[0] // 2))
        rights.append(right * (place - taps.shape[0] // 2))
    return _summed(plane, taps, downs, rights)


def _summed(plane: Tensor, taps: Tensor, downs: list[int], rights: list[int]) -> Tensor:
    """Return Σ_k taps[k] · plane(p + (downs[k], rights[k])); beyond the border there are zeros. It is TorchScript."""
    height, width, reach = plane.shape[2], plane.shape[3], taps.shape[0] // 2
    padded = F.pad(plane, [reach, reach, reach, reach])
    total = torch.zeros_like(plane)
    for place in range(taps.shape[0]):  # a convolution may add up in an order that depends on the size of the tile
        y, x = reach + downs[place], reach + rights[place]
        total = torch.addcmul(total, padded[:, :, y : y + height, x : x + width], taps[place])
    return total


def edge_correlation(across: Tensor, reach: int) -> Tensor:
    """Return the correlation of each plane (DIRECTIONS, 2·reach + 1, 2·reach + 1) float64, from its taps ``across``."""
    side = 2 * EDGE_HALO + 1
    impulse = torch.zeros(1, DIRECTIONS, 2 * side, 2 * side, dtype=torch.float64)
    impulse[:, :, side, side] = 1.0
    filters = []
    for number, (down, right) in enumerate(EDGES):
        plane = impulse[:, number : number + 1]
        filters.append(_across(_along(plane, along_taps(), down, right), across.double(), right, -down)[0, 0])
    products = torch.fft.ifft2(torch.fft.fft2(torch.stack(filters)).abs().square()).real
    lags = products.roll((reach, reach), (1, 2))[:, : 2 * reach + 1, : 2 * reach + 1]
    correlation: Tensor = lags / lags[:, reach : reach + 1, reach : reach + 1]
    return correlation


def across_taps(correlation: Tensor) -> Tensor:
    """Return symmetric taps (2·ACROSS_REACH + 1,) of norm 1 for a correlation at distances 0 to ACROSS_REACH.

    Their transfer function is the root of the spectrum of the correlation, where that is not negative.
    """
    line = torch.zeros(64, dtype=torch.float64)
    line[: ACROSS_REACH + 1] = correlation
    line[-ACROSS_REACH:] = correlation[1:].flip(0)
    root = torch.fft.ifft(torch.fft.fft(line).real.clamp(min=1e-3).sqrt()).real
    taps = root.roll(ACROSS_REACH)[: 2 * ACROSS_REACH + 1]
    unit: Tensor = taps / taps.norm()
    return unit
