"""The blur kernel of one photograph, estimated from that photograph alone (Pan et al. 2016; Eq. 5 of kmsr).

The estimation goes from coarse to fine. On each level the latent image (`ops.latent_image`) and the kernel
(`ops.kernel_from_edges`) are computed alternately, each from the other; the next level, finer by √2, begins with that
kernel. With ``dark_weight`` 0 only the L0 prior on gradients is used (Anger, Facciolo & Delbracio 2019), which takes a
quarter of the time.

The settings are those of the authors' code, but the equations of the kernel are solved exactly here, and images are
made periodic in another way (`latent_image.periodic`). Two more things differ from the paper. First, the window of a
kernel has 25 px, most kernels fill little of it, and the empty taps fit noise: with ``fitted`` a quick first estimate
(gradients only) determines how wide the window must be, and the final estimate uses a window of that width. Second, the
result is rotated by half a turn: in the paper images are convolved with kernels, here they are correlated with them
(`ops.blur`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.kernel_from_edges import LOOSER, cleaned, differences, first_threshold, solve, strong
from degsynth.ops.kernels import tap_offsets
from degsynth.ops.latent_image import latent, periodic
from degsynth.ops.subpixel import whole_pixels

FINER = math.sqrt(0.5)
"""Ratio of the image sizes of a level and the next finer one."""
COARSEST_SIZE = 5
"""Approximate side of the kernel on the coarsest level, px."""
MIN_WEIGHT = 1e-4
"""Smallest value to which the weights of the priors fall from round to round."""
MARGIN = 2
"""Number of taps on each side that a window has in addition to those that a kernel needs."""
MAX_BORDER_MASS = 0.02
"""Largest share of a kernel that may lie in the outermost rows and columns of its window."""
MIN_SIZE = 9
"""Smallest side of a window, px: a smaller one would cut off part of the kernel."""


@dataclass(frozen=True)
class Settings:
    """Settings of the estimation; the defaults are those of the authors."""

    size: int = 25
    """Taps per side of the kernel, odd."""
    dark_weight: float = 4e-3
    """Weight λ of the dark channel; 0: it is not used."""
    gradient_weight: float = 4e-3
    """Weight μ of the gradients."""
    rounds: int = 5
    """Number of times that the latent image and the kernel are computed on every level."""
    faint: float = 0.05
    """Taps below this share of the largest are set to 0."""
    fitted: bool = True
    """Estimate again in a window that fits the kernel."""

    def __post_init__(self) -> None:
        if self.size < MIN_SIZE or self.size % 2 == 0:
            raise ValueError(f"size (={self.size}) must be odd and at least {MIN_SIZE}")


def estimate(image: Tensor, settings: Settings | None = None) -> Tensor:
    """Return the kernel (K, K) float64 that blurred ``image`` (H, W), float32 in [0, 1].

    Its sum is 1, no tap is negative, and its centroid is in the middle to within half a pixel. Raises ValueError where
    the edges of the image do not determine it, or where the image is too small.
    """
    settings = settings or Settings()
    least = 3 * settings.size
    if min(image.shape) < least:
        raise ValueError(
            f"an image of {image.shape[1]}×{image.shape[0]} px is too small for a kernel of {settings.size} px a side; "
            f"it must be at least {least} px high and wide"
        )
    kernel = _in_fitted_window(image, settings) if settings.fitted else _coarse_to_fine(image, settings)
    return kernel.flip(0, 1)


def _in_fitted_window(image: Tensor, settings: Settings) -> Tensor:
    """Return the kernel (K, K) estimated in a window that fits it, padded to the size that the settings ask for."""
    quick = replace(settings, dark_weight=0.0)
    size = window_size(_coarse_to_fine(image, quick), settings.size)
    if size == MIN_SIZE:
        # Nearly all of the kernel lies within 3×3 px: dark pixels stay dark, and their channel gives no information.
        settings = quick
    kernel = _coarse_to_fine(image, replace(settings, size=size))
    if border_mass(kernel) > MAX_BORDER_MASS and size < settings.size:  # the quick estimate was wrong
        size = settings.size
        kernel = _coarse_to_fine(image, settings)
    gap = (settings.size - size) // 2
    return F.pad(kernel, (gap, gap, gap, gap))


def border_mass(kernel: Tensor) -> float:
    """Return the share of a kernel (K, K) of sum 1 that lies in the outermost rows and columns."""
    return 1.0 - float(kernel[1:-1, 1:-1].sum())


def level_sizes(size: int) -> list[int]:
    """Return the kernel sizes of the levels from coarse to fine, all odd; the last is ``size``."""
    count = max(0, math.floor(math.log(COARSEST_SIZE / size) / math.log(FINER))) + 1
    return [math.ceil(size * FINER**level) // 2 * 2 + 1 for level in reversed(range(count))]


def window_size(kernel: Tensor, largest: int) -> int:
    """Return the side, odd, of a window that holds a kernel (K, K) without faint pieces far from its centroid.

    It is computed from the square about the centroid that holds 80 % of the kernel. Half the side of this square is
    1.6 σ for a Gaussian, and 0.8 times half the length for a straight stroke. A square 1.7 times as large holds all of
    either. `MARGIN` is added.
    """
    offsets = tap_offsets(kernel.shape[0])
    y, x = (kernel.sum(1) * offsets).sum(), (kernel.sum(0) * offsets).sum()
    distance = torch.maximum((offsets - y).abs()[:, None], (offsets - x).abs()[None, :]).flatten()
    order = distance.argsort()
    half = float(distance[order][int((kernel.flatten()[order].cumsum(0) < 0.8).sum())])
    return min(largest, max(MIN_SIZE, 2 * math.ceil(1.7 * half + MARGIN) + 1))


def _coarse_to_fine(image: Tensor, settings: Settings) -> Tensor:
    """Return the kernel (K, K), for convolution, that is estimated from the coarsest level to the finest."""
    sizes = level_sizes(settings.size)
    dark, gradient = settings.dark_weight, settings.gradient_weight
    kernel, threshold = torch.empty(0), 0.0
    for level, size in enumerate(sizes):
        blurred = _reduced(image, FINER ** (len(sizes) - 1 - level))
        wrapped, blurred_edges = periodic(blurred, size - 1), differences(blurred)
        kernel = _first_kernel(size) if level == 0 else _enlarged(kernel, size)
        for _ in range(settings.rounds):
            edges = differences(latent(wrapped, kernel, dark, gradient)[: blurred.shape[0], : blurred.shape[1]])
            if threshold == 0.0:
                threshold = first_threshold(edges, size)
            kernel = cleaned(solve(strong(edges, threshold), blurred_edges, size), settings.faint)
            threshold /= LOOSER
            dark = max(dark / LOOSER, MIN_WEIGHT) if dark else 0.0
            gradient = max(gradient / LOOSER, MIN_WEIGHT)
        kernel = whole_pixels(kernel)
    return cleaned(kernel, settings.faint)


def _reduced(image: Tensor, factor: float) -> Tensor:
    """Return the image (H, W) reduced to ``factor`` times its size."""
    size = [round(length * factor) for length in image.shape]
    return image if factor == 1 else F.interpolate(image[None, None], size, mode="bicubic", antialias=True)[0, 0]


def _first_kernel(size: int) -> Tensor:
    """Return a kernel (size, size) of two equal taps side by side: from a single tap the estimation never departs."""
    kernel = torch.zeros(size, size, dtype=torch.float64)
    kernel[size // 2, size // 2 : size // 2 + 2] = 0.5
    return kernel


def _enlarged(kernel: Tensor, size: int) -> Tensor:
    """Return the kernel (size, size) for the next finer level, where it is 1/FINER times as many px wide."""
    places = tap_offsets(size) * FINER / (kernel.shape[0] // 2)  # from −1 to 1 across the kernel
    grid = torch.stack(torch.meshgrid(places, places, indexing="xy"), -1)  # x before y
    enlarged = F.grid_sample(kernel[None, None], grid[None], mode="bicubic", align_corners=True)[0, 0]
    return whole_pixels(enlarged.clamp(min=0.0))
