"""How much single photographs are blurred, and how that is distributed over a set of them: Gaussian blurs.

One photograph tells its blur badly: scenes differ in sharpness of their own by 20 to 30 %. But sharp photographs of
like scenes can be blurred by any known amount, and it can be measured how far off an estimate then is. So

1. HR images are degraded by Gaussians of all widths and directions, with the noise of the LR images, and a regression
   learns to read the shape off the spectrum and the steepness of edges (`Reader`);
2. it reads the LR images. Its readings scatter by more than the truth does;
3. the distribution of the truth is the one under which these readings are likeliest, with the scatter that was found in
   (1) on images left out (`deconvolved`; the nonparametric maximum likelihood estimate, by EM).

A shape is (a, b, c): the covariance is Σ = exp [[a + b, c], [c, a − b]] in HR px², its first axis y; exp(a/2) is the
width σ (geometric mean of both axes).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from degsynth.ops.blur import blur_decimate
from degsynth.ops.noise import generator
from degsynth.ops.resample import luma
from degsynth.ops.spectra import SIDE, Bins, power
from degsynth.ops.spread import evenly_spaced

KERNELS = 14
"""By which each HR image is degraded."""
LARGEST, MOST_IMAGES = 512, 48
"""Side of the part of an HR image that is, and images."""
ELONGATED = 0.6
"""Standard deviation of the log of the ratio of widths that are tried; half of all are round."""
MOST_ELONGATED = 1.4
RIDGE = 1e-2
"""Weight, per image, of what regressions must not make large."""
ALIKE = 3.0
"""Distance up to which features are alike, in standard deviations of each: longer, and the regression is nearly linear;
at half of it readings of other photographs scatter by a tenth more."""
PARTS = 8
"""Into which the images are cut to see how far off readings of images left out are."""
CELLS = 60
"""Widths between which the distribution is looked for."""
ROUNDS = 500
TAILS = 4
"""Degrees of freedom of Student's t, which errors of reading follow."""
LEAST_WEIGHT = 1e-3
QUANTILES = (0.5, 0.9, 0.98, 0.998)
RINGS = 6
"""Into which directional contrasts are gathered."""


def covariances(shapes: Tensor) -> Tensor:
    """(N, 3) → (N, 2, 2) in HR px², axes y, x: the exponential of [[a + b, c], [c, a − b]], in closed form."""
    a, b, c = shapes.unbind(1)
    half = torch.hypot(b, c).clamp(min=1e-12)
    even, odd = torch.cosh(half), torch.sinh(half) / half
    entries = [even + odd * b, odd * c, odd * c, even - odd * b]
    return torch.exp(a)[:, None, None] * torch.stack(entries, 1).view(-1, 2, 2)


def matrix_sqrts(shapes: Tensor) -> Tensor:
    """The symmetric roots of `covariances`, (N, 2, 2) in HR px."""
    return covariances(shapes / 2)


def gaussians(shapes: Tensor, size: int) -> Tensor:
    """Kernels (N, size, size) of sum 1, sampled at the centres of taps."""
    at = torch.arange(size, dtype=shapes.dtype, device=shapes.device) - (size - 1) / 2
    inverse = torch.linalg.inv(covariances(shapes))
    y, x = at[:, None], at[None, :]
    form = (
        inverse[:, 0, 0, None, None] * y * y
        + 2 * inverse[:, 0, 1, None, None] * y * x
        + inverse[:, 1, 1, None, None] * x * x
    )
    taps = torch.exp(-0.5 * form)
    return taps / taps.sum((1, 2), keepdim=True)


def widths(scale: int) -> tuple[float, float]:
    """Between which widths of blur are told, HR px."""
    return max(0.35, 0.2 * scale), max(2.5, 1.8 * scale)


