"""Kernels moved by fractions of a pixel, and put onto the grid that a scale needs.

Kernels are moved by Lagrange interpolation through 8 taps: of all filters of that length it moves polynomials of the
highest degree (7) exactly. So the sum, the centroid and the second moments of the result are those of the moved kernel
to the last digit: a move makes no kernel wider. At half a pixel, the worst case, waves of 4 px and longer pass to
within 3 %.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.kernels import centroid, similarity, tap_offsets

POINTS = 8
"""Number of taps of the interpolation."""
MOVES = 6
"""Number of times that a kernel is moved, clipped and measured again."""
CENTRE_TOLERANCE = 1e-9
"""A kernel whose centroid is nearer to the centre than this (px) is centred."""
MAX_NEWTON_STEPS = 60
"""Largest number of Newton steps that determine a tilt."""


def lagrange(fraction: float) -> Tensor:
    """Return the weights (8,) of the taps −3 … 4 for the value at ``fraction`` in [0, 1]."""
    nodes = torch.arange(POINTS, dtype=torch.float64) - (POINTS // 2 - 1)
    denominators = nodes[:, None] - nodes + torch.eye(POINTS, dtype=torch.float64)
    numerators = (fraction - nodes).expand(POINTS, POINTS).clone().fill_diagonal_(1.0)
    return (numerators / denominators).prod(1)


def _filtered(kernels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the full convolution (N, K + 7, K + 7) of kernels (N, K, K) with one filter down and one across."""
    down, across = (_full_convolution(taps, kernels.shape[-1]) for taps in (rows, columns))
    return down @ kernels @ across.T


def _full_convolution(taps: Tensor, size: int) -> Tensor:
    """Return the matrix (size + 7, size) of the full convolution with a filter (8,)."""
    matrix = torch.zeros(size + POINTS - 1, size, dtype=torch.float64)
    for number, tap in enumerate(taps):
        matrix.diagonal(-number).fill_(float(tap))
    return matrix


def moved(kernel: Tensor, down: float, right: float) -> Tensor:
    """Return a kernel (K, K) float64 moved by (down, right) px; what leaves the window is lost."""
    size = kernel.shape[0]
    whole = [int(torch.tensor(shift).floor()) for shift in (down, right)]
    filtered = _filtered(kernel[None], lagrange(down - whole[0]), lagrange(right - whole[1]))[0]
    reach = max(map(abs, whole)) + POINTS
    wide = F.pad(filtered, (reach, reach, reach, reach))
    first = [reach + POINTS // 2 - 1 - shift for shift in whole]
    return wide[first[0] : first[0] + size, first[1] : first[1] + size]


def centred(kernel: Tensor) -> Tensor:
    """Return a kernel (K, K) of sum 1 with its centroid in the array's centre, to 1e-6 px.

    It has negative taps only if it had some before. The kernel is first moved by whole pixels. The remaining shift of
    less than a pixel can be removed by interpolation or by a *tilt*, which multiplies the taps by exp(t·(y, x)). For a
    Gaussian both give the same. A thin stroke is blurred by interpolation, but hardly changed by a tilt. Where the few
    taps of a kernel do not surround the centre, no tilt can do it, and only interpolation is left. The result whose
    shape is nearest to the original is taken (`similarity`).
    """
    kernel = kernel.double() / kernel.double().sum()
    kernel = whole_pixels(kernel)
    if max(map(abs, centroid(kernel))) < CENTRE_TOLERANCE:
        return kernel
    if bool((kernel < 0).any()):
        return _moved_to_centre(kernel, clip=False)
    shifted = _moved_to_centre(kernel, clip=True)
    candidates = [tilted for tilted in (_tilted(kernel), _tilted(shifted)) if tilted is not None] or [shifted]
    return max(candidates, key=lambda candidate: similarity(candidate, kernel))


def whole_pixels(kernel: Tensor) -> Tensor:
    """Return a kernel (K, K) of sum 1 moved by whole pixels, so that its centroid is as near to the centre as possible.

    What leaves the window is lost, and the sum is made 1 again.
    """
    size = kernel.shape[0]
    down, right = (max(-size, min(size, round(value))) for value in centroid(kernel))
    wide = F.pad(kernel, (size, size, size, size))
    inside = wide[size + down : 2 * size + down, size + right : 2 * size + right]
    return inside / inside.sum()


def _moved_to_centre(kernel: Tensor, clip: bool) -> Tensor:
    """Return a kernel (K, K) moved to the centre by interpolation.

    With ``clip`` the faint negative taps that this causes are set to 0; the kernel is then moved again, because that
    changes its centroid.
    """
    for _ in range(MOVES):
        kernel = moved(kernel, *(-value for value in centroid(kernel)))
        kernel = kernel.clamp(min=0.0) if clip else kernel
        kernel = kernel / kernel.sum()
    return kernel


def _tilted(kernel: Tensor) -> Tensor | None:
    """Return a kernel (K, K) with its taps multiplied by exp(t·(y, x)) so that it is centred; None where no t does it.

    t is determined by Newton's method; `nets.centred_softmax` explains why that converges.
    """
    offsets = tap_offsets(kernel.shape[0])
    tilt = torch.zeros(2, dtype=torch.float64)
    taps = kernel
    for _ in range(MAX_NEWTON_STEPS):
        y, x = centroid(taps)
        if max(abs(y), abs(x)) < CENTRE_TOLERANCE:
            return taps
        yy = float((taps.sum(1) * offsets * offsets).sum()) - y * y + 1e-9
        xx = float((taps.sum(0) * offsets * offsets).sum()) - x * x + 1e-9
        yx = float(offsets @ taps @ offsets) - y * x
        step = torch.tensor([xx * y - yx * x, yy * x - yx * y], dtype=torch.float64) / (yy * xx - yx * yx + 1e-12)
        tilt = tilt - step * min(1.0, 1.0 / float(step.norm()))
        slope = tilt[0] * offsets[:, None] + tilt[1] * offsets[None, :]
        taps = kernel * (slope - slope[kernel > 0].max()).exp()
        taps = taps / taps.sum()
    return None


def suited_size(size: int, scale: int) -> int:
    """Return the size of the kernels that `suited` returns for kernels of a given size."""
    return size + (POINTS - 1) * ((size - scale) % 2)


def suited(kernels: Tensor, scale: int) -> Tensor:
    """Return kernels (N, K, K) resampled to a size that suits the scale: K, or K + 7 where K has the other parity.

    They stay centred where they were. At even scales the centre of an LR pixel lies between two HR pixels, so a kernel
    on an odd grid is sampled half a pixel off its taps (`ops.blur` explains why the size must be even then).
    """
    if (kernels.shape[-1] - scale) % 2 == 0:
        return kernels
    half = lagrange(0.5)
    resampled = _filtered(kernels.double(), half, half)
    return resampled / resampled.sum((1, 2), keepdim=True)
