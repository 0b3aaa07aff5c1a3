"""Distances between sets of kernels, and how well one set covers another.

Kernels are densities over their taps, so two of them are compared by the Hellinger distance √(1 − Σ √(p q)): 0 for
equal kernels, 1 where they have no tap in common. A density has no negative values, so negative taps count as 0.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from degsynth.model.checkpoint import LoadedDegrader
from degsynth.model.pool_file import Pool
from degsynth.ops.kernel_families import keys
from degsynth.ops.kernels import gaussian_shapes, tap_offsets
from degsynth.ops.subpixel import suited, suited_size

ROUND = 1.15
"""Ratio of axes up to which a kernel counts as round: it has no direction worth reporting."""
NEAR_DEG = 15.0
"""Directions count as alike where they differ by no more than this, degrees."""
WITHIN = 1.15
"""Factor by which a range of widths is extended on both sides before a width is looked for in it."""


def shapes(kernels: Tensor) -> Tensor:
    """Return σ (HR px, geometric mean of both axes), ratio of axes and angle (degrees) of kernels (N, K, K): (N, 3)."""
    along, across, angle = gaussian_shapes(kernels).unbind(1)
    along, across = along.clamp(min=0.05), across.clamp(min=0.05)
    return torch.stack([(along * across).sqrt(), along / across, angle.rad2deg()], 1)


def roots(kernels: Tensor) -> Tensor:
    """Return the square roots of the taps of kernels (N, K, K), scaled to norm 1: (N, K²).

    Half the squared distance of two of them is 1 − Σ √(p q).
    """
    flat = kernels.double().clamp(min=0.0).flatten(1).sqrt()
    unit: Tensor = flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return unit


def hellinger(a: Tensor, b: Tensor) -> Tensor:
    """Return the Hellinger distances (N, M) between kernels (N, K, K) and kernels (M, K, K)."""
    return (1 - roots(a) @ roots(b).T).clamp(min=0.0).sqrt()


def _mean_within(distances: Tensor) -> Tensor:
    """Return the mean of distances (N, N) over all pairs of different kernels; 0 for a single kernel."""
    count = len(distances)
    return distances.sum() / max(1, count * (count - 1))


def energy_distance(a: Tensor, b: Tensor) -> float:
    """Return the energy distance (Székely & Rizzo) of two sets of kernels: 2 E|a − b| − E|a − a'| − E|b − b'|.

    Its expected value is 0 where both sets are drawn from one distribution (a single value may be negative), and
    greater otherwise.
    """
    between = hellinger(a, b).mean()
    return float(2 * between - _mean_within(hellinger(a, a)) - _mean_within(hellinger(b, b)))


def bicubic_kernel(scale: int, size: int) -> Tensor:
    """Return the kernel (size, size), on the HR grid, of antialiased bicubic LR; the size is one that suits the scale.

    Keys' cubic is stretched by the scale.
    """
    row = keys(tap_offsets(size) / scale)
    kernel = torch.outer(row, row)
    return kernel / kernel.sum()


def bicubic_there_and_back(scale: int, size: int) -> Tensor:
    """Return the kernel (size, size), on the HR grid, of bicubic LR that is enlarged by bicubic interpolation again.

    To reduce an image, Keys' cubic is stretched by the scale; to enlarge it, the cubic is as wide. At even scales each
    step shifts the image by half a pixel, both together by a whole pixel.
    """
    if scale == 1:
        point = torch.zeros(size, size, dtype=torch.float64)
        point[size // 2, size // 2] = 1.0
        return point
    reach = 2 * scale + size
    positions = torch.arange(-2 * reach, 2 * reach + 1, dtype=torch.float64) / 2  # at every half pixel
    on_grid = (positions * 2).round().long() % 2 == (scale + 1) % 2
    taps = keys(positions / scale) * on_grid
    row = torch.nn.functional.conv1d(taps[None, None], taps.flip(0)[None, None], padding=len(taps) - 1)[0, 0]
    middle = len(row) // 2
    row = row[middle - (size // 2) * 2 : middle + (size // 2) * 2 + 1 : 2]
    kernel = torch.outer(row, row)
    return kernel / kernel.sum()


def coverage(drawn: Tensor, estimated: Tensor) -> dict[str, Any]:
    """Measure how drawn kernels (N, K, K) cover the shapes of estimated kernels (M, K, K), and how new they are.

    - ``sigma_inside``, ``axes_ratio_inside``: shares of drawn kernels whose σ (geometric mean of both axes) and ratio
      of axes lie in the range of the estimated ones, which is widened by 15 % on both sides.
    - ``angle_near``: share of elongated drawn kernels whose angle is within 15° of that of an elongated estimated
      kernel; None where one side has no elongated kernel.
    - ``log_sigma_spread``: spread of log σ of drawn kernels, relative to that of estimated ones.
    - ``nearest_estimated``: Hellinger distances to the nearest estimated kernel, of drawn kernels (median and least;
      they are new where it is not 0) and of estimated kernels among themselves.
    """
    sigma, ratio, angle = shapes(drawn).unbind(1)
    known_sigma, known_ratio, known_angle = shapes(estimated).unbind(1)
    apart, among = hellinger(drawn, estimated), hellinger(estimated, estimated).fill_diagonal_(torch.inf)
    nearest_known = among.min(1).values
    elongated, known_elongated = ratio > ROUND, known_ratio > ROUND
    turned = (angle[elongated][:, None] - known_angle[known_elongated][None, :] + 90) % 180 - 90
    directions = bool(elongated.any()) and bool(known_elongated.any())

    def inside(values: Tensor, known: Tensor) -> float:
        return float(((values >= known.min() / WITHIN) & (values <= known.max() * WITHIN)).double().mean())

    return {
        "sigma_inside": inside(sigma, known_sigma),
        "axes_ratio_inside": inside(ratio, known_ratio),
        "angle_near": float((turned.abs().min(1).values <= NEAR_DEG).double().mean()) if directions else None,
        "log_sigma_spread": float(sigma.log().std(correction=0) / known_sigma.log().std(correction=0).clamp(min=1e-9)),
        "nearest_estimated": {
            "of_generated": {"median": float(apart.min(1).values.median()), "least": float(apart.min())},
            "of_estimated": {"median": float(nearest_known.median()) if len(estimated) > 1 else None},
        },
    }


class HeldOutKernels:
    """Judges a kernel generator by the energy distance of its kernels to estimated ones."""

    figure, unit, sign = "kernel_distance", "", -1

    def __init__(self, kernels: Tensor, scale: int, known: int, enlarged: bool = True) -> None:
        """Take estimated kernels (N, K, K); ``enlarged``: they hold the blur of the enlargement of photographs.

        The first ``known`` kernels in a degrader's pool do not come from the generator, and are not judged.
        """
        self.kernels, self.scale, self.known = suited(kernels, scale), scale, known
        size = kernels.shape[-1]
        there_and_back = suited(bicubic_there_and_back(scale, size)[None], scale)
        self.usual = there_and_back if enlarged else bicubic_kernel(scale, suited_size(size, scale))[None]

    def score(self, degrader: LoadedDegrader) -> float:
        """Return the energy distance of the generated kernels in a degrader's pool."""
        optics: Any = degrader.optics
        return energy_distance(optics.kernels[self.known :].cpu(), self.kernels)

    def distance(self, kernels: Tensor) -> float:
        """Return the energy distance of any kernels (M, K, K), which are resampled to a size that suits the scale."""
        return energy_distance(suited(kernels, self.scale), self.kernels)

    def bicubic(self) -> float:
        """Return the energy distance of the kernel of bicubic LR."""
        return energy_distance(self.usual, self.kernels)


def pool_summary(pool: Pool) -> dict[str, Any]:
    """Return the counts of a pool, and figures of how the shapes of its usable kernels are distributed."""
    usable = pool.subset(pool.usable())
    summary: dict[str, Any] = {
        "kernels": len(pool),
        "size": pool.kernels.shape[-1],
        "scale": pool.scale,
        "counts": pool.counts(),
        "made_by": pool.made_by,
    }
    if len(usable):
        sigma, ratio, _ = shapes(usable.kernels).unbind(1)
        for name, values in (("sigma_px", sigma), ("axes_ratio", ratio)):
            summary[name] = {f"p{round(100 * share)}": float(values.quantile(share)) for share in (0.1, 0.5, 0.9)}
        summary["log_sigma_sd"] = float(sigma.log().std(correction=0)) if len(usable) > 1 else 0.0
        summary["negative_mass"] = abs(float(usable.kernels.clamp(max=0).sum((1, 2)).min()))
    return summary
