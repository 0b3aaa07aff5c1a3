"""The blur kernel of one photograph, from the photograph alone (Pan et al. 2016, as kmsr's Eq. 5 has it).

Coarse to fine: on each level the latent image (`ops.latent_image`) and the kernel (`ops.kernel_from_edges`) are found
in turns, each with the other; the next level, finer by √2, begins with that kernel. With ``dark_weight`` 0 it is the L0
gradient prior alone (Anger, Facciolo & Delbracio 2019), in a quarter of the time.

Settings are those of the authors' code; the kernel's equations are solved exactly here, and borders are made periodic
in another way (`latent_image.periodic`). Two things are not the paper's. Kernels come in a window of 25 px, but most
fill little of it, and the empty taps fit noise: with ``fitted`` a quick look (gradients only) finds how wide the window
must be, and the look that counts has one that fits. And what comes out is turned by half a turn: there kernels are
convolved with, here they are correlated with (`ops.blur`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.kernel_from_edges import LOOSER, cleaned, differences, first_threshold, solve, strong
from degsynth.ops.latent_image import latent, periodic
from degsynth.ops.subpixel import whole_pixels

FINER = math.sqrt(0.5)
"""Ratio of two levels' sizes."""
COARSEST = 5
"""About so many px wide is the kernel on the first level."""
LOWEST_WEIGHT = 1e-4
ROOM = 2
"""Taps on each side that a window has more than a kernel needs."""
RIM_MASS = 0.02
"""Share of a kernel that may lie in its window's outermost rows and columns."""
NARROWEST = 9
"""A window of fewer px would cut what it is to find."""


@dataclass(frozen=True)
class Settings:
    """How a kernel is looked for; the defaults are the authors'."""

    size: int = 25
    """Taps per side of the kernel, odd."""
    dark_weight: float = 4e-3
    """λ of the dark channel; 0: not used."""
    gradient_weight: float = 4e-3
    """μ of the gradients."""
    rounds: int = 5
    """So often latent image and kernel are found in turns on every level."""
    faint: float = 0.05
    """Taps below that share of the largest are none."""
    fitted: bool = True
    """Look again in a window that fits the kernel."""

    def __post_init__(self) -> None:
        if self.size < NARROWEST or self.size % 2 == 0:
            raise ValueError(f"size (={self.size}) must be odd and at least {NARROWEST}")


def estimate(image: Tensor, settings: Settings | None = None) -> Tensor:
    """The kernel (K, K) float64 that blurred ``image`` (H, W), float32 in [0, 1].

    Its sum is 1, no tap is negative, and its centroid is in the middle to within half a pixel. Raises ValueError where
    the image has no edges to tell it from, or is too small.
    """
    settings = settings or Settings()
    least = 3 * settings.size
    if min(image.shape) < least:
        raise ValueError(
            f"{image.shape[1]}×{image.shape[0]} px are too few for a kernel of {settings.size}: {least} a side"
        )
    if settings.fitted:
        quick = replace(settings, dark_weight=0.0)
        size = window_for(_coarse_to_fine(image, quick), settings.size)
        if size == NARROWEST:  # nearly all within 3×3 px: dark pixels stay dark, and their channel tells nothing
            settings = quick
        kernel = _coarse_to_fine(image, replace(settings, size=size))
        if rim_mass(kernel) > RIM_MASS and size < settings.size:  # the quick look was wrong
            size = settings.size
            kernel = _coarse_to_fine(image, settings)
        gap = (settings.size - size) // 2
        kernel = F.pad(kernel, (gap, gap, gap, gap))
    else:
        kernel = _coarse_to_fine(image, settings)
    return kernel.flip(0, 1)


def rim_mass(kernel: Tensor) -> float:
    """What of a kernel (K, K) of sum 1 lies in the outermost rows and columns."""
    return 1.0 - float(kernel[1:-1, 1:-1].sum())


def levels(size: int) -> list[int]:
    """Kernel sizes from coarse to fine, all odd."""
    count = max(0, math.floor(math.log(COARSEST / size) / math.log(FINER))) + 1
    return [math.ceil(size * FINER**level) // 2 * 2 + 1 for level in reversed(range(count))]


def window_for(kernel: Tensor, largest: int) -> int:
    """Odd side of a window that holds a kernel (K, K) as far as it can be trusted: faint outer pieces do not count.

    80 % of a Gaussian lie within 1.6 σ of its middle either way, those of a straight stroke within .8 of its half:
    1.7 times as much holds the whole of either.
    """
    at = torch.arange(kernel.shape[0], dtype=kernel.dtype) - kernel.shape[0] // 2
    y, x = (kernel.sum(1) * at).sum(), (kernel.sum(0) * at).sum()
    distance = torch.maximum((at - y).abs()[:, None], (at - x).abs()[None, :]).flatten()
    order = distance.argsort()
    most = float(distance[order][int((kernel.flatten()[order].cumsum(0) < 0.8).sum())])
    return min(largest, max(NARROWEST, 2 * math.ceil(1.7 * most + ROOM) + 1))


def _coarse_to_fine(image: Tensor, settings: Settings) -> Tensor:
    sizes = levels(settings.size)
    dark, gradient = settings.dark_weight, settings.gradient_weight
    kernel, threshold = torch.empty(0), 0.0
    for level, size in enumerate(sizes):
        coarseness = FINER ** (len(sizes) - 1 - level)
        seen = _smaller(image, coarseness)
        wrapped, edges_seen = periodic(seen, size - 1), differences(seen)
        kernel = _first(size) if level == 0 else _larger(kernel, size)
        for _ in range(settings.rounds):
            found = latent(wrapped, kernel, dark, gradient)[: seen.shape[0], : seen.shape[1]]
            edges = differences(found)
            if threshold == 0.0:
                threshold = first_threshold(edges, size)
            kernel = cleaned(solve(strong(edges, threshold), edges_seen, size), settings.faint)
            threshold /= LOOSER
            dark = max(dark / LOOSER, LOWEST_WEIGHT) if dark else 0.0
            gradient = max(gradient / LOOSER, LOWEST_WEIGHT)
        kernel = whole_pixels(kernel)
    return cleaned(kernel, settings.faint)


def _smaller(image: Tensor, by: float) -> Tensor:
    size = [round(length * by) for length in image.shape]
    return image if by == 1 else F.interpolate(image[None, None], size, mode="bicubic", antialias=True)[0, 0]


def _first(size: int) -> Tensor:
    """Two taps side by side: a point would be a solution to stay at."""
    kernel = torch.zeros(size, size, dtype=torch.float64)
    kernel[size // 2, size // 2 : size // 2 + 2] = 0.5
    return kernel


def _larger(kernel: Tensor, size: int) -> Tensor:
    """The kernel on the next finer level, in a window of ``size``: as wide in the scene, so in px 1/FINER times."""
    at = (torch.arange(size, dtype=kernel.dtype) - size // 2) * FINER / (kernel.shape[0] // 2)
    places = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1)  # x before y, −1 … 1
    spread = F.grid_sample(kernel[None, None], places[None], mode="bicubic", align_corners=True)[0, 0]
    return whole_pixels(spread.clamp(min=0.0))
