"""The kernel between a latent image and its blurred one, from strong edges (Cho & Lee 2009, Pan et al. 2016).

∇x are the gradients of the latent image, of which only the strong ones are kept; ∇b are those of the blurred image::

    min_k ‖∇x ∗ k − ∇b‖² + ridge ‖k‖²

is a linear problem in K² unknowns. Its normal matrix consists of the autocorrelation of ∇x at all differences of two
taps, its right side of the correlation of ∇x with ∇b. Both follow from one Fourier transform of each, and the problem
is solved exactly.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from degsynth.ops.kernels import tap_offsets
from degsynth.ops.latent_image import fast_length

DIRECTIONS = 4
"""Number of ranges of direction into which gradients are sorted, over half a turn."""
EDGES_PER_TAP = 20
"""In each range of direction at least this many edge pixels are kept per px of the kernel's side."""
LOOSER = 1.1
"""Factor by which the threshold falls from round to round: finer edges are used as the kernel gets better."""
RIDGE = 2.0
"""Weight of ‖k‖²."""
SPECK_MASS = 0.1
"""Connected pieces with less than this share of the kernel's sum are removed."""


def differences(image: Tensor) -> Tensor:
    """Return the gradients (2, H − 1, W − 1) of an image (H, W): to the right, and down."""
    return torch.stack([image[:-1, 1:] - image[:-1, :-1], image[1:, :-1] - image[:-1, :-1]])


def first_threshold(gradients: Tensor, size: int) -> float:
    """Return the squared length above which every range of direction has ``EDGES_PER_TAP``·size gradients.

    ``gradients`` is (2, H, W), ``size`` the side of the kernel in px.
    """
    across, down = gradients
    power = across.square() + down.square()
    angle = torch.atan2(down, across) % math.pi  # an edge is the same when seen from its other side
    direction = (angle / (math.pi / DIRECTIONS)).long().clamp(max=DIRECTIONS - 1)
    thresholds = []
    for number in range(DIRECTIONS):
        in_range = power[direction == number]
        count = min(EDGES_PER_TAP * size, len(in_range))
        thresholds.append(float(in_range.topk(count).values[-1]) if count else 0.0)
    return min(thresholds)


def strong(gradients: Tensor, threshold: float) -> Tensor:
    """Return the gradients (2, H, W) whose squared length reaches a threshold, and zeros elsewhere.

    Where none reaches it, the largest ones are kept.
    """
    power = gradients.square().sum(0)
    if not bool((power >= threshold).any()):
        threshold = float(power.max())
    return gradients * (power >= threshold)


def normal_equations(edges: Tensor, blurred_edges: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the matrix (K², K²) and the right side (K²) for a kernel of K = ``size`` px a side, odd.

    ``edges`` and ``blurred_edges`` are the gradients (2, H, W) of the latent image and of the blurred one.
    """
    plane = [fast_length(length + size) for length in edges.shape[1:]]
    latent_spectrum, blurred_spectrum = (torch.fft.rfft2(part.double(), s=plane) for part in (edges, blurred_edges))
    auto = torch.fft.irfft2(latent_spectrum.abs().square().sum(0), s=plane)
    cross = torch.fft.irfft2((latent_spectrum.conj() * blurred_spectrum).sum(0), s=plane)
    offsets = tap_offsets(size).long()
    y, x = offsets.repeat_interleave(size), offsets.repeat(size)
    matrix = auto[(y[:, None] - y) % plane[0], (x[:, None] - x) % plane[1]]
    return matrix, cross[y % plane[0], x % plane[1]]


def solve(edges: Tensor, blurred_edges: Tensor, size: int) -> Tensor:
    """Return the kernel (K, K) float64 that solves the equations; taps may be negative."""
    matrix, right = normal_equations(edges, blurred_edges, size)
    matrix.diagonal().add_(RIDGE)
    factor = torch.linalg.cholesky(matrix)
    return torch.cholesky_solve(right[:, None], factor)[:, 0].reshape(size, size)


def cleaned(kernel: Tensor, least: float) -> Tensor:
    """Return a kernel (K, K) without faint taps and specks, with sum 1 and no negative tap.

    Faint taps are below ``least`` of the largest; specks are connected pieces of little mass (`SPECK_MASS`). Raises
    ValueError where nothing is left.
    """
    kernel = torch.where(kernel < max(0.0, least * float(kernel.max())), 0.0, kernel)
    total = float(kernel.sum())
    if not (math.isfinite(total) and total > 0):
        raise ValueError("no kernel: the edges of the image do not determine one")
    kernel = kernel / total
    labels, count = pieces(kernel)
    masses = torch.tensor(ndimage.sum_labels(kernel.numpy(), labels, range(1, count + 1)))
    for number in range(count):
        if masses[number] < min(SPECK_MASS, float(masses.max())):
            kernel[torch.from_numpy(labels == number + 1)] = 0.0
    return kernel / kernel.sum()


def pieces(kernel: Tensor) -> tuple[np.ndarray, int]:
    """Return labels (K, K), from 1 on, of the connected pieces of a kernel's positive taps, and their number.

    Taps that touch at a corner are connected.
    """
    labels, count = ndimage.label(kernel.numpy() > 0, structure=np.ones((3, 3)))
    return labels, int(count)
