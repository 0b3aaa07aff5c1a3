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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.stats import chi2
from torch import Tensor

from degsynth.ops import kernel_families as families
from degsynth.ops.kernels import second_moment
from degsynth.ops.spectra import Spectra

Family = Literal["box", "gaussian", "bicubic", "radial", "auto"]
PLAIN: tuple[Family, ...] = ("box", "gaussian", "bicubic")
RARE = 0.01
"""A family is called implausible where the right one would do as badly with this probability only."""
MARGIN = 20.0
"""By so much the log evidence of free taps must exceed a family's: scenes differ in more ways than are modelled."""
LOG_FLOOR = 3.0
"""Standard deviation of the log of the noise floor, about a third of the LR's weakest frequency."""
LOG_WIDTH = 2.0
"""Of the log of a Gaussian's width, about half an LR pixel."""
LOG_RATIO = 1.5
"""Of the log of its ratio of widths: content has directions, too, and is not to be copied."""
BEND = 0.1
"""Of the second differences between knots of a free radial function."""
STRETCH = 0.5
"""And of the log of its stretch."""
DEPARTURES = ((0.1, 2.5), (0.1, 4.0), (0.3, 2.5), (0.3, 4.0))
"""How far taps may leave a family, as a share of the highest, and within what distance from the centre, in standard
deviations of the kernel: the likeliest of these is taken."""
SMOOTH = 0.5
"""Over what distance neighbouring taps move together, LR px: finer change has hardly an effect on the LR."""
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
    charge = 0.5 * float(torch.logdet(torch.eye(spectra.count, dtype=torch.float64) + moved @ moved.T))
    plausible = bool(2 * misfit <= chi2.ppf(1 - RARE, spectra.count))
    kernel = hypothesis.kernel(best[1:]).detach()
    return Estimate(kernel, float(floor), misfit, -least_cost - charge, hypothesis.name, plausible)


def family(name: Family, scale: int, size: int) -> Hypothesis:
    """Box ∗ Gaussian, Gaussian, bicubic ∗ Gaussian, or any radial function, stretched."""
    y, x = families.frequencies()
    if name == "radial":
        mean, spread = _radial_prior(scale)

        def free(z: Tensor) -> Tensor:
            return families.taps(families.radial(y, x, STRETCH * z[:2], mean + spread @ z[2:]), size)

        at = torch.linspace(0, 0.5, families.KNOTS, dtype=torch.float64)[1:]
        curves = [torch.exp(-2 * (math.pi * width * scale * at) ** 2) for width in (0.3, 0.7)]
        none = torch.zeros(2, dtype=torch.float64)
        starts = tuple(torch.cat([none, torch.linalg.solve(spread, curve - mean)]) for curve in curves)
        return Hypothesis(name, 2 + len(mean), free, starts)
    aperture = {"box": families.box, "bicubic": families.bicubic}.get(name)
    fixed = torch.ones_like(y) if aperture is None else aperture(y, scale) * aperture(x, scale)
    usual = torch.tensor([2 * math.log(0.5 * scale), 0.0, 0.0], dtype=torch.float64)
    widths = torch.tensor([2 * LOG_WIDTH, LOG_RATIO, LOG_RATIO], dtype=torch.float64)

    def plain(z: Tensor) -> Tensor:
        return families.taps(fixed * families.gaussian(y, x, usual + widths * z), size)

    starts = tuple(
        torch.tensor([2 * math.log(width), 0.4 * math.cos(angle), 0.4 * math.sin(angle)], dtype=torch.float64) / widths
        for width in (0.6, 1.5)
        for angle in (0.6, 2.2)
    )
    return Hypothesis(name, 3, plain, starts)


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


def centred_basis(size: int) -> Tensor:
    """An orthonormal basis (K², 3) of what a kernel's change must not have: a sum, and first moments (y, x)."""
    at = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    kept = [torch.ones(size, size, dtype=torch.float64), at[:, None].expand(size, size), at[None, :].expand(size, size)]
    basis: Tensor = torch.linalg.qr(torch.stack(kept).flatten(1).T)[0]
    return basis


def leeway(guess: Tensor, scale: int, departure: float, reach: float) -> tuple[Tensor, Tensor]:
    """How taps may move about a first guess (K, K): standard deviation of each (K, K), and what ties neighbours (K, K).

    The change is ``spread · (tie @ z @ tieᵀ)`` for standard normal z (K, K).
    """
    at = torch.arange(guess.shape[-1], dtype=torch.float64) - (guess.shape[-1] - 1) / 2
    width = math.sqrt(max(0.3, sum(second_moment(guess)) / 2))
    distance = at[:, None].square() + at[None, :].square()
    spread = departure * float(guess.max()) * torch.exp(-distance / (2 * (reach * width) ** 2))
    tie = torch.exp(-((at[:, None] - at[None, :]) ** 2) / (2 * (SMOOTH * scale) ** 2))
    return spread, tie / tie.norm(dim=1, keepdim=True)


def freed(guess: Estimate, scale: int, departure: float, reach: float) -> Hypothesis:
    """Kernels near a guess, each tap moving with its neighbours."""
    size = guess.kernel.shape[-1]
    kept, (spread, tie) = centred_basis(size), leeway(guess.kernel, scale, departure, reach)

    def kernel(z: Tensor) -> Tensor:
        change = (spread * (tie @ z.view(size, size) @ tie.T)).flatten()
        return guess.kernel + (change - kept @ (kept.T @ change)).view(size, size)

    return Hypothesis(f"{guess.family}, freed", size**2, kernel, (torch.zeros(size**2, dtype=torch.float64),))


def estimate(spectra: Spectra, name: Family, size: int) -> Estimate:
    """The kernel of a family; ``auto``: of the best plain family, or where none is plausible of the freed one."""
    if name != "auto":
        return likeliest(spectra, family(name, spectra.scale, size))
    best = best_of(likeliest(spectra, family(plain, spectra.scale, size)) for plain in PLAIN)
    others = [likeliest(spectra, freed(best, spectra.scale, *departure)) for departure in DEPARTURES]
    other = best_of(others)
    return other if other.evidence > best.evidence + MARGIN else best


def best_of(estimates: Iterable[Estimate]) -> Estimate:
    """That of the greatest evidence."""
    return max(estimates, key=lambda found: found.evidence)
