"""The covariance of the noise in photographs, measured from the photographs alone: 3×3 for RGB, a variance for gray."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 12
"""Side of the blocks among which the flattest are chosen, px."""
FLAT_SHARE = 0.05
"""Share of all blocks that is taken to be flat."""
MIN_BLOCKS = 100
"""With fewer blocks than this there need not be a flat one, and the result is no noise."""
MIN_SIGMA = 1.0
"""Noise below this (8-bit levels) cannot be distinguished from rounding and faint texture; the result is no noise."""
CLIP_MARGIN = 3 / 255
"""In blocks whose mean is nearer to black or white than this the noise has been cut off; they are not used."""


def noise_covariance(images: Iterable[Tensor]) -> Tensor:
    """Measure the covariance (C, C) float64 of the white noise of images (C, H, W) in [0, 1], in levels².

    The mask ``[1 −2 1] ⊗ [1 −2 1] / 6`` (Immerkær 1996) removes planes and has unit gain for white noise, so over flat
    blocks the covariance of its output is that of the noise. Flat blocks are chosen by a quantity that does not depend
    on that output, the differences between the means of their four quarters: thus the flattest blocks are not at the
    same time the least noisy ones. Some of them have a fine texture nevertheless, so the median over the blocks is
    taken. The result is zero where the root mean square noise is below `MIN_SIGMA`.
    """
    covariances, unevenness = [], []
    channels = 1
    for image in images:
        channels = image.shape[0]
        if min(image.shape[1:]) < BLOCK + 2:
            continue
        of_blocks, uneven = _block_covariances(image)
        covariances.append(of_blocks)
        unevenness.append(uneven)
    if not covariances:
        return torch.zeros(channels, channels, dtype=torch.float64)
    order = torch.cat(unevenness).argsort()
    usable = int(torch.isfinite(torch.cat(unevenness)).sum())
    if usable < MIN_BLOCKS:
        return torch.zeros(channels, channels, dtype=torch.float64)
    return _positive(_median_covariance(torch.cat(covariances)[order[: max(1, int(FLAT_SHARE * usable))]]))


def _block_covariances(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the covariance (N, C, C) of the mask's output in each block of image (C, H, W), and its unevenness (N,).

    The unevenness is the square of the range of the quarters' means, averaged over the channels. It is infinite for
    blocks that are too near to black or white.
    """
    channels = image.shape[0]
    second_difference = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64)
    mask = (second_difference[:, None] * second_difference[None, :] / 6).view(1, 1, 3, 3)
    planes = image.double()[:, None]
    residual = F.conv2d(planes, mask)[:, 0]
    rows, columns = (length // BLOCK for length in residual.shape[1:])
    blocks = residual[:, : rows * BLOCK, : columns * BLOCK].view(channels, rows, BLOCK, columns, BLOCK)
    covariance = torch.einsum("ariqj,briqj->rqab", blocks, blocks) / BLOCK**2
    inner = planes[:, 0, 1 : 1 + rows * BLOCK, 1 : 1 + columns * BLOCK]
    quarters = F.avg_pool2d(inner[None], BLOCK // 2)[0].view(channels, rows, 2, columns, 2)
    uneven = (quarters.amax((2, 4)) - quarters.amin((2, 4))).square().mean(0)
    mean = quarters.mean((0, 2, 4))
    uneven = torch.where((mean < CLIP_MARGIN) | (mean > 1 - CLIP_MARGIN), torch.inf, uneven)
    return covariance.flatten(0, 1), uneven.flatten()


def _median_covariance(covariances: Tensor) -> Tensor:
    """Return the median of covariances (N, C, C), which need not be a covariance itself.

    A median is meaningful for variances only. So it is taken of the variances of all channels, and of the variances of
    the sums of two channels, from which their covariance follows.
    """
    variances = covariances.diagonal(dim1=1, dim2=2).median(0).values
    median = torch.diag(variances)
    for a in range(covariances.shape[1]):
        for b in range(a):
            total = (covariances[:, a, a] + covariances[:, b, b] + 2 * covariances[:, a, b]).median()
            median[a, b] = median[b, a] = (total - variances[a] - variances[b]) / 2
    return median


def noise_excess(lr: Tensor, hr: Tensor, kernel: Tensor) -> Tensor:
    """Return the covariance (C, C) of the LR noise that does not come from the HR noise.

    ``lr`` and ``hr`` are the covariances (C, C) of the two noises. Blurring white noise by the kernel leaves Σ k² of
    its variance.
    """
    return _positive(lr - float(kernel.square().sum()) * hr)


def _positive(covariance: Tensor) -> Tensor:
    """Return the nearest positive semidefinite matrix, or zeros where the RMS of its noise is below `MIN_SIGMA`."""
    values, vectors = torch.linalg.eigh(covariance)
    nearest: Tensor = vectors @ torch.diag(values.clamp(min=0)) @ vectors.T
    measurable = float(nearest.diagonal().mean()) >= (MIN_SIGMA / 255) ** 2
    return nearest if measurable else torch.zeros_like(nearest)


def luma_variance(covariance: Tensor) -> float:
    """Return the variance of the luma of noise with this covariance (C, C)."""
    if covariance.shape[0] == 1:
        return float(covariance[0, 0])
    weights = torch.full((covariance.shape[0],), 1 / covariance.shape[0], dtype=torch.float64)
    if covariance.shape[0] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    return float(weights @ covariance @ weights)


def matrix_sqrt(covariance: Tensor) -> Tensor:
    """Return the symmetric square root (C, C) of a covariance.

    It turns independent standard normal numbers into noise of that covariance.
    """
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    return root
