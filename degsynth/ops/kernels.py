"""Blur kernels as arrays: making, measuring and comparing them. All (K, K) float64, origin at the array's centre."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _offsets(size: int) -> Tensor:
    """Distance of each tap from the array's centre, in HR pixels: −(K−1)/2 … (K−1)/2."""
    return torch.arange(size, dtype=torch.float64) - (size - 1) / 2


def gaussian(
    size: int, sigma_y: float, sigma_x: float, angle: float = 0.0, shift: tuple[float, float] = (0, 0)
) -> Tensor:
    """Anisotropic Gaussian, sampled at the taps, sum 1.

    ``sigma_y`` and ``sigma_x`` (HR px) are along the axes before a rotation by ``angle`` (radians, counter-clockwise as
    seen on screen); ``shift`` is where its centre sits, (y, x) in HR px from the array's centre.
    """
    y, x = torch.meshgrid(_offsets(size) - shift[0], _offsets(size) - shift[1], indexing="ij")
    along = math.cos(angle) * x - math.sin(angle) * y
    across = math.sin(angle) * x + math.cos(angle) * y
    kernel = torch.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
    return kernel / kernel.sum()


def centroid(kernel: Tensor) -> tuple[float, float]:
    """First moment (y, x) in HR px from the array's centre: 0, 0 is the centred phase.

    For a kernel with negative taps it is still the shift of slow gradients (the group delay at frequency 0).
    """
    kernel = kernel.double()
    total = kernel.sum()
    offsets = _offsets(kernel.shape[-1])
    return float((kernel.sum(1) * offsets).sum() / total), float((kernel.sum(0) * offsets).sum() / total)


def variance_at(kernel: Tensor, period: float = 8.0) -> tuple[float, float]:
    """σ² (y, x) in HR px² of the Gaussian that dims a wave of the given period (HR px) as much as the kernel does.

    A Gaussian passes ``exp(−2π²σ²/period²)``. Unlike the second moment it stays meaningful with negative lobes, and
    does not hang on the kernel's outermost taps. Negative where the kernel strengthens that wave (it sharpens).
    """
    kernel = kernel.double() / kernel.double().sum()
    wave = torch.exp(2j * math.pi / period * _offsets(kernel.shape[-1]))
    found = []
    for profile in (kernel.sum(1), kernel.sum(0)):
        passed = float((profile * wave).sum().abs())
        found.append(-0.5 * math.log(max(passed, 1e-6)) * (period / math.pi) ** 2)
    return found[0], found[1]


def gaussian_sigma(kernel: Tensor, period: float = 8.0) -> tuple[float | None, float | None]:
    """The roots of `variance_at`, (y, x) in HR px; None where the kernel does not dim that wave at all."""
    y, x = (math.sqrt(value) if value > 0 else None for value in variance_at(kernel, period))
    return y, x


def transfer(kernel: Tensor, frequency: Tensor) -> Tensor:
    """Transfer function (F, F), complex128, of a kernel (K, K) at frequencies (F,) of either axis, cycles per px.

    But for a phase that all kernels of that size share: taps are counted from the first, not from the middle.
    """
    at = torch.arange(kernel.shape[-1], dtype=torch.float64, device=kernel.device)
    wave = torch.exp(-2j * math.pi * frequency[:, None] * at[None, :])
    return wave @ kernel.to(torch.complex128) @ wave.T


def gaussian_shape(kernel: Tensor) -> tuple[float, float, float]:
    """The Gaussian that passes slow waves as the kernel does: σ along and across (HR px), angle of along (radians).

    Fitted to −log |M(ν)| = 2π² νᵀ Σ ν, by least squares over the frequencies of which the kernel passes more than
    half: those that a second moment speaks of, without its trust in the outermost taps. Angle as in `gaussian`, of
    the longer axis, in [0, π); σ is 0 where the kernel sharpens.
    """
    side = 64
    frequency = torch.fft.fftfreq(side, dtype=torch.float64)
    passed = transfer(kernel.double() / kernel.double().sum(), frequency).abs()
    y, x = frequency[:, None].expand(side, side), frequency[None, :].expand(side, side)
    # Only what hangs together with frequency 0: lobes further out pass much again.
    length = torch.hypot(y, x)
    stopped = torch.where(passed <= 0.5, length, torch.inf).min()
    used = (passed > 0.5) & (length > 0) & (length < 0.5) & (length <= stopped)
    if int(used.sum()) < 6:  # a blur so wide that the grid does not resolve it
        variances = second_moment(kernel)
        wide, narrow = (math.sqrt(max(0.0, v)) for v in sorted(variances, reverse=True))
        return wide, narrow, 0.0 if variances[1] >= variances[0] else math.pi / 2
    y, x, wanted = y[used], x[used], -torch.log(passed[used]) / (2 * math.pi**2)
    columns = torch.stack([y * y, 2 * x * y, x * x], 1)
    # Normal equations: unlike `torch.linalg.lstsq` they give the same bits in every call.
    yy, xy, xx = torch.linalg.solve(columns.T @ columns, columns.T @ wanted).tolist()
    middle, half = (yy + xx) / 2, math.hypot((xx - yy) / 2, xy)
    along, across = (math.sqrt(max(0.0, value)) for value in (middle + half, middle - half))
    return along, across, 0.5 * math.atan2(-2 * xy, xx - yy) % math.pi


