"""The low frequencies of an image: sampled sparsely, as lfl compares HR and LR by them (adl, 3.3), or everywhere."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def low_pass(image: Tensor, filter: Literal["box", "gaussian"], size: int) -> Tensor:
    """Return the means over adjacent windows of size×size px of image (B, C, H, W): (B, C, H // size, W // size).

    The first window is the upper left corner. ``box`` means plain means, as in the authors' code (AvgPool2d).
    ``gaussian`` means weighted means with σ = size / 4, cut off at the window's edge, where the weights are e^−2 of the
    highest. A window of s·size HR px covers the same part of the scene as one of size LR px.
    """
    if filter == "box":
        return F.avg_pool2d(image, size)
    offsets = torch.arange(size, dtype=image.dtype, device=image.device) - (size - 1) / 2
    weights = torch.exp(-0.5 * (offsets / (size / 4)) ** 2)
    weights = weights / weights.sum()
    planes = image.reshape(-1, 1, *image.shape[2:])
    rows = F.conv2d(planes, weights.view(1, 1, -1, 1), stride=(size, 1))
    means = F.conv2d(rows, weights.view(1, 1, 1, -1), stride=(1, size))
    return means.reshape(*image.shape[:2], *means.shape[2:])


def smoothed(image: Tensor, sigma: float, reach: int) -> Tensor:
    """Return image (B, C, h, w) blurred by a Gaussian of this standard deviation, px, which ends at ``reach`` px.

    The outermost pixels are repeated beyond the borders.
    """
    distance = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    weights = torch.exp(-(distance**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    planes = F.pad(image, [reach] * 4, mode="replicate").flatten(0, 1)[:, None]
    blurred = F.conv2d(F.conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return blurred.view(image.shape)