class Features:
    """What is looked at in a photograph (h, w), [0, 1]."""

    def __init__(self) -> None:
        bins = Bins(SIDE)
        at = torch.fft.fftfreq(SIDE, dtype=torch.float64)
        angle = torch.atan2(at[:, None].expand(SIDE, SIDE), at[None, :].expand(SIDE, SIDE))
        self.bins = bins
        self.waves = torch.stack([bins(torch.cos(2 * angle)), -bins(torch.sin(2 * angle))])
        rings = int(bins.ring.max()) + 1
        self.rings = torch.nn.functional.one_hot(bins.ring, rings).double()
        self.rings /= self.rings.sum(0)
        gathered = torch.arange(rings) * RINGS // rings
        self.gathered = torch.nn.functional.one_hot(gathered, RINGS).double()

    def __call__(self, gray: Tensor) -> tuple[Tensor, Tensor]:
        """Of all directions alike, (P,); and for b and c what changes sign where the picture is turned, (2, Q)."""
        log = torch.log(self.bins(power(gray, SIDE)) * 255**2 + 1e-2)
        contrast = (self.waves * log) @ self.rings @ self.gathered
        return torch.cat([log @ self.rings, _steepness(255 * gray)]), contrast


def _steepness(gray: Tensor) -> Tensor:
    """Logs of high quantiles of differences of several orders, against those of a coarse one."""

    def both(weights: Sequence[float]) -> Tensor:
        step = torch.tensor(weights, dtype=gray.dtype)[None, None]
        found = [
            torch.nn.functional.conv2d(gray[None, None], kernel[None]).abs().flatten()
            for kernel in (step, step.transpose(1, 2))
        ]
        sample = torch.cat(found).sort().values
        at = torch.tensor(QUANTILES) * (len(sample) - 1)
        return torch.log(sample[at.long()].double() + 0.3)

    first, second, third = (both(weights) for weights in ((-1, 1), (1, -2, 1), (-1, 3, -3, 1)))
    coarse = both((-1, 0, 0, 0, 1))
    return torch.cat([first - coarse, second - coarse, third - coarse, coarse.diff()])


