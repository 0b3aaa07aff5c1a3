"""Scores of a super-resolved image against the real HR image, as papers give them. SSIM is computed by torchmetrics."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degsynth.data import images
from degsynth.errors import DataError
from degsynth.evaluation.metrics import SSIM_WINDOW, psnr, ssim
from degsynth.ops.resample import crop_border, luma

BORDER = 16
"""Usual number of HR px that are left out at each edge."""
SHIFT = 4
"""Usual largest shift that the shift-tolerant PSNR allows for, HR px."""
FIGURES = ("psnr_y", "ssim_y", "psnr_studio_y", "ssim_studio_y", "psnr_rgb", "ssim_rgb", "psnr_rgb_shifted")
"""Names of the figures of an image, in the order in which they are reported."""

Pixels = NDArray[Any]


def in_8_bits(image: Tensor) -> Pixels:
    """Round an image (C, H, W) in [0, 1] to RGB pixels (H, W, 3) of 8 bits; gray becomes three equal channels."""
    return images.quantise(image.expand(3, -1, -1), np.dtype(np.uint8))


def studio_luma(pixels: Pixels) -> Pixels:
    """Return the Y (H, W) of RGB pixels (H, W, 3) as MATLAB's ``rgb2ycbcr`` does: from 16 to 235, rounded."""
    weights = np.array([65.481, 128.553, 24.966])
    y: Pixels = np.rint(16.0 + pixels.astype(np.float64) @ weights / 255.0).astype(np.uint8)
    return y


def shifted_psnr(image: Pixels, truth: Pixels, shift: int = SHIFT) -> float:
    """Return the best PSNR, dB, over all whole shifts of an image (H, W, C) by up to ``shift`` px against the truth.

    As in NTIRE 2018, where degradations move the images: the inner part of the image, without ``shift`` px at each
    edge, is compared with the parts of the truth at all places. (The challenge took 60×60 px in the middle, and 40.)
    """
    height, width = image.shape[:2]
    inner = image[shift : height - shift, shift : width - shift]
    errors = cv2.matchTemplate(np.ascontiguousarray(truth), np.ascontiguousarray(inner), cv2.TM_SQDIFF)
    y, x = np.unravel_index(int(errors.argmin()), errors.shape)  # in 32 bits, so the figure itself is computed anew
    part = truth[y : y + inner.shape[0], x : x + inner.shape[1]]
    return psnr(*(torch.from_numpy(side.astype(np.float64) / 255.0) for side in (inner, part)))


def score(image: Pixels, truth: Pixels, border: int = BORDER, shift: int = SHIFT) -> dict[str, float]:
    """Return all figures of 8-bit RGB pixels (H, W, 3) against the truth; ``border`` px are left out at each edge.

    ``*_y``: luma (0.299, 0.587, 0.114) in full range; ``*_studio_y``: `studio_luma`, whose PSNR is about 1.32 dB
    higher; ``*_rgb``: all channels together; ``psnr_rgb_shifted``: `shifted_psnr`. DataError where the image is too
    small.
    """
    height, width = truth.shape[:2]
    least = 2 * border + max(SSIM_WINDOW, 2 * shift + 1)
    if min(height, width) < least:
        raise DataError(
            f"an HR image of {width}×{height} px is too small to score: {border} px are left out at each edge, and "
            f"{least - 2 * border} px must be left",
            "lower `border` or `shift`",
        )
    figures: dict[str, float] = {}
    planes = {"y": _full_luma, "studio_y": _studio_luma, "rgb": _all_channels}
    for name, convert in planes.items():
        a, b = (crop_border(convert(pixels), border) for pixels in (image, truth))
        figures[f"psnr_{name}"], figures[f"ssim_{name}"] = psnr(a, b), ssim(a.float(), b.float())
    inside = slice(border, height - border), slice(border, width - border)
    figures["psnr_rgb_shifted"] = shifted_psnr(image[inside], truth[inside], shift)
    return figures


def _all_channels(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float64) / 255.0).permute(2, 0, 1)


def _full_luma(pixels: Pixels) -> Tensor:
    return luma(_all_channels(pixels))


def _studio_luma(pixels: Pixels) -> Tensor:
    return torch.from_numpy(studio_luma(pixels).astype(np.float64) / 255.0)[None]


def mean(rows: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Return the mean of each figure over the images, of what has a name in the rows."""
    return {figure: float(np.mean([row[name][figure] for row in rows])) for figure in FIGURES}
