"""Measure the noise model of `degsynth.ops.residual_noise` in real LR and what a model predicts of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from degsynth.ops import edge_measurement
from degsynth.ops.edge_measurement import EdgePixels
from degsynth.ops.edge_noise import across_taps, directions, edge_correlation
from degsynth.ops.grain import REACH
from degsynth.ops.grain_measurement import filter_taps
from degsynth.ops.low_pass import smoothed
from degsynth.ops.noise_level import matrix_sqrt
from degsynth.ops.resample import luma
from degsynth.ops.residual_noise import (
    CONTRASTS,
    LEVELS,
    ResidualNoise,
    contrast_knots,
    contrast_of,
    share_at,
    sigma_at,
    structure,
    table_position,
)
from degsynth.ops.spectra import power

SLOW_PX, SLOW_REACH = 8.0, 24
"""Standard deviation and reach of the Gaussian (LR px) that divides a residual into slow differences of level, which
two shots of a scene have and which are no noise, and the rest, which is measured."""
BORDER = 8
"""LR px at each edge that are not measured; predicted LR depends there on what lies beyond the image."""
LEAST_PIXELS = 1_000
"""With fewer pixels than this there is nothing to measure."""
PRIOR_PIXELS = 300.0
"""A knot of the table is drawn towards its neighbours as if they were so many pixels of its own. Pixels of a residual
are correlated, and a few of them say little about a variance."""
MIN_SIGMA = 0.05 / 255
"""Smallest σ that is stored."""
ASSUMED_NEIGHBOURS = 0.1
"""Correlation of adjacent pixels of the noise that is assumed where there are no pairs.

What a kernel that was fitted to pairs leaves out has 0.64 and 0.44 (the two cameras of City100). Nearly white noise
trains better, as `degsynth/methods/README.md` shows for several values. A likely reason, which has not been tested, is
that a kernel found without pairs is itself wrong, most of all at high frequencies, of which blur leaves least to see.
"""
ASSUMED_SHARE = (0.5, 0.8, 0.9, 0.95, 0.85)
"""Share of noise along edges that is assumed where there are no pairs, by contrast: about what `linear` leaves out of
the pairs of both cameras of City100."""
ASSUMED_ACROSS = (1.0, 0.2, 0.0, -0.1, -0.2)
"""Correlation across edges that is assumed, at distances of 0 to ACROSS_REACH px. It is near that of the same pairs; of
several values at 1 px, the one was taken that trains best on both cameras (`degsynth/methods/README.md`)."""
WINDOW, RINGS = 32, 16
"""Side of the windows whose spectra are taken (LR px), and number of rings of frequencies, from 0 to Nyquist's."""
FINE = 0.4
"""Frequencies above this (cycles per px, along either axis) count as being at the Nyquist frequency of the LR."""


@dataclass(frozen=True)
class _Residual:
    """The residual of one image without its slow part, and what its strength is to follow from."""

    planes: Tensor
    """(C, h, w)."""
    row: Tensor
    """(h, w): position in the table by level."""
    column: Tensor
    """(h, w): position in the table by contrast."""
    directions: Tensor
    """(DIRECTIONS, h, w): how much the edges around a pixel run in each direction, see `degsynth.ops.edge_noise`."""


@dataclass(frozen=True)
class Measured:
    """Measured noise, and the figures by which it is compared with drawn noise."""

    noise: ResidualNoise
    pixels: Tensor
    """(LEVELS, CONTRASTS): number of pixels near each knot of the table."""
    correlation: Tensor
    """(2·REACH + 1)²: correlation of neighbouring pixels of the luma, by their distance."""
    across: Tensor
    """(ACROSS_REACH + 1,): correlation of noise along edges across them, at distances of 0, 1, … px."""
    channels: Tensor
    """(C, C): covariance of the channels of the residual divided by its σ."""
    slow_sigma: float
    """Standard deviation of the slow differences of level, which are not drawn."""
    tails: float
    """Kurtosis of the residual divided by its σ; 3 for normal numbers."""
    sigma: float
    """Standard deviation of the luma of the residual over all measured images."""
    spectrum: Tensor
    """(RINGS,): power of the luma by frequency, in levels² per frequency, from 0 to 1/2 cycle per px."""
    fine_share: float
    """Share of the power at frequencies above `FINE`."""

    def lag_1(self) -> float:
        """Return the correlation of adjacent pixels, mean of both axes."""
        return float(self.correlation[REACH, REACH + 1] + self.correlation[REACH + 1, REACH]) / 2


