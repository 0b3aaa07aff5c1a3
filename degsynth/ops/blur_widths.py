"""How strongly single photographs are blurred, and how that is distributed over a set of them, for Gaussian blurs.

A single photograph determines its blur badly: scenes differ in sharpness by 20 to 30 %. But sharp photographs of
similar scenes can be blurred by any known amount, and then the error of an estimate can be measured. So

1. HR images are degraded by Gaussians of all widths and directions, with the noise of the LR images, and a regression
   learns to read the shape of the Gaussian from the spectrum and the steepness of edges (`Reader`);
2. it reads the LR images. Its readings scatter more than the true shapes do;
3. the distribution of the true shapes is the one under which these readings are likeliest, given the errors that were
   measured in (1) on images left out of the regression (`deconvolved`; the nonparametric maximum likelihood estimate,
   by EM).

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
from degsynth.ops.blur_features import Features
from degsynth.ops.noise import generator
from degsynth.ops.resample import luma
from degsynth.ops.spectra import SIDE
from degsynth.ops.spread import evenly_spaced

KERNELS = 14
"""Number of kernels by which each HR image is degraded."""
MAX_SIDE, MAX_IMAGES = 512, 48
"""Side of the part of an HR image that is degraded (px), and largest number of HR images."""
ELONGATION_SIGMA = 0.6
"""Standard deviation of the log of the ratio of widths of every second kernel that is tried; the others are round."""
MAX_ELONGATION = 1.4
"""Largest log of that ratio."""
RIDGE = 1e-2
"""Weight, per image, of the ridge penalty of the regressions."""
LENGTH_SCALE = 3.0
"""Width of the Gaussian kernel of the regression (`_similarity`), in standard deviations of each feature.

With a larger width the regression would be nearly linear. With half this width, the readings of photographs that it was
not learnt from scatter 10 % more.
"""
FOLDS = 8
"""Number of parts into which the images are divided to measure the errors of readings of images left out."""
CELLS = 60
"""Number of widths on which the distribution is estimated."""
EM_STEPS = 500
"""Number of steps of EM."""
STUDENT_FREEDOM = 4
"""Degrees of freedom of Student's t distribution, which the errors of readings are assumed to follow."""
MIN_WEIGHT = 1e-3
"""Cells with less weight than this are left out."""


def covariances(shapes: Tensor) -> Tensor:
    """Return the covariances (N, 2, 2) in HR px², axes y, x, of shapes (N, 3).

    They are exp [[a + b, c], [c, a − b]], computed in closed form.
    """
    a, b, c = shapes.unbind(1)
    half = torch.hypot(b, c).clamp(min=1e-12)
    even, odd = torch.cosh(half), torch.sinh(half) / half
    entries = [even + odd * b, odd * c, odd * c, even - odd * b]
    return torch.exp(a)[:, None, None] * torch.stack(entries, 1).view(-1, 2, 2)


def matrix_sqrts(shapes: Tensor) -> Tensor:
    """Return the symmetric square roots (N, 2, 2), in HR px, of the `covariances` of shapes (N, 3)."""
    return covariances(shapes / 2)


def widened(shapes: Tensor, factor: float) -> Tensor:
    """Return the shapes (N, 3) of Gaussians that are ``factor`` times as wide."""
    return shapes + torch.tensor([2 * math.log(factor), 0.0, 0.0], dtype=shapes.dtype, device=shapes.device)


def gaussians(shapes: Tensor, size: int) -> Tensor:
    """Return the Gaussians of shapes (N, 3) as kernels (N, size, size) of sum 1, sampled at the centres of taps."""
    offsets = torch.arange(size, dtype=shapes.dtype, device=shapes.device) - (size - 1) / 2
    inverse = torch.linalg.inv(covariances(shapes))
    y, x = offsets[:, None], offsets[None, :]
    form = (
        inverse[:, 0, 0, None, None] * y * y
        + 2 * inverse[:, 0, 1, None, None] * y * x
        + inverse[:, 1, 1, None, None] * x * x
    )
    taps = torch.exp(-0.5 * form)
    return taps / taps.sum((1, 2), keepdim=True)


def widths(scale: int) -> tuple[float, float]:
    """Return the smallest and the largest width of blur that can be read, HR px."""
    return max(0.35, 0.2 * scale), max(2.5, 1.8 * scale)


