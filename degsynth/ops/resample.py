"""Resampling without a learned kernel, at the centred phase (`ops.blur`)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in luma, full range."""


def luma(image: Tensor) -> Tensor:
    """Luma (…, 1, H, W) of a gray or RGB image (…, C, H, W); other channel counts have their mean."""
    if image.shape[-3] == 1:
        return image
    if image.shape[-3] != 3:
        return image.mean(-3, keepdim=True)
    return LUMA[0] * image[..., 0:1, :, :] + LUMA[1] * image[..., 1:2, :, :] + LUMA[2] * image[..., 2:3, :, :]


def bicubic(hr: Tensor, scale: int) -> Tensor:
    """The usual LR: antialiased bicubic (a = −0.5) of hr (B, C, s·h, s·w), clamped; the image itself at scale 1."""
    if scale == 1:
        return hr
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    return F.interpolate(hr, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0.0, 1.0)


def area(image: Tensor, scale: int) -> Tensor:
    """Mean over s×s blocks of image (B, C, s·h, s·w)."""
    return F.avg_pool2d(image, scale)
