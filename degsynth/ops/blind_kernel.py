"""The likeliest blur kernel between two sets of images without common scenes, estimated from their spectra.

A *hypothesis* states what the kernel may be: a function of P numbers z that are standard normal a priori. The misfit
of `ops.spectra` is the negative log likelihood, so the likeliest z minimises ``misfit(kernel(z)) + ½ |z|²``. How well
the hypothesis as a whole explains the spectra is its evidence, by Laplace's approximation about that minimum ::

    log evidence  ≈  − misfit − ½ |z|² − ½ log det (1 + Jᵀ C⁻¹ J)

where J is the derivative of the log-spectrum by z and C the covariance of `ops.spectra`. The last term is a penalty for
every number that the spectra had to determine. Families with few numbers are tried first. The taps may depart from
them, smoothly and as far as is likeliest, where the evidence for that is beyond doubt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from scipy.special import gammaincinv
from torch import Tensor

from degsynth.ops import kernel_families as families
from degsynth.ops.kernels import gaussian, gaussian_shape, tap_offsets
from degsynth.ops.spectra import Spectra

Family = Literal["box", "gaussian", "bicubic", "disk", "radial", "auto"]
PLAIN_FAMILIES: tuple[Family, ...] = ("box", "gaussian", "bicubic", "disk")
IMPLAUSIBLE_PROBABILITY = 0.01
"""A family is implausible where the right one would have so large a misfit with no more than this probability."""
BEYOND_DOUBT = 7.0
"""Another family, or free taps, replace a simpler family where their log evidence is higher by more than this."""
FLOOR_LOG_SIGMA = 3.0
"""Prior standard deviation of the log of the noise floor, whose prior median is 0.3 of the LR's weakest frequency."""
WIDTH_LOG_SIGMA = 2.0
"""Prior standard deviation of the log of a Gaussian's width, whose prior median is half an LR pixel."""
RATIO_LOG_SIGMA = 1.5
"""Prior standard deviation of the log of the ratio of a Gaussian's widths.

It is finite because the content of the images has directions, too, which the kernel must not copy.
"""
DISK_RADIUS, RADIUS_LOG_SIGMA = 0.75, 0.7
"""Prior median of a disk's radius in LR px, and prior standard deviation of its log."""
BEND_SIGMA = 0.1
"""Prior standard deviation of the second differences between the knots of a free radial function."""
STRETCH_LOG_SIGMA = 0.5
"""Prior standard deviation of the log of a free radial function's stretch."""
DEPARTURES = ((0.03, 1.5), (0.3, 1.5), (0.03, 2.5), (0.1, 2.5), (0.3, 2.5), (0.03, 4.0), (0.1, 4.0))
"""Priors for taps that depart from a family, as arguments (departure, reach) of `tap_prior`; the likeliest is taken.

With larger departures there are several likeliest kernels, whose transfer functions have different signs, and chance
decides which one is found.
"""
NEAR_DISTANCE = 1.5
"""A family whose distance (`Spectra.distance`) is at most this nearly explains the spectra."""
CORRELATION_LENGTH = 0.5
"""Distance over which neighbouring taps move together, LR px: finer changes have hardly any effect on the LR."""
MIN_WIDTH = 0.3
"""Smallest width of a kernel from which the reach of its free taps is computed, LR px."""
LARGEST_NUMBER = 40.0
"""Numbers of a kernel are limited to so many standard deviations. No likely kernel has larger ones, but a search may
try them, and must get a finite cost there to turn back from; exponentials would overflow."""
MAX_ITERATIONS = 300
"""Largest number of iterations of L-BFGS."""


@dataclass(frozen=True)
class Hypothesis:
    """A set of kernels, each of which is a function of numbers that are standard normal a priori."""

    name: str
    numbers: int
    """Number P of these numbers."""
    kernel: Callable[[Tensor], Tensor]
    """Function of z (P,) that returns the kernel (K, K) float64: centred, with sum 1, differentiable."""
    starts: tuple[Tensor, ...]
    """Values of z (P,) from which the minimisation starts."""
    charge: float = 0.0
    """Log evidence that is subtracted for the numbers of the kernel from which free taps depart.

    What both that kernel and the free taps can express is subtracted twice, so the evidence is a lower bound.
    """
    free: bool = False
    """Whether every tap has a number for itself."""


