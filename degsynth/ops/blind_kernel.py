"""The likeliest blur kernel between two sets of images without common scenes, from their spectra.

A *hypothesis* says what the kernel may be: it makes one of numbers z that are standard normal beforehand. With the
misfit of `ops.spectra` for a likelihood, the likeliest z minimises ``misfit(kernel(z)) + ½ |z|²``, and how well the
hypothesis as a whole explains what was seen, its evidence, is by Laplace's approximation about that minimum ::

    log evidence  ≈  − misfit − ½ |z|² − ½ log det (1 + Jᵀ C⁻¹ J)          J: how the log-spectrum moves with z

whose last term charges for every number that the spectra had to determine. Families with few numbers come first; the
taps may leave them, smoothly and as far as is likeliest, where the evidence for that is beyond doubt.
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
from degsynth.ops.kernels import gaussian, gaussian_shape
from degsynth.ops.spectra import Spectra

Family = Literal["box", "gaussian", "bicubic", "disk", "radial", "auto"]
PLAIN: tuple[Family, ...] = ("box", "gaussian", "bicubic", "disk")
RARE = 0.01
"""A family is called implausible where the right one would do as badly with this probability only."""
BEYOND_DOUBT = 7.0
"""By so much the log evidence of another family, or of free taps, must exceed that of a simpler one."""
LOG_FLOOR = 3.0
"""Standard deviation of the log of the noise floor, about a third of the LR's weakest frequency."""
LOG_WIDTH = 2.0
"""Of the log of a Gaussian's width, about half an LR pixel."""
LOG_RATIO = 1.5
"""Of the log of its ratio of widths: content has directions, too, and is not to be copied."""
RADIUS, LOG_RADIUS = 0.75, 0.7
"""A disk's radius beforehand, LR px, and the deviation of its log."""
BEND = 0.1
"""Of the second differences between knots of a free radial function."""
STRETCH = 0.5
"""And of the log of its stretch."""
DEPARTURES = ((0.03, 1.5), (0.3, 1.5), (0.03, 2.5), (0.1, 2.5), (0.3, 2.5), (0.03, 4.0), (0.1, 4.0))
"""How far taps may leave a family, as a share of the highest, and how far out, in standard deviations of the kernel in
that direction: the likeliest of these is taken. Larger ones have several likeliest kernels, with other signs of the
spectrum, and which is found is chance."""
NEARLY = 1.5
"""Up to this distance a family nearly explains the spectra."""
SMOOTH = 0.5
"""Over what distance neighbouring taps move together, LR px: finer change has hardly an effect on the LR."""
NARROWEST = 0.3
"""Half the least reach, so to say: the width that a kernel is taken to have at least there, LR px."""
ROUNDS = 300


@dataclass(frozen=True)
class Hypothesis:
    """Kernels that are made of so many standard normal numbers."""

    name: str
    numbers: int
    kernel: Callable[[Tensor], Tensor]
    """z (numbers) → kernel (K, K) float64, centred, sum 1; differentiable."""
    starts: tuple[Tensor, ...]
    """Where the likeliest z is looked for from."""
    charge: float = 0.0
    """What the numbers of its first guess cost, in evidence; what both can say is charged twice, so it is a bound."""
    free: bool = False
    """Whether every tap has a number of its own."""


@dataclass(frozen=True)
class Estimate:
    """The likeliest kernel under a hypothesis."""

    kernel: Tensor
    """(K, K) float64, centred, sum 1."""
    floor: float
    """Variance of white noise in the LR's luma, beyond what blurred HR has."""
    misfit: float
    """½ χ²; see `ops.spectra`."""
    evidence: float
    """Log, up to what all hypotheses share."""
    family: str
    plausible: bool
    """Whether content alone makes a misfit of this size in more than one of a hundred cases."""
    free: bool
    """Whether every tap has a number of its own."""