def measure(images: Iterable[tuple[Tensor, Tensor]], level_step: float = 1 / 255) -> Measured | None:
    """Measure the difference of real LR and predicted LR, given as pairs of (C, h, w) in [0, 1].

    Return None where there are too few pixels, or where nothing is left out. ``level_step`` is the difference between
    two levels of the real LR's files. Rounding to them adds level_step²/12 to the variance of a channel, and that times
    Σ weight² to the variance of the luma. It is subtracted from σ, because LR images are rounded again when they are
    written; it stays in the correlations and in the other figures.
    """
    residuals, slow = [], []
    for real, predicted in images:
        if min(real.shape[1:]) > 2 * BORDER:
            rest, of_slow = _residual(real.double(), predicted.double())
            residuals.append(rest)
            slow.append(of_slow)
    if sum(rest.row.numel() for rest in residuals) < LEAST_PIXELS:
        return None
    variance, pixels = _variance_table(residuals)
    if float(variance.max()) < MIN_SIGMA**2:
        return None
    variance = variance.clamp(min=MIN_SIGMA**2)
    strengths = [sigma_at(variance.sqrt(), rest.row, rest.column) for rest in residuals]
    covariance, tails = _channel_covariance(
        [rest.planes / strength for rest, strength in zip(residuals, strengths, strict=True)]
    )
    edges = [
        EdgePixels(luma(rest.planes)[0], strength, rest.column, rest.directions)
        for rest, strength in zip(residuals, strengths, strict=True)
    ]
    share, across = edge_measurement.measure(edges)
    correlation, isotropic = _correlations(edges, share, across)
    mixing, tint = _colours(covariance, edges, share)
    rounding = level_step**2 / 12 * float(_luma_weights(len(covariance)).square().sum())
    sigma = (variance - rounding).clamp(min=MIN_SIGMA**2).sqrt()
    noise = ResidualNoise(sigma, filter_taps(isotropic), mixing, share, across_taps(across), tint)
    spectrum, fine = _spectrum(residuals)
    strength = torch.cat([luma(rest.planes).flatten() for rest in residuals]).square().mean().sqrt()
    slow_sigma = torch.stack(slow).mean().sqrt()
    return Measured(
        noise, pixels, correlation, across, covariance, float(slow_sigma), tails, float(strength), spectrum, fine
    )


def assumed(ratio: float, channels: int) -> ResidualNoise:
    """Return noise for a model whose residual cannot be measured, because there are no pairs.

    σ is ``ratio`` times the contrast at every level, and nothing in flat places. Neighbours correlate by
    `ASSUMED_NEIGHBOURS`, and channels as they do with as much common noise as noise of their own. At edges most of it
    runs along them.
    """
    contrast = contrast_knots()
    sigma = (ratio * (contrast - contrast[0])).expand(LEVELS, CONTRASTS).contiguous()
    offset = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    correlation = ASSUMED_NEIGHBOURS ** torch.hypot(offset[:, None], offset[None, :])
    covariance = 0.5 * torch.eye(channels, dtype=torch.float64) + 0.5
    share, across = (torch.tensor(part, dtype=torch.float64) for part in (ASSUMED_SHARE, ASSUMED_ACROSS))
    mixing, tint = _unit_luma(matrix_sqrt(covariance)), torch.ones(channels, dtype=torch.float64)
    return ResidualNoise(sigma, filter_taps(correlation), mixing, share, across_taps(across), tint)


