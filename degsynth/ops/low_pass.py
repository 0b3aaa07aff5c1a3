"""The low frequencies of an image, as few samples: what lfl compares HR and LR by (adl, 3.3)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def low_pass(image: Tensor, filter: Literal["box", "gaussian"], size: int) -> Tensor:
    """Means over side-by-side windows of size×size px of image (B, C, H, W), from the top left: (B, C, H//size, …).

    box: plain means, as the authors' code has them (AvgPool2d). gaussian: weighted, σ = size / 4, the weights cut off
    at the window's edge, where they are e^−2 of the highest. A window of s·size HR px sees what one of size LR px sees.
    """
    if filter == "box":
        return F.avg_pool2d(image, size)
    at = torch.arange(size, dtype=image.dtype, device=image.device) - (size - 1) / 2
    weights = torch.exp(-0.5 * (at / (size / 4)) ** 2)
    weights = weights / weights.sum()
    planes = image.reshape(-1, 1, *image.shape[2:])
    rows = F.conv2d(planes, weights.view(1, 1, -1, 1), stride=(size, 1))
    found = F.conv2d(rows, weights.view(1, 1, 1, -1), stride=(1, size))
    return found.reshape(*image.shape[:2], *found.shape[2:])
