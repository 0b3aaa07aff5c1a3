"""PSNR, SSIM and L1 of one LR image against the real LR. SSIM is computed by torchmetrics."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from degsynth.errors import DataError
from degsynth.ops.resample import luma

BORDER = 8
"""Usual number of LR px that are left out at each edge."""
SSIM_WINDOW = 11
"""Side of the window of SSIM, px."""
HIGHEST_PSNR = 100.0
"""The PSNR of equal images, dB: so that a mean over images is finite."""


def psnr(image: Tensor, truth: Tensor) -> float:
    """Return the peak signal-to-noise ratio of two images in [0, 1], dB; at most `HIGHEST_PSNR`."""
    error = float(torch.mean((image.double() - truth.double()) ** 2))
    if math.isnan(error):
        return math.nan
    return min(-10.0 * math.log10(error), HIGHEST_PSNR) if error > 0 else HIGHEST_PSNR


def ssim(image: Tensor, truth: Tensor) -> float:
    """Return the structural similarity (Wang et al. 2004) of two images (C, H, W) in [0, 1].

    The window is a Gaussian of σ 1.5, 11 px wide.
    """
    # Loading it takes 3 s, because it loads all of scipy.signal and scipy.stats; most commands need no SSIM.
    from torchmetrics.functional.image import structural_similarity_index_measure

    value = structural_similarity_index_measure(image[None], truth[None], data_range=1.0, kernel_size=SSIM_WINDOW)
    return float(value)  # type: ignore[arg-type]


def score(image: Tensor, truth: Tensor, border: int = BORDER) -> dict[str, float]:
    """Return all figures of one image (C, h, w) against the truth, both in [0, 1].

    ``border`` px are left out at each edge. Figures named ``*_y`` are of luma (0.299, 0.587, 0.114, full range), those
    named ``*_rgb`` of all channels together. DataError where the image is too small.
    """
    height, width = truth.shape[-2:]
    if min(height, width) < 2 * border + SSIM_WINDOW:
        raise DataError(
            f"an LR image of {width}×{height} px is too small to score: {border} px are left out at each edge, "
            f"and SSIM needs {SSIM_WINDOW} px",
            "lower `border`",
        )
    inside = (..., slice(border, height - border), slice(border, width - border))
    image, truth = image.clamp(0.0, 1.0)[inside], truth[inside]
    figures = {}
    for name, a, b in (("y", luma(image), luma(truth)), ("rgb", image, truth)):
        figures[f"psnr_{name}"] = psnr(a, b)
        figures[f"ssim_{name}"] = ssim(a, b)
        figures[f"l1_{name}"] = float((a - b).abs().mean())
    return figures
