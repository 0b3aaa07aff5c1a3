"""Noise of photographs as a camera leaves it: as strong as the place is bright, and tied to its neighbours.

A model of it, found from nothing but noisy images (`measure`)::

    noise(c, p)  =  σ_c(level(c, p)) · Σ_d mixing[c, d] · (taps ⋆ dice_d)(p)          dice: independent, standard normal

Demosaicking ties neighbours and channels; a sensor's variance grows with the light, and a tone curve bends that again
(pdm, Eq. 9, has the variance linear in the level, and no ties). All of it is looked for in flat blocks. Which blocks
are flat must not be judged by their variance, or the least noisy ones are chosen: it is judged by *what kind* of
residual is in them. Noise is alike in all parts of a block, has no direction, and no more slow waves than other blocks
of its brightness; texture has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from scipy.special import gammaincinv
from torch import Tensor

from degsynth.ops.noise_level import square_root
from degsynth.ops.spread import evenly

BLOCK = 12
"""Side of the blocks, px."""
STEP = 6
"""From block to block."""
REACH = 4
"""How far noise ties pixels, px."""
EDGES = (0, 16, 32, 48, 72, 96, 120, 144, 168, 192, 216, 232, 250)
"""Levels (of 255) between which blocks are ranked among each other: what is flat depends on how noisy it is there."""
FLATTEST = 0.05
"""Share of a bin's blocks that is taken for flat."""
FEWEST = 40
"""Blocks, without which a bin says nothing."""
SMOOTHER = 0.35
"""Quantile of the variances of flat blocks that noise is told from."""
LARGEST, MOST_IMAGES = 512, 32
"""Side of the middle of an image that is looked at, and images."""
KNOTS = 33
"""Levels at which a curve is written down, from black to white."""
CLIPPED = 2 / 255
"""Nearer to black or white than this a pixel has been cut off; a block may have so few of them:"""
CLIPPED_SHARE = 0.02
LEAST = 0.05 / 255**2
"""Variance that a curve does not go below."""


@dataclass(frozen=True)
class Grain:
    """Noise that follows the level."""

    sigma: Tensor
    """(C, KNOTS) float64: standard deviation of each channel at levels 0, 1/32, …, 1."""
    taps: Tensor
    """(2 · REACH + 1)² float64, Σ taps² = 1."""
    mixing: Tensor
    """(C, C) float64 with rows of norm 1."""
    correlation: Tensor
    """(2 · REACH + 1)² float64: of neighbours so far apart, as measured."""
    seen: Tensor
    """(N, 3) float64: channel, level and σ of what the curves were fitted to."""

    def usual(self) -> float:
        """Median σ of what was seen, over levels and channels."""
        return float(self.seen[:, 2].median())

    def none(self) -> Grain:
        """The same without any strength."""
        silent = self.seen.clone()
        silent[:, 2] = 0
        return dataclasses.replace(self, sigma=torch.zeros_like(self.sigma), seen=silent)

    def level_blind(self) -> Grain:
        """The same, as strong at all levels as it is at most of those that were seen."""
        own = [self.seen[self.seen[:, 0] == channel, 2] for channel in range(len(self.sigma))]
        usual = [float(values.median()) if len(values) else self.usual() for values in own]
        return dataclasses.replace(self, sigma=torch.tensor(usual).double()[:, None].expand_as(self.sigma))

    def at_seen(self, seen: Tensor) -> Tensor:
        """σ of the curves at the channels and levels of others' rows (N, 3), (N,)."""
        levels = seen[None, None, :, 1:2].expand(1, len(self.sigma), -1, 1)
        found: Tensor = at_levels(self.sigma, levels)[0, seen[:, 0].long(), torch.arange(len(seen)), 0]
        return found

    def disagreement(self) -> float:
        """Median, over what was seen, of how far it is from the curve: the log of the variances' ratio.

        Noise of one kind is within 0.3. Texture that was taken for noise, or several kinds at once, are beyond.
        """
        return float((2 * torch.log(self.seen[:, 2] / self.at_seen(self.seen))).abs().median())

    def without(self, other: Grain, share: float) -> Grain:
        """What there is beyond a share of another's variance, at every level."""
        seen = self.seen.clone()
        seen[:, 2] = (seen[:, 2].square() - share * other.at_seen(seen).square()).clamp(min=LEAST).sqrt()
        sigma = (self.sigma.square() - share * other.sigma.square()).clamp(min=LEAST).sqrt()
        return dataclasses.replace(self, sigma=sigma, seen=seen)


