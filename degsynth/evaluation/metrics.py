"""PSNR, SSIM and L1 of one LR image against the real one. SSIM is torchmetrics'."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from degsynth.errors import DataError
from degsynth.ops.resample import luma

BORDER = 8
"""LR px left out at each edge."""
SSIM_WINDOW = 11
HIGHEST_PSNR = 100.0


def psnr(image: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two images in [0, 1]; 100 dB at most, so that equal images have a mean."""
    error = float(torch.mean((image.double() - truth.double()) ** 2))
    if math.isnan(error):
        return math.nan
    return min(-10.0 * math.log10(error), HIGHEST_PSNR) if error > 0 else HIGHEST_PSNR


def ssim(image: Tensor, truth: Tensor) -> float:
    """Structural similarity of two images (C, H, W) in [0, 1]: Gaussian window of 11 px, σ 1.5 (Wang et al. 2004)."""
    value = structural_similarity_index_measure(image[None], truth[None], data_range=1.0, kernel_size=SSIM_WINDOW)
    return float(value)  # type: ignore[arg-type]


def score(image: Tensor, truth: Tensor, border: int = BORDER) -> dict[str, float]:
    """All figures of one image (C, h, w) against the truth, both in [0, 1], ``border`` px left out at each edge.

    ``*_y`` are of luma (0.299, 0.587, 0.114, full range), ``*_rgb`` of all channels together.
    """
    height, width = truth.shape[-2:]
    if min(height, width) < 2 * border + SSIM_WINDOW:
        raise DataError(
            f"LR of {width}×{height} is too small to score: {border} px are left out at each edge, "
            f"and SSIM needs {SSIM_WINDOW}; lower --border"
        )
    inside = (..., slice(border, height - border), slice(border, width - border))
    image, truth = image.clamp(0.0, 1.0)[inside], truth[inside]
    figures = {}
    for name, a, b in (("y", luma(image), luma(truth)), ("rgb", image, truth)):
        figures[f"psnr_{name}"] = psnr(a, b)
        figures[f"ssim_{name}"] = ssim(a, b)
        figures[f"l1_{name}"] = float((a - b).abs().mean())
    return figures
