"""Noise along edges: in the direction of an edge neighbouring pixels are nearly equal, across it they are not.

What a model of a camera gets wrong at an edge it gets wrong all along the edge, because the edge looks the same there.
In photographs of the City100 set, what `dml` leaves out at strong edges correlates by 0.9 from pixel to pixel along the
edge and by 0.7 over four pixels, but across it by 0.25 and by less than 0. Isotropic noise has neither.

There is a plane of noise for each of four directions of the slope, →, ↓, ↘ and ↗. Each is white noise, smoothed along
the edge and filtered by taps across it. Which of them a pixel gets follows from the structure tensor J of the LR, the
average of the products of its slopes around the pixel::

    slope towards → or ↓:  (Jxx - Jyy) / (Jxx + Jyy),    slope towards ↘ or ↗:  2 Jxy / (Jxx + Jyy)

These two numbers are the cosine and the sine of twice the angle of the slope, times the coherence, which is 1 at a
straight edge and 0 where no direction prevails. Divided by the root of the coherence they are the amplitudes of two
planes: the first number that of → where it is positive and that of ↓ where it is negative, the second number that of ↘
or ↗. The sum of their squares is the coherence. The two planes of a number are made of the same white noise, since no
pixel gets both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.grain import middle, needed_reach, power_inside

DIRECTIONS = 4
"""Number of planes: slopes towards →, ↓, ↘ and ↗."""
WHITE_PLANES = 2
"""Number of planes of white noise: one for → and ↓, one for ↘ and ↗."""
EDGES = (1, 0), (0, 1), (-1, 1), (1, 1)
"""The directions (down, right) of the edges with these slopes. Steps along a diagonal go down and right in turn; with
steps in both directions at once, a filter would reach every second pixel only, like the bishop on a chessboard."""
STRIDES = (1, 2, 4, 2, 4)
"""Noise is smoothed along an edge by adding it to itself so many steps farther on, once for each of these numbers.