def measure(images: Sequence[Tensor], quantum: float = 1 / 255) -> Grain | None:
    """The noise of images (C, H, W) in [0, 1], or None where there are too few blocks to tell.

    ``quantum``: between two levels of their files. Rounding, which is done again when LR is written, is taken off.
    """
    found = []
    for index in evenly(len(images), MOST_IMAGES):
        image = images[index]
        top, left = (max(0, (length - LARGEST) // 2) for length in image.shape[1:])
        if (blocks := Blocks.of(image[:, top : top + LARGEST, left : left + LARGEST])) is not None:
            found.append(blocks)
    if not found:
        return None
    blocks = Blocks.joined(found)
    found.clear()
    flat = blocks.flattest(blocks.level.mean(1), blocks.strangeness.flatten(1))
    if len(flat) == 0 or not blocks.tells():
        return None
    rounding = quantum**2 / 12
    chosen = torch.cat(flat)
    shape, kept, freedom = unprojected(lags(blocks.residual[chosen]))
    curve = blocks.curve(freedom)[0]
    # Texture that is left in flat blocks ties neighbours and channels, and adds to the variance: what has no more
    # variance than noise has, has little of it.
    level, variance = blocks.level[chosen].double(), blocks.variance[chosen].double()
    expected = at_levels(curve, level[:, :, None, None])[:, :, 0, 0]
    pure = chosen[(variance <= expected).all(1)]
    chosen = pure if len(pure) >= FEWEST else chosen
    shape, kept, freedom = unprojected(lags(blocks.residual[chosen]))
    curve, seen = blocks.curve(freedom)
    seen[:, 2] = (seen[:, 2] / kept - rounding).clamp(min=LEAST).sqrt()
    sigma = (curve / kept - rounding).clamp(min=LEAST).sqrt()
    return Grain(sigma, filter_of(shape), mixing(blocks.residual[chosen]), shape, seen)


def plane_free() -> Tensor:
    """The projection (BLOCK², BLOCK²) that takes a block's mean and slopes away."""
    at = torch.arange(BLOCK, dtype=torch.float64) - (BLOCK - 1) / 2
    ones = torch.ones(BLOCK, BLOCK, dtype=torch.float64)
    columns = torch.stack([ones, at[:, None] * ones, at[None, :] * ones]).flatten(1)
    columns = columns / columns.norm(dim=1, keepdim=True)
    projection: Tensor = torch.eye(BLOCK**2, dtype=torch.float64) - columns.T @ columns
    return projection


@dataclass(frozen=True)
class Blocks:
    """Blocks of one or more images and what is known of each channel of them: all (N, C) but the residuals."""

    residual: Tensor
    """(N, C, BLOCK²) float32, without mean and slopes."""
    level: Tensor
    variance: Tensor
    strangeness: Tensor
    """Of the residual's kinds, (N, C, 3): share of slow waves, unevenness, direction; each larger for texture."""
    tied: Tensor
    """Mean correlation of the channels, (N,): an edge is in all of them."""
    usable: Tensor
    """Whether nothing was cut off, (N,)."""

    @staticmethod
    def of(image: Tensor) -> Blocks | None:
        """The blocks of an image (C, H, W); None where it has none."""
        if min(image.shape[1:]) < BLOCK:
            return None
        cut = image.float().unfold(1, BLOCK, STEP).unfold(2, BLOCK, STEP).flatten(1, 2).transpose(0, 1).flatten(2)
        residual = cut @ plane_free().float()
        square = residual.view(*residual.shape[:2], BLOCK, BLOCK)
        energy = residual.square().sum(2)
        variance = energy / (BLOCK**2 - 3)
        safe = energy.clamp(min=1e-12)
        slow = 9 * parted(square, 4).mean((3, 5)).square().sum((2, 3)) / safe
        part = parted(square.square(), 3).mean((3, 5)).flatten(2)
        uneven = part.amax(2) / part.mean(2).clamp(min=1e-12)
        across, along = square.diff(dim=3), square.diff(dim=2)
        xx, yy = across.square().mean((2, 3)), along.square().mean((2, 3))
        xy = (across[:, :, 1:] * along[:, :, :, 1:]).mean((2, 3))
        directed = torch.sqrt((xx - yy).square() + 4 * xy.square()) / (xx + yy).clamp(min=1e-12)
        off = ((cut < CLIPPED) | (cut > 1 - CLIPPED)).float().mean(2)
        channels = image.shape[0]
        tied = (correlations(residual).sum((1, 2)) - channels) / max(1, channels * (channels - 1))
        strangeness = torch.stack([slow, uneven, directed], 2)
        return Blocks(residual, cut.mean(2), variance, strangeness, tied, (off <= CLIPPED_SHARE).all(1))

    @staticmethod
    def joined(blocks: list[Blocks]) -> Blocks:
        """Blocks of several images."""
        return Blocks(*(torch.cat([getattr(part, name) for part in blocks]) for name in Blocks.__dataclass_fields__))

    def flattest(self, level: Tensor, strangeness: Tensor) -> list[Tensor]:
        """Indices of the blocks that are noise and nothing else: of each brightness (N,) the least strange (N, P)."""
        chosen = []
        for low, high in pairwise(EDGES):
            index = (self.usable & (level >= low / 255) & (level < high / 255)).nonzero()[:, 0]
            if len(index) >= FEWEST:
                strange = standard(torch.cat([strangeness[index], self.tied[index, None]], 1)).sum(1)
                chosen.append(index[strange.argsort()[: max(int(FLATTEST * len(index)), FEWEST // 2)]])
        return chosen

    def tells(self) -> bool:
        """Whether any channel has enough blocks of a brightness."""
        channels = range(self.level.shape[1])
        return any(self.flattest(self.level[:, c], self.strangeness[:, c]) for c in channels)

    def curve(self, freedom: float) -> tuple[Tensor, Tensor]:
        """Projected variance of each channel at the knots, (C, KNOTS): one parabola, and a factor for each channel.

        And what it was fitted to, (N, 3): channel, level, variance.

        Some texture is left in flat blocks, and adds to the variance: so a low quantile is looked at. Of noise alone
        it is that of χ² with so many degrees of ``freedom``, over that number.
        """
        expected = 2 * float(gammaincinv(freedom / 2, SMOOTHER)) / freedom  # the quantile of χ²
        rows: list[tuple[float, float, float, int]] = []  # level, variance, weight, channel
        channels = self.level.shape[1]
        for channel in range(channels):
            for flat in self.flattest(self.level[:, channel], self.strangeness[:, channel]):
                found = torch.quantile(self.variance[flat, channel].double(), SMOOTHER) / expected
                rows.append((float(self.level[flat, channel].mean()), float(found), float(len(flat)), channel))
        at, value, weight, which = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
        # Least squares of relative errors. A channel's factor is what the parabola of all leaves of it, on average.
        weight = (weight / weight.sum()).sqrt().clamp(min=0.08)
        powers = torch.stack([at**power for power in range(min(3, len(at)))], 1)
        scaled = (weight / value.clamp(min=LEAST))[:, None] * powers
        normal = scaled.T @ scaled
        solution = torch.linalg.solve(normal + 1e-9 * torch.diag(normal.diagonal()), scaled.T @ weight)
        left = torch.log(value.clamp(min=LEAST) / (powers @ solution).clamp(min=LEAST))
        of = [which == channel for channel in range(channels)]
        factors = torch.stack(
            [torch.exp((weight * left)[own].sum() / weight[own].sum().clamp(min=1e-12)) for own in of]
        )
        levels = torch.linspace(0, 1, KNOTS, dtype=torch.float64).clamp(float(at.min()), float(at.max()))
        shared = torch.stack([levels**power for power in range(powers.shape[1])], 1) @ solution
        return factors[:, None] * shared.clamp(min=LEAST), torch.stack([which.double(), at, value], 1)


def parted(square: Tensor, count: int) -> Tensor:
    """Blocks (N, C, BLOCK, BLOCK) as count × count parts, (N, C, count, p, count, p)."""
    part = BLOCK // count
    return square.view(*square.shape[:2], count, part, count, part)


def mixing(residual: Tensor) -> Tensor:
    """How channels of blocks (N, C, P) mix, (C, C): a root of their correlation, the median of that of all blocks."""
    root = square_root(correlations(residual).median(0).values.double())
    mixed: Tensor = root / root.norm(dim=1, keepdim=True)
    return mixed


def lags(residual: Tensor) -> Tensor:
    """Correlation of pixels so far apart, (2 REACH + 1)², the median of that of all blocks and channels (N, C, P)."""
    blocks = residual.flatten(0, 1).double().view(-1, BLOCK, BLOCK)
    spectrum = torch.fft.rfft2(blocks, s=(2 * BLOCK, 2 * BLOCK)).abs().square()
    products = torch.fft.fftshift(torch.fft.irfft2(spectrum, s=(2 * BLOCK, 2 * BLOCK)), dim=(1, 2))
    near = slice(BLOCK - REACH, BLOCK + REACH + 1)
    count = BLOCK - torch.arange(-REACH, REACH + 1, dtype=torch.float64).abs()
    found = products[:, near, near] / (count[:, None] * count[None, :])
    middle = slice(REACH, REACH + 1)
    typical: Tensor = (found / found[:, middle, middle].clamp(min=1e-15)).median(0).values
    return typical


def correlations(residual: Tensor) -> Tensor:
    """Of the channels of blocks (N, C, P): (N, C, C)."""
    unit = residual / residual.norm(dim=2, keepdim=True).clamp(min=1e-12)
    found: Tensor = unit @ unit.transpose(1, 2)
    return found


def standard(values: Tensor) -> Tensor:
    """Columns of values (N, P) about their median, in robust standard deviations."""
    low, middle, high = torch.quantile(values.float(), torch.tensor([0.16, 0.5, 0.84]), dim=0)
    found: Tensor = (values - middle) / ((high - low) / 2).clamp(min=1e-6)
    return found


def unprojected(correlation: Tensor) -> tuple[Tensor, float, float]:
    """Correlation of neighbours before mean and slopes were taken away, and what that left of noise in a block.

    That is: its variance, as a share of what it leaves of white noise; and the degrees of freedom of its energy.

    The projection P turns a covariance Σ of a block into P Σ P. Σ is a sum of one matrix for each lag, so what `lags`
    finds of P Σ P is linear in the correlation: that is solved.
    """
    side = 2 * REACH + 1
    projection = plane_free()
    place = torch.arange(BLOCK**2)
    apart = torch.stack([place[:, None] // BLOCK - place // BLOCK, place[:, None] % BLOCK - place % BLOCK])
    half = [(y, x) for y in range(REACH + 1) for x in range(-REACH, REACH + 1) if y > 0 or x >= 0]
    masks = torch.stack(
        [(((apart[0] == y) & (apart[1] == x)) | ((apart[0] == -y) & (apart[1] == -x))).double() for y, x in half]
    )
    seen = projection @ masks @ projection
    counts = masks.sum((1, 2))
    response = torch.einsum("aij,bij->ab", masks, seen) / counts[:, None]
    wanted = torch.stack([correlation[REACH + y, REACH + x] for y, x in half])
    # `lags` divides by the projected variance, which is unknown: response @ true = wanted · variance, with true(0) = 1.
    true = torch.linalg.solve(response, wanted)
    true = true / true[0]
    kept = float(response[0] @ true) * BLOCK**2 / (BLOCK**2 - 3)
    found = torch.zeros(side, side, dtype=torch.float64)
    for value, (y, x) in zip(true, half, strict=True):
        found[REACH + y, REACH + x] = found[REACH - y, REACH - x] = value
    left = projection @ torch.einsum("a,aij->ij", true, masks) @ projection
    return found, kept, float(left.trace().square() / left.square().sum())


def filter_of(correlation: Tensor) -> Tensor:
    """Symmetric taps of norm 1 that make noise of about that correlation (2 REACH + 1)² of white noise.

    The root of its spectrum, of which the lags are tapered so that it is nowhere negative.
    """
    at = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    taper = (1.2 - torch.hypot(at[:, None], at[None, :]) / (REACH + 1)).clamp(0, 1)
    wide = torch.zeros(32, 32, dtype=torch.float64)
    wide[: 2 * REACH + 1, : 2 * REACH + 1] = correlation * taper
    spectrum = torch.fft.fft2(wide.roll((-REACH, -REACH), (0, 1))).real.clamp(min=1e-3)
    taps = torch.fft.ifft2(spectrum.sqrt()).real.roll((REACH, REACH), (0, 1))[: 2 * REACH + 1, : 2 * REACH + 1]
    found: Tensor = taps / taps.norm()
    return found


def at_levels(curve: Tensor, levels: Tensor) -> Tensor:
    """σ (B, C, h, w) at levels (B, C, h, w) in [0, 1]: a curve (C, KNOTS), straight from knot to knot."""
    at = levels.clamp(0.0, 1.0) * (curve.shape[1] - 1)
    first = at.floor().clamp(max=float(curve.shape[1] - 2))
    index = first.long()
    part = at - first
    channel = torch.arange(curve.shape[0], device=levels.device).view(1, -1, 1, 1).expand_as(index)
    return curve[channel, index] * (1.0 - part) + curve[channel, index + 1] * part


def tied(dice: Tensor, taps: Tensor) -> Tensor:
    """Dice (B, C, h, w) filtered by taps (K, K) of norm 1, unit variance up to the rim.

    Beyond the rim there are no dice: what is left of the filter there is brought back to norm 1.
    """
    reach = taps.shape[0] // 2
    planes = dice.reshape(-1, 1, dice.shape[2], dice.shape[3])
    weights = taps[None, None]
    made = F.conv2d(planes, weights, padding=reach)
    variance = F.conv2d(torch.ones_like(planes[:1]), weights.square(), padding=reach)
    return (made * torch.rsqrt(variance)).reshape(dice.shape)


def grain(lr: Tensor, dice: Tensor, sigma: Tensor, taps: Tensor, mixing: Tensor) -> Tensor:
    """Noise for lr (B, C, h, w) in [0, 1] from standard normal dice of its shape: the formula above. TorchScript."""
    return at_levels(sigma, lr) * torch.einsum("ab,nbhw->nahw", mixing, tied(dice, taps))
