"""What the figures of a gap need to know of each image, so that any choice of images can be compared quickly.

All of it is about luma in [0, 1] except for colour. No statistic refers to another image, so an image counts the same
in every set in which it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.low_pass import smoothed
from degsynth.ops.noise_level import BLOCK, CLIP_MARGIN, FLAT_SHARE
from degsynth.ops.resample import luma
from degsynth.ops.residual_noise import local_contrast
from degsynth.ops.spectra import LOWEST_BIN, SIDE, power

SMOOTHED_PX = 1.5
"""Standard deviation of the Gaussian that removes noise before contrast is measured, px."""
SMOOTHED_REACH = 5
"""Distance at which that Gaussian ends, px."""
CONTRAST_EDGES = (0.5, 1, 2, 4, 8, 16, 32)
"""Edges of the bins of local contrast, of 255 per px; the first and the last bin are open."""
GRADIENT_STEPS = 96
"""Number of bins of log gradients."""
GRADIENTS_PER_OCTAVE = 8
"""Bins of log gradients for a doubling of the gradient."""
SMALLEST_GRADIENT = 0.5 / 255
"""Gradients below this (differences of neighbours, in [0, 1]) share a bin: rounding decides about them."""
TINY_POWER = (0.05 / 255) ** 2
"""Power added to that of every frequency, far below that of rounding to 8 bits (.29/255): a logarithm needs some."""


@dataclass(frozen=True)
class Summary:
    """What is known of one image (C, h, w). All tensors are float64."""

    spectrum: Tensor
    """(RINGS,): logarithm of the mean power of each ring of equal frequency."""
    flat: Tensor
    """(N, 2): level, and variance of the noise in levels², of the flattest blocks."""
    detail: Tensor
    """(K, 2): number of pixels in each bin of local contrast, and the sum of the squares of their finest detail."""
    gradients: Tensor
    """(GRADIENT_STEPS,): share of the differences of neighbours by the logarithm of their size."""
    colour: Tensor | None
    """(1 + 2 + 4,): mean saturation, mean and second moments of Cb and Cr; None for gray images."""
    light: Tensor
    """(2,): mean and mean square of the luma."""


def rings() -> tuple[Tensor, Tensor]:
    """Return the ring (SIDE, SIDE) of every frequency, −1 where it is not used, and the mean frequency of each ring.

    Frequencies are in cycles per px. Rings end at the Nyquist frequency of rows and columns.
    """
    frequency = torch.fft.fftfreq(SIDE, dtype=torch.float64) * SIDE
    radius = torch.hypot(frequency[:, None], frequency[None, :])
    ring = (radius.round().long() - math.ceil(LOWEST_BIN)).masked_fill(
        (radius < LOWEST_BIN) | (radius > SIDE / 2 + 0.5), -1
    )
    used = ring >= 0
    count = torch.bincount(ring[used])
    return ring, torch.bincount(ring[used], radius[used]) / count / SIDE


def summarise(image: Tensor) -> Summary:
    """Measure an image (C, h, w) in [0, 1] of at least SIDE px a side."""
    gray = luma(image.double())
    return Summary(
        _spectrum(gray[0]),
        _flat_blocks(gray),
        _detail(gray),
        _gradients(gray[0]),
        _colour(image.double()),
        _light(gray),
    )


def _spectrum(gray: Tensor) -> Tensor:
    ring, frequency = rings()
    used = ring >= 0
    total = torch.bincount(ring[used], power(gray, SIDE)[used], minlength=len(frequency))
    return torch.log(total / torch.bincount(ring[used]) + TINY_POWER)


def second_difference(gray: Tensor) -> Tensor:
    """Return the finest detail (1, h − 2, w − 2) of gray (1, h, w).

    The mask ``[1 −2 1] ⊗ [1 −2 1] / 6`` (Immerkær 1996) removes planes and has unit gain for white noise.
    """
    row = torch.tensor([1.0, -2.0, 1.0], dtype=gray.dtype)
    return F.conv2d(gray[None], (row[:, None] * row / 6).view(1, 1, 3, 3))[0]


def _flat_blocks(gray: Tensor) -> Tensor:
    """Return level and variance of the noise (N, 2) of the flattest blocks of gray (1, h, w).

    As in `degsynth.ops.noise_level`, flatness is judged by the means of a block's quarters, so not by its noise.
    """
    detail = second_difference(gray)
    variance = F.avg_pool2d(detail.square()[None], BLOCK)[0, 0].flatten()
    quarters = F.avg_pool2d(gray[None, :, 1:-1, 1:-1], BLOCK // 2)[0, 0]
    rows, columns = quarters.shape[0] // 2, quarters.shape[1] // 2
    quarters = quarters[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2)
    level, uneven = quarters.mean((1, 3)).flatten(), (quarters.amax((1, 3)) - quarters.amin((1, 3))).flatten()
    usable = ((level >= CLIP_MARGIN) & (level <= 1 - CLIP_MARGIN)).nonzero()[:, 0]
    chosen = usable[uneven[usable].argsort(stable=True)[: math.ceil(2 * FLAT_SHARE * len(usable))]]
    return torch.stack([level[chosen], variance[chosen]], 1)


def _detail(gray: Tensor) -> Tensor:
    """Return the finest detail of gray (1, h, w) by local contrast, as in `Summary.detail`."""
    smooth = smoothed(gray[None], SMOOTHED_PX, SMOOTHED_REACH)
    contrast = local_contrast(smooth)[0, 0, 1:-1, 1:-1].flatten()
    place = torch.bucketize(255 * contrast, torch.tensor(CONTRAST_EDGES, dtype=torch.float64))
    bins = len(CONTRAST_EDGES) + 1
    squares = torch.bincount(place, second_difference(gray)[0].square().flatten(), minlength=bins)
    return torch.stack([torch.bincount(place, minlength=bins).double(), squares], 1)


def _gradients(gray: Tensor) -> Tensor:
    sizes = torch.cat([gray.diff(dim=0).flatten(), gray.diff(dim=1).flatten()]).abs().clamp(min=SMALLEST_GRADIENT)
    place = (GRADIENTS_PER_OCTAVE * torch.log2(sizes / SMALLEST_GRADIENT)).long().clamp(max=GRADIENT_STEPS - 1)
    return torch.bincount(place, minlength=GRADIENT_STEPS).double() / len(place)


def _colour(image: Tensor) -> Tensor | None:
    if image.shape[0] != 3:
        return None
    gray = luma(image)[0]
    chroma = torch.stack([(image[2] - gray) / 1.772, (image[0] - gray) / 1.402]).flatten(1)  # Cb and Cr of JPEG
    largest = image.amax(0)
    saturation = ((largest - image.amin(0)) / largest.clamp(min=1 / 255)).mean()
    return torch.cat([saturation[None], chroma.mean(1), (chroma @ chroma.T / chroma.shape[1]).flatten()])


def _light(gray: Tensor) -> Tensor:
    return torch.stack([gray.mean(), gray.square().mean()])