def descend(cost: Callable[[Tensor], Tensor], start: Tensor) -> tuple[Tensor, float]:
    """Where a smooth cost is least near a start (P), float64, by L-BFGS; and what it is there."""
    at = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [at], max_iter=ROUNDS, history_size=20, line_search_fn="strong_wolfe", tolerance_grad=1e-5,
        tolerance_change=1e-8,
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = cost(at)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return at.detach(), float(cost(at))


def likeliest(spectra: Spectra, hypothesis: Hypothesis) -> Estimate:
    """The likeliest kernel and noise floor under a hypothesis; ValueError where there is no finite one."""
    least = float(spectra.lr.min())

    def seen(z: Tensor) -> tuple[Tensor, Tensor]:
        """Spectrum of blurred HR in bins, and the floor, of which the first number is the logarithm."""
        floor = 0.3 * least * torch.exp((LOG_FLOOR * z[0]).clamp(-20, 5))
        return spectra.of_kernel(hypothesis.kernel(z[1:])), floor

    def cost(z: Tensor) -> Tensor:
        return spectra.misfit(*seen(z)) + 0.5 * z.square().sum()

    none = torch.zeros(1, dtype=torch.float64)
    tries = [descend(cost, torch.cat([none, start])) for start in hypothesis.starts]
    finite = [found for found in tries if math.isfinite(found[1])]
    if not finite:
        raise ValueError("the spectra have no finite fit; look for damaged or empty images")
    best, least_cost = min(finite, key=lambda found: found[1])
    with torch.no_grad():
        made, floor = seen(best)
        misfit = float(spectra.misfit(made, floor))

    def log_spectrum(z: Tensor) -> Tensor:
        return torch.log(sum(seen(z), start=none))

    pull = torch.func.vjp(log_spectrum, best)[1]
    jacobian = torch.func.vmap(pull)(torch.eye(spectra.count, dtype=torch.float64))[0]
    moved = torch.linalg.cholesky(spectra.precision).T @ jacobian
    determined = 0.5 * float(torch.logdet(torch.eye(spectra.count, dtype=torch.float64) + moved @ moved.T))
    evidence = -least_cost - determined - hypothesis.charge
    plausible = bool(2 * misfit <= 2 * gammaincinv(spectra.count / 2, 1 - RARE))  # the quantile of χ²
    kernel = hypothesis.kernel(best[1:]).detach()
    return Estimate(kernel, float(floor), misfit, evidence, hypothesis.name, plausible, hypothesis.free)


def family(name: Family, scale: int, size: int) -> Hypothesis:
    """Box, nothing, bicubic or disk ∗ Gaussian, or any radial function, stretched."""
    if name == "radial":
        return _radial(scale, size)
    y, x = families.frequencies()
    usual = torch.tensor([2 * math.log(0.5 * scale), 0.0, 0.0], dtype=torch.float64)
    widths = torch.tensor([2 * LOG_WIDTH, LOG_RATIO, LOG_RATIO], dtype=torch.float64)

    def blurred(aperture: Tensor, z: Tensor) -> Tensor:
        return families.taps(aperture * families.gaussian(y, x, usual + widths * z), size)

    starts = tuple(
        torch.tensor([2 * math.log(width), 0.4 * math.cos(angle), 0.4 * math.sin(angle)], dtype=torch.float64) / widths
        for width in (0.6, 1.5)
        for angle in (0.6, 2.2)
    )
    if name != "disk":
        axis = {"box": families.box, "bicubic": families.bicubic}.get(name)
        aperture = torch.ones_like(y) if axis is None else axis(y, scale) * axis(x, scale)
        return Hypothesis(name, 3, lambda z: blurred(aperture, z), starts)
    lengths, which = torch.unique(torch.hypot(y, x), return_inverse=True)  # of eight frequencies one

    def defocused(z: Tensor) -> Tensor:
        radius = (RADIUS * scale * torch.exp(LOG_RADIUS * z[0])).clamp(max=min(families.WIDEST, size / 2))
        return blurred(families.disk(lengths, radius)[which], z[1:])

    radii = [torch.tensor([math.log(radius / RADIUS) / LOG_RADIUS], dtype=torch.float64) for radius in (0.6, 1.2, 2.0)]
    return Hypothesis(name, 4, defocused, tuple(torch.cat([radius, starts[0]]) for radius in radii))


