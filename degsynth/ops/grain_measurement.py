"""Measure the noise model of `degsynth.ops.grain` in nothing but noisy images.

All parts of the model are measured in flat blocks. Whether a block is flat must not be judged by its variance, or the
least noisy blocks would be chosen. It is judged by the *kind* of its residual: noise is equally strong in all parts of
a block, has no direction, and has no more slow waves than there are in other blocks of the same brightness; texture is
not like that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.special import gammaincinv
from torch import Tensor

from degsynth.ops.grain import KNOTS, LEFT_OUT, MIN_VARIANCE, RANK, REACH, Grain, at_levels, middle, needed_reach
from degsynth.ops.noise_level import matrix_sqrt
from degsynth.ops.spread import evenly_spaced

BLOCK = 12
"""Side of the blocks, px."""
STEP = 6
"""Distance from one block to the next, px."""
BRIGHTNESS_EDGES = (0, 16, 32, 48, 72, 96, 120, 144, 168, 192, 216, 232, 250)
"""Edges of the brightness bins (of 255). Blocks are ranked within a bin, since the noise depends on the brightness."""
FLAT_SHARE = 0.05
"""Share of a bin's blocks that is taken to be flat."""
MIN_BLOCKS = 40
"""Smallest number of blocks from which a bin is used."""
LOW_QUANTILE = 0.35
"""Quantile of the variances of flat blocks from which the variance of the noise is computed."""
MAX_SIDE, MAX_IMAGES = 512, 32
"""Largest side of the central part of an image that is used (px), and largest number of images."""
CLIP_MARGIN = 2 / 255
"""Pixels nearer to black or white than this have been cut off."""
MAX_CLIPPED = 0.02
"""Largest share of cut-off pixels in a usable block."""


def measure(images: Sequence[Tensor], level_step: float = 1 / 255) -> Grain | None:
    """Measure the noise of images (C, H, W) in [0, 1]; return None where there are too few flat blocks.

    ``level_step`` is the difference between two levels of the images' files. Rounding to them adds level_step²/12 to
    the variance. That is subtracted here, because LR images are rounded again when they are written.
    """
    blocks = _blocks_of(images)
    if blocks is None:
        return None
    flat = blocks.flattest(blocks.level.mean(1), blocks.texture.flatten(1))
    if len(flat) == 0 or not blocks.any_channel_has_flat_blocks():
        return None
    rounding = level_step**2 / 12
    chosen = torch.cat(flat)
    noise = unprojected(neighbour_correlation(blocks.residual[chosen]))
    curve = blocks.curve(noise.freedom)[0]
    # The texture that is left in flat blocks correlates neighbours and channels, and adds to the variance. So blocks
    # whose variance is no larger than that of noise have little of it.
    level, variance = blocks.level[chosen].double(), blocks.variance[chosen].double()
    expected = at_levels(curve, level[:, :, None, None])[:, :, 0, 0]
    pure = chosen[(variance <= expected).all(1)]
    chosen = pure if len(pure) >= MIN_BLOCKS else chosen
    noise = unprojected(neighbour_correlation(blocks.residual[chosen]))
    curve, measured = blocks.curve(noise.freedom)
    measured[:, 2] = (measured[:, 2] / noise.kept - rounding).clamp(min=MIN_VARIANCE).sqrt()
    sigma = (curve / noise.kept - rounding).clamp(min=MIN_VARIANCE).sqrt()
    mixing = channel_mixing(blocks.residual[chosen])
    return Grain(sigma, filter_taps(noise.correlation), mixing, noise.correlation, measured)


