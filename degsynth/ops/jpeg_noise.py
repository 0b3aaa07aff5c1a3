"""Measure the noise that images had before they were compressed as JPEG files.

Compression takes noise away: a coefficient of a block (`ops.compression`) that is smaller than half its step becomes 0.
What is left of it in flat places is too little, and too smooth. But the coefficients that are left are known, and so is
how they were rounded. For noise of the standard deviation σ a coefficient is a normal number of the standard deviation
s_k = σ · √T_k, where T_k follows from the correlation of neighbouring pixels. So the shares of blocks in which it was
rounded to 0, to ±1 and to more than that are::

    P(0) = 2 Φ(q_k / 2 s_k) − 1,    P(±1) = 2 Φ(3 q_k / 2 s_k) − 2 Φ(q_k / 2 s_k),    P(more) = 2 − 2 Φ(3 q_k / 2 s_k)

with the step q_k. The likeliest σ at each brightness, and the likeliest correlation, make what was counted most
probable. That works for coefficients most of which are 0.

Whether a block is flat is judged by its low frequencies, and σ is measured in the others, which know nothing of that
choice. Chroma is measured in its lowest frequencies, in the flat blocks of luma.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.compression import BLOCK, Compression
from degsynth.ops.grain import KNOTS, MIN_VARIANCE, REACH, Grain
from degsynth.ops.grain_measurement import BRIGHTNESS_EDGES, MAX_IMAGES, MAX_SIDE, filter_taps
from degsynth.ops.noise_level import matrix_sqrt
from degsynth.ops.spread import evenly_spaced

MCU = 2 * BLOCK
"""Side of the parts of an image that hold whole blocks of subsampled chroma, px."""
MIN_BLOCKS = 20
"""Smallest number of flat blocks from which σ is measured; each has 54 coefficients. Where no range of brightness has
so many, all of them are measured together."""
JUDGED = 3
"""A coefficient whose frequencies, down and across, add up to at most this number serves to judge whether a block is
flat; from larger ones σ is measured."""
CHROMA_JUDGED, CHROMA_MEASURED = 1, 4
"""The same for chroma, whose high frequencies have steps that no noise reaches, so that σ is measured up to the second
number."""
FLAT_SHARE, CHROMA_FLAT = 0.15, 0.3
"""Share of the blocks of one brightness that is taken to be flat, and share of the chroma of these."""
SIGMAS = 255 * 10 ** torch.linspace(-3.1, -1.0, 241, dtype=torch.float64)
"""Standard deviations that are tried, levels of 255."""
CORRELATIONS = tuple(0.05 * number for number in range(18))
"""Correlations of adjacent pixels that are tried. They fall by this factor with each px."""
USUAL_CHROMA, CHROMA_DOUBT = 0.95, 0.7
"""The σ of a plane of chroma over that of luma where nothing is known: that of noise that is independent in red, green
and blue; and the standard deviation of its logarithm."""
CB, CR = (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)
"""Weights of red, green and blue in the two planes of chroma."""
LUMA = (0.299, 0.587, 0.114)


def measure(images: Sequence[Tensor], compressions: Sequence[Compression], level_step: float) -> Grain | None:
    """Measure the noise that images (C, H, W) in [0, 1] had before they were compressed, each by its compression.

    The blocks must begin at the upper left corner of each image. None where there are too few flat blocks. From the
    variance, that of rounding to levels of ``level_step`` is subtracted, because LR are rounded again before they are
    compressed. Channels are equally noisy, and equally correlated, as chroma that was subsampled tells no more.
    """
    alike: dict[Compression, list[_Blocks]] = {}
    for index in evenly_spaced(len(images), MAX_IMAGES):
        if min(images[index].shape[1:]) < MCU:
            continue
        blocks = _Blocks.of(images[index][:, :MAX_SIDE, :MAX_SIDE], compressions[index])
        alike.setdefault(compressions[index], []).append(blocks)
    parts = [_Blocks.joined(blocks) for blocks in alike.values()]
    flat = list(_flat_blocks(parts))
    if not flat:
        return None
    # By brightness, correlation and σ; the correlation is the same at every brightness.
    likelihoods = torch.stack([_of_luma(parts, of_range, adjacent) for adjacent in CORRELATIONS for of_range in flat])
    likelihoods = likelihoods.view(len(CORRELATIONS), len(flat), -1).transpose(0, 1)
    best = int(likelihoods.amax(2).sum(0).argmax())
    adjacent, sigma = CORRELATIONS[best], SIGMAS[likelihoods[:, best].argmax(1)]
    counts = torch.tensor([[len(index) for index in of_range] for of_range in flat], dtype=torch.float64).sum(1)
    level = torch.stack(
        [torch.cat([part.level[i] for part, i in zip(parts, of_range, strict=True)]).mean() for of_range in flat]
    )
    variance = ((sigma / 255).square() - level_step**2 / 12).clamp(min=MIN_VARIANCE)
    covariance = torch.ones(channels := images[0].shape[0], channels, dtype=torch.float64)
    if channels == 3:
        every = [torch.cat(of_part) for of_part in zip(*flat, strict=True)]
        mean = float((counts @ sigma.square() / counts.sum()).sqrt())
        covariance = _colour_covariance(_chroma_ratio(parts, every, adjacent, mean))
    root = matrix_sqrt(covariance)
    strength = root.norm(dim=1)
    points = [
        torch.stack([torch.full_like(level, channel), level, strength[channel] * variance.sqrt()], 1)
        for channel in range(channels)
    ]
    correlation = _correlation(adjacent)
    curve = strength[:, None] * _curve(level, variance, counts).sqrt()
    return Grain(curve, filter_taps(correlation), root / strength[:, None], correlation, torch.cat(points))


@dataclass(frozen=True)
class _Blocks:
    """The coefficients of images that were compressed alike, as multiples of their steps."""

    level: Tensor
    """(N,): mean luma of each block, in [0, 1]."""
    luma: Tensor
    """(N, 64) float64."""
    chroma: Tensor
    """(2, M, 64): of Cb and Cr; M is 0 for gray images."""
    above: Tensor
    """(N,): the block of chroma that each block of luma lies in."""
    compression: Compression
    box: tuple[int, int]
    """Height and width of the pixels of luma that a pixel of chroma stands for."""

    @staticmethod
    def of(image: Tensor, compression: Compression) -> _Blocks:
        """Return the blocks of an image (C, H, W); what is left over at the bottom and right is not used."""
        height, width = (length // MCU * MCU for length in image.shape[1:])
        image = 255 * image[:, :height, :width].double()
        colour = image.shape[0] == 3
        weights = torch.tensor([LUMA, CB, CR] if colour else [[1.0 / image.shape[0]] * image.shape[0]]).double()
        planes = torch.einsum("ab,bhw->ahw", weights, image)
        luma = _transformed(planes[0] - 128)
        box = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}[compression.subsampling] if colour else (1, 1)
        chroma = F.avg_pool2d(planes[1:][:, None], box)[:, 0] if colour else planes[:0]
        steps = [torch.tensor(table or compression.luma).double() for table in (compression.luma, compression.chroma)]
        rows, columns = height // BLOCK, width // BLOCK
        place = torch.arange(rows)[:, None] // box[0] * (columns // box[1]) + torch.arange(columns) // box[1]
        return _Blocks(
            (luma[:, 0] / BLOCK + 128) / 255,
            (luma / steps[0]).round(),
            torch.stack([(_transformed(plane) / steps[1]).round() for plane in chroma]) if colour else luma[None, :0],
            place.flatten(),
            compression,
            box,
        )

    @staticmethod
    def joined(parts: list[_Blocks]) -> _Blocks:
        """Return the blocks of several images as those of one."""
        first = torch.tensor([0, *(part.chroma.shape[1] for part in parts)]).cumsum(0)
        return replace(
            parts[0],
            level=torch.cat([part.level for part in parts]),
            luma=torch.cat([part.luma for part in parts]),
            chroma=torch.cat([part.chroma for part in parts], 1),
            above=torch.cat([part.above + begin for part, begin in zip(parts, first.tolist(), strict=False)]),
        )

    def unevenness(self) -> Tensor:
        """Return the energy (N,) of the low frequencies of luma."""
        low = (_frequency() > 0) & (_frequency() <= JUDGED)
        steps = torch.tensor(self.compression.luma).double()
        return (self.luma * steps)[:, low].square().sum(1)


def _transformed(plane: Tensor) -> Tensor:
    """Return the coefficients (N, 64) of the blocks of a plane (h, w), row by row."""
    rows, columns = (length // BLOCK for length in plane.shape)
    blocks = plane.view(rows, BLOCK, columns, BLOCK).transpose(1, 2).reshape(-1, BLOCK, BLOCK)
    return (_dct() @ blocks @ _dct().T).flatten(1)


def _flat_blocks(parts: list[_Blocks]) -> Iterator[list[Tensor]]:
    """Yield, for each range of brightness, the indices of the flattest blocks of each part."""
    if not parts:
        return
    level = torch.cat([part.level for part in parts])
    uneven = torch.cat([part.unevenness() for part in parts])
    # Where all low frequencies are 0, what comes first must not depend on where it lies.
    uneven = uneven + 1e-6 * torch.rand(len(uneven), generator=torch.Generator().manual_seed(0))
    first = torch.tensor([0, *(len(part.level) for part in parts)]).cumsum(0)
    edges = BRIGHTNESS_EDGES[1:-1]  # next to black and white, pixels may have been cut off
    ranges = [_flattest(level, uneven, low, high) for low, high in pairwise(edges)]
    if not any(len(flat) >= MIN_BLOCKS for flat in ranges):
        ranges = [_flattest(level, uneven, edges[0], edges[-1])]
    for flat in ranges:
        if len(flat) >= MIN_BLOCKS:
            yield [flat[(flat >= begin) & (flat < end)] - begin for begin, end in pairwise(first.tolist())]


def _flattest(level: Tensor, uneven: Tensor, low: int, high: int) -> Tensor:
    """Return the indices of the flattest blocks of which the level (N,) lies between two levels of 255."""
    index = ((level >= low / 255) & (level < high / 255)).nonzero()[:, 0]
    return index[uneven[index].argsort()[: int(FLAT_SHARE * len(index))]]


def _log_likelihoods(rounded: Tensor, steps: tuple[int, ...], powers: tuple[float, ...]) -> Tensor:
    """Return for each of `SIGMAS` the log-likelihood (S,) of coefficients (N, P) that were divided by their steps.

    ``steps`` (P,) are the steps, and ``powers`` (P,) the variances for noise of σ = 1, as tuples.
    """
    size = rounded.abs()
    counted = torch.stack([size == 0, size == 1, size >= 2]).sum(1).double()
    return torch.einsum("kp,ksp->s", counted, _log_shares(steps, powers))


@lru_cache(maxsize=64)
def _log_shares(steps: tuple[int, ...], powers: tuple[float, ...]) -> Tensor:
    """Return the logarithms of P(0), P(±1) and P(more), (3, S, P)."""
    deviation = SIGMAS[:, None] * torch.tensor(powers, dtype=torch.float64).sqrt()
    first, second = (2 * torch.special.ndtr(-half * torch.tensor(steps) / deviation) for half in (0.5, 1.5))
    return torch.stack([1 - first, first - second, second]).clamp(min=1e-12).log()


def _of_luma(parts: list[_Blocks], flat: list[Tensor], correlation: float) -> Tensor:
    """Return the log-likelihoods (S,) of luma in flat blocks, for a correlation of adjacent pixels."""
    places = _frequency() > JUDGED
    powers = tuple(_powers(correlation, (1, 1))[places].tolist())
    likelihoods = (
        _log_likelihoods(part.luma[index][:, places], _chosen(part.compression.luma, places), powers)
        for part, index in zip(parts, flat, strict=True)
    )
    return sum(likelihoods, torch.zeros_like(SIGMAS))


def _chroma_ratio(parts: list[_Blocks], flat: list[Tensor], correlation: float, luma_sigma: float) -> float:
    """Return the likeliest σ of chroma in flat blocks over that of luma, given the latter in levels of 255.

    The blocks of chroma are those whose luma is flat everywhere, and of these the ones that are flat themselves.
    """
    frequency = _frequency()
    judged = (frequency > 0) & (frequency <= CHROMA_JUDGED)
    measured = (frequency > CHROMA_JUDGED) & (frequency <= CHROMA_MEASURED)
    ratios = SIGMAS / luma_sigma
    total = -0.5 * (torch.log(ratios / USUAL_CHROMA) / CHROMA_DOUBT).square()
    for part, index in zip(parts, flat, strict=True):
        count = part.chroma.shape[1]
        rounded = part.chroma[:, part.above[index].bincount(minlength=count) == part.above.bincount(minlength=count)]
        uneven = rounded[:, :, judged].square().sum((0, 2))
        if len(uneven) == 0:
            continue
        rounded = rounded[:, uneven <= uneven.quantile(CHROMA_FLAT)].flatten(0, 1)[:, measured]
        steps = _chosen(part.compression.chroma or part.compression.luma, measured)
        powers = tuple(_powers(correlation, part.box)[measured].tolist())
        total = total + _log_likelihoods(rounded, steps, powers)
    return float(ratios[int(total.argmax())])


def _chosen(table: tuple[int, ...], places: Tensor) -> tuple[int, ...]:
    return tuple(step for step, chosen in zip(table, places.tolist(), strict=True) if chosen)


def _colour_covariance(ratio: float) -> Tensor:
    """Return the covariance (3, 3) of red, green and blue, for a σ of 1 of luma and of ``ratio`` of chroma.

    All channels have the same variance a + b, and all pairs of them the same covariance b. The weights of luma add up
    to 1, and those of a plane of chroma to 0, so their variances are a·Σ luma² + b = 1 and a·Σ chroma² = ratio². No
    camera's channels oppose each other, so b is at least 0; larger ratios come from coloured texture.
    """
    of_luma, of_chroma = sum(w * w for w in LUMA), 0.5 * sum(w * w for w in (*CB, *CR))
    single = min(ratio**2 / of_chroma, 1 / of_luma)
    return single * torch.eye(3, dtype=torch.float64) + (1 - single * of_luma)


def _curve(level: Tensor, variance: Tensor, weight: Tensor) -> Tensor:
    """Return the variance (KNOTS,) at the knots: a parabola of the level, by least squares of its relative errors."""
    powers = torch.stack([level**power for power in range(min(3, len(level)))], 1)
    weights = (weight / weight.sum()).sqrt().clamp(min=0.08) / variance
    solution = torch.linalg.lstsq(weights[:, None] * powers, (weights * variance)[:, None], driver="gelsd").solution
    knots = torch.linspace(0, 1, KNOTS, dtype=torch.float64).clamp(float(level.min()), float(level.max()))
    curve: Tensor = torch.stack([knots**power for power in range(powers.shape[1])], 1) @ solution[:, 0]
    return curve.clamp(min=MIN_VARIANCE)


def _correlation(adjacent: float) -> Tensor:
    """Return the correlation (2·REACH + 1)² of pixels, which falls by a factor with each px of their distance."""
    offset = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    return torch.pow(max(adjacent, 1e-6), torch.hypot(offset[:, None], offset))


@cache
def _powers(adjacent: float, box: tuple[int, int]) -> Tensor:
    """Return the variances T (64,) of the coefficients of noise with σ = 1, averaged over boxes of pixels before.

    The noise is as it will be drawn, by the taps of this correlation. A coefficient is a sum over the block, b · x, so
    its variance is bᵀ C b with the covariance C of the pixels.
    """
    taps = filter_taps(_correlation(adjacent))
    filtered = F.conv_transpose2d(taps[None, None], torch.full((1, 1, *box), 1.0 / (box[0] * box[1])).double())[0, 0]
    size = 2 * max(filtered.shape) + 2 * BLOCK * max(box)
    covariance = torch.fft.ifft2(torch.fft.fft2(filtered, s=(size, size)).abs().square()).real
    y, x = torch.meshgrid(torch.arange(BLOCK), torch.arange(BLOCK), indexing="ij")
    apart = [(box[axis] * (place.flatten()[:, None] - place.flatten())) % size for axis, place in enumerate((y, x))]
    basis = torch.kron(_dct(), _dct())
    powers: Tensor = (basis @ covariance[apart[0], apart[1]] @ basis.T).diagonal()
    return powers


@cache
def _dct() -> Tensor:
    """Return the orthonormal matrix (BLOCK, BLOCK) of the discrete cosine transform."""
    place = torch.arange(BLOCK, dtype=torch.float64)
    matrix = torch.cos((2 * place + 1) * place[:, None] * math.pi / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    matrix[0] = math.sqrt(1 / BLOCK)
    return matrix


@cache
def _frequency() -> Tensor:
    """Return the sum (64,) of the frequencies of each coefficient, down and across."""
    place = torch.arange(BLOCK)
    return (place[:, None] + place).flatten()