def _radial(scale: int, size: int) -> Hypothesis:
    y, x = families.frequencies()
    mean, spread = _radial_prior(scale)

    def free(z: Tensor) -> Tensor:
        return families.taps(families.radial(y, x, STRETCH * z[:2], mean + spread @ z[2:]), size)

    at = torch.linspace(0, 0.5, families.KNOTS, dtype=torch.float64)[1:]
    curves = [torch.exp(-2 * (math.pi * width * scale * at) ** 2) for width in (0.3, 0.7)]
    none = torch.zeros(2, dtype=torch.float64)
    starts = tuple(torch.cat([none, torch.linalg.solve(spread, curve - mean)]) for curve in curves)
    return Hypothesis("radial", 2 + len(mean), free, starts)


def _radial_prior(scale: int) -> tuple[Tensor, Tensor]:
    """Mean (P) and square root of the covariance (P, P) of a radial transfer function's knots, from the second on.

    Its second differences are about 0, also at frequency 0, about which it is even; and no aperture lets much through
    beyond the LR's Nyquist frequency, where aliasing hides what there is.
    """
    count = families.KNOTS - 1
    bends = torch.zeros(count, count, dtype=torch.float64)  # of knots (v1, 1, v1, v2, …)
    wanted = torch.zeros(count, dtype=torch.float64)
    for row in range(count):
        for knot, weight in ((row - 1, 1.0), (row, -2.0), (row + 1, 1.0)):
            if knot == 0:
                wanted[row] -= weight
            else:
                bends[row, abs(knot) - 1] += weight
    frequency = torch.linspace(0, 0.5, families.KNOTS, dtype=torch.float64)[1:]
    expected = 0.8 * torch.exp(-((frequency * scale / 0.6) ** 2)) + 0.02
    precision = bends.T @ bends / BEND**2 + torch.diag(expected**-2)
    covariance = torch.linalg.inv(precision)
    return covariance @ (bends.T @ wanted) / BEND**2, torch.linalg.cholesky(covariance)


def level_and_place(size: int) -> Tensor:
    """What a kernel's change must not have, as rows to multiply it by: a sum, and first moments (y, x); (3, K²)."""
    at = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    ones = torch.ones(size, size, dtype=torch.float64)
    return torch.stack([ones, at[:, None] * ones, at[None, :] * ones]).flatten(1)


def leeway(guess: Tensor, scale: int, departure: float, reach: float) -> tuple[Tensor, Tensor, Tensor]:
    """How taps may move about a first guess (K, K).

    The change is ``c = spread · (tie @ z @ tieᵀ)`` for standard normal z (K, K): ``spread`` (K, K) is each tap's
    standard deviation, ``tie`` (K, K) what ties neighbours. Of that, ``back @ rows @ c`` is taken off again, with the
    ``rows`` of `level_and_place` and ``back = V rowsᵀ (rows V rowsᵀ)⁻¹``, V = spread²: what conditioning independent
    taps of these deviations on neither sum nor first moments would take off. So taps that hardly move are hardly moved
    by it either.
    """
    at = torch.arange(guess.shape[-1], dtype=torch.float64) - (guess.shape[-1] - 1) / 2
    along, across, angle = gaussian_shape(guess)  # a second moment would be next to nothing where there are halos
    along, across = (reach * max(NARROWEST * scale, width) for width in (along, across))
    near = gaussian(guess.shape[-1], across, along, angle)
    spread = departure * float(guess.max()) * near / near.max()
    tie = torch.exp(-((at[:, None] - at[None, :]) ** 2) / (2 * (SMOOTH * scale) ** 2))
    rows = level_and_place(guess.shape[-1])
    weighted = spread.flatten().square()[:, None] * rows.T
    return spread, tie / tie.norm(dim=1, keepdim=True), weighted @ torch.linalg.inv(rows @ weighted)


