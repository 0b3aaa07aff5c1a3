"""Resampling without a learned kernel, at the centred phase (`ops.blur`)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def luma(image: Tensor) -> Tensor:
    """Luma (…, 1, H, W) of a gray or RGB image (…, C, H, W), full range; other channel counts have their mean."""
    if image.shape[-3] == 1:
        return image
    if image.shape[-3] != 3:
        return image.mean(-3, keepdim=True)
    return 0.299 * image[..., 0:1, :, :] + 0.587 * image[..., 1:2, :, :] + 0.114 * image[..., 2:3, :, :]


def bicubic(hr: Tensor, scale: int) -> Tensor:
    """The usual LR: antialiased bicubic (a = −0.5) of hr (B, C, s·h, s·w), clamped; the image itself at scale 1."""
    if scale == 1:
        return hr
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    return F.interpolate(hr, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0.0, 1.0)


def area(image: Tensor, scale: int) -> Tensor:
    """Mean over s×s blocks of image (B, C, s·h, s·w)."""
    return F.avg_pool2d(image, scale)


def without_surroundings(image: Tensor, reach: int) -> Tensor:
    """Image (B, C, H, W) less its mean over (2·reach + 1)² px around every pixel, borders repeated: 0 where flat."""
    side = 2 * reach + 1
    mean = F.pad(image, [reach, reach, reach, reach], mode="replicate")
    mean = F.avg_pool2d(F.avg_pool2d(mean, [side, 1], stride=1), [1, side], stride=1)
    return image - mean


def decimate(image: Tensor, scale: int) -> Tensor:
    """Every s-th sample of image (B, C, s·h, s·w) at the centred phase, no filter.

    At even scales that falls between pixels: it is the mean of the four around it.
    """
    first = (scale - 1) // 2
    if scale % 2 == 1:
        return image[:, :, first::scale, first::scale]
    rows = 0.5 * (image[:, :, first::scale] + image[:, :, first + 1 :: scale])
    return 0.5 * (rows[:, :, :, first::scale] + rows[:, :, :, first + 1 :: scale])


def inside(image: Tensor, border: int) -> Tensor:
    """What lies at least ``border`` px from every edge of (…, H, W): there no padding has been read."""
    return image[..., border : image.shape[-2] - border, border : image.shape[-1] - border]


def turned(image: Tensor, number: int) -> Tensor:
    """One of the eight ways, 0 to 7, to mirror and turn a square image (…, N, N); 0 leaves it as it is."""
    if number & 1:
        image = image.flip(-1)
    if number & 2:
        image = image.flip(-2)
    return image.transpose(-1, -2) if number & 4 else image
