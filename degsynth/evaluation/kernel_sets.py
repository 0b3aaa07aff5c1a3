"""How far two sets of kernels are apart, and how well one covers the other.

Kernels are densities over their taps, so they are compared by Hellinger's distance: √(1 − Σ √(p q)), 0 for equal ones,
1 where they have no tap in common. Negative taps, which a density has not, count as 0.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from degsynth.model.pool_file import Pool
from degsynth.ops.kernel_families import keys
from degsynth.ops.kernels import gaussian_shape
from degsynth.ops.subpixel import suited

ROUND = 1.15
"""Ratio of widths below which a kernel has no direction worth telling."""
NEAR_DEG = 15.0
"""Directions that are no farther apart are alike."""
WITHIN = 1.15
"""Widths are inside a range that is widened by this factor on both sides."""


def shapes(kernels: Tensor) -> Tensor:
    """σ (HR px, geometric mean of both axes), ratio of axes and angle (degrees) of kernels (N, K, K): (N, 3)."""
    found = []
    for kernel in kernels:
        along, across, angle = gaussian_shape(kernel)
        along, across = max(along, 0.05), max(across, 0.05)
        found.append((math.sqrt(along * across), along / across, math.degrees(angle)))
    return torch.tensor(found, dtype=torch.float64)


def roots(kernels: Tensor) -> Tensor:
    """Square roots of taps, (N, K²) of norm 1: half their squared distance is 1 − Σ √(p q)."""
    flat = kernels.double().clamp(min=0.0).flatten(1).sqrt()
    found: Tensor = flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return found


def hellinger(a: Tensor, b: Tensor) -> Tensor:
    """Distances (N, M) of kernels (N, K, K) from kernels (M, K, K)."""
    return (1 - roots(a) @ roots(b).T).clamp(min=0.0).sqrt()


def _mean_within(distances: Tensor) -> Tensor:
    """Mean over pairs of different ones; 0 where there is one only."""
    count = len(distances)
    return distances.sum() / max(1, count * (count - 1))


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Energy distance (Székely & Rizzo) of two sets of kernels: 2 E|a − b| − E|a − a'| − E|b − b'|.

    0 in the mean where both are drawn from one distribution (it may come out as less), greater where not.
    """
    between = hellinger(a, b).mean()
    return float(2 * between - _mean_within(hellinger(a, a)) - _mean_within(hellinger(b, b)))


def bicubic_there_and_back(scale: int, size: int) -> Tensor:
    """The kernel (size, size) of usual LR on the HR grid: reduced by bicubic interpolation, and enlarged by it.

    To reduce, Keys' cubic is stretched by the scale; to enlarge, it is as wide. At even scales both look half a pixel
    aside, which is a whole one together.
    """
    if scale == 1:
        point = torch.zeros(size, size, dtype=torch.float64)
        point[size // 2, size // 2] = 1.0
        return point
    reach = 2 * scale + size
    fine = torch.arange(-2 * reach, 2 * reach + 1, dtype=torch.float64) / 2  # half pixels
    own = (fine * 2).round().long() % 2 == (scale + 1) % 2
    taps = keys(fine / scale) * own
    row = torch.nn.functional.conv1d(taps[None, None], taps.flip(0)[None, None], padding=len(taps) - 1)[0, 0]
    middle = len(row) // 2
    row = row[middle - (size // 2) * 2 : middle + (size // 2) * 2 + 1 : 2]
    kernel = torch.outer(row, row)
    return kernel / kernel.sum()


def coverage(made: Tensor, real: Tensor) -> dict[str, Any]:
    """How the shapes of made kernels (N, K, K) lie inside the cloud of real ones (M, K, K), and how new they are.

    Shares of made kernels whose σ (of either axis's mean) and ratio of axes lie in the range of the real ones, widened
    by 15 % on both sides; share of the longish ones whose angle lies within 15° of a real one's; spread of log σ, made
    over real; Hellinger distance to the nearest real kernel, of made ones (median and least: they are new where it is
    not 0) and of real ones to the others.
    """
    (sigma, ratio, angle), (real_sigma, real_ratio, real_angle) = shapes(made).unbind(1), shapes(real).unbind(1)
    apart, among = hellinger(made, real), hellinger(real, real).fill_diagonal_(torch.inf)
    nearest_real = among.min(1).values
    longish, real_longish = ratio > ROUND, real_ratio > ROUND
    turned = (angle[longish][:, None] - real_angle[real_longish][None, :] + 90) % 180 - 90
    directions = bool(longish.any()) and bool(real_longish.any())

    def inside(values: Tensor, known: Tensor) -> float:
        return float(((values >= known.min() / WITHIN) & (values <= known.max() * WITHIN)).double().mean())

    return {
        "sigma_inside": inside(sigma, real_sigma),
        "axes_ratio_inside": inside(ratio, real_ratio),
        "angle_near": float((turned.abs().min(1).values <= NEAR_DEG).double().mean()) if directions else None,
        "log_sigma_spread": float(sigma.log().std(correction=0) / real_sigma.log().std(correction=0).clamp(min=1e-9)),
        "nearest_estimated": {
            "of_generated": {"median": float(apart.min(1).values.median()), "least": float(apart.min())},
            "of_estimated": {"median": float(nearest_real.median()) if len(real) > 1 else None},
        },
    }


class HeldOutKernels:
    """What a generator is steered by: the energy distance of what it draws to kernels that were estimated."""

    figure, unit, sign, judges_start = "kernel_distance", "", -1, False

    def __init__(self, kernels: Tensor, scale: int, known: int) -> None:
        """Take kernels (N, K, K) to compare with; the first ``known`` of a degrader's pool are not the generator's."""
        self.kernels, self.scale, self.known = suited(kernels, scale), scale, known
        self.usual = suited(bicubic_there_and_back(scale, kernels.shape[-1])[None], scale)

    def score(self, degrader: Any) -> float:
        """Of the generated kernels of a pool."""
        return energy_distance(degrader.optics.kernels[self.known :].cpu(), self.kernels)

    def distance(self, kernels: Tensor) -> float:
        """Of any kernels (M, K, K), on the grid that all are compared on: that of the scale."""
        return energy_distance(suited(kernels, self.scale), self.kernels)

    def bicubic(self) -> float:
        """Of the usual LR's kernel."""
        return energy_distance(self.usual, self.kernels)


def pool_summary(pool: Pool) -> dict[str, Any]:
    """For ``show --json``: counts, and how the shapes of usable kernels are distributed."""
    usable = pool.subset(pool.usable())
    found: dict[str, Any] = {
        "kernels": len(pool),
        "size": pool.kernels.shape[-1],
        "scale": pool.scale,
        "counts": pool.counts(),
        "made_by": pool.made_by,
    }
    if len(usable):
        sigma, ratio, _ = shapes(usable.kernels).unbind(1)
        for name, values in (("sigma_px", sigma), ("axes_ratio", ratio)):
            found[name] = {f"p{round(100 * q)}": float(values.quantile(q)) for q in (0.1, 0.5, 0.9)}
        found["log_sigma_sd"] = float(sigma.log().std(correction=0)) if len(usable) > 1 else 0.0
        found["negative_mass"] = abs(float(usable.kernels.clamp(max=0).sum((1, 2)).min()))
    return found
