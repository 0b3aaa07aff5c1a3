"""How much noise photographs carry, found from nothing but them: a 3×3 covariance (RGB), or a variance (gray)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 12
"""Side of the blocks of which the flattest are looked at, px."""
FLATTEST = 0.05
"""Share of all blocks that is taken for flat."""
LEAST_BLOCKS = 100
"""In fewer blocks there need not be a flat one: noise is then called none."""
LEAST_SIGMA = 1.0
"""Below so many 8-bit levels noise cannot be told from rounding and faint texture, and is called none."""
CLIPPED = 3 / 255
"""Blocks nearer to black or white than this have had their noise cut off."""


def noise_covariance(images: Iterable[Tensor]) -> Tensor:
    """Covariance (C, C) float64 of the white noise of images (C, H, W) in [0, 1], in levels².

    The residual that no plane leaves, ``[1 −2 1] ⊗ [1 −2 1] / 6`` (Immerkær 1996), has unit gain for white noise; its
    covariance over flat blocks is that of the noise. Which blocks are flat is judged by something that this residual
    has no part in, the differences of their four quarters' means: so choosing the flattest does not choose the least
    noisy. The median over these blocks forgives those that have a fine texture all the same. Zeros where the root
    mean square is below `LEAST_SIGMA`.
    """
    second = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64)
    mask = (second[:, None] * second[None, :] / 6).view(1, 1, 3, 3)
    blocks, unevenness = [], []
    channels = 1
    for image in images:
        channels = image.shape[0]
        if min(image.shape[1:]) < BLOCK + 2:
            continue
        planes = image.double()[:, None]
        residual = F.conv2d(planes, mask)[:, 0]
        rows, columns = (length // BLOCK for length in residual.shape[1:])
        cut = residual[:, : rows * BLOCK, : columns * BLOCK].view(channels, rows, BLOCK, columns, BLOCK)
        covariance = torch.einsum("ariqj,briqj->rqab", cut, cut) / BLOCK**2
        inner = planes[:, 0, 1 : 1 + rows * BLOCK, 1 : 1 + columns * BLOCK]
        quarters = F.avg_pool2d(inner[None], BLOCK // 2)[0].view(channels, rows, 2, columns, 2)
        uneven = (quarters.amax((2, 4)) - quarters.amin((2, 4))).square().mean(0)
        mean = quarters.mean((0, 2, 4))
        uneven = torch.where((mean < CLIPPED) | (mean > 1 - CLIPPED), torch.inf, uneven)
        blocks.append(covariance.flatten(0, 1))
        unevenness.append(uneven.flatten())
    if not blocks:
        return torch.zeros(channels, channels, dtype=torch.float64)
    found, order = torch.cat(blocks), torch.cat(unevenness).argsort()
    usable = int(torch.isfinite(torch.cat(unevenness)).sum())
    if usable < LEAST_BLOCKS:
        return torch.zeros(channels, channels, dtype=torch.float64)
    flat = found[order[: max(1, int(FLATTEST * usable))]]
    # Of a covariance the median is taken of what makes sense alone: the variances of all channels and of their sums.
    variances = flat.diagonal(dim1=1, dim2=2).median(0).values
    covariance = torch.diag(variances)
    for a in range(channels):
        for b in range(a):
            total = (flat[:, a, a] + flat[:, b, b] + 2 * flat[:, a, b]).median()
            covariance[a, b] = covariance[b, a] = (total - variances[a] - variances[b]) / 2
    return _positive(covariance)  # negative variances are accidents of the medians


def beyond(lr: Tensor, hr: Tensor, kernel: Tensor) -> Tensor:
    """Covariance (C, C) of what LR noise there is besides the HR's own, of which blur leaves Σ k² of the variance."""
    return _positive(lr - float(kernel.square().sum()) * hr)


def _positive(covariance: Tensor) -> Tensor:
    """The nearest covariance, or zeros where the root mean square is below `LEAST_SIGMA`."""
    values, vectors = torch.linalg.eigh(covariance)
    nearest: Tensor = vectors @ torch.diag(values.clamp(min=0)) @ vectors.T
    told = float(nearest.diagonal().mean()) >= (LEAST_SIGMA / 255) ** 2
    return nearest if told else torch.zeros_like(nearest)


def luma_variance(covariance: Tensor) -> float:
    """Variance of the luma of noise with that covariance."""
    if covariance.shape[0] == 1:
        return float(covariance[0, 0])
    weights = torch.full((covariance.shape[0],), 1 / covariance.shape[0], dtype=torch.float64)
    if covariance.shape[0] == 3:
        weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    return float(weights @ covariance @ weights)


def square_root(covariance: Tensor) -> Tensor:
    """The symmetric matrix (C, C) that makes noise of that covariance of independent standard normal numbers."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    return root