def _residual(real: Tensor, predicted: Tensor) -> tuple[_Residual, Tensor]:
    """Return the residual of one image, and the variance of its slow part.

    What a model predicts beyond black or white is cut off, as it is when it is written. So where both images are cut
    off nothing is left out.
    """
    predicted = predicted.clamp(0.0, 1.0)
    residual = real - predicted
    slow = smoothed(residual[None], SLOW_PX, SLOW_REACH)[0]
    level = luma(predicted)[None]
    tensor = structure(level)
    row, column = table_position(level, contrast_of(tensor))
    amplitudes = directions(tensor)[0]
    inner = slice(BORDER, -BORDER), slice(BORDER, -BORDER)
    rest = _Residual((residual - slow)[:, *inner], row[0, 0][inner], column[0, 0][inner], amplitudes[:, *inner])
    return rest, luma(slow).square().mean()


def _variance_table(residuals: list[_Residual]) -> tuple[Tensor, Tensor]:
    """Return the variance of the luma at the knots (LEVELS, CONTRASTS), and the number of pixels near each.

    A pixel counts for the four knots around it, with the weights of bilinear interpolation, so that the mean of its
    square is about what the table gives there. Where pixels are rare, the table follows the contrast alone, and beyond
    the contrasts that occur it stays as it is at the last of them.
    """
    energy = torch.zeros(LEVELS * CONTRASTS, dtype=torch.float64)
    pixels = torch.zeros_like(energy)
    for rest in residuals:
        square, row, column = luma(rest.planes).square().flatten(), rest.row.flatten(), rest.column.flatten()
        top, left = row.floor().clamp(max=LEVELS - 2), column.floor().clamp(max=CONTRASTS - 2)
        for down in (0, 1):
            for right in (0, 1):
                weight = (1 - (row - top - down).abs()) * (1 - (column - left - right).abs())
                knot = ((top + down) * CONTRASTS + left + right).long()
                energy.index_add_(0, knot, weight * square)
                pixels.index_add_(0, knot, weight)
    energy, pixels = energy.view(LEVELS, CONTRASTS), pixels.view(LEVELS, CONTRASTS)
    by_contrast = _filled(energy.sum(0), pixels.sum(0))
    return (energy + PRIOR_PIXELS * by_contrast) / (pixels + PRIOR_PIXELS), pixels


def _filled(energy: Tensor, pixels: Tensor) -> Tensor:
    """Return the variance by contrast; knots with few pixels are drawn towards the next one that is better known."""
    middle = int(pixels.argmax())
    variance = energy / pixels.clamp(min=1e-9)
    for order in (range(middle + 1, len(pixels)), range(middle - 1, -1, -1)):
        before = variance[middle]
        for knot in order:
            variance[knot] = before = (energy[knot] + PRIOR_PIXELS * before) / (pixels[knot] + PRIOR_PIXELS)
    return variance


def _spectrum(residuals: list[_Residual]) -> tuple[Tensor, float]:
    """Return the power (RINGS,) of the luma by frequency, and the share of it above `FINE`."""
    planes = [luma(rest.planes)[0] for rest in residuals if min(rest.row.shape) >= WINDOW]
    if not planes:
        return torch.zeros(RINGS, dtype=torch.float64), 0.0
    total = torch.stack([power(plane, WINDOW) for plane in planes]).mean(0)
    frequency = torch.fft.fftfreq(WINDOW, dtype=torch.float64).abs()
    distance = torch.hypot(frequency[:, None], frequency[None, :])
    ring = (2 * RINGS * distance).long()
    rings = [total[ring == number].mean() for number in range(RINGS)]
    fine = torch.maximum(frequency[:, None], frequency[None, :]) > FINE
    return torch.stack(rings), float(total[fine].sum() / total.sum().clamp(min=1e-15))


def _channel_covariance(unit: list[Tensor]) -> tuple[Tensor, float]:
    """Return the covariance (C, C) of the channels of residuals (C, h, w) over σ, and the kurtosis of the luma."""
    pixels = torch.cat([planes.flatten(1) for planes in unit], 1)
    brightness = luma(pixels[:, :, None])[0, :, 0]
    kurtosis = brightness.pow(4).mean() / brightness.square().mean().square()
    return pixels @ pixels.T / pixels.shape[1], float(kurtosis)


