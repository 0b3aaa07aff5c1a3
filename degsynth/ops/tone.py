"""The curve between the levels of a file and the light of the scene, in which lenses blur.

Optics add up light, but a camera stores levels: it renders light through a curve that lifts the shadows and flattens
the highlights. So a blurred edge in a file is not the blurred levels of the sharp edge. The model is::

    lr  =  T(kernel ⋆ g(hr)),     g(x) = x + x·(1 − x)·(c₀ + c₁·x + c₂·x²),     T = g⁻¹

g turns levels into light. It keeps black and white, so with a kernel of sum 1 flat images stay as they are. No
coefficients mean g(x) = x. `degsynth.ops.tone_measurement` measures g in pairs of images.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

USUAL = (-0.3, -0.25, -0.25)
"""Coefficients of the curve that is assumed where there are no pairs to measure it in: about the mean of the curves of
the two cameras of City100. Mid-gray is a light of 0.38."""
SMALLEST_SLOPE = 0.1
"""Smallest slope that g may have between black and white; its inverse has at most ten times the slope of a straight
line."""
ENTRIES = 16_384
"""Number of intervals in the table of T. Between its entries T is interpolated linearly, to 5e-6 even where g is
as flat as it may be and bends most."""
BLOCK = 2**17
"""Number of values that are converted at a time, so that they stay in the cache from one operation to the next."""


def powers(coefficients: Sequence[float]) -> list[float]:
    """Return the factors p of g(x) = p₀·x + p₁·x² + …, as a polynomial without constant."""
    ends = [0.0, *coefficients, 0.0]  # x·(1 − x)·Σ cₙ·xⁿ = Σ (cₙ − cₙ₋₁)·xⁿ⁺¹
    factors = [now - before for before, now in itertools.pairwise(ends)]
    factors[0] += 1.0
    return factors


def to_light(levels: Tensor, factors: list[float], block: int = BLOCK) -> Tensor:
    """Return g(levels) in a new tensor of the same shape, where g(x) = factors[0]·x + factors[1]·x² + …

    It is TorchScript, and the bits do not depend on the shape: every value is only multiplied and added to.
    """
    # What is written into a tensor has no gradient; and the quicker way below begins with two factors.
    if levels.requires_grad or len(factors) == 1:
        curve = levels * factors[-1]
        for place in range(len(factors) - 2, -1, -1):
            curve = (curve + factors[place]) * levels
        return curve
    flat = levels.reshape(-1)
    light, last = torch.empty_like(flat), len(factors) - 1
    constants = [levels.new_full([1], factor) for factor in factors]
    for start in range(0, flat.shape[0], block):  # Horner's rule, with a product and a sum at a time
        x, y = flat[start : start + block], light[start : start + block]
        torch.add(constants[last - 1], x, alpha=factors[last], out=y)
        for place in range(last - 2, -1, -1):
            torch.addcmul(constants[place], y, x, out=y)
        y.mul_(x)
    return light.view_as(levels)


def slope(levels: Tensor, factors: Sequence[float]) -> Tensor:
    """Return g′ at levels of any shape."""
    result = torch.zeros_like(levels)
    for place in range(len(factors) - 1, -1, -1):
        result = result * levels + (place + 1) * factors[place]
    return result


def is_rising(factors: Sequence[float]) -> bool:
    """Return whether the slope of g is at least `SMALLEST_SLOPE` between black and white."""
    return bool((slope(torch.linspace(0, 1, 257, dtype=torch.float64), factors) >= SMALLEST_SLOPE).all())


def inverse_table(factors: Sequence[float]) -> Tensor:
    """Return T at the lights 0, 1/ENTRIES, …, 1: (ENTRIES + 1,) float64, by bisection of the rising curve g."""
    light = torch.linspace(0, 1, ENTRIES + 1, dtype=torch.float64)
    low, high = torch.zeros_like(light), torch.ones_like(light)
    for _ in range(60):
        middle = (low + high) / 2
        value = torch.zeros_like(middle)
        for factor in reversed(factors):
            value = (value + factor) * middle
        low, high = torch.where(value < light, middle, low), torch.where(value < light, high, middle)
    return (low + high) / 2


def to_levels(light: Tensor, table: Tensor) -> Tensor:
    """Return T(light), by linear interpolation in the table of `inverse_table`. It is TorchScript.

    Beyond black and white, where the ringing of a kernel may lead, the first and the last interval go on.
    """
    intervals = table.shape[0] - 1
    place = light * intervals
    left = place.floor().clamp(0.0, intervals - 1.0)
    index = left.long()
    start = table[index]
    return start + (table[index + 1] - start) * (place - left)
