"""Make, measure and compare blur kernels. A kernel is an array (K, K) float64 with its origin at the array's centre."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHAPES_AT_ONCE = 128
"""Number of kernels whose shapes are found together: each takes 64 kB."""


def tap_offsets(size: int) -> Tensor:
    """Return the distance of each tap from the array's centre in HR px, float64: −(K − 1)/2 … (K − 1)/2."""
    return torch.arange(size, dtype=torch.float64) - (size - 1) / 2


def gaussian(
    size: int, sigma_y: float, sigma_x: float, angle: float = 0.0, shift: tuple[float, float] = (0, 0)
) -> Tensor:
    """Return an anisotropic Gaussian, sampled at the taps, with sum 1.

    ``sigma_y`` and ``sigma_x`` (HR px) are those along the axes before the Gaussian is rotated by ``angle`` (radians,
    counter-clockwise as seen on screen). ``shift`` is the position of its centre, (y, x) in HR px from the array's
    centre.
    """
    y, x = torch.meshgrid(tap_offsets(size) - shift[0], tap_offsets(size) - shift[1], indexing="ij")
    along = math.cos(angle) * x - math.sin(angle) * y
    across = math.sin(angle) * x + math.cos(angle) * y
    kernel = torch.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
    return kernel / kernel.sum()


def centroid(kernel: Tensor) -> tuple[float, float]:
    """Return the first moment (y, x) of a kernel in HR px from the array's centre; (0, 0) is the centred phase.

    For a kernel with negative taps it is still the shift of slow gradients (the group delay at frequency 0).
    """
    kernel = kernel.double()
    total = kernel.sum()
    offsets = tap_offsets(kernel.shape[-1])
    return float((kernel.sum(1) * offsets).sum() / total), float((kernel.sum(0) * offsets).sum() / total)


def variance_at(kernel: Tensor, period: float = 8.0) -> tuple[float, float]:
    """Return σ² (y, x) in HR px² of the Gaussian that attenuates a wave of this period (HR px) as the kernel does.

    A Gaussian passes ``exp(−2π²σ²/period²)`` of it. Unlike the second moment this variance stays meaningful for kernels
    with negative lobes, and does not depend on the outermost taps. It is negative where the kernel amplifies the wave
    (it sharpens).
    """
    kernel = kernel.double() / kernel.double().sum()
    wave = torch.exp(2j * math.pi / period * tap_offsets(kernel.shape[-1]))
    variances = []
    for profile in (kernel.sum(1), kernel.sum(0)):
        passed = float((profile * wave).sum().abs())
        variances.append(-0.5 * math.log(max(passed, 1e-6)) * (period / math.pi) ** 2)
    return variances[0], variances[1]


def gaussian_sigma(kernel: Tensor, period: float = 8.0) -> tuple[float | None, float | None]:
    """Return σ, the square roots of `variance_at`, (y, x) in HR px; None where the wave is not attenuated."""
    y, x = (math.sqrt(value) if value > 0 else None for value in variance_at(kernel, period))
    return y, x


def transfer_function(kernels: Tensor, frequency: Tensor) -> Tensor:
    """Return the transfer functions (…, F, F), complex128, of kernels (…, K, K) at frequencies (F,) along both axes.

    The frequencies are in cycles per px. Taps are counted from the first one, not from the middle: this multiplies the
    result by a phase that is the same for all kernels of that size.
    """
    places = torch.arange(kernels.shape[-1], dtype=torch.float64, device=kernels.device)
    wave = torch.exp(-2j * math.pi * frequency[:, None] * places[None, :])
    return wave @ kernels.to(torch.complex128) @ wave.T


def gaussian_shape(kernel: Tensor) -> tuple[float, float, float]:
    """Return the Gaussian that passes slow waves as the kernel (K, K) does: `gaussian_shapes` of one kernel."""
    along, across, angle = gaussian_shapes(kernel[None])[0].tolist()
    return along, across, angle


def gaussian_shapes(kernels: Tensor) -> Tensor:
    """Return the Gaussians that pass slow waves as kernels (N, K, K) do: σ along, σ across (HR px), angle (radians).

    The result is (N, 3), float64. Along means along the longer axis, whose angle, in [0, π), is counted as in
    `gaussian`. σ is 0 where the kernel sharpens. The covariance Σ is fitted to −log |M(ν)| = 2π² νᵀ Σ ν, where M is the
    transfer function, by least squares over the frequencies of which the kernel passes more than half. A second moment
    describes the same frequencies, but depends much on the outermost taps.
    """
    parts = range(0, max(1, len(kernels)), SHAPES_AT_ONCE)
    return torch.cat([_gaussian_shapes(kernels[begin : begin + SHAPES_AT_ONCE].double()) for begin in parts])


