"""The kernel between a latent image and its blurred one, from strong edges (Cho & Lee 2009, Pan et al. 2016).

With gradients ∇x of the latent image, of which only the strong ones are kept, and ∇b of the blurred one::

    min_k ‖∇x ∗ k − ∇b‖² + ridge ‖k‖²

is a linear problem in K² unknowns. Its normal matrix holds the autocorrelation of ∇x at all differences of two taps,
its right side the correlation of ∇x with ∇b, so both come from one Fourier transform and the problem is solved exactly.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from degsynth.ops.latent_image import fast_length

DIRECTIONS = 4
EDGES_PER_TAP = 20
"""In each of so many ranges of direction at least so many times the kernel's side edge pixels are kept."""
LOOSER = 1.1
"""By as much the threshold falls from one look to the next: finer edges come in as the kernel gets better."""
RIDGE = 2.0
SPECK = 0.1
"""Connected pieces of less mass are no part of the kernel."""


def differences(image: Tensor) -> Tensor:
    """Gradients (2, H − 1, W − 1) of an image (H, W): to the right, and down."""
    return torch.stack([image[:-1, 1:] - image[:-1, :-1], image[1:, :-1] - image[:-1, :-1]])


def first_threshold(gradients: Tensor, size: int) -> float:
    """Squared length above which every range of direction has ``EDGES_PER_TAP``·size gradients; (2, H, W)."""
    across, down = gradients
    power = across.square() + down.square()
    turn = torch.atan2(down, across) % math.pi  # an edge is the same from both sides
    which = (turn / (math.pi / DIRECTIONS)).long().clamp(max=DIRECTIONS - 1)
    found = []
    for number in range(DIRECTIONS):
        own = power[which == number]
        count = min(EDGES_PER_TAP * size, len(own))
        found.append(float(own.topk(count).values[-1]) if count else 0.0)
    return min(found)


def strong(gradients: Tensor, threshold: float) -> Tensor:
    """The gradients whose squared length reaches a threshold, zeros elsewhere; a lower one where none would be left."""
    power = gradients.square().sum(0)
    if not bool((power >= threshold).any()):
        threshold = float(power.max())
    return gradients * (power >= threshold)


def normal_equations(edges: Tensor, seen: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Matrix (K², K²) and right side (K²) for a kernel of K = ``size``, odd; edges and seen (2, H, W)."""
    reach = size // 2
    plane = [fast_length(length + size) for length in edges.shape[1:]]
    of_edges, of_seen = (torch.fft.rfft2(part.double(), s=plane) for part in (edges, seen))
    auto = torch.fft.irfft2(of_edges.abs().square().sum(0), s=plane)
    cross = torch.fft.irfft2((of_edges.conj() * of_seen).sum(0), s=plane)
    at = torch.arange(size)
    y, x = at.repeat_interleave(size), at.repeat(size)
    matrix = auto[(y[:, None] - y) % plane[0], (x[:, None] - x) % plane[1]]
    return matrix, cross[(y - reach) % plane[0], (x - reach) % plane[1]]


def solve(edges: Tensor, seen: Tensor, size: int) -> Tensor:
    """The kernel (K, K) float64 as it comes out of the equations, negative taps and all."""
    matrix, right = normal_equations(edges, seen, size)
    matrix.diagonal().add_(RIDGE)
    factor = torch.linalg.cholesky(matrix)
    return torch.cholesky_solve(right[:, None], factor)[:, 0].reshape(size, size)


def cleaned(kernel: Tensor, least: float) -> Tensor:
    """Kernel (K, K) without what is no kernel: taps below ``least`` of the largest, and specks. Sum 1, none negative.

    Raises ValueError where nothing is left.
    """
    kernel = torch.where(kernel < max(0.0, least * float(kernel.max())), 0.0, kernel)
    total = float(kernel.sum())
    if not (math.isfinite(total) and total > 0):
        raise ValueError("no kernel: the edges tell of none")
    kernel = kernel / total
    labels, count = pieces(kernel)
    masses = torch.tensor(ndimage.sum_labels(kernel.numpy(), labels, range(1, count + 1)))
    for number in range(count):
        if masses[number] < min(SPECK, float(masses.max())):
            kernel[torch.from_numpy(labels == number + 1)] = 0.0
    return kernel / kernel.sum()


def pieces(kernel: Tensor) -> tuple[np.ndarray, int]:
    """Labels (K, K), from 1, of the connected pieces (corners count) of a kernel's positive taps, and their number."""
    labels, count = ndimage.label(kernel.numpy() > 0, structure=np.ones((3, 3)))
    return labels, int(count)
