"""Noise that stands for what a model leaves out: its strength follows the level and the local contrast of the LR.

The model, which `degsynth.ops.residual_measurement` measures in the difference of real and predicted LR::

    noise(c, p)  =  σ(level(p), contrast(p)) · Σ_d mixing[c, d] · (taps ⋆ white_d)(p)

where the white_d are independent planes of standard normal numbers, the level is the luma of the LR, and the contrast
is the root mean square of its slope around the pixel.

What a model of a camera cannot predict is small in flat places, where it is the noise of the sensor, and several times
larger at edges, where the registration of the pairs and the camera's own processing are to blame. (pdm, Eq. 8, lets a
network find how noise follows the content.) A network for super-resolution that was trained without it amplifies it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.grain import filtered_noise
from degsynth.ops.resample import luma

SURROUNDINGS_PX = 2.0
"""Standard deviation of the Gaussian over which the contrast is averaged, LR px."""
SURROUNDINGS_REACH = 6
"""Distance at which that Gaussian ends, LR px."""
NOISE_HALO = SURROUNDINGS_REACH + 1
"""LR px beyond a pixel that its noise depends on; the slope needs one more pixel than the average."""
SMALLEST_CONTRAST, LARGEST_CONTRAST = 1 / 255, 64 / 255
"""Contrasts between which the knots of the table lie, in [0, 1] levels per LR px."""
LEVELS, CONTRASTS = 9, 13
"""Number of levels, from black to white, and of contrasts at which σ is stored."""


@dataclass(frozen=True)
class ResidualNoise:
    """Noise whose strength follows level and contrast, and which is correlated between neighbours and channels."""

    sigma: Tensor
    """(LEVELS, CONTRASTS) float64: standard deviation of the luma of the noise."""
    taps: Tensor
    """(K, K) float64: the filter that correlates neighbouring pixels, Σ taps² = 1."""
    mixing: Tensor
    """(C, C) float64: the matrix that mixes the channels; the luma of what it gives has variance 1."""


def surroundings(sigma: float = SURROUNDINGS_PX, reach: int = SURROUNDINGS_REACH) -> Tensor:
    """Return the weights (2·reach + 1) of the Gaussian over which the contrast is averaged, of sum 1."""
    distance = torch.arange(-reach, reach + 1)
    weights = torch.exp(-(distance**2) / (2 * sigma**2))
    return weights / weights.sum()


def local_contrast(lr_luma: Tensor, weights: Tensor) -> Tensor:
    """Return the contrast (B, 1, h, w) around every pixel of luma (B, 1, h, w), in levels per px. It is TorchScript.

    It is the root of the mean of the squared slope, over the Gaussian ``weights``. At the borders the outermost pixels
    are repeated.
    """
    padded = F.pad(lr_luma, [1, 1, 1, 1], mode="replicate")
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    reach = weights.shape[0] // 2
    power = F.pad(0.25 * (across.square() + down.square()), [reach, reach, reach, reach], mode="replicate")
    height, width = lr_luma.shape[2], lr_luma.shape[3]
    rows = weights[0] * power[:, :, :height]
    for place in range(1, 2 * reach + 1):  # a convolution adds up in an order that depends on the size of the tile
        rows = rows + weights[place] * power[:, :, place : place + height]
    mean = weights[0] * rows[:, :, :, :width]
    for place in range(1, 2 * reach + 1):
        mean = mean + weights[place] * rows[:, :, :, place : place + width]
    return mean.sqrt()


def table_position(
    lr_luma: Tensor,
    contrast: Tensor,
    levels: int = LEVELS,
    contrasts: int = CONTRASTS,
    smallest: float = SMALLEST_CONTRAST,
    largest: float = LARGEST_CONTRAST,
) -> tuple[Tensor, Tensor]:
    """Return where in the table of σ a level and a contrast lie: row and column, from 0 on. It is TorchScript.

    Rows are linear in the level, columns in the fourth root of the contrast. Roots are rounded correctly, so they do
    not depend on the size of the tile, as the last digit of a logarithm does. The defaults are not meant to be changed:
    TorchScript cannot read the constants of a module, but it can read defaults.
    """
    row = lr_luma.clamp(0.0, 1.0) * (levels - 1)
    first, last = smallest**0.25, largest**0.25
    root = contrast.clamp(smallest, largest).sqrt().sqrt()
    return row, ((root - first) * ((contrasts - 1) / (last - first))).clamp(0.0, contrasts - 1.0)


def contrast_knots() -> Tensor:
    """Return the contrasts (CONTRASTS,) float64 at which σ is stored, see `table_position`."""
    return torch.linspace(SMALLEST_CONTRAST**0.25, LARGEST_CONTRAST**0.25, CONTRASTS, dtype=torch.float64) ** 4


def sigma_at(sigma: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return the table (L, K) at positions (row, column) by bilinear interpolation. It is TorchScript."""
    top, left = row.floor().clamp(max=float(sigma.shape[0] - 2)), column.floor().clamp(max=float(sigma.shape[1] - 2))
    down, right = row - top, column - left
    first = top.long() * sigma.shape[1] + left.long()
    flat = sigma.flatten()
    below = first + sigma.shape[1]
    upper = flat[first] * (1.0 - right) + flat[first + 1] * right
    lower = flat[below] * (1.0 - right) + flat[below + 1] * right
    return upper * (1.0 - down) + lower * down


def residual_noise(lr: Tensor, white: Tensor, sigma: Tensor, taps: Tensor, mixing: Tensor, weights: Tensor) -> Tensor:
    """Return noise (B, C, h, w) for lr (B, C, h, w) in [0, 1], as the model above. It is TorchScript.

    ``white`` (B, D, h, w) are standard normal numbers, and ``mixing`` is (C, D): a row for each channel.
    """
    level = luma(lr)
    row, column = table_position(level, local_contrast(level, weights))
    return sigma_at(sigma, row, column) * torch.einsum("cd,ndhw->nchw", mixing, filtered_noise(white, taps))
