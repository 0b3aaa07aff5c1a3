"""Estimated kernels that are not the blur of a camera. They are flagged, so that no image is blurred by them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from degsynth.ops.dark_channel import MAX_BORDER_MASS, border_mass
from degsynth.ops.kernel_from_edges import pieces
from degsynth.ops.kernels import second_moment

FAINT = 0.05
"""Taps below this share of the largest tap do not connect pieces of a kernel."""
BLOB_MASS = 0.15
"""Pieces with more than this share of the kernel count as blobs. Several blobs come from a repeated pattern in the
photograph, not from blur."""
FARTHEST = 4.0
"""A width is called odd (unusual) where it is farther from the median than this many times the usual deviation.

The usual deviation is robust (1.4826 × the median deviation) and, like the widths, measured in logarithms.
"""
LEAST_DEVIATION = 0.15
"""Smallest value that is taken for the usual deviation of the logarithm of widths."""
ENOUGH = 5
"""Number of kernels without a defect from which on widths are compared with one another."""


def width(kernel: Tensor) -> float:
    """Return σ (HR px) of a kernel, the root mean square of both axes."""
    return math.sqrt(max(0.0, sum(second_moment(kernel)) / 2))


def defect(kernel: Tensor) -> str:
    """Say what is wrong with a kernel (K, K), seen by itself; an empty text if nothing is."""
    if border_mass(kernel) > MAX_BORDER_MASS:
        return "mass at the border"
    kernel = torch.where(kernel < FAINT * kernel.max(), 0.0, kernel)
    labels, count = pieces(kernel)
    masses = [float(kernel[torch.from_numpy(labels == number)].sum()) for number in range(1, count + 1)]
    if sum(mass > BLOB_MASS for mass in masses) > 1:
        return "several blobs"
    return ""


def flags(kernels: Tensor) -> list[str]:
    """Say what is wrong with each of kernels (N, K, K), by itself or among the others; an empty text if nothing is."""
    defects = [defect(kernel) for kernel in kernels]
    logs = torch.tensor([math.log(max(width(kernel), 0.05)) for kernel in kernels], dtype=torch.float64)
    sound = logs[[not text for text in defects]]
    if len(sound) < ENOUGH:
        return defects
    median = sound.median()
    deviation = max(LEAST_DEVIATION, 1.4826 * float((sound - median).abs().median()))
    odd = (logs - median).abs() > FARTHEST * deviation
    return [text or ("odd width" if odd[number] else "") for number, text in enumerate(defects)]
