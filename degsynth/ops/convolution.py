"""A convolution whose result on a CPU is the same, to the last bit, for a whole image and for any window of it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, down: int = 1, right: int = 1) -> Tensor:
    """Return `F.conv2d` of x (B, C, H, W) with strides ``down`` and ``right``, computed as torch does for large images.

    For a single small image (1, C, H, W) torch on a CPU uses another algorithm, so such an image is computed as a
    batch of two.
    """
    if x.shape[0] == 1 and not x.is_cuda and x.numel() < 65536:
        x = x.expand(2, -1, -1, -1)
        return F.conv2d(x, weight, bias, stride=[down, right])[:1]
    return F.conv2d(x, weight, bias, stride=[down, right])
