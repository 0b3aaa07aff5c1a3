"""Families of blur kernels with few parameters, as transfer functions: what `methods.spectral` chooses from.

All are centred, real and symmetric under half a turn: spectra know no more. Frequencies are in cycles per HR px.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

KEYS = -0.5
"""Slope of Keys' cubic at 1: that of PIL, MATLAB and torch with antialias."""
GRID = 128
"""Frequencies per axis at which a transfer function is sampled to make taps of it."""
CHORDS = 96
"""Into which a disk is cut: more than 2π times its radius times the highest frequency, √½."""
WIDEST = 20.0
"""So large may that radius be, HR px."""
KNOTS = 17
"""Of a free radial transfer function, from frequency 0 to 1/2."""


def box(frequency: Tensor, scale: int) -> Tensor:
    """Mean over the ``scale`` HR px that make up an LR pixel: its aperture."""
    phase = math.pi * frequency
    small = phase.abs() < 1e-9
    safe = torch.where(small, torch.ones_like(phase), phase)
    return torch.where(small, torch.ones_like(phase), torch.sin(scale * safe) / (scale * torch.sin(safe)))


def bicubic(frequency: Tensor, scale: int) -> Tensor:
    """Antialiased bicubic interpolation to every ``scale``-th pixel (a = −0.5)."""
    at = torch.arange(4 * scale, dtype=torch.float64) - (4 * scale - 1) / 2
    if scale % 2 != 0:
        at = torch.arange(-2 * scale, 2 * scale + 1, dtype=torch.float64)
    taps = keys(at / scale)
    waves = torch.cos(2 * math.pi * frequency.flatten()[:, None] * at)
    return (waves @ (taps / taps.sum())).view_as(frequency)


def keys(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel (1981)."""
    x, a = x.abs(), KEYS
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def disk(length: Tensor, radius: Tensor) -> Tensor:
    """What a lens out of focus spreads a point to, a disk of a radius (HR px), at frequencies of so great a length.

    Summed over chords at t radii from the centre: ``(2/π) ∫ √(1−t²) cos(2π r |ν| t) dt``, that is 2 J₁(x)/x with
    x = 2π r |ν|. Chebyshev's nodes t = cos(θ) of the second kind give it to the last digit where x is less than their
    number.
    """
    angle = math.pi * torch.arange(1, CHORDS + 1, dtype=torch.float64) / (CHORDS + 1)
    wave = torch.cos((2 * math.pi * radius * length)[..., None] * torch.cos(angle))
    return wave @ (2 / (CHORDS + 1) * torch.sin(angle).square())


def gaussian(y: Tensor, x: Tensor, shape: Tensor) -> Tensor:
    """exp(−2π² νᵀ Σ ν), with Σ = exp [[a + b, c], [c, a − b]] in HR px² and shape (a, b, c).

    Σ is positive whatever they are; its first axis is y. σ along its own axes is exp((a ± √(b² + c²)) / 2).
    """
    a, b, c = shape
    covariance = torch.matrix_exp(torch.stack([torch.stack([a + b, c]), torch.stack([c, a - b])]))
    form = covariance[0, 0] * y * y + 2 * covariance[0, 1] * y * x + covariance[1, 1] * x * x
    return torch.exp(-2 * math.pi**2 * form)


def radial(y: Tensor, x: Tensor, stretch: Tensor, values: Tensor) -> Tensor:
    """Any function of the frequency's length, on a plane stretched by exp [[b, c], [c, −b]], stretch (b, c).

    ``values`` (KNOTS − 1) are what it is at frequencies 1/2 · 1/16, 1/2 · 2/16, …; 1 at 0, and a cubic in between.
    """
    b, c = stretch
    turn = torch.matrix_exp(torch.stack([torch.stack([b, c]), torch.stack([c, -b])]))
    squares = (turn[0, 0] * y + turn[0, 1] * x).square() + (turn[1, 0] * y + turn[1, 1] * x).square()
    length = torch.sqrt(squares + 1e-20)  # whose slope is finite at frequency 0
    at = (length * 2 * (KNOTS - 1)).clamp(max=KNOTS - 1 - 1e-9)
    first = at.detach().floor().long()
    knots = torch.cat([torch.ones(1, dtype=values.dtype), values])
    before, here, after, beyond = (knots[(first + step).abs().clamp(max=KNOTS - 1)] for step in (-1, 0, 1, 2))
    u = at - first  # Catmull-Rom; even about frequency 0
    slope, bend = after - before, 2 * before - 5 * here + 4 * after - beyond
    return here + 0.5 * u * (slope + u * (bend + u * (3 * (here - after) + beyond - before)))


def frequencies(side: int = GRID) -> tuple[Tensor, Tensor]:
    """(y, x) of a grid of discrete frequencies, each (side, side)."""
    at = torch.fft.fftfreq(side, dtype=torch.float64)
    return at[:, None].expand(side, side), at[None, :].expand(side, side)


def taps(transfer: Tensor, size: int) -> Tensor:
    """The kernel (size, size), centred, of sum 1, that has a real transfer function (GRID, GRID)."""
    side = transfer.shape[-1]
    frequency = torch.fft.fftfreq(side, dtype=torch.float64)
    at = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    # The Nyquist frequency is its own negative: half a pixel off the grid it has no sign, so it has no part.
    known = torch.where(frequency == -0.5, 0.0, 1.0)
    wave = torch.exp(2j * math.pi * at[:, None] * frequency[None, :]) * known
    kernel = (wave @ transfer.to(torch.complex128) @ wave.T).real
    return kernel / kernel.sum()