def _gaussian_shapes(kernels: Tensor) -> Tensor:
    side = 64
    frequency = torch.fft.fftfreq(side, dtype=torch.float64)
    passed = transfer_function(kernels / kernels.sum((1, 2), keepdim=True), frequency).abs().flatten(1)
    y, x = frequency.repeat_interleave(side), frequency.repeat(side)
    # Only frequencies lower than the first that is stopped are used: lobes further out may pass more than half again.
    length = torch.hypot(y, x)
    stopped = torch.where(passed <= 0.5, length, torch.inf).min(1, keepdim=True).values
    used = (passed > 0.5) & (length > 0) & (length < 0.5) & (length <= stopped)
    target = torch.where(used, -torch.log(passed) / (2 * math.pi**2), 0.0)
    columns = torch.stack([y * y, 2 * x * y, x * x], 1)
    # Normal equations: unlike `torch.linalg.lstsq` they give the same bits in every call.
    matrix = (used.double() @ (columns[:, :, None] * columns[:, None, :]).flatten(1)).view(-1, 3, 3)
    resolved = used.sum(1) >= 6
    matrix[~resolved] = torch.eye(3, dtype=torch.float64)
    yy, xy, xx = torch.linalg.solve(matrix, target @ columns).unbind(1)
    middle, half = (yy + xx) / 2, torch.hypot((xx - yy) / 2, xy)
    along, across = (variance.clamp(min=0.0).sqrt() for variance in (middle + half, middle - half))
    found = torch.stack([along, across, 0.5 * torch.atan2(-2 * xy, xx - yy) % math.pi], 1)
    for index in (~resolved).nonzero().flatten().tolist():  # a blur so wide that the grid does not resolve it
        variances = second_moment(kernels[index])
        wide, narrow = (math.sqrt(max(0.0, v)) for v in sorted(variances, reverse=True))
        found[index] = torch.tensor([wide, narrow, 0.0 if variances[1] >= variances[0] else math.pi / 2]).double()
    return found


def second_moment(kernel: Tensor) -> tuple[float, float]:
    """Return the second central moments (y, x) in HR px²: the variance of a blur, negative where halos outweigh it."""
    kernel = kernel.double() / kernel.double().sum()
    offsets = tap_offsets(kernel.shape[-1])
    y, x = centroid(kernel)
    return float((kernel.sum(1) * (offsets - y) ** 2).sum()), float((kernel.sum(0) * (offsets - x) ** 2).sum())


def composed(first: Tensor, second: Tensor, scale: int) -> Tensor:
    """Return the one kernel that does the work of two: blur by ``first`` and decimate, blur by ``second`` and decimate.

    ``first`` is (K, K), ``second`` (L, L); both steps decimate by ``scale``. Insert
    ``mid[j] = Σ_b first[b] hr[s·j + b − p]`` into ``lr[i] = Σ_a second[a] mid[s·i + a − q]``: the product
    ``second[a] first[b]`` belongs to tap ``s·a + b``. So the kernel has s·(L − 1) + K taps, and is centred where both
    kernels are. The result is exact except at the borders, which are replicated once with this kernel and twice with
    the two steps.
    """
    spread = torch.zeros(scale * (second.shape[0] - 1) + 1, scale * (second.shape[1] - 1) + 1, dtype=torch.float64)
    spread[::scale, ::scale] = second
    wide = torch.nn.functional.pad(spread, [first.shape[1] - 1] * 2 + [first.shape[0] - 1] * 2)
    kernel: Tensor = torch.nn.functional.conv2d(wide[None, None], first.double().flip(0, 1)[None, None])[0, 0]
    return kernel


def stretched(kernel: Tensor, by: Tensor) -> Tensor:
    """Return a kernel (K, K) stretched by matrices ``by`` (N, 2, 2): kernels (N, K, K) of the same size.

    They pass a frequency ν (y, x) as the given kernel passes by @ ν; with by = [[2, 0], [0, 2]] they are twice as wide.
    Only the part of the kernel that is symmetric about its centre is used. Where by @ ν is beyond the Nyquist frequency
    nothing is passed.
    """
    fine, side = 256, 64 if kernel.shape[-1] <= 32 else 128
    offsets = tap_offsets(kernel.shape[-1])

    def waves(frequency: Tensor) -> Tensor:
        return torch.exp(-2j * math.pi * frequency[:, None] * offsets)

    table = waves(torch.linspace(-0.5, 0.5, fine + 1, dtype=torch.float64))
    passed = (table @ kernel.to(torch.complex128) @ table.T).real
    frequency = torch.fft.fftfreq(side, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(frequency, frequency, indexing="ij"), -1)
    grid = 2 * torch.einsum("nij,yxj->nyxi", by, plane).flip(-1)  # x before y, from −1 to 1
    stretched_passed = torch.nn.functional.grid_sample(passed.expand(len(by), 1, -1, -1), grid, align_corners=True)[
        :, 0
    ]
    back = waves(frequency).conj()
    taps = torch.einsum("ya,nyx,xb->nab", back, stretched_passed.to(torch.complex128), back).real
    return taps / taps.sum((1, 2), keepdim=True)


def similarity(a: Tensor, b: Tensor) -> float:
    """Return the largest normalised cross-correlation of two kernels over whole-pixel shifts (Hu & Yang 2012).

    It is 1 for kernels of the same shape. The sizes may differ. It does not depend on shifts, so compare `centroid` as
    well.
    """
    a, b = a.double(), b.double()
    size = a.shape[-1] + b.shape[-1] - 1
    spectrum = torch.fft.rfft2(a, s=(size, size)) * torch.fft.rfft2(b, s=(size, size)).conj()
    correlation = torch.fft.irfft2(spectrum, s=(size, size))
    return float(correlation.max() / (a.norm() * b.norm()))
