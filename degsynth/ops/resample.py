"""Resampling without a learnt kernel, at the centred phase (`ops.blur`), and other small operations on images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def luma(image: Tensor) -> Tensor:
    """Return the luma (…, 1, H, W) of an image (…, C, H, W), full range.

    A gray image is its own luma; for RGB the weights are 0.299, 0.587, 0.114; for other channel counts it is the mean.
    """
    if image.shape[-3] == 1:
        return image
    if image.shape[-3] != 3:
        return image.mean(-3, keepdim=True)
    return 0.299 * image[..., 0:1, :, :] + 0.587 * image[..., 1:2, :, :] + 0.114 * image[..., 2:3, :, :]


def bicubic(hr: Tensor, scale: int) -> Tensor:
    """Return the usual LR of hr (B, C, s·h, s·w): antialiased bicubic (a = −0.5), clamped to [0, 1].

    At scale 1 it is the image itself.
    """
    if scale == 1:
        return hr
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    return F.interpolate(hr, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0.0, 1.0)


def enlarged(lr: Tensor, scale: int) -> Tensor:
    """Return the bicubic enlargement of lr (B, C, h, w), not clamped: (B, C, s·h, s·w). At scale 1 it is lr itself.

    It is the enlargement of PyTorch (a = −0.75), at the centred phase.
    """
    if scale == 1:
        return lr
    size = (scale * lr.shape[-2], scale * lr.shape[-1])
    return F.interpolate(lr, size=size, mode="bicubic", align_corners=False)


def area(image: Tensor, scale: int) -> Tensor:
    """Return the means over s×s blocks of image (B, C, s·h, s·w): (B, C, h, w)."""
    return F.avg_pool2d(image, scale)


def without_surroundings(image: Tensor, reach: int) -> Tensor:
    """Return image (B, C, H, W) minus its mean over the (2·reach + 1)² px around every pixel; 0 where it is flat.

    At the borders the outermost pixels are repeated.
    """
    side = 2 * reach + 1
    mean = F.pad(image, [reach, reach, reach, reach], mode="replicate")
    mean = F.avg_pool2d(F.avg_pool2d(mean, [side, 1], stride=1), [1, side], stride=1)
    return image - mean


def decimate(image: Tensor, scale: int) -> Tensor:
    """Return every s-th sample of image (B, C, s·h, s·w) at the centred phase, without a filter: (B, C, h, w).

    At even scales the centred phase falls between pixels: the sample is the mean of the four pixels around it.
    """
    first = (scale - 1) // 2
    if scale % 2 == 1:
        return image[:, :, first::scale, first::scale]
    rows = 0.5 * (image[:, :, first::scale] + image[:, :, first + 1 :: scale])
    return 0.5 * (rows[:, :, :, first::scale] + rows[:, :, :, first + 1 :: scale])


def crop_border(image: Tensor, border: int) -> Tensor:
    """Return the part of image (…, H, W) at least ``border`` px from every edge, which no padding has influenced."""
    return image[..., border : image.shape[-2] - border, border : image.shape[-1] - border]


def dihedral(image: Tensor, number: int) -> Tensor:
    """Return a square image (…, N, N) mirrored and rotated in one of the eight ways, 0 to 7; 0 leaves it as it is."""
    if number & 1:
        image = image.flip(-1)
    if number & 2:
        image = image.flip(-2)
    return image.transpose(-1, -2) if number & 4 else image
