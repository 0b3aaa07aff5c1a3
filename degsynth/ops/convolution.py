"""A convolution that the CPU computes alike in any window of an image, to the last bit."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, down: int = 1, right: int = 1) -> Tensor:
    """`F.conv2d` with strides ``down`` and ``right``, as torch computes it for large images.

    A single small one (1, C, H, W) has another algorithm there, so it is computed as two.
    """
    if x.shape[0] == 1 and not x.is_cuda and x.numel() < 65536:
        x = x.expand(2, -1, -1, -1)
        return F.conv2d(x, weight, bias, stride=[down, right])[:1]
    return F.conv2d(x, weight, bias, stride=[down, right])
