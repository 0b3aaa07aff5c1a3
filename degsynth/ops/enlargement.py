"""The blur of a photograph's bicubic enlargement, taken off the kernels that were estimated from it.

A kernel k' that is estimated from an enlarged photograph holds two blurs: that of the camera, k, and that of the
interpolation. LR pixels themselves are not interpolated, as Keys' cubic passes through them. LR images that are every
s-th pixel of HR ∗ k' would therefore be blurred more than the photographs, and k is what they need.

At position p of the HR grid (in HR px from the LR pixel in question) the interpolation weights that pixel by φ(p/s).
Seen from all pixels together it is a filter with the taps φ(p/s)/s, whose transfer function H is `kernel_families
.bicubic`: the taps of antialiased reduction are the same. So k' = k ∗ h, with ĥ = H ⊗ H, and ::

    k = argmin ‖k ∗ h − k'‖² + λ ‖Δk‖²     over k ≥ 0, Σ k = 1

where Δ is the Laplacian. It settles the frequencies that h takes away, those beyond Nyquist's of the LR. The minimum is
found by FISTA (Beck & Teboulle 2009), with the projection onto the taps that are not negative and sum to 1 (Duchi et
al. 2008).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from degsynth.ops.kernel_families import bicubic

SMOOTHNESS = 0.01
"""Weight λ of the smoothness. With less, the errors of estimates are amplified beyond Nyquist's frequency of the LR:
at 0.0001, Gaussians of σ 1.6 px, estimated at scale 2, come out with a similarity of 0.86 instead of 0.99. With more,
those of σ 0.7 px stay too wide."""
ROUNDS = 200
"""Number of steps of FISTA."""


def without_enlargement(kernels: Tensor, scale: int) -> Tensor:
    """Take the blur of the enlargement by ``scale`` off kernels (N, K, K) on the HR grid; at scale 1 there is none.

    They sum to 1. The result, float64, does, too, and has no negative taps.
    """
    kernels = kernels.double()
    if scale == 1:
        return kernels
    # The kernels are padded to twice their size, so that no product of transfer functions wraps around.
    size = kernels.shape[-1]
    frequency = torch.fft.fftfreq(2 * size, dtype=torch.float64)
    passed = bicubic(frequency, scale)
    transfer = passed[:, None] * passed
    bends = 2 - 2 * torch.cos(2 * math.pi * frequency)
    curvature = transfer.square() + SMOOTHNESS * (bends[:, None] + bends).square()
    wanted = transfer * torch.fft.fft2(kernels, s=(2 * size, 2 * size))
    step = 1 / float(curvature.max())
    found = ahead = kernels
    speed = 1.0
    for _ in range(ROUNDS):
        gradient = torch.fft.ifft2(curvature * torch.fft.fft2(ahead, s=(2 * size, 2 * size)) - wanted).real
        new = _on_the_simplex(ahead - step * gradient[:, :size, :size])
        faster = (1 + math.sqrt(1 + 4 * speed**2)) / 2
        ahead = new + (speed - 1) / faster * (new - found)
        found, speed = new, faster
    return found


def _on_the_simplex(kernels: Tensor) -> Tensor:
    """Return the nearest kernels (N, K, K) without negative taps and with sum 1.

    They are max(0, tap − t). The threshold t of each is that of its r largest taps, t = (their sum − 1)/r, for the
    largest r with which all of these stay positive.
    """
    taps = kernels.flatten(1)
    ordered = taps.sort(1, descending=True).values
    count = torch.arange(1, taps.shape[1] + 1, dtype=taps.dtype)
    thresholds = (ordered.cumsum(1) - 1) / count
    last = (ordered > thresholds).sum(1, keepdim=True) - 1
    return (taps - thresholds.gather(1, last)).clamp(min=0.0).view_as(kernels)
