"""Estimated kernels that are no blur of a camera: flagged, so that nobody draws them by mistake."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from degsynth.ops.dark_channel import RIM_MASS, rim_mass
from degsynth.ops.kernel_from_edges import pieces
from degsynth.ops.kernels import second_moment

FAINT = 0.05
"""Taps below that share of the largest do not join pieces."""
OWN_PIECE = 0.15
"""Pieces of such a mass, apart from one another, are blobs of their own: a repetition in the photograph, not blur."""
FARTHEST, LEAST_SPREAD = 4.0, 0.15
"""Widths are odd that many times their usual deviation (robust, in logs) from the median; as usual counts at least so
much."""
ENOUGH = 5
"""Of fewer kernels none is odd among the others."""


def width(kernel: Tensor) -> float:
    """σ (HR px), root mean square of both axes."""
    return math.sqrt(max(0.0, sum(second_moment(kernel)) / 2))


def fault(kernel: Tensor) -> str:
    """What is wrong with a kernel (K, K) by itself; empty: nothing."""
    if rim_mass(kernel) > RIM_MASS:
        return "mass at the border"
    kernel = torch.where(kernel < FAINT * kernel.max(), 0.0, kernel)
    labels, count = pieces(kernel)
    masses = [float(kernel[torch.from_numpy(labels == number)].sum()) for number in range(1, count + 1)]
    if sum(mass > OWN_PIECE for mass in masses) > 1:
        return "several blobs"
    return ""


def flags(kernels: Tensor) -> list[str]:
    """Of each of kernels (N, K, K): what is wrong with it by itself, or among the others."""
    found = [fault(kernel) for kernel in kernels]
    logs = torch.tensor([math.log(max(width(kernel), 0.05)) for kernel in kernels], dtype=torch.float64)
    sound = logs[[not flag for flag in found]]
    if len(sound) < ENOUGH:
        return found
    middle = sound.median()
    usual = max(LEAST_SPREAD, 1.4826 * float((sound - middle).abs().median()))
    odd = (logs - middle).abs() > FARTHEST * usual
    return [flag or ("odd width" if odd[number] else "") for number, flag in enumerate(found)]
