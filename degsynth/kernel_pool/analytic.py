"""Kernels from a formula."""

from __future__ import annotations

import math

import torch

from degsynth.errors import ConfigError
from degsynth.model.pool_file import LARGEST_KERNEL, Origin, Pool, check_amount
from degsynth.ops.kernels import gaussian
from degsynth.ops.noise import generator
from degsynth.seeds import derive

WIDEST = 0.2
"""Largest ratio of σ to the window's side at which a Gaussian still fits into the window."""


def gaussians(low: float, high: float, anisotropic: bool, count: int, size: int, seed: int) -> Pool:
    """Draw ``count`` Gaussians in windows of ``size`` taps; the logarithm of σ (HR px) is uniform from low to high.

    ``anisotropic``: both axes have a σ of their own, and the angle is random. Raises ConfigError where the range is
    empty, or too wide for the window.
    """
    if not 3 <= size <= LARGEST_KERNEL or size % 2 == 0:
        raise ConfigError(f"`size={size}`: give an odd number from 3 to {LARGEST_KERNEL}")
    check_amount(count, size, f"`number={count}`")
    if not 0 < low <= high:
        raise ConfigError(f"`gaussian={low:g}:{high:g}`: give σ in HR px as LO:HI, 0 < LO ≤ HI")
    if high > WIDEST * size:
        raise ConfigError(
            f"`gaussian={low:g}:{high:g}`: σ of more than {WIDEST * size:g} px does not fit into {size} taps",
            "give a larger `size`",
        )
    rng = generator(derive(seed, "", 0, 0, "analytic kernels"))
    numbers = torch.rand(count, 3, generator=rng, dtype=torch.float64)
    sigma = low * (high / low) ** numbers[:, :2]
    kernels = [
        gaussian(size, float(y), float(x if anisotropic else y), math.pi * float(turn))
        for (y, x), turn in zip(sigma, numbers[:, 2], strict=True)
    ]
    made_by = {"family": "gaussian", "sigma_px": [low, high], "anisotropic": anisotropic, "seed": seed}
    return Pool(torch.stack(kernels), [Origin("analytic")] * count, None, made_by)
