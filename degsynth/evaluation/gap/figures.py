"""The figures of a gap: how a set of synthetic LR images differs from a set of real ones, scene by scene unknown.

A figure is a size, which is 0 where two sets are equal, and a direction, whose sign says what the synthetic images
have more of. Sizes of different figures cannot be compared; each has its own floor (`degsynth.evaluation.gap.splits`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from degsynth.evaluation.gap.summary import GRADIENTS_PER_OCTAVE, Summary, rings
from degsynth.ops.noise_level import matrix_sqrt

LEVELS = 6
"""Number of bins of the level by which noise is compared, from black to white."""
MIN_BLOCKS = 20
"""Smallest number of flat blocks from which a bin of the level is used."""
MIN_PIXELS = 400
"""Smallest number of pixels from which a bin of the contrast is used."""
ROUNDING = (0.3 / 255) ** 2
"""Variance added before noise is compared, about that of rounding to 8 bits: less cannot be told from none."""
FINE = 0.25
"""Frequencies above this, in cycles per px, are fine: they are the upper half."""
DB = 10 / math.log(10)
"""Decibels of a unit of the logarithm of a power."""


@dataclass(frozen=True)
class Difference:
    """How one set differs from another by one figure."""

    size: float
    direction: float


@dataclass(frozen=True)
class Figure:
    """A figure: how it is computed, and how it is called."""

    key: str
    name: str
    unit: str
    words: tuple[str, str]
    """What is said of the synthetic images where the direction is negative, and where it is positive."""
    compare: Callable[[Sequence[Summary], Sequence[Summary]], Difference | None]
    """Compares synthetic and real images; None where the images do not allow it."""


def spectrum(images: Sequence[Summary]) -> Tensor:
    """Return the mean over images of the log power of each ring (RINGS,), in dB."""
    return DB * torch.stack([image.spectrum for image in images]).mean(0)


def noise_by_level(images: Sequence[Summary]) -> Tensor:
    """Return σ (LEVELS,), of 255, of the noise in flat blocks by their level; NaN where there are too few blocks."""
    level, variance = torch.cat([image.flat for image in images]).T
    place = (LEVELS * level).long().clamp(0, LEVELS - 1)
    chosen = [variance[place == number] for number in range(LEVELS)]
    medians = [float(values.median()) if len(values) >= MIN_BLOCKS else math.nan for values in chosen]
    return 255 * torch.tensor(medians, dtype=torch.float64).sqrt()


def detail_by_contrast(images: Sequence[Summary]) -> Tensor:
    """Return the root mean square (K,), of 255, of the finest detail by contrast; NaN where there are few pixels."""
    count, squares = torch.stack([image.detail for image in images]).sum(0).T
    return 255 * torch.where(count >= MIN_PIXELS, squares / count.clamp(min=1), math.nan).sqrt()


def gradients(images: Sequence[Summary]) -> Tensor:
    """Return the share (GRADIENT_STEPS,) of gradients by the logarithm of their size."""
    return torch.stack([image.gradients for image in images]).mean(0)


def _compare_spectra(synthetic: Sequence[Summary], real: Sequence[Summary]) -> Difference:
    """Compare the shapes of the spectra: RMS over rings, without the mean, in which scenes differ most."""
    difference = spectrum(synthetic) - spectrum(real)
    difference = difference - difference.mean()
    return Difference(float(difference.square().mean().sqrt()), _fine_excess(difference))


def _compare_fine_power(synthetic: Sequence[Summary], real: Sequence[Summary]) -> Difference:
    excess = _fine_excess(spectrum(synthetic) - spectrum(real))
    return Difference(abs(excess), excess)


def _fine_excess(difference: Tensor) -> float:
    """Return by how much the difference of two spectra, in dB, is larger at fine frequencies than at coarse ones."""
    fine = rings()[1] > FINE
    return float(difference[fine].mean() - difference[~fine].mean())


def _compare_strengths(synthetic: Tensor, real: Tensor) -> Difference | None:
    """Compare two curves of strengths, of 255: RMS and mean of their ratios in dB where both are known."""
    known = torch.isfinite(synthetic) & torch.isfinite(real)
    if not known.any():
        return None
    powers = [(curve[known] / 255).square() + ROUNDING for curve in (synthetic, real)]
    ratio = DB * torch.log(powers[0] / powers[1])
    return Difference(float(ratio.square().mean().sqrt()), float(ratio.mean()))


def _compare_noise(synthetic: Sequence[Summary], real: Sequence[Summary]) -> Difference | None:
    return _compare_strengths(noise_by_level(synthetic), noise_by_level(real))


def _compare_detail(synthetic: Sequence[Summary], real: Sequence[Summary]) -> Difference | None:
    return _compare_strengths(detail_by_contrast(synthetic), detail_by_contrast(real))


def _compare_gradients(synthetic: Sequence[Summary], real: Sequence[Summary]) -> Difference:
    """Compare the distributions of log gradients: Wasserstein-1 distance and difference of the means, in dB."""
    apart = (gradients(real) - gradients(synthetic)).cumsum(0)
    step = 20 * math.log10(2) / GRADIENTS_PER_OCTAVE
    return Difference(step * float(apart.abs().sum()), step * float(apart.sum()))


def _moments(images: Sequence[Summary]) -> tuple[Tensor, Tensor]:
    """Return mean (2,) and covariance (2, 2) of Cb and Cr over all pixels of images in colour."""
    colours = torch.stack([image.colour for image in images if image.colour is not None]).mean(0)
    mean = colours[1:3]
    return mean, colours[3:].view(2, 2) - mean[:, None] * mean


def _compare_chroma(synthetic: Sequence[Summary], real: Sequence[Summary]) -> Difference | None:
    """Compare the chroma as if its distributions were normal: Fréchet distance, of 255; direction: spread."""
    if synthetic[0].colour is None:
        return None
    (mean, covariance), (real_mean, real_covariance) = _moments(synthetic), _moments(real)
    root = matrix_sqrt(real_covariance)
    crossed = matrix_sqrt(root @ covariance @ root)
    square = (mean - real_mean).square().sum() + (covariance + real_covariance - 2 * crossed).trace()
    spread = covariance.trace().sqrt() - real_covariance.trace().sqrt()
    return Difference(255 * math.sqrt(max(0.0, float(square))), 255 * float(spread))


def _compare_saturation(synthetic: Sequence[Summary], real: Sequence[Summary]) -> Difference | None:
    if synthetic[0].colour is None:
        return None
    means = [
        float(torch.stack([image.colour[0] for image in side if image.colour is not None]).mean())
        for side in (synthetic, real)
    ]
    return Difference(100 * abs(means[0] - means[1]), 100 * (means[0] - means[1]))


def _compare_light(synthetic: Sequence[Summary], real: Sequence[Summary]) -> Difference:
    """Compare the luma as if its distributions were normal: Fréchet distance, of 255; direction: mean."""
    (mean, square), (real_mean, real_square) = (
        torch.stack([image.light for image in side]).mean(0).tolist() for side in (synthetic, real)
    )
    spread, real_spread = math.sqrt(max(0.0, square - mean**2)), math.sqrt(max(0.0, real_square - real_mean**2))
    return Difference(255 * math.hypot(mean - real_mean, spread - real_spread), 255 * (mean - real_mean))


FIGURES = (
    Figure("spectrum", "shape of the spectrum", "dB", ("blurrier", "sharper or noisier"), _compare_spectra),
    Figure("fine_power", "power above half Nyquist", "dB", ("blurrier", "sharper or noisier"), _compare_fine_power),
    Figure("noise_level", "noise by level", "dB", ("less noisy", "noisier"), _compare_noise),
    Figure("detail_contrast", "finest detail by contrast", "dB", ("with less detail", "with more"), _compare_detail),
    Figure("gradients", "size of gradients", "dB", ("flatter", "steeper"), _compare_gradients),
    Figure("chroma", "mean and spread of chroma", "/255", ("less colourful", "more colourful"), _compare_chroma),
    Figure("saturation", "saturation", "%", ("paler", "more saturated"), _compare_saturation),
    Figure("light", "mean and spread of luma", "/255", ("darker", "brighter"), _compare_light),
)
"""All figures, in the order of the table."""