def crops(hr: Sequence[Tensor], scale: int) -> Iterator[tuple[int, Tensor]]:
    """Iterate over the middles of images (C, H, W), with sides that are multiples of the scale.

    Of fewer than `FOLDS` images there are several parts each. Each crop comes with the number of its image, or of the
    part where there is a single image: crops of the same number are left out of a regression together.
    """
    few, image_number, part_number = len(hr) < FOLDS, 0, 0
    for index in evenly_spaced(len(hr), MAX_IMAGES):
        image = hr[index]
        if min(image.shape[1:]) < scale * SIDE:
            continue
        top, left = (max(0, (length - MAX_SIDE) // 2) for length in image.shape[1:])
        middle = image[:, top : top + MAX_SIDE, left : left + MAX_SIDE]
        half = max(scale * SIDE, MAX_SIDE // 2)
        rows, columns = (max(1, length // half) if few else 1 for length in middle.shape[1:])
        for strip in middle.tensor_split(rows, 1):
            for part in strip.tensor_split(columns, 2):
                height, width = (length // scale * scale for length in part.shape[1:])
                yield part_number if len(hr) == 1 else image_number, part[:, :height, :width]
                part_number += 1
        image_number += 1


@dataclass(frozen=True)
class ReadingErrors:
    """The errors of readings, for each of several true values of a."""

    grid: Tensor
    """True values of a, (CELLS,)."""
    mean: Tensor
    """Mean reading where the truth is a value of the grid, (CELLS,)."""
    scatter: Tensor
    """Standard deviation of the readings about this mean, (CELLS,)."""
    turned: float
    """Variance of the errors of b and of c."""


@dataclass(frozen=True)
class Readings:
    """The shapes that were read from images, and their errors."""

    shapes: Tensor
    """(N, 3)."""
    errors: ReadingErrors


@dataclass(frozen=True)
class _Examples:
    """Degraded images whose blur is known."""

    alike: Tensor
    """Features that do not depend on direction, (N, P)."""
    turning: Tensor
    """Directional contrasts, (N, 2, Q)."""
    shapes: Tensor
    """True shapes, (N, 3)."""
    number: Tensor
    """Number of the image of each example; see `crops`."""


@dataclass(frozen=True)
class _Regression:
    """A regression learnt from examples."""

    near: Tensor
    """Standardised features of the examples, (N, P)."""
    weights: Tensor
    """Weights of the similarities to the examples, for a, (N,)."""
    turned: Tensor
    """Weights of the directional contrasts, for b and c, (3 Q,)."""


class Reader:
    """A regression from features to shapes, learnt on HR images degraded by known Gaussians."""

    def __init__(
        self,
        hr: Sequence[Tensor],
        scale: int,
        size: int,
        finish: Callable[[Tensor, torch.Generator], Tensor],
        seed: int = 0,
    ) -> None:
        """Degrade images (C, H, W), and learn to read their blur.

        ``finish`` adds the noise of the LR images to an image (C, h, w), and rounds it. The blurs and the noise follow
        from the seed. Raises ValueError where no image is large enough.
        """
        self.features, self.scale = Features(), scale
        self.low, self.high = (2 * math.log(width) for width in widths(scale))
        self.middle_a = (self.low + self.high) / 2
        self.examples = self._degrade(hr, size, finish, generator(seed))
        self.mean, self.spread = self.examples.alike.mean(0), self.examples.alike.std(0) + 1e-6
        self.regression = self._learn(torch.ones(len(self.examples.number), dtype=torch.bool))
        self.errors = self._measure_errors(self._read_left_out())

    def _degrade(
        self,
        hr: Sequence[Tensor],
        size: int,
        finish: Callable[[Tensor, torch.Generator], Tensor],
        rng: torch.Generator,
    ) -> _Examples:
        alike, turning, shapes, numbers = [], [], [], []
        for number, image in crops(hr, self.scale):
            for shape in self._random_shapes(rng):
                lr = blur_decimate(image[None], gaussians(shape[None], size).float(), self.scale)[0].clamp(0, 1)
                features = self.features(luma(finish(lr, rng))[0])
                alike.append(features[0])
                turning.append(features[1])
                shapes.append(shape)
                numbers.append(number)
        if not shapes:
            raise ValueError(
                f"no HR image is at least {self.scale * SIDE} px high and wide, as it must be to measure blur"
            )
        return _Examples(torch.stack(alike), torch.stack(turning), torch.stack(shapes), torch.tensor(numbers))

    def _random_shapes(self, rng: torch.Generator) -> Tensor:
        """Return shapes (KERNELS, 3) whose widths are evenly distributed."""
        number = torch.arange(KERNELS, dtype=torch.float64)
        a = self.low + (self.high - self.low) * (number + torch.rand(KERNELS, generator=rng)) / KERNELS
        longer = ELONGATION_SIGMA * torch.randn(KERNELS, generator=rng).double()
        longer = longer.clamp(-MAX_ELONGATION, MAX_ELONGATION)
        longer = torch.where(number % 2 == 0, longer, torch.zeros_like(longer))
        angle = 2 * math.pi * torch.rand(KERNELS, generator=rng).double()
        return torch.stack([a, longer * torch.cos(angle), longer * torch.sin(angle)], 1)

    def _standardised(self, alike: Tensor) -> Tensor:
        return ((alike - self.mean) / self.spread).clamp(-4, 4)

    def _columns(self, turning: Tensor, a: Tensor) -> Tensor:
        """Return the regressors (N, 2, 3 Q) of b and c: contrasts (N, 2, Q) times 1, a and a².

        The products are needed because the relation of the contrasts to b and c depends on the width. Here a is scaled
        to [0, 1].
        """
        position = ((a - self.low) / (self.high - self.low))[:, None, None]
        return torch.cat([turning, turning * position, turning * position.square()], 2)

    def _learn(self, used: Tensor) -> _Regression:
        """Learn from the examples that are marked in ``used`` (N,).

        a is found by kernel ridge regression: its dependence on the features is not linear, and a regression on squares
        of features is misled by the few images that are unlike all others.
        """
        near, shapes = self._standardised(self.examples.alike[used]), self.examples.shapes[used]
        unit = torch.eye(len(near), dtype=torch.float64)
        weights = torch.linalg.solve(_similarity(near, near) + RIDGE * unit, shapes[:, 0] - self.middle_a)
        a = self.middle_a + _similarity(near, near) @ weights
        columns = self._columns(self.examples.turning[used], a).flatten(0, 1)
        return _Regression(near, weights, _ridge(columns, shapes[:, 1:].flatten()))

    def _read(self, alike: Tensor, turning: Tensor, regression: _Regression) -> Tensor:
        """Return the shapes (N, 3) that a regression reads from features (N, P) and (N, 2, Q)."""
        a = self.middle_a + _similarity(self._standardised(alike), regression.near) @ regression.weights
        return torch.cat([a[:, None], self._columns(turning, a) @ regression.turned], 1)

    def _read_left_out(self) -> Tensor:
        """Return readings (N, 3) of the examples, each by a regression that was learnt without its image.

        Where all examples have the same number, none can be left out, and the regression on all of them is used.
        """
        examples = self.examples
        read = torch.zeros_like(examples.shapes)
        folds = min(FOLDS, int(examples.number.max()) + 1)
        for fold in range(folds):
            out = examples.number % folds == fold
            regression = self._learn(~out) if folds > 1 else self.regression
            read[out] = self._read(examples.alike[out], examples.turning[out], regression)
        return read

    def _measure_errors(self, read: Tensor) -> ReadingErrors:
        """Measure the errors of readings (N, 3) of the examples.

        The mean reading is a polynomial of degree four in the true a; the log of the variance about it is one of degree
        two.
        """
        shapes = self.examples.shapes
        position = (shapes[:, 0] - self.low) / (self.high - self.low)
        mean = _Polynomial(position, read[:, 0], 4)
        # The mean of log ε² is 1.27 below the log of the variance, for a normal ε.
        log_variance = _Polynomial(position, torch.log((read[:, 0] - mean(position)).square() + 4e-4) + 1.27, 2)
        grid = (torch.arange(CELLS, dtype=torch.float64) + 0.5) / CELLS
        scatter = torch.exp(0.5 * log_variance(grid)).clamp(0.16, 1.2)
        turned = float((read[:, 1:] - shapes[:, 1:]).square().mean())
        return ReadingErrors(self.low + (self.high - self.low) * grid, mean(grid), scatter, turned)

    def read(self, lr: Sequence[Tensor]) -> Readings:
        """Read the shapes of the blur of images (C, h, w); ValueError where one is smaller than a window."""
        features = [self.features(luma(image)[0]) for image in lr if min(image.shape[1:]) >= SIDE]
        if len(features) < len(lr):
            raise ValueError(f"an LR image is less than {SIDE} px high or wide; blur cannot be measured in it")
        alike, turning = (torch.stack(column) for column in zip(*features, strict=True))
        return Readings(self._read(alike, turning, self.regression), self.errors)


def _similarity(a: Tensor, b: Tensor) -> Tensor:
    """Return how similar standardised features (N, P) and (M, P) are: a Gaussian of their distance, (N, M)."""
    return torch.exp(-torch.cdist(a, b).square() / (2 * LENGTH_SCALE**2 * a.shape[1]))


def _ridge(columns: Tensor, target: Tensor) -> Tensor:
    """Return weights by least squares with a small penalty on the weights of all columns that are not constant."""
    normal = columns.T @ columns
    penalty = RIDGE * len(columns) * (columns.std(0) > 0).double()
    weights: Tensor = torch.linalg.solve(normal + torch.diag(penalty), columns.T @ target)
    return weights


class _Polynomial:
    """A polynomial fitted to values by least squares."""

    def __init__(self, x: Tensor, values: Tensor, degree: int) -> None:
        self.degree = degree
        columns = self._powers(x)
        ridge = 1e-9 * len(x) * torch.eye(degree + 1, dtype=x.dtype)
        self.weights: Tensor = torch.linalg.solve(columns.T @ columns + ridge, columns.T @ values)

    def __call__(self, x: Tensor) -> Tensor:
        return self._powers(x) @ self.weights

    def _powers(self, x: Tensor) -> Tensor:
        return torch.stack([x**power for power in range(self.degree + 1)], 1)


@dataclass(frozen=True)
class Blurs:
    """A distribution of Gaussian blurs: M cells of width, each with a weight and a normal distribution of b and c."""

    width: Tensor
    """a of each cell, (M,), rising."""
    weight: Tensor
    """Weight of each cell, (M,), with sum 1."""
    turned: Tensor
    """Mean of (b, c) in each cell, (M, 2)."""
    root: Tensor
    """A square root of the covariance of (b, c) in each cell, (M, 2, 2)."""
    widest: float
    """Value of a from which on blurs cannot be distinguished."""

    def at_limit(self) -> float:
        """Return the share of images whose blur is at the largest width that can be read, or beyond.

        Their estimated blur is too narrow.
        """
        return float(self.weight[self.width >= self.widest].sum())

    def mean(self) -> Tensor:
        """Return the mean shape, (3,)."""
        return self.weight @ torch.cat([self.width[:, None], self.turned], 1)

    def shapes(self, z: Tensor) -> Tensor:
        """Return shapes (N, 3) for standard normal numbers z (N, ≥ 3), of which the first determines the width."""
        quantile = torch.special.ndtr(z[:, 0].double())
        cell = torch.searchsorted(self.weight.cumsum(0), quantile).clamp(max=len(self.weight) - 1)
        b_c = self.turned[cell] + torch.einsum("nij,nj->ni", self.root[cell], z[:, 1:3].double())
        return torch.cat([self.width[cell, None], b_c], 1)


def deconvolved(readings: Readings) -> Blurs:
    """Return the distribution of blurs under which the readings are likeliest.

    It is the nonparametric maximum likelihood estimate (Kiefer & Wolfowitz 1956), by EM.
    """
    errors = readings.errors
    distance = (readings.shapes[:, 0, None] - errors.mean) / errors.scatter
    likelihood = (1 + distance.square() / STUDENT_FREEDOM) ** (-(STUDENT_FREEDOM + 1) / 2) / errors.scatter
    weight = torch.full((CELLS,), 1 / CELLS, dtype=torch.float64)
    for _ in range(EM_STEPS):
        membership = likelihood * weight
        membership = membership / membership.sum(1, keepdim=True)
        weight = membership.mean(0)
    used = weight > MIN_WEIGHT
    membership, weight = membership[:, used] / membership[:, used].sum(0), weight[used] / weight[used].sum()
    b_c = readings.shapes[:, 1:]
    turned = membership.T @ b_c
    deviation = b_c[:, None] - turned
    covariance = torch.einsum("nm,nmi,nmj->mij", membership, deviation, deviation)
    values, vectors = torch.linalg.eigh(covariance - errors.turned * torch.eye(2, dtype=torch.float64))
    root = vectors @ torch.diag_embed(values.clamp(min=0).sqrt())
    return Blurs(errors.grid[used], weight, turned, root, float(errors.grid[-2]))