def freed(guess: Estimate, scale: int, departure: float, reach: float) -> Hypothesis:
    """Kernels near a guess, each tap moving with its neighbours."""
    size = guess.kernel.shape[-1]
    rows, (spread, tie, back) = level_and_place(size), leeway(guess.kernel, scale, departure, reach)

    def kernel(z: Tensor) -> Tensor:
        change = (spread * (tie @ z.view(size, size) @ tie.T)).flatten()
        return guess.kernel + (change - back @ (rows @ change)).view(size, size)

    start = torch.zeros(size**2, dtype=torch.float64)
    charge = -guess.evidence - guess.misfit
    return Hypothesis(f"{guess.family}, freed", size**2, kernel, (start,), charge, free=True)


def estimate(spectra: Spectra, name: Family, size: int) -> Estimate:
    """The kernel of a family; ``auto``: of the simplest that no other beats beyond doubt, or with taps of their own.

    Where a plain family does not explain the spectra its likeliest kernel says little: it makes good at one frequency
    what it must miss at another. Taken is then the kernel of the family that makes LR nearest to that of ``auto``.
    """
    if name == "auto":
        return _auto(spectra, size)
    hypothesis = family(name, spectra.scale, size)
    found = likeliest(spectra, hypothesis)
    if found.plausible or name == "radial":
        return found
    return nearest(spectra, hypothesis, _auto(spectra, size), found)


def _auto(spectra: Spectra, size: int) -> Estimate:
    """Taps are only freed where the families leave more than content does on average.

    They are freed from the best plain family; from a function of frequency, too, where that nearly explains the
    spectra. A spectrum has no signs: a function that must go up and down to follow camera shake has the wrong ones, and
    is a bad guess.
    """
    plain = [likeliest(spectra, family(name, spectra.scale, size)) for name in PLAIN]
    best = simplest([*plain, likeliest(spectra, family("radial", spectra.scale, size))])
    if 2 * best.misfit <= spectra.count:
        return best
    guesses = [simplest(plain)]
    if best.family == "radial" and 2 * best.misfit <= NEARLY**2 * spectra.count:
        guesses.append(best)
    tries = [freed(guess, spectra.scale, *departure) for guess in guesses for departure in DEPARTURES]
    free = max((likeliest(spectra, hypothesis) for hypothesis in tries), key=lambda found: found.evidence)
    return simplest([best, free])


def simplest(ordered: Sequence[Estimate]) -> Estimate:
    """The first that none of the others beats beyond doubt."""
    most = max(found.evidence for found in ordered)
    return next(found for found in ordered if found.evidence >= most - BEYOND_DOUBT)


def nearest(spectra: Spectra, hypothesis: Hypothesis, wanted: Estimate, found: Estimate) -> Estimate:
    """The kernel of a hypothesis that makes blurred HR nearest, in power, to what a kernel makes of it.

    Evidence and plausibility stay those of the family's likeliest kernel.
    """
    power = spectra.hr_power.clone()
    power[0, 0] = 0.0  # both have sum 1
    goal = spectra.transfer(wanted.kernel)

    def apart(z: Tensor) -> Tensor:
        difference = spectra.transfer(hypothesis.kernel(z)) - goal
        return 1e4 * (power * (difference.real.square() + difference.imag.square())).sum() / power.sum()

    best, _ = min((descend(apart, start) for start in hypothesis.starts), key=lambda end: end[1])
    with torch.no_grad():
        kernel = hypothesis.kernel(best)
        misfit = float(spectra.misfit(spectra.of_kernel(kernel), wanted.floor))
    return replace(found, kernel=kernel, floor=wanted.floor, misfit=misfit)
