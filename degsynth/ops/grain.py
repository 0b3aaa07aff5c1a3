"""Noise as cameras make it: its strength follows the brightness, and neighbouring pixels and channels are correlated.

The model, which `degsynth.ops.grain_measurement` measures in noisy images::

    noise(c, p)  =  σ_c(level(c, p)) · Σ_d mixing[c, d] · (taps ⋆ white_d)(p)

where the white_d are independent planes of standard normal numbers.

Demosaicking correlates neighbouring pixels and the channels. The variance of a sensor's noise grows with the light, and
a tone curve bends that relation (pdm, Eq. 9, has a variance that is linear in the level, and no correlation).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.noise_level import matrix_sqrt

REACH = 4
"""Largest distance, in rows and in columns, at which pixels have correlated noise, px."""
RANK = 3
"""Rank of the filter that correlates neighbouring pixels: so many pairs of a column and a row add up to it."""
LEFT_OUT = 0.005
"""Share of the power of a filter that may be left out, so that fewer products are needed."""
KNOTS = 33
"""Number of levels, from black to white, at which a curve is stored."""
MIN_VARIANCE = 0.05 / 255**2
"""Smallest variance that a curve may have."""


@dataclass(frozen=True)
class Grain:
    """Noise whose strength follows the level, and which is correlated between neighbouring pixels and channels."""

    sigma: Tensor
    """(C, KNOTS) float64: standard deviation in each channel at the levels 0, 1/32, …, 1."""
    taps: Tensor
    """(2·REACH + 1)² float64: the filter that correlates neighbouring pixels, Σ taps² = 1."""
    mixing: Tensor
    """(C, C) float64: the matrix that mixes the channels; its rows have norm 1."""
    correlation: Tensor
    """(2·REACH + 1)² float64: the correlation of neighbouring pixels by their distance, as measured."""
    measured: Tensor
    """(N, 3) float64: channel, level and σ of the points to which the curves were fitted."""

    @staticmethod
    def white(covariance: Tensor) -> Grain:
        """Return white noise of this covariance (C, C), equally strong at all levels."""
        root = matrix_sqrt(covariance.double())
        sigma = root.norm(dim=1)
        alone = torch.zeros(2 * REACH + 1, 2 * REACH + 1, dtype=torch.float64)
        alone[REACH, REACH] = 1
        points = torch.stack([torch.arange(len(root)).double(), torch.full_like(sigma, 0.5), sigma], 1)
        mixing = root / sigma.clamp(min=1e-12)[:, None]
        return Grain(sigma[:, None].repeat(1, KNOTS), alone, mixing, alone, points)

    def median_sigma(self) -> float:
        """Return the median σ of the measured points, over levels and channels."""
        return float(self.measured[:, 2].median())

    def covariance(self) -> Tensor:
        """Return the covariance (C, C) of the channels at the median σ of each."""
        root = self.at_one_level().sigma[:, :1] * self.mixing
        return root @ root.T

    def silenced(self) -> Grain:
        """Return this noise with strength 0."""
        silent = self.measured.clone()
        silent[:, 2] = 0
        return dataclasses.replace(self, sigma=torch.zeros_like(self.sigma), measured=silent)

    def at_one_level(self) -> Grain:
        """Return this noise with the same strength at all levels: in each channel the median of its measured points."""
        by_channel = [self.measured[self.measured[:, 0] == channel, 2] for channel in range(len(self.sigma))]
        medians = [float(sigmas.median()) if len(sigmas) else self.median_sigma() for sigmas in by_channel]
        return dataclasses.replace(self, sigma=torch.tensor(medians).double()[:, None].expand_as(self.sigma))

    def sigma_at(self, points: Tensor) -> Tensor:
        """Return σ (N,) of the curves at the channels and levels of points (N, 3), which are like `measured`."""
        levels = points[None, None, :, 1:2].to(self.sigma).expand(1, len(self.sigma), -1, 1)
        sigma: Tensor = at_levels(self.sigma, levels)[0, points[:, 0].long(), torch.arange(len(points)), 0]
        return sigma

    def disagreement(self) -> float:
        """Return how far the measured points lie from the curves.

        It is the median of the absolute logarithm of the ratio of their variances. For noise of one kind it is within
        0.3. It is larger where texture was taken for noise, or where there are several kinds of noise.
        """
        return float((2 * torch.log(self.measured[:, 2] / self.sigma_at(self.measured))).abs().median())

    def minus(self, other: Grain, share: float) -> Grain:
        """Return this noise with ``share`` times the variance of another noise subtracted at every level."""
        measured = self.measured.clone()
        variance = measured[:, 2].square() - share * other.sigma_at(measured).square()
        measured[:, 2] = variance.clamp(min=MIN_VARIANCE).sqrt()
        sigma = (self.sigma.square() - share * other.sigma.square()).clamp(min=MIN_VARIANCE).sqrt()
        return dataclasses.replace(self, sigma=sigma, measured=measured)


def at_levels(curve: Tensor, levels: Tensor) -> Tensor:
    """Return σ (B, C, h, w) at levels (B, C, h, w) in [0, 1], by linear interpolation of a curve (C, KNOTS).

    It is TorchScript. The curves are the rows of an image which is sampled at (level, channel), in [-1, 1].
    """
    channels = curve.shape[0]
    row = torch.arange(channels, dtype=levels.dtype, device=levels.device) * (2.0 / max(1, channels - 1)) - 1.0
    place = torch.stack([2.0 * levels - 1.0, row.view(1, -1, 1, 1).expand_as(levels)], -1)
    return F.grid_sample(
        curve[None, None], place.view(1, 1, -1, 2), mode="bilinear", padding_mode="border", align_corners=True
    ).view_as(levels)


def separable(taps: Tensor) -> Tensor:
    """Return factors (2, RANK, K) of taps (K, K), K odd: taps = Σ_r factors[0, r]ᵀ · factors[1, r].

    It is exact for what `grain_measurement.filter_taps` returns, which has no higher rank. Factors that are not needed
    are 0, as the ends of all of them are where the outer taps are 0.
    """
    reach = tap_reach(taps)
    rows, sizes, columns = torch.linalg.svd(middle(taps, reach))
    factors = torch.zeros(2, RANK, 2 * reach + 1, dtype=taps.dtype)
    some = min(RANK, int((sizes > 1e-6 * sizes[0]).sum()))
    factors[0, :some] = rows[:, :some].T
    factors[1, :some] = sizes[:some, None] * columns[:some]
    return F.pad(factors, [len(taps) // 2 - reach] * 2)


def tap_reach(taps: Tensor) -> int:
    """Return how far from the middle, in rows and in columns, taps (M, N) that are not 0 lie; M and N are odd."""
    distances = (taps.nonzero() - torch.tensor(taps.shape) // 2).abs()
    return int(distances.max()) if len(distances) else 0


def middle(taps: Tensor, reach: int) -> Tensor:
    """Return those of taps, of one odd length in all dimensions, that lie within a distance of the middle."""
    inner = slice(len(taps) // 2 - reach, len(taps) // 2 + reach + 1)
    return taps[(inner,) * taps.ndim]


def needed_reach(taps: Tensor) -> int:
    """Return the smallest distance from the middle within which such taps have all but `LEFT_OUT` of their power."""
    enough = (1.0 - LEFT_OUT) * taps.square().sum()
    return next((r for r in range(len(taps) // 2) if middle(taps, r).square().sum() >= enough), len(taps) // 2)


def compact(factors: Tensor) -> Tensor:
    """Return factors (2, R, K) of `separable` without those that are 0, and without ends that are. TorchScript."""
    used = factors != 0.0
    rank = max(1, int(used[0].any(1).sum()))
    longest = factors.shape[2] // 2
    reach = 0
    for distance in range(1, longest + 1):
        if bool(used[:, :, longest - distance].any()) or bool(used[:, :, longest + distance].any()):
            reach = distance
    return factors[:, :rank, longest - reach : longest + reach + 1]


def combined(factors: Tensor) -> Tensor:
    """Return the taps (K, K) of which these are the factors (2, R, K), see `separable`. It is TorchScript."""
    return factors[0].transpose(0, 1) @ factors[1]


def filtered_noise(white: Tensor, factors: Tensor) -> Tensor:
    """Return white noise (B, C, h, w) filtered by taps of norm 1, with unit variance up to the border.

    The taps are given by their ``factors`` (2, R, K), see `separable`: 2·R·K products a pixel instead of K². Beyond the
    border there is no noise: the part of the filter that lies inside is brought back to norm 1. It is TorchScript.
    """
    height, width, side = white.shape[2], white.shape[3], factors.shape[2]
    reach = side // 2
    padded = F.pad(white, [0, 0, reach, reach])
    filtered = torch.zeros_like(white)
    for rank in range(factors.shape[1]):  # a convolution may add up in an order that depends on the size of the tile
        rows = factors[0, rank, 0] * padded[:, :, :height]
        for place in range(1, side):
            rows = torch.addcmul(rows, padded[:, :, place : place + height], factors[0, rank, place])
        rows = F.pad(rows, [reach, reach, 0, 0])
        for place in range(side):
            filtered = torch.addcmul(filtered, rows[:, :, :, place : place + width], factors[1, rank, place])
    return filtered * torch.rsqrt(power_inside(combined(factors).square()[None], height, width))


def power_inside(powers: Tensor, height: int, width: int) -> Tensor:
    """Return the part (N, height, width) of the power of filters that lies inside an image, for each of its pixels.

    ``powers`` (N, K, K) are the squares of the taps of each filter by their place, K is odd. It is TorchScript.
    """
    count, side = powers.shape[0], powers.shape[1]
    columns = _inside(powers.permute(2, 0, 1).reshape(side, count * side), width).view(width, count, side)
    rows = _inside(columns.permute(2, 1, 0).reshape(side, count * width), height)
    return rows.view(height, count, width).transpose(0, 1)


def _inside(power: Tensor, length: int) -> Tensor:
    """Return the sums over the first axis of power (K, N) of what lies inside a line, at its places: (length, N)."""
    side = power.shape[0]
    sums = torch.cat([torch.zeros_like(power[:1]), power.cumsum(0)])
    place = torch.arange(length, device=power.device)
    first = (side // 2 - place).clamp(min=0)
    behind = (length - place + side // 2).clamp(max=side)
    return sums[behind] - sums[first]


def grain(lr: Tensor, white: Tensor, sigma: Tensor, factors: Tensor, mixing: Tensor) -> Tensor:
    """Return noise for lr (B, C, h, w) in [0, 1] from standard normal numbers of the same shape, as the model above.

    ``factors`` are those of the taps, see `separable`. It is TorchScript.
    """
    return at_levels(sigma, lr) * torch.einsum("ab,nbhw->nahw", mixing, filtered_noise(white, factors))
