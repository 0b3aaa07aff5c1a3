"""Measure the curve of `degsynth.ops.tone` in pairs of images, together with the kernel.

The unknowns of the model ``lr = T(k ⋆ g(hr))`` are the taps k and the coefficients c of g. With the predicted level p
of an LR pixel, whose HR pixels are h, the model says ``g(p) = Σ k·g(h)``, and its derivatives follow from that::

    ∂p/∂k   =  g(h) / g′(p)
    ∂p/∂cₙ  =  (Σ k·φₙ(h) − φₙ(p)) / g′(p),     φₙ(x) = x·(1 − x)·xⁿ

So a few steps of the method of Gauss and Newton, each a linear least-squares problem, give both. A curve is only
believed if it explains other pixels of the pairs better than a straight line does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from degsynth.ops.blur import half_width
from degsynth.ops.resample import luma
from degsynth.ops.tone import inverse_table, is_rising, powers, slope, to_levels, to_light

COEFFICIENTS = 3
"""Number of coefficients of g."""
PIXELS = 12_000
"""Number of LR pixels from which the curve is measured, and of those that test it."""
PIXELS_PER_TAP = 10
"""A curve is measured from at least so many pixels for each tap of the kernel."""
LEAST_GAIN = 0.02
"""A curve is kept if it lowers the variance of what is left unexplained by at least this share, in the pixels that test
it."""
STEPS = 6
"""Number of steps of Gauss and Newton; after the fourth the coefficients change by less than 0.01."""
RIDGE = 1e-3
"""Weight of Σ kernel², relative to the variance of HR, as in `linear`."""


@dataclass(frozen=True)
class _Windows:
    """LR pixels, and the HR pixels around each, float64."""

    hr: Tensor
    """(N, K²)."""
    lr: Tensor
    """(N,)."""


def measure(
    images: Iterable[tuple[Tensor, Tensor]], count: int, scale: int, kernel_size: int, rng: torch.Generator
) -> tuple[float, ...]:
    """Return the coefficients of g for pairs hr (C, s·h, s·w) and lr (C, h, w) in [0, 1]; none if a straight line does.

    ``count`` is the number of pairs; the same number of pixels is drawn from the luma of each. (Measured in single
    channels, which have more noise, the curve explained luma and colours less well.)
    """
    fitted, tests = [], []
    for hr, lr in images:
        drawn = _drawn(luma(hr)[0], luma(lr)[0], scale, kernel_size, -(-2 * PIXELS // count), rng)
        fitted.append(_Windows(drawn.hr[::2], drawn.lr[::2]))
        tests.append(_Windows(drawn.hr[1::2], drawn.lr[1::2]))
    fit, test = _joined(fitted), _joined(tests)
    if len(fit.lr) < PIXELS_PER_TAP * kernel_size**2:
        return ()
    straight, _ = _solve(fit, 0)
    curved, coefficients = _solve(fit, COEFFICIENTS)
    before, after = _variance(test, straight, ()), _variance(test, curved, coefficients)
    return coefficients if after <= (1 - LEAST_GAIN) * before else ()


def _drawn(hr: Tensor, lr: Tensor, scale: int, size: int, count: int, rng: torch.Generator) -> _Windows:
    """Return at most ``count`` random pixels of lr (h, w) whose windows of hr (s·h, s·w) lie inside the image."""
    pad = half_width(size, scale)
    margin = -(-pad // scale)
    height, width = lr.shape[0] - 2 * margin, lr.shape[1] - 2 * margin
    if height < 1 or width < 1:
        return _Windows(torch.zeros(0, size**2, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
    places = torch.randperm(height * width, generator=rng)[:count]
    y, x = places // width + margin, places % width + margin
    at = torch.arange(size) - pad
    rows, columns = (scale * y)[:, None] + at, (scale * x)[:, None] + at
    windows = hr[rows[:, :, None], columns[:, None, :]]
    return _Windows(windows.flatten(1).double(), lr[y, x].double())


def _joined(parts: list[_Windows]) -> _Windows:
    return _Windows(torch.cat([part.hr for part in parts]), torch.cat([part.lr for part in parts]))


def _predicted(hr: Tensor, kernel: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Return the levels (N,) that the model predicts."""
    factors = powers(coefficients)
    light = to_light(hr, factors) @ kernel
    return to_levels(light, inverse_table(factors)) if coefficients else light


def _variance(windows: _Windows, kernel: Tensor, coefficients: tuple[float, ...]) -> float:
    return float((windows.lr - _predicted(windows.hr, kernel, coefficients)).square().mean())


def _solve(windows: _Windows, count: int) -> tuple[Tensor, tuple[float, ...]]:
    """Return the taps (K²,), of sum 1, and ``count`` coefficients of g that explain the pixels best.

    A step that would make g fall anywhere, or nearly so, is halved.
    """
    taps = windows.hr.shape[1]
    kernel = torch.full((taps,), 1 / taps, dtype=torch.float64)
    coefficients = (0.0,) * count
    weight = RIDGE * len(windows.lr) * float(windows.hr.var(0).mean())
    ridge = torch.zeros(taps + count, dtype=torch.float64)
    ridge[:taps] = weight
    sums = torch.zeros(taps + count, dtype=torch.float64)
    sums[:taps] = 1.0
    bends = [windows.hr * (1 - windows.hr) * windows.hr**place for place in range(count)]
    for _ in range(STEPS if count else 1):
        jacobian, error = _linearised(windows, bends, kernel, coefficients)
        # The ridge is on the taps themselves, not on their changes: its gradient belongs to the right side.
        right = jacobian.T @ error
        right[:taps] -= weight * kernel
        matrix = torch.cat([jacobian.T @ jacobian + ridge.diag(), sums[None]])
        matrix = torch.cat([matrix, torch.cat([sums, sums.new_zeros(1)])[:, None]], 1)  # Σ change of taps = 0
        change = torch.linalg.solve(matrix, torch.cat([right, right.new_zeros(1)]))[:-1]
        share = 1.0
        while count and not is_rising(powers(_moved(coefficients, share * change[taps:]))):
            share /= 2
        kernel, coefficients = kernel + share * change[:taps], _moved(coefficients, share * change[taps:])
    return kernel, coefficients


def _moved(coefficients: tuple[float, ...], change: Tensor) -> tuple[float, ...]:
    return tuple(old + new for old, new in zip(coefficients, change.tolist(), strict=True))


def _linearised(
    windows: _Windows, bends: list[Tensor], kernel: Tensor, coefficients: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """Return the derivatives (N, K² + coefficients) of the predicted levels, and real minus predicted levels (N,).

    ``bends`` are φₙ (N, K²) of the HR pixels for each of the coefficients: g(h) = h + Σ cₙ·φₙ(h).
    """
    taps = windows.hr.shape[1]
    derivatives = torch.empty(len(windows.lr), taps + len(coefficients), dtype=torch.float64)
    light = derivatives[:, :taps].copy_(windows.hr)
    for coefficient, bend in zip(coefficients, bends, strict=True):
        light.add_(bend, alpha=coefficient)
    factors = powers(coefficients)
    levels = to_levels(light @ kernel, inverse_table(factors)) if coefficients else light @ kernel
    of_levels = levels * (1 - levels)
    for place, bend in enumerate(bends):
        derivatives[:, taps + place] = bend @ kernel - of_levels * levels**place
    return derivatives.div_(slope(levels, factors)[:, None]), windows.lr - levels