Five additions so do the work of a filter of 14 taps. Noise correlates as with a Gaussian of the same width, to 0.04.
The variance is the sum of those of the pairs, Σ stride²/4, so the standard deviation is 3.2 steps.
"""
ACROSS_REACH = 4
"""Reach of the filter across an edge, in steps."""
EDGE_HALO = ACROSS_REACH + (sum(STRIDES) + 3) // 4
"""LR px beyond a pixel that the planes depend on. It is farthest along a diagonal, where both filters add up and two
steps go one pixel down."""


def along_taps() -> Tensor:
    """Return the taps (sum(STRIDES) + 1,) float64 of the filter along an edge, of norm 1."""
    taps = torch.ones(1, dtype=torch.float64)
    for stride in STRIDES:
        taps = F.pad(taps, [0, stride]) + F.pad(taps, [stride, 0])
    unit: Tensor = taps / taps.norm()
    return unit


def double_angle(tensor: Tensor) -> Tensor:
    """Return the two numbers (B, 2, h, w) above, divided by the root of the coherence. It is TorchScript.

    ``tensor`` (B, 3, h, w) is the structure tensor, Jxx, Jyy and Jxy. A slope of less than a tenth of a level per px
    counts for less than its coherence: in a flat place, rounding alone would else have a direction.
    """
    across, down, diagonal = tensor[:, :1], tensor[:, 1:2], tensor[:, 2:]
    angle = torch.cat([across - down, 2.0 * diagonal], 1) / (across + down).clamp(min=1.5e-7)  # (0.1 / 255)²
    coherence = angle.square().sum(1, keepdim=True).sqrt()
    return angle / coherence.clamp(min=1e-6).sqrt()


def directions(tensor: Tensor) -> Tensor:
    """Return the amplitude (B, DIRECTIONS, h, w) of each plane from the structure tensor (B, 3, h, w)."""
    straight, slanted = double_angle(tensor).chunk(2, 1)
    return torch.cat([straight, -straight, slanted, -slanted], 1).clamp(min=0.0)


def along_edges(angle: Tensor, planes: Tensor) -> Tensor:
    """Return the noise (B, 1, h, w) of all planes (B, DIRECTIONS, h, w) together. It is TorchScript.

    ``angle`` (B, 2, h, w) is what `double_angle` returns.
    """
    chosen = torch.where(angle > 0.0, planes[:, 0::2], planes[:, 1::2])
    return (angle.abs() * chosen).sum(1, keepdim=True)


def edge_planes(white: Tensor, across: Tensor, powers: Tensor) -> Tensor:
    """Return the planes (B, DIRECTIONS, h, w) of noise of variance 1 from standard normal numbers. TorchScript.

    ``white`` is (B, WHITE_PLANES, h, w), ``across`` (2·ACROSS_REACH + 1,) are the taps of the filter across edges, and
    ``powers`` what `tap_powers` returns for them. Beyond the border there is no noise: the part of a filter that lies
    inside is brought back to norm 1.
    """
    planes: list[Tensor] = []
    for number, (down, right) in enumerate([(1, 0), (0, 1), (-1, 1), (1, 1)]):  # EDGES
        planes.append(_filtered(white[:, number // 2 : number // 2 + 1], across, down, right, powers.shape[1] // 2))
    return torch.cat(planes, 1) * torch.rsqrt(power_inside(powers, white.shape[2], white.shape[3]))


def tap_powers(across: Tensor) -> Tensor:
    """Return the squared taps (DIRECTIONS, 2·EDGE_HALO + 1, 2·EDGE_HALO + 1) of the planes, by their place.

    ``across`` (2·ACROSS_REACH + 1,) are the taps across edges.
    """
    side = 2 * EDGE_HALO + 1
    impulse = torch.zeros(1, 1, side, side, dtype=across.dtype)
    impulse[..., EDGE_HALO, EDGE_HALO] = 1.0
    responses = [_filtered(impulse, across, down, right, EDGE_HALO)[0, 0] for down, right in EDGES]
    return torch.stack(responses).flip(1, 2).square()  # what reads the impulse from above lies above it


def _filtered(plane: Tensor, across: Tensor, down: int, right: int, halo: int) -> Tensor:
    """Smooth a plane (B, 1, h, w) along edges of this direction, and filter it across by taps. It is TorchScript.

    Every addition makes the plane smaller, so it is padded by ``halo`` (EDGE_HALO) before.
    """
    padded = F.pad(plane, [halo, halo, halo, halo])
    total = padded
    for stride in [1, 2, 4, 2, 4]:  # STRIDES
        if down * right == 0:
            total = _plus_shifted(total, stride * down, stride * right)
        else:  # a first step down, then whole pixels along the diagonal
            total = _plus_shifted(total, (stride + 1) // 2 * down, stride // 2 * right)
    # A convolution may add up in an order that depends on the size of the tile; this does not. Its sum over the taps
    # is that of windows, each of which begins one step farther across.
    reach = across.shape[0] // 2
    height, width = total.shape[2] - 2 * reach * abs(right), total.shape[3] - 2 * reach * abs(down)
    result = torch.zeros_like(total[:, :, :height, :width])
    for place in range(2 * reach + 1):
        y, x = reach * abs(right) + (place - reach) * right, reach * abs(down) - (place - reach) * down
        result = torch.addcmul(result, total[:, :, y : y + height, x : x + width], across[place])
    top, left = (halo - (side - rest + 1) // 2 for side, rest in ((padded.shape[2], height), (padded.shape[3], width)))
    return result[:, :, top : top + plane.shape[2], left : left + plane.shape[3]]


def _plus_shifted(plane: Tensor, down: int, right: int) -> Tensor:
    """Return plane(p) + plane(p + (down, right)), where both lie inside, (B, 1, h - |down|, w - |right|)."""
    height, width = plane.shape[2] - abs(down), plane.shape[3] - abs(right)
    y, x = max(0, -down), max(0, -right)
    here = plane[:, :, y : y + height, x : x + width]
    return here + plane[:, :, y + down : y + down + height, x + right : x + right + width]


def edge_correlation(across: Tensor, reach: int) -> Tensor:
    """Return the correlation of each plane (DIRECTIONS, 2·reach + 1, 2·reach + 1) float64, from its taps ``across``."""
    side = 4 * EDGE_HALO + 2
    impulse = torch.zeros(1, 1, side, side, dtype=torch.float64)
    impulse[..., side // 2, side // 2] = 1.0
    filters = [_filtered(impulse, across.double(), down, right, EDGE_HALO)[0, 0] for down, right in EDGES]
    products = torch.fft.ifft2(torch.fft.fft2(torch.stack(filters)).abs().square()).real
    lags = products.roll((reach, reach), (1, 2))[:, : 2 * reach + 1, : 2 * reach + 1]
    correlation: Tensor = lags / lags[:, reach : reach + 1, reach : reach + 1]
    return correlation


def across_taps(correlation: Tensor) -> Tensor:
    """Return symmetric taps (2·ACROSS_REACH + 1,) of norm 1 for a correlation at distances 0 to ACROSS_REACH.

    Their transfer function is the root of the spectrum of the correlation, where that is not negative. Outer taps that
    hardly matter are 0, see `grain.LEFT_OUT`.
    """
    line = torch.zeros(64, dtype=torch.float64)
    line[: ACROSS_REACH + 1] = correlation
    line[-ACROSS_REACH:] = correlation[1:].flip(0)
    root = torch.fft.ifft(torch.fft.fft(line).real.clamp(min=1e-3).sqrt()).real
    taps = root.roll(ACROSS_REACH)[: 2 * ACROSS_REACH + 1]
    reach = needed_reach(taps)
    taps = F.pad(middle(taps, reach), [ACROSS_REACH - reach] * 2)
    unit: Tensor = taps / taps.norm()
    return unit