def second_moment(kernel: Tensor) -> tuple[float, float]:
    """Second central moments (y, x) in HR px²: a blur's variance, and negative where halos outweigh it."""
    kernel = kernel.double() / kernel.double().sum()
    at = _offsets(kernel.shape[-1])
    y, x = centroid(kernel)
    return float((kernel.sum(1) * (at - y) ** 2).sum()), float((kernel.sum(0) * (at - x) ** 2).sum())


def composed(first: Tensor, second: Tensor, scale: int) -> Tensor:
    """The kernel that blurs and decimates by ``scale`` twice, by ``first`` (K, K), then by ``second`` (L, L), at once.

    ``mid[j] = Σ_b first[b] hr[s·j + b − p]`` and ``lr[i] = Σ_a second[a] mid[s·i + a − q]`` meet at taps ``s·a + b``: a
    kernel of s·(L − 1) + K taps, centred where both are. It is exact but for borders, which are repeated once here and
    twice there.
    """
    spread = torch.zeros(scale * (second.shape[0] - 1) + 1, scale * (second.shape[1] - 1) + 1, dtype=torch.float64)
    spread[::scale, ::scale] = second
    wide = torch.nn.functional.pad(spread, [first.shape[1] - 1] * 2 + [first.shape[0] - 1] * 2)
    found: Tensor = torch.nn.functional.conv2d(wide[None, None], first.double().flip(0, 1)[None, None])[0, 0]
    return found


def stretched(kernel: Tensor, by: Tensor) -> Tensor:
    """Kernels (N, K, K) that pass a frequency ν (y, x) as one of the same size passes by @ ν; by (N, 2, 2).

    With by = [[2, 0], [0, 2]] twice as wide. Of a kernel that is not symmetric about its centre the symmetric part is
    taken. Frequencies beyond the Nyquist frequency are not passed.
    """
    fine, side = 256, 64 if kernel.shape[-1] <= 32 else 128
    at = _offsets(kernel.shape[-1])

    def waves(frequency: Tensor) -> Tensor:
        return torch.exp(-2j * math.pi * frequency[:, None] * at)

    table = waves(torch.linspace(-0.5, 0.5, fine + 1, dtype=torch.float64))
    passed = (table @ kernel.to(torch.complex128) @ table.T).real
    frequency = torch.fft.fftfreq(side, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(frequency, frequency, indexing="ij"), -1)
    there = 2 * torch.einsum("nij,yxj->nyxi", by, plane).flip(-1)  # x before y, from −1 to 1
    found = torch.nn.functional.grid_sample(passed.expand(len(by), 1, -1, -1), there, align_corners=True)[:, 0]
    back = waves(frequency).conj()
    taps = torch.einsum("ya,nyx,xb->nab", back, found.to(torch.complex128), back).real
    return taps / taps.sum((1, 2), keepdim=True)


def similarity(a: Tensor, b: Tensor) -> float:
    """Largest normalised cross-correlation of two kernels over whole-pixel shifts (Hu & Yang 2012); 1: same shape.

    Sizes may differ. It is blind to shifts, so look at `centroid` as well.
    """
    a, b = a.double(), b.double()
    size = a.shape[-1] + b.shape[-1] - 1
    spectrum = torch.fft.rfft2(a, s=(size, size)) * torch.fft.rfft2(b, s=(size, size)).conj()
    correlation = torch.fft.irfft2(spectrum, s=(size, size))
    return float(correlation.max() / (a.norm() * b.norm()))