def _unit_luma(mixing: Tensor) -> Tensor:
    """Return a matrix (C, D) scaled so that the luma of what it makes of white planes has variance 1."""
    scaled: Tensor = mixing / (_luma_weights(len(mixing)) @ mixing).norm().clamp(min=1e-12)
    return scaled


def _luma_weights(channels: int) -> Tensor:
    """Return the weight (C,) of each channel in `luma`."""
    return luma(torch.eye(channels, dtype=torch.float64)[:, None, :])[0, 0]


def _correlations(edges: list[EdgePixels], share: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
    """Return the correlation of the luma of pixels at distances (y, x) up to REACH, and that of its isotropic part.

    Both are (2·REACH + 1)², 0 in the middle. If pixels r(p) = σ(p) u(p) have the same correlation everywhere, it is
    Σ r(p) r(p + d) / Σ σ(p) σ(p + d). Where it is not the same (in photographs of a phone, neighbours correlate less at
    edges), strong noise counts more, so that the noise as a whole gets the measured spectrum. For the isotropic part,
    what noise along edges gives to the first sum is subtracted, and σ is that of the isotropic part.
    """
    side = 2 * REACH + 1
    products, expected, along, isotropic = torch.zeros(4, side, side, dtype=torch.float64)
    of_edges = edge_correlation(across_taps(across), REACH)
    for image in edges:
        products += _autocorrelation(image.residual)
        expected += _autocorrelation(image.sigma)
        at_edges = share_at(share, image.column[None, None])[0, 0]
        for direction, correlation in zip(image.directions, of_edges, strict=True):
            along += _autocorrelation(image.sigma * at_edges.sqrt() * direction) * correlation
        rest = (1.0 - at_edges * image.directions.square().sum(0)).clamp(min=0.0)
        isotropic += _autocorrelation(image.sigma * rest.sqrt())
    return _at_unit_variance(products, expected), _at_unit_variance(products - along, isotropic)


def _at_unit_variance(products: Tensor, expected: Tensor) -> Tensor:
    """Return the correlation: sums of products over what they would be if all pixels were equal, 1 in the middle."""
    covariance = products / expected.clamp(min=1e-15)
    correlation: Tensor = covariance / covariance[REACH, REACH].clamp(min=1e-12)
    return correlation


def _colours(covariance: Tensor, edges: list[EdgePixels], share: Tensor) -> tuple[Tensor, Tensor]:
    """Return how the isotropic part mixes the channels (C, C), and how much of noise along edges each gets (C,).

    Noise along edges is one plane, so its covariance is t·tᵀ. With t = K·w, where K is the covariance of all noise and
    w are the weights of the luma (w·K·w = 1), it is as large as it can be if K is to be the sum of both: the rest
    K - e·t·tᵀ is a covariance for every share e of the variance up to 1.
    """
    weights = _luma_weights(len(covariance))
    covariance = covariance / (weights @ covariance @ weights).clamp(min=1e-12)
    tint = covariance @ weights
    at_edges = [share_at(share, e.column[None, None])[0, 0] * e.directions.square().sum(0) for e in edges]
    part = torch.cat([plane.flatten() for plane in at_edges]).mean()
    return _unit_luma(matrix_sqrt((covariance - part * torch.outer(tint, tint)) / (1.0 - part))), tint


def _autocorrelation(plane: Tensor) -> Tensor:
    """Return Σ plane(p) · plane(p + distance) for distances up to REACH in both axes."""
    size = [max(length + REACH, 2 * REACH + 1) for length in plane.shape]
    energy = torch.fft.rfft2(plane, s=size).abs().square()
    products: Tensor = torch.fft.irfft2(energy, s=size).roll((REACH, REACH), (0, 1))
    return products[: 2 * REACH + 1, : 2 * REACH + 1]
