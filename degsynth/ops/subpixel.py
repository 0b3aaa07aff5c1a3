"""Kernels moved by fractions of a pixel, and onto the grid that a scale needs.

By Lagrange interpolation through 8 taps: of all filters of that length it moves polynomials of the highest degree (7)
exactly. So sum, centroid and second moments of a kernel come out as those of the moved one, to the last digit: a move
makes no kernel wider. At half a pixel, the worst case, waves of 4 px and longer pass to within 3 %.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.kernels import centroid, similarity

POINTS = 8
MOVES = 6
"""So often a kernel is moved, clipped and measured again."""
THERE = 1e-9
"""A centroid as near to the centre, px, is there."""
TILTS = 60
"""Newton steps, at most."""


def lagrange(fraction: float) -> Tensor:
    """Weights (8,) of the taps −3 … 4 for a value at ``fraction`` in [0, 1]."""
    at = torch.arange(POINTS, dtype=torch.float64) - (POINTS // 2 - 1)
    apart = at[:, None] - at + torch.eye(POINTS, dtype=torch.float64)
    from_here = (fraction - at).expand(POINTS, POINTS).clone().fill_diagonal_(1.0)
    return (from_here / apart).prod(1)


def _filtered(kernels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Full convolution of kernels (N, K, K) with a filter down and one across: (N, K + 7, K + 7)."""
    down, across = (_full_convolution(taps, kernels.shape[-1]) for taps in (rows, columns))
    return down @ kernels @ across.T


def _full_convolution(taps: Tensor, size: int) -> Tensor:
    """The matrix (size + 7, size) of it."""
    matrix = torch.zeros(size + POINTS - 1, size, dtype=torch.float64)
    for number, tap in enumerate(taps):
        matrix.diagonal(-number).fill_(float(tap))
    return matrix


def moved(kernel: Tensor, down: float, right: float) -> Tensor:
    """Kernel (K, K) float64, moved by (down, right) px; what leaves the window is lost."""
    size = kernel.shape[0]
    whole = [int(torch.tensor(by).floor()) for by in (down, right)]
    filtered = _filtered(kernel[None], lagrange(down - whole[0]), lagrange(right - whole[1]))[0]
    reach = max(map(abs, whole)) + POINTS
    wide = F.pad(filtered, (reach, reach, reach, reach))
    first = [reach + POINTS // 2 - 1 - by for by in whole]
    return wide[first[0] : first[0] + size, first[1] : first[1] + size]


def centred(kernel: Tensor) -> Tensor:
    """Kernel (K, K) of sum 1 whose centroid is the array's centre, to 1e-6 px; not negative if it was not before.

    First by whole pixels. Of what is left, less than a pixel, a Gaussian is freed by a move or by a *tilt* alike: taps
    times exp(t·(y, x)). A stroke drawn on pixels is blurred by the one and hardly changed by the other; a kernel of few
    taps may have none to weigh against each other. The way that keeps its shape better is taken (`similarity`).
    """
    kernel = kernel.double() / kernel.double().sum()
    kernel = whole_pixels(kernel)
    if max(map(abs, centroid(kernel))) < THERE:
        return kernel
    if bool((kernel < 0).any()):
        return _moved_to_the_middle(kernel, clip=False)
    shifted = _moved_to_the_middle(kernel, clip=True)
    ways = [way for way in (_tilted(kernel), _tilted(shifted)) if way is not None] or [shifted]
    return max(ways, key=lambda way: similarity(way, kernel))


def whole_pixels(kernel: Tensor) -> Tensor:
    """Kernel (K, K) of sum 1, moved by whole pixels so that its centroid is nearest to the centre; sum 1 again."""
    size = kernel.shape[0]
    down, right = (max(-size, min(size, round(value))) for value in centroid(kernel))
    wide = F.pad(kernel, (size, size, size, size))
    kept = wide[size + down : 2 * size + down, size + right : 2 * size + right]
    return kept / kept.sum()


def _moved_to_the_middle(kernel: Tensor, clip: bool) -> Tensor:
    """By interpolation, whose faint negative taps are clipped if asked for; what that changes is moved back again."""
    for _ in range(MOVES):
        kernel = moved(kernel, *(-value for value in centroid(kernel)))
        kernel = kernel.clamp(min=0.0) if clip else kernel
        kernel = kernel / kernel.sum()
    return kernel


def _tilted(kernel: Tensor) -> Tensor | None:
    """Taps times exp(t·(y, x)), t by Newton's method (`nets.centred_softmax` says why); None where no t will do."""
    at = torch.arange(kernel.shape[0], dtype=torch.float64) - (kernel.shape[0] - 1) / 2
    tilt = torch.zeros(2, dtype=torch.float64)
    taps = kernel
    for _ in range(TILTS):
        y, x = centroid(taps)
        if max(abs(y), abs(x)) < THERE:
            return taps
        yy = float((taps.sum(1) * at * at).sum()) - y * y + 1e-9
        xx = float((taps.sum(0) * at * at).sum()) - x * x + 1e-9
        yx = float(at @ taps @ at) - y * x
        step = torch.tensor([xx * y - yx * x, yy * x - yx * y], dtype=torch.float64) / (yy * xx - yx * yx + 1e-12)
        tilt = tilt - step * min(1.0, 1.0 / float(step.norm()))
        slope = tilt[0] * at[:, None] + tilt[1] * at[None, :]
        taps = kernel * (slope - slope[kernel > 0].max()).exp()
        taps = taps / taps.sum()
    return None


def suited_size(size: int, scale: int) -> int:
    """What becomes of a size in `suited`."""
    return size + (POINTS - 1) * ((size - scale) % 2)


def suited(kernels: Tensor, scale: int) -> Tensor:
    """Kernels (N, K, K) whose size suits a scale, centred where they were: K, or K + 7 where K has the other parity.

    At even scales LR pixels look between two HR pixels, so a kernel on an odd grid is read half a pixel further either
    way (`ops.blur` says why the size must be even then).
    """
    if (kernels.shape[-1] - scale) % 2 == 0:
        return kernels
    half = lagrange(0.5)
    found = _filtered(kernels.double(), half, half)
    return found / found.sum((1, 2), keepdim=True)