def crops(hr: Sequence[Tensor], scale: int) -> Iterator[tuple[int, Tensor]]:
    """The middles of images (C, H, W), of sizes that are multiples of the scale; of few images several parts.

    With the number of the image, or of a single one the number of the part: what is left out together.
    """
    few, found, parts = len(hr) < PARTS, 0, 0
    for index in evenly_spaced(len(hr), MOST_IMAGES):
        image = hr[index]
        if min(image.shape[1:]) < scale * SIDE:
            continue
        top, left = (max(0, (length - LARGEST) // 2) for length in image.shape[1:])
        middle = image[:, top : top + LARGEST, left : left + LARGEST]
        half = max(scale * SIDE, LARGEST // 2)
        rows, columns = (max(1, length // half) if few else 1 for length in middle.shape[1:])
        for strip in middle.tensor_split(rows, 1):
            for part in strip.tensor_split(columns, 2):
                height, width = (length // scale * scale for length in part.shape[1:])
                yield parts if len(hr) == 1 else found, part[:, :height, :width]
                parts += 1
        found += 1


@dataclass(frozen=True)
class Readings:
    """Shapes as they were read (N, 3), and what is known of the error of reading."""

    shapes: Tensor
    grid: Tensor
    """Values of a (CELLS,)."""
    middle: Tensor
    """What is read, on average, where the truth is one of the grid, (CELLS,)."""
    scatter: Tensor
    """And its deviation, (CELLS,)."""
    turned: float
    """Variance of the error of b and of c."""


class Reader:
    """A regression from features to shapes, learnt on HR images degraded by known Gaussians."""

    def __init__(
        self, hr: Sequence[Tensor], scale: int, size: int, finish: Callable[[Tensor, torch.Generator], Tensor]
    ) -> None:
        """Degrade images (C, H, W); ``finish`` adds to lr (C, h, w) the LR's noise and rounds it."""
        self.features, self.scale = Features(), scale
        self.low, self.high = (2 * math.log(width) for width in widths(scale))
        rng = generator(0)
        alike, turning, shapes, which = [], [], [], []
        for number, image in crops(hr, scale):
            for shape in self._shapes(rng):
                lr = blur_decimate(image[None], gaussians(shape[None], size).float(), scale)[0].clamp(0, 1)
                both = self.features(luma(finish(lr, rng))[0])
                alike.append(both[0])
                turning.append(both[1])
                shapes.append(shape)
                which.append(number)
        if not shapes:
            raise ValueError(f"no HR image is at least {scale * SIDE} px high and wide, which blur is told from")
        self.alike, self.turning = torch.stack(alike), torch.stack(turning)
        self.shapes, self.which = torch.stack(shapes), torch.tensor(which)
        self.mean, self.spread = self.alike.mean(0), self.alike.std(0) + 1e-6
        self.middle_a = (self.low + self.high) / 2
        everything = torch.ones(len(self.which), dtype=torch.bool)
        self.learnt = self._learnt(everything)
        left_out = torch.zeros_like(self.shapes)
        folds = min(PARTS, int(self.which.max()) + 1)
        for fold in range(folds):
            out = self.which % folds == fold
            learnt = self._learnt(~out) if folds > 1 else self.learnt
            left_out[out] = self._read(self.alike[out], self.turning[out], learnt)
        self._errors(left_out)

    def _shapes(self, rng: torch.Generator) -> Tensor:
        """Of all widths, evenly, (KERNELS, 3)."""
        number = torch.arange(KERNELS, dtype=torch.float64)
        a = self.low + (self.high - self.low) * (number + torch.rand(KERNELS, generator=rng)) / KERNELS
        longer = (ELONGATED * torch.randn(KERNELS, generator=rng).double()).clamp(-MOST_ELONGATED, MOST_ELONGATED)
        longer = torch.where(number % 2 == 0, longer, torch.zeros_like(longer))
        angle = 2 * math.pi * torch.rand(KERNELS, generator=rng).double()
        return torch.stack([a, longer * torch.cos(angle), longer * torch.sin(angle)], 1)

    def _standard(self, alike: Tensor) -> Tensor:
        return ((alike - self.mean) / self.spread).clamp(-4, 4)

    def _turned(self, turning: Tensor, a: Tensor) -> Tensor:
        """How contrast tells b and c depends on the width: (N, 2, Q) → (N, 2, 3 Q)."""
        at = ((a - self.low) / (self.high - self.low))[:, None, None]
        return torch.cat([turning, turning * at, turning * at.square()], 2)

    def _learnt(self, use: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From some of the degraded images: their features, weights of `_alike` to them, and weights for b and c.

        a by kernel ridge regression: how features tell it bends, and squares of them are led astray by the few images
        that are unlike all others.
        """
        near = self._standard(self.alike[use])
        unit = torch.eye(len(near), dtype=torch.float64)
        weights = torch.linalg.solve(_alike(near, near) + RIDGE * unit, self.shapes[use, 0] - self.middle_a)
        a = self.middle_a + _alike(near, near) @ weights
        both = self._turned(self.turning[use], a).flatten(0, 1)
        return near, weights, _ridge(both, self.shapes[use, 1:].flatten())

    def _read(self, alike: Tensor, turning: Tensor, learnt: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        near, weights, turned = learnt
        a = self.middle_a + _alike(self._standard(alike), near) @ weights
        return torch.cat([a[:, None], self._turned(turning, a) @ turned], 1)

    def _errors(self, read: Tensor) -> None:
        """What is read where the truth is a, on average: of degree four; and log variance about that: of degree two."""
        at = (self.shapes[:, 0] - self.low) / (self.high - self.low)
        middle = _polynomial(at, read[:, 0], 4)
        # The mean of log ε² is 1.27 below the log of the variance, for a normal ε.
        log_variance = _polynomial(at, torch.log((read[:, 0] - middle(at)).square() + 4e-4) + 1.27, 2)
        grid = (torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS
        self.grid = self.low + (self.high - self.low) * grid
        self.middle = middle(grid)
        self.scatter = torch.exp(0.5 * log_variance(grid)).clamp(0.16, 1.2)
        self.turned = float((read[:, 1:] - self.shapes[:, 1:]).square().mean())

    def read(self, lr: Sequence[Tensor]) -> Readings:
        """Shapes of the blur of images (C, h, w). ValueError where one is smaller than a window."""
        found = [self.features(luma(image)[0]) for image in lr if min(image.shape[1:]) >= SIDE]
        if len(found) < len(lr):
            raise ValueError(f"an LR image is not {SIDE} px high and wide, which blur is told from")
        alike, turning = (torch.stack(column) for column in zip(*found, strict=True))
        return Readings(self._read(alike, turning, self.learnt), self.grid, self.middle, self.scatter, self.turned)


def _alike(a: Tensor, b: Tensor) -> Tensor:
    """How alike standardised features (N, P) and (M, P) are: a Gaussian of their distance, (N, M)."""
    return torch.exp(-torch.cdist(a, b).square() / (2 * ALIKE**2 * a.shape[1]))


def _ridge(columns: Tensor, wanted: Tensor) -> Tensor:
    """Least squares with a small weight on all that is not constant."""
    normal = columns.T @ columns
    weight = RIDGE * len(columns) * (columns.std(0) > 0).double()
    found: Tensor = torch.linalg.solve(normal + torch.diag(weight), columns.T @ wanted)
    return found


def _polynomial(at: Tensor, wanted: Tensor, degree: int) -> Callable[[Tensor], Tensor]:
    def powers(x: Tensor) -> Tensor:
        return torch.stack([x**power for power in range(degree + 1)], 1)

    columns = powers(at)
    weights = torch.linalg.solve(
        columns.T @ columns + 1e-9 * len(at) * torch.eye(degree + 1, dtype=at.dtype), columns.T @ wanted
    )
    return lambda x: powers(x) @ weights


@dataclass(frozen=True)
class Blurs:
    """A distribution of Gaussian blurs: for each of M cells of width a weight, and a normal distribution of b and c."""

    width: Tensor
    """a of each, (M,), rising."""
    weight: Tensor
    """(M,), Σ 1."""
    turned: Tensor
    """Mean of (b, c), (M, 2)."""
    root: Tensor
    """A root of their covariance, (M, 2, 2)."""
    widest: float
    """From which width a on nothing can be told apart."""

    def at_limit(self) -> float:
        """Share of images whose blur is as wide as can be told, or wider: what is found is then too narrow."""
        return float(self.weight[self.width >= self.widest].sum())

    def mean(self) -> Tensor:
        """The mean shape, (3,)."""
        return self.weight @ torch.cat([self.width[:, None], self.turned], 1)

    def shapes(self, z: Tensor) -> Tensor:
        """Shapes (N, 3) of standard normal numbers z (N, ≥ 3): the first is the quantile of the width."""
        quantile = torch.special.ndtr(z[:, 0].double())
        cell = torch.searchsorted(self.weight.cumsum(0), quantile).clamp(max=len(self.weight) - 1)
        both = self.turned[cell] + torch.einsum("nij,nj->ni", self.root[cell], z[:, 1:3].double())
        return torch.cat([self.width[cell, None], both], 1)


def deconvolved(readings: Readings) -> Blurs:
    """The distribution of blurs under which the readings are likeliest (NPMLE: Kiefer & Wolfowitz 1956, by EM)."""
    apart = (readings.shapes[:, 0, None] - readings.middle) / readings.scatter
    likely = (1 + apart.square() / TAILS) ** (-(TAILS + 1) / 2) / readings.scatter
    weight = torch.full((CELLS,), 1 / CELLS, dtype=torch.float64)
    for _ in range(ROUNDS):
        owed = likely * weight
        owed = owed / owed.sum(1, keepdim=True)
        weight = owed.mean(0)
    used = weight > LEAST_WEIGHT
    owed, weight = owed[:, used] / owed[:, used].sum(0), weight[used] / weight[used].sum()
    both = readings.shapes[:, 1:]
    turned = owed.T @ both
    about = both[:, None] - turned
    covariance = torch.einsum("nm,nmi,nmj->mij", owed, about, about)
    values, vectors = torch.linalg.eigh(covariance - readings.turned * torch.eye(2, dtype=torch.float64))
    root = vectors @ torch.diag_embed(values.clamp(min=0).sqrt())
    return Blurs(readings.grid[used], weight, turned, root, float(readings.grid[-2]))