def _blocks_of(images: Sequence[Tensor]) -> Blocks | None:
    """Return the blocks of at most `MAX_IMAGES` images; None where no image is as large as a block."""
    blocks = []
    for index in evenly_spaced(len(images), MAX_IMAGES):
        image = images[index]
        top, left = (max(0, (length - MAX_SIDE) // 2) for length in image.shape[1:])
        of_image = Blocks.of(image[:, top : top + MAX_SIDE, left : left + MAX_SIDE])
        if of_image is not None:
            blocks.append(of_image)
    return Blocks.joined(blocks) if blocks else None


def plane_projection() -> Tensor:
    """Return the projection (BLOCK², BLOCK²) that removes the mean and the two slopes of a block."""
    offsets = torch.arange(BLOCK, dtype=torch.float64) - (BLOCK - 1) / 2
    ones = torch.ones(BLOCK, BLOCK, dtype=torch.float64)
    planes = torch.stack([ones, offsets[:, None] * ones, offsets[None, :] * ones]).flatten(1)
    planes = planes / planes.norm(dim=1, keepdim=True)
    projection: Tensor = torch.eye(BLOCK**2, dtype=torch.float64) - planes.T @ planes
    return projection


@dataclass(frozen=True)
class Blocks:
    """N blocks of one or more images, and what is known of each of their channels."""

    residual: Tensor
    """(N, C, BLOCK²) float32: the block without its mean and slopes."""
    level: Tensor
    """(N, C): the mean."""
    variance: Tensor
    """(N, C): the variance of the residual."""
    texture: Tensor
    """(N, C, 3): share of slow waves, unevenness and directedness of the residual; each is larger for texture."""
    channel_correlation: Tensor
    """(N,): mean correlation of the channels' residuals, which is high for edges, since they are in all channels."""
    usable: Tensor
    """(N,) bool: whether no more than `MAX_CLIPPED` of the pixels were cut off."""

    @staticmethod
    def of(image: Tensor) -> Blocks | None:
        """Return the blocks of an image (C, H, W); None where the image is smaller than a block."""
        if min(image.shape[1:]) < BLOCK:
            return None
        pixels = image.float().unfold(1, BLOCK, STEP).unfold(2, BLOCK, STEP).flatten(1, 2).transpose(0, 1).flatten(2)
        residual = pixels @ plane_projection().float()
        square = residual.view(*residual.shape[:2], BLOCK, BLOCK)
        energy = residual.square().sum(2)
        variance = energy / (BLOCK**2 - 3)
        slow = 9 * split(square, 4).mean((3, 5)).square().sum((2, 3)) / energy.clamp(min=1e-12)
        part = split(square.square(), 3).mean((3, 5)).flatten(2)
        uneven = part.amax(2) / part.mean(2).clamp(min=1e-12)
        # Directedness: difference of the eigenvalues of the gradient tensor over their sum.
        across, down = square.diff(dim=3), square.diff(dim=2)
        xx, yy = across.square().mean((2, 3)), down.square().mean((2, 3))
        xy = (across[:, :, 1:] * down[:, :, :, 1:]).mean((2, 3))
        directed = torch.sqrt((xx - yy).square() + 4 * xy.square()) / (xx + yy).clamp(min=1e-12)
        clipped = ((pixels < CLIP_MARGIN) | (pixels > 1 - CLIP_MARGIN)).float().mean(2)
        channels = image.shape[0]
        correlation = (channel_correlations(residual).sum((1, 2)) - channels) / max(1, channels * (channels - 1))
        texture = torch.stack([slow, uneven, directed], 2)
        return Blocks(residual, pixels.mean(2), variance, texture, correlation, (clipped <= MAX_CLIPPED).all(1))

    @staticmethod
    def joined(parts: list[Blocks]) -> Blocks:
        """Return the blocks of several images as one."""
        names = [field.name for field in dataclasses.fields(Blocks)]
        return Blocks(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def flattest(self, level: Tensor, texture: Tensor) -> list[Tensor]:
        """Return the indices of the blocks that look most like pure noise, one tensor for each brightness bin.

        Blocks are sorted into bins by ``level`` (N,), and ranked within a bin by the sum of ``texture`` (N, P) and of
        `channel_correlation`, all standardised. Bins with fewer than `MIN_BLOCKS` blocks are left out.
        """
        flat = []
        for low, high in pairwise(BRIGHTNESS_EDGES):
            index = (self.usable & (level >= low / 255) & (level < high / 255)).nonzero()[:, 0]
            if len(index) >= MIN_BLOCKS:
                criteria = torch.cat([texture[index], self.channel_correlation[index, None]], 1)
                rank = standardised(criteria).sum(1).argsort()
                flat.append(index[rank[: max(int(FLAT_SHARE * len(index)), MIN_BLOCKS // 2)]])
        return flat

    def any_channel_has_flat_blocks(self) -> bool:
        """Return whether any channel has enough blocks of some brightness."""
        channels = range(self.level.shape[1])
        return any(self.flattest(self.level[:, c], self.texture[:, c]) for c in channels)

    def curve(self, freedom: float) -> tuple[Tensor, Tensor]:
        """Fit the variance of the residual against the level: one parabola, times a factor for each channel.

        Returns the variances (C, KNOTS) at the knots, and the points (N, 3) to which they were fitted: channel, level,
        variance.

        Some texture is left in flat blocks and adds to their variance, so a low quantile of the variances is used. For
        noise alone, that quantile over the variance is that of χ² with ``freedom`` degrees of freedom, over
        ``freedom``; it is divided by that.
        """
        expected = 2 * float(gammaincinv(freedom / 2, LOW_QUANTILE)) / freedom  # the quantile of χ², over freedom
        rows: list[tuple[float, float, float, int]] = []  # level, variance, weight, channel
        channels = self.level.shape[1]
        for channel in range(channels):
            for flat in self.flattest(self.level[:, channel], self.texture[:, channel]):
                measured = torch.quantile(self.variance[flat, channel].double(), LOW_QUANTILE) / expected
                rows.append((float(self.level[flat, channel].mean()), float(measured), float(len(flat)), channel))
        level, variance, weight, which = (
            torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True)
        )
        # Least squares of the relative errors of the parabola.
        weight = (weight / weight.sum()).sqrt().clamp(min=0.08)
        powers = torch.stack([level**power for power in range(min(3, len(level)))], 1)
        scaled = (weight / variance.clamp(min=MIN_VARIANCE))[:, None] * powers
        normal = scaled.T @ scaled
        solution = torch.linalg.solve(normal + 1e-9 * torch.diag(normal.diagonal()), scaled.T @ weight)
        # The factor of a channel is the weighted mean, in logarithms, of its variances over the parabola.
        ratio = torch.log(variance.clamp(min=MIN_VARIANCE) / (powers @ solution).clamp(min=MIN_VARIANCE))
        masks = [which == channel for channel in range(channels)]
        factors = torch.stack(
            [torch.exp((weight * ratio)[mask].sum() / weight[mask].sum().clamp(min=1e-12)) for mask in masks]
        )
        knots = torch.linspace(0, 1, KNOTS, dtype=torch.float64).clamp(float(level.min()), float(level.max()))
        shared = torch.stack([knots**power for power in range(powers.shape[1])], 1) @ solution
        return factors[:, None] * shared.clamp(min=MIN_VARIANCE), torch.stack([which.double(), level, variance], 1)


def split(square: Tensor, count: int) -> Tensor:
    """Return blocks (N, C, BLOCK, BLOCK) as count × count parts of p × p px: (N, C, count, p, count, p)."""
    part = BLOCK // count
    return square.view(*square.shape[:2], count, part, count, part)


def channel_mixing(residual: Tensor) -> Tensor:
    """Return the matrix (C, C) that mixes the channels, measured in the residuals (N, C, P) of blocks.

    It is a root of the correlation of the channels, of which the median over the blocks is taken.
    """
    root = matrix_sqrt(channel_correlations(residual).median(0).values.double())
    mixing: Tensor = root / root.norm(dim=1, keepdim=True)
    return mixing


def neighbour_correlation(residual: Tensor) -> Tensor:
    """Return the correlation of pixels at distances (y, x) up to REACH px: (2·REACH + 1)², distance 0 in the middle.

    It is the median over all blocks and channels of the residuals (N, C, P).
    """
    blocks = residual.flatten(0, 1).double().view(-1, BLOCK, BLOCK)
    spectrum = torch.fft.rfft2(blocks, s=(2 * BLOCK, 2 * BLOCK)).abs().square()
    products = torch.fft.fftshift(torch.fft.irfft2(spectrum, s=(2 * BLOCK, 2 * BLOCK)), dim=(1, 2))
    near = slice(BLOCK - REACH, BLOCK + REACH + 1)
    count = BLOCK - torch.arange(-REACH, REACH + 1, dtype=torch.float64).abs()
    covariance = products[:, near, near] / (count[:, None] * count[None, :])
    middle = slice(REACH, REACH + 1)
    correlation: Tensor = (covariance / covariance[:, middle, middle].clamp(min=1e-15)).median(0).values
    return correlation


def channel_correlations(residual: Tensor) -> Tensor:
    """Return the correlations (N, C, C) of the channels in each block, from the residuals (N, C, P)."""
    unit = residual / residual.norm(dim=2, keepdim=True).clamp(min=1e-12)
    correlations: Tensor = unit @ unit.transpose(1, 2)
    return correlations


def standardised(values: Tensor) -> Tensor:
    """Return the columns of values (N, P) minus their median, in robust standard deviations.

    One such deviation is half the distance from the 16 % to the 84 % quantile.
    """
    low, middle, high = torch.quantile(values.float(), torch.tensor([0.16, 0.5, 0.84]), dim=0)
    deviations: Tensor = (values - middle) / ((high - low) / 2).clamp(min=1e-6)
    return deviations


class Unprojected(NamedTuple):
    """Properties of noise, computed from what is left of it when `plane_projection` has been applied to its blocks."""

    correlation: Tensor
    """(2·REACH + 1)² float64: correlation of neighbouring pixels before the projection."""
    kept: float
    """Variance of the projected noise, relative to that of projected white noise of the same variance."""
    freedom: float
    """Degrees of freedom of the energy of a projected block."""


def unprojected(correlation: Tensor) -> Unprojected:
    """Return the properties of noise from the correlation (2·REACH + 1)² of its residuals.

    The projection P (`plane_projection`) turns the covariance Σ of a block into P Σ P. Σ is a sum of one matrix (mask)
    for each lag, times the correlation at that lag. So what `neighbour_correlation` measures of P Σ P is linear in
    these correlations, and they follow from a linear system.
    """
    side = 2 * REACH + 1
    projection = plane_projection()
    place = torch.arange(BLOCK**2)
    apart = torch.stack([place[:, None] // BLOCK - place // BLOCK, place[:, None] % BLOCK - place % BLOCK])
    half = [(y, x) for y in range(REACH + 1) for x in range(-REACH, REACH + 1) if y > 0 or x >= 0]
    masks = torch.stack(
        [(((apart[0] == y) & (apart[1] == x)) | ((apart[0] == -y) & (apart[1] == -x))).double() for y, x in half]
    )
    projected = projection @ masks @ projection
    counts = masks.sum((1, 2))
    response = torch.einsum("aij,bij->ab", masks, projected) / counts[:, None]
    measured = torch.stack([correlation[REACH + y, REACH + x] for y, x in half])
    # `neighbour_correlation` divides by the projected variance, which is unknown: response @ true = measured ·
    # variance. The scale of true follows from true(0) = 1.
    true = torch.linalg.solve(response, measured)
    true = true / true[0]
    kept = float(response[0] @ true) * BLOCK**2 / (BLOCK**2 - 3)
    table = torch.zeros(side, side, dtype=torch.float64)
    for value, (y, x) in zip(true, half, strict=True):
        table[REACH + y, REACH + x] = table[REACH - y, REACH - x] = value
    covariance = projection @ torch.einsum("a,aij->ij", true, masks) @ projection
    return Unprojected(table, kept, float(covariance.trace().square() / covariance.square().sum()))


def filter_taps(correlation: Tensor) -> Tensor:
    """Return symmetric taps of norm 1 that give white noise about this correlation (2·REACH + 1)².

    Their transfer function is the root of the spectrum of the correlation. The lags are tapered first, and small
    values of the spectrum are raised, so that it is nowhere negative. Outer taps that hardly matter are
    left out, see `grain.LEFT_OUT`, and the rank is as low as the same rule allows, and at most RANK.
    """
    offsets = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    taper = (1.2 - torch.hypot(offsets[:, None], offsets[None, :]) / (REACH + 1)).clamp(0, 1)
    wide = torch.zeros(32, 32, dtype=torch.float64)
    wide[: 2 * REACH + 1, : 2 * REACH + 1] = correlation * taper
    spectrum = torch.fft.fft2(wide.roll((-REACH, -REACH), (0, 1))).real.clamp(min=1e-3)
    taps = torch.fft.ifft2(spectrum.sqrt()).real.roll((REACH, REACH), (0, 1))[: 2 * REACH + 1, : 2 * REACH + 1]
    reach = needed_reach(taps)
    rows, sizes, columns = torch.linalg.svd(middle(taps, reach))
    lost = 1.0 - sizes.square().cumsum(0) / sizes.square().sum()
    rank = min(RANK, int((lost > LEFT_OUT).sum()) + 1)
    taps = F.pad(rows[:, :rank] * sizes[:rank] @ columns[:rank], [REACH - reach] * 4)
    unit: Tensor = taps / taps.norm()
    return unit