@dataclass(frozen=True)
class Estimate:
    """The likeliest kernel under a hypothesis."""

    kernel: Tensor
    """(K, K) float64, centred, with sum 1."""
    floor: float
    """Variance of white noise in the LR's luma, in addition to the noise of the blurred HR."""
    misfit: float
    """½ χ²; see `ops.spectra`."""
    evidence: float
    """Log evidence, up to a constant that is the same for all hypotheses."""
    family: str
    plausible: bool
    """Whether differences in content alone cause a misfit of this size in more than one of a hundred cases."""
    free: bool
    """Whether every tap has a number for itself."""


def minimise(cost: Callable[[Tensor], Tensor], start: Tensor) -> tuple[Tensor, float]:
    """Minimise a smooth cost from a start (P,) float64 by L-BFGS; return the end (P,) and the cost there."""
    z = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [z], max_iter=MAX_ITERATIONS, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-5,
        tolerance_change=1e-8,
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = cost(z)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return z.detach(), float(cost(z))


class _Posterior:
    """The posterior of a hypothesis given spectra, as a function of numbers z (1 + P,).

    The first number determines the noise floor, the others are those of the hypothesis.
    """

    def __init__(self, spectra: Spectra, hypothesis: Hypothesis) -> None:
        self.spectra, self.hypothesis = spectra, hypothesis
        self.median_floor = 0.3 * float(spectra.lr.min())

    def spectrum_and_floor(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the spectrum (n,) of the blurred HR, and the variance of the noise floor."""
        floor = self.median_floor * torch.exp((FLOOR_LOG_SIGMA * z[0]).clamp(-20, 5))
        numbers = z[1:].clamp(-LARGEST_NUMBER, LARGEST_NUMBER)
        return self.spectra.of_kernel(self.hypothesis.kernel(numbers)), floor

    def cost(self, z: Tensor) -> Tensor:
        """Return the negative log of the posterior, up to a constant."""
        return self.spectra.misfit(*self.spectrum_and_floor(z)) + 0.5 * z.square().sum()

    def log_spectrum(self, z: Tensor) -> Tensor:
        """Return the log (n,) of the spectrum with the floor."""
        spectrum, floor = self.spectrum_and_floor(z)
        return torch.log(spectrum + floor)

    def occam_penalty(self, z: Tensor) -> float:
        """Return ½ log det (1 + Jᵀ C⁻¹ J), computed as ½ log det (1 + A Aᵀ) with A = Lᵀ J and C⁻¹ = L Lᵀ."""
        unit = torch.eye(self.spectra.count, dtype=torch.float64)
        weighted = torch.linalg.cholesky(self.spectra.precision).T @ self._jacobian(z)
        return 0.5 * float(torch.logdet(unit + weighted @ weighted.T))

    def _jacobian(self, z: Tensor) -> Tensor:
        """Return the derivatives J (n, 1 + P) of the `log_spectrum`, row by row or column by column: the fewer.

        A row is a unit vector times J. That product is linear in the vector u, and its own derivative by u, times a
        unit vector v, is J v: a column.
        """
        pull = torch.func.vjp(self.log_spectrum, z)[1]
        count = self.spectra.count
        if len(z) >= count:
            rows: Tensor = torch.func.vmap(pull)(torch.eye(count, dtype=torch.float64))[0]
            return rows
        push = torch.func.vjp(lambda u: pull(u)[0], torch.zeros(count, dtype=torch.float64))[1]
        columns: Tensor = torch.func.vmap(push)(torch.eye(len(z), dtype=torch.float64))[0]
        return columns.T


def likeliest(spectra: Spectra, hypothesis: Hypothesis) -> Estimate:
    """Return the likeliest kernel and noise floor under a hypothesis; ValueError where no fit is finite."""
    posterior = _Posterior(spectra, hypothesis)
    no_change = torch.zeros(1, dtype=torch.float64)
    minima = [minimise(posterior.cost, torch.cat([no_change, start])) for start in hypothesis.starts]
    finite = [minimum for minimum in minima if math.isfinite(minimum[1])]
    if not finite:
        raise ValueError("no blur fits the spectra with a finite misfit; look for damaged or empty images")
    z, cost = min(finite, key=lambda minimum: minimum[1])
    with torch.no_grad():
        spectrum, floor = posterior.spectrum_and_floor(z)
        misfit = float(spectra.misfit(spectrum, floor))
    evidence = -cost - posterior.occam_penalty(z) - hypothesis.charge
    plausible = explains(misfit, spectra.count)
    kernel = hypothesis.kernel(z[1:]).detach()
    return Estimate(kernel, float(floor), misfit, evidence, hypothesis.name, plausible, hypothesis.free)


def explains(misfit: float, count: int) -> bool:
    """Return whether differences in content alone may cause a misfit of spectra in ``count`` bins."""
    return bool(2 * misfit <= 2 * gammaincinv(count / 2, 1 - IMPLAUSIBLE_PROBABILITY))  # quantile of χ²


def family_hypothesis(name: Family, scale: int, size: int) -> Hypothesis:
    """Return the hypothesis of a family.

    The plain families are an aperture (box, a point for ``gaussian``, bicubic or disk) convolved with a Gaussian;
    ``radial`` is any radial function, stretched.
    """
    if name == "radial":
        return _radial(scale, size)
    y, x = families.frequencies()
    mean = torch.tensor([2 * math.log(0.5 * scale), 0.0, 0.0], dtype=torch.float64)
    sigmas = torch.tensor([2 * WIDTH_LOG_SIGMA, RATIO_LOG_SIGMA, RATIO_LOG_SIGMA], dtype=torch.float64)

    def blurred(aperture: Tensor, z: Tensor) -> Tensor:
        return families.taps(aperture * families.gaussian(y, x, mean + sigmas * z), size)

    starts = tuple(
        torch.tensor([2 * math.log(width), 0.4 * math.cos(angle), 0.4 * math.sin(angle)], dtype=torch.float64) / sigmas
        for width in (0.6, 1.5)
        for angle in (0.6, 2.2)
    )
    if name != "disk":
        profile = {"box": families.box, "bicubic": families.bicubic}.get(name)
        aperture = torch.ones_like(y) if profile is None else profile(y, scale) * profile(x, scale)
        return Hypothesis(name, 3, lambda z: blurred(aperture, z), starts)
    lengths, index = torch.unique(torch.hypot(y, x), return_inverse=True)  # most lengths are those of eight frequencies

    def defocused(z: Tensor) -> Tensor:
        radius = DISK_RADIUS * scale * torch.exp(RADIUS_LOG_SIGMA * z[0])
        radius = radius.clamp(max=min(families.MAX_RADIUS, size / 2))
        return blurred(families.disk(lengths, radius)[index], z[1:])

    radii = [
        torch.tensor([math.log(radius / DISK_RADIUS) / RADIUS_LOG_SIGMA], dtype=torch.float64)
        for radius in (0.6, 1.2, 2.0)
    ]
    return Hypothesis(name, 4, defocused, tuple(torch.cat([radius, starts[0]]) for radius in radii))


def _radial(scale: int, size: int) -> Hypothesis:
    """Return the hypothesis of any radial transfer function, stretched."""
    y, x = families.frequencies()
    mean, root = _radial_prior(scale)

    def kernel(z: Tensor) -> Tensor:
        return families.taps(families.radial(y, x, STRETCH_LOG_SIGMA * z[:2], mean + root @ z[2:]), size)

    frequency = torch.linspace(0, 0.5, families.KNOTS, dtype=torch.float64)[1:]
    curves = [torch.exp(-2 * (math.pi * width * scale * frequency) ** 2) for width in (0.3, 0.7)]
    no_stretch = torch.zeros(2, dtype=torch.float64)
    starts = tuple(torch.cat([no_stretch, torch.linalg.solve(root, curve - mean)]) for curve in curves)
    return Hypothesis("radial", 2 + len(mean), kernel, starts)


def _radial_prior(scale: int) -> tuple[Tensor, Tensor]:
    """Return the prior mean (P,) and a square root of the covariance (P, P) of a radial transfer function's knots.

    The value at frequency 0 is always 1, so that knot is not among the P. The prior is a product of two. One expects
    second differences near 0 (at frequency 0 too, about which the function is even). The other expects small
    values beyond the LR's Nyquist frequency, because no aperture passes much there. The images cannot show this,
    because aliasing hides it.
    """
    count = families.KNOTS - 1
    bends = torch.zeros(count, count, dtype=torch.float64)  # second differences of the knots (v1, 1, v1, v2, …)
    target = torch.zeros(count, dtype=torch.float64)
    for row in range(count):
        for knot, weight in ((row - 1, 1.0), (row, -2.0), (row + 1, 1.0)):
            if knot == 0:
                target[row] -= weight
            else:
                bends[row, abs(knot) - 1] += weight
    frequency = torch.linspace(0, 0.5, families.KNOTS, dtype=torch.float64)[1:]
    magnitude = 0.8 * torch.exp(-((frequency * scale / 0.6) ** 2)) + 0.02
    precision = bends.T @ bends / BEND_SIGMA**2 + torch.diag(magnitude**-2)
    covariance = torch.linalg.inv(precision)
    return covariance @ (bends.T @ target) / BEND_SIGMA**2, torch.linalg.cholesky(covariance)


def sum_and_moments(size: int) -> Tensor:
    """Return rows (3, K²) that, multiplied by a kernel's taps, give its sum and its first moments (y, x).

    All three must be 0 for a change of a kernel that keeps its sum and its centroid.
    """
    offsets = tap_offsets(size)
    ones = torch.ones(size, size, dtype=torch.float64)
    return torch.stack([ones, offsets[:, None] * ones, offsets[None, :] * ones]).flatten(1)


def tap_prior(guess: Tensor, scale: int, departure: float, reach: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the prior for taps that depart from a first guess (K, K): ``spread``, ``tie`` and ``back``.

    The change of the taps is ``c = spread · (tie @ z @ tieᵀ)`` for standard normal z (K, K). ``spread`` (K, K) is the
    standard deviation of each tap; ``tie`` (K, K) correlates neighbours. ``departure`` is the largest standard
    deviation, as a share of the guess's highest tap; ``reach`` says how far out taps may move, in standard deviations
    of the guess in that direction.

    Then ``back @ rows @ c`` is subtracted, which makes the sum and the first moments of the change 0. Here ``rows`` are
    those of `sum_and_moments`, and ``back = V rowsᵀ (rows V rowsᵀ)⁻¹`` with V = spread². The subtraction is that of
    independent taps with these deviations that are conditioned on sum and first moments 0. So it hardly changes taps
    that have a small deviation.
    """
    offsets = tap_offsets(guess.shape[-1])
    along, across, angle = gaussian_shape(guess)  # halos would make a second moment nearly 0
    along, across = (reach * max(MIN_WIDTH * scale, width) for width in (along, across))
    near = gaussian(guess.shape[-1], across, along, angle)
    spread = departure * float(guess.max()) * near / near.max()
    tie = torch.exp(-((offsets[:, None] - offsets[None, :]) ** 2) / (2 * (CORRELATION_LENGTH * scale) ** 2))
    rows = sum_and_moments(guess.shape[-1])
    weighted = spread.flatten().square()[:, None] * rows.T
    return spread, tie / tie.norm(dim=1, keepdim=True), weighted @ torch.linalg.inv(rows @ weighted)


def freed_hypothesis(guess: Estimate, scale: int, departure: float, reach: float) -> Hypothesis:
    """Return the hypothesis of kernels near a guess, in which each tap may move together with its neighbours."""
    size = guess.kernel.shape[-1]
    rows, (spread, tie, back) = sum_and_moments(size), tap_prior(guess.kernel, scale, departure, reach)

    def kernel(z: Tensor) -> Tensor:
        change = (spread * (tie @ z.view(size, size) @ tie.T)).flatten()
        return guess.kernel + (change - back @ (rows @ change)).view(size, size)

    start = torch.zeros(size**2, dtype=torch.float64)
    charge = -guess.evidence - guess.misfit
    return Hypothesis(f"{guess.family}, freed", size**2, kernel, (start,), charge, free=True)


def estimate(spectra: Spectra, name: Family, size: int) -> Estimate:
    """Return the likeliest kernel (size, size) of a family; of all families and free taps for ``auto``.

    Where a plain family does not explain the spectra, its likeliest kernel means little: it compensates at one
    frequency for what it cannot match at another. The result is then the kernel of the family whose LR is nearest to
    that of the kernel of ``auto``.
    """
    if name == "auto":
        return _auto(spectra, size)
    hypothesis = family_hypothesis(name, spectra.scale, size)
    of_family = likeliest(spectra, hypothesis)
    if of_family.plausible or name == "radial":
        return of_family
    return nearest(spectra, hypothesis, _auto(spectra, size), of_family)


def _auto(spectra: Spectra, size: int) -> Estimate:
    """Return the estimate of the simplest family that no other one beats beyond doubt, or one with free taps.

    Taps are freed only where the families leave a larger misfit than content does on average. They depart from the best
    plain family, and also from the radial function where that nearly explains the spectra. A power spectrum has no
    signs: a radial function that has to go up and down, as for camera shake, has the wrong signs and is a bad start.
    """
    plain = [likeliest(spectra, family_hypothesis(name, spectra.scale, size)) for name in PLAIN_FAMILIES]
    best = simplest([*plain, likeliest(spectra, family_hypothesis("radial", spectra.scale, size))])
    if 2 * best.misfit <= spectra.count:
        return best
    guesses = [simplest(plain)]
    if best.family == "radial" and 2 * best.misfit <= NEAR_DISTANCE**2 * spectra.count:
        guesses.append(best)
    hypotheses = [freed_hypothesis(guess, spectra.scale, *departure) for guess in guesses for departure in DEPARTURES]
    free = max((likeliest(spectra, hypothesis) for hypothesis in hypotheses), key=lambda estimate: estimate.evidence)
    return simplest([best, free])


def simplest(ordered: Sequence[Estimate]) -> Estimate:
    """Return the first of the estimates, ordered from simple to complex, that no other one beats beyond doubt."""
    highest = max(estimate.evidence for estimate in ordered)
    return next(estimate for estimate in ordered if estimate.evidence >= highest - BEYOND_DOUBT)


def nearest(spectra: Spectra, hypothesis: Hypothesis, target: Estimate, of_family: Estimate) -> Estimate:
    """Return ``of_family`` with the kernel of the hypothesis that blurs HR most nearly as the target's kernel does.

    Nearness is measured by the power of the difference of the two blurred images. Evidence and plausibility stay those
    of the family's likeliest kernel.
    """
    power = spectra.hr_power.clone()
    power[0, 0] = 0.0  # both kernels have sum 1
    target_transfer = spectra.transfer(target.kernel)

    def cost(z: Tensor) -> Tensor:
        difference = spectra.transfer(hypothesis.kernel(z)) - target_transfer
        return 1e4 * (power * (difference.real.square() + difference.imag.square())).sum() / power.sum()

    z, _ = min((minimise(cost, start) for start in hypothesis.starts), key=lambda minimum: minimum[1])
    with torch.no_grad():
        kernel = hypothesis.kernel(z)
        misfit = float(spectra.misfit(spectra.of_kernel(kernel), target.floor))
    return replace(of_family, kernel=kernel, floor=target.floor, misfit=misfit)
