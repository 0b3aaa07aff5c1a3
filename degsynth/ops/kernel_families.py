"""Families of blur kernels with few parameters, given as transfer functions; `ops.blind_kernel` chooses among them.

All kernels are centred and symmetric under half a turn, so their transfer functions are real: power spectra determine
no more than that. Frequencies are in cycles per HR px.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from degsynth.ops.kernels import tap_offsets

KEYS_SLOPE = -0.5
"""Slope of Keys' cubic at 1, as in PIL, MATLAB and torch with antialias."""
GRID = 128
"""Number of frequencies per axis at which a transfer function is sampled to compute its taps."""
CHORDS = 96
"""Number of chords into which a disk is cut: more than 2π · `MAX_RADIUS` · √½, where √½ is the highest frequency."""
MAX_RADIUS = 20.0
"""Largest radius of a disk, HR px."""
KNOTS = 17
"""Number of knots of a free radial transfer function, from frequency 0 to 1/2."""


def box(frequency: Tensor, scale: int) -> Tensor:
    """Return the transfer function of the mean over ``scale`` HR px, the aperture of an LR pixel, along one axis."""
    phase = math.pi * frequency
    small = phase.abs() < 1e-9
    safe = torch.where(small, torch.ones_like(phase), phase)
    return torch.where(small, torch.ones_like(phase), torch.sin(scale * safe) / (scale * torch.sin(safe)))


def bicubic(frequency: Tensor, scale: int) -> Tensor:
    """Return the transfer function of antialiased bicubic downsampling by ``scale`` (a = −0.5) along one axis."""
    offsets = tap_offsets(4 * scale + scale % 2)
    taps = keys(offsets / scale)
    waves = torch.cos(2 * math.pi * frequency.flatten()[:, None] * offsets)
    return (waves @ (taps / taps.sum())).view_as(frequency)


def keys(x: Tensor) -> Tensor:
    """Return Keys' cubic convolution kernel (1981) at x."""
    x, a = x.abs(), KEYS_SLOPE
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def disk(length: Tensor, radius: Tensor) -> Tensor:
    """Return the transfer function of a disk, the blur of a lens out of focus, at frequencies of a given length |ν|.

    ``radius`` r is in HR px. The function is the sum over chords at a distance of t radii from the centre,
    ``(2/π) ∫ √(1−t²) cos(2π r |ν| t) dt = 2 J₁(x)/x`` with x = 2π r |ν|. Chebyshev's nodes t = cos(θ) of the second
    kind give the integral to the last digit where x is less than their number.
    """
    angle = math.pi * torch.arange(1, CHORDS + 1, dtype=torch.float64) / (CHORDS + 1)
    wave = torch.cos((2 * math.pi * radius * length)[..., None] * torch.cos(angle))
    return wave @ (2 / (CHORDS + 1) * torch.sin(angle).square())


def gaussian(y: Tensor, x: Tensor, shape: Tensor) -> Tensor:
    """Return the transfer function exp(−2π² νᵀ Σ ν) of a Gaussian at frequencies ν = (y, x).

    The shape (a, b, c) gives the covariance Σ = exp [[a + b, c], [c, a − b]] in HR px², whose first axis is y. Σ is
    positive definite for all a, b and c. The widths σ along the principal axes are exp((a ± √(b² + c²)) / 2).
    """
    yy, yx, xx = symmetric_exp(*shape)
    form = yy * y * y + 2 * yx * y * x + xx * x * x
    return torch.exp(-2 * math.pi**2 * form)


def symmetric_exp(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the numbers (yy, yx, xx) of the symmetric matrix exp [[a + b, c], [c, a − b]].

    The square of D = [[b, c], [c, −b]] is r² times the identity with r = √(b² + c²), so the series of the exponential
    is exp(a) · (cosh r + D · sinh r / r).
    """
    r = torch.sqrt(b * b + c * c + 1e-24)  # the addend keeps the slope finite where b and c are 0
    size = torch.exp(a)
    middle, part = size * torch.cosh(r), size * torch.sinh(r) / r
    return middle + part * b, part * c, middle - part * b


def radial(y: Tensor, x: Tensor, stretch: Tensor, values: Tensor) -> Tensor:
    """Return a radial transfer function at frequencies (y, x), which the matrix exp [[b, c], [c, −b]] stretches first.

    ``stretch`` is (b, c). ``values`` (KNOTS − 1,) are those of the function at the frequencies 1/2 · 1/16,
    1/2 · 2/16, …; at 0 it is 1. Between these it is interpolated by cubics.
    """
    yy, yx, xx = symmetric_exp(torch.zeros_like(stretch[0]), *stretch)
    squares = (yy * y + yx * x).square() + (yx * y + xx * x).square()
    length = torch.sqrt(squares + 1e-20)  # the addend keeps the slope finite at frequency 0
    position = (length * 2 * (KNOTS - 1)).clamp(max=KNOTS - 1 - 1e-9)
    first = position.detach().floor().long()
    knots = torch.cat([torch.ones(1, dtype=values.dtype), values])
    # Negative indices are reflected, because the function is even about frequency 0.
    before, here, after, beyond = (knots[(first + step).abs().clamp(max=KNOTS - 1)] for step in (-1, 0, 1, 2))
    u = position - first  # Catmull-Rom spline
    slope, bend = after - before, 2 * before - 5 * here + 4 * after - beyond
    return here + 0.5 * u * (slope + u * (bend + u * (3 * (here - after) + beyond - before)))


def frequencies(side: int = GRID) -> tuple[Tensor, Tensor]:
    """Return the coordinates (y, x) of half a grid of discrete frequencies, each (side, side/2 + 1); side is even.

    The other half has the same values, as the transfer functions here are real: that of −ν is that of ν.
    """
    y, x = torch.fft.fftfreq(side, dtype=torch.float64), torch.fft.rfftfreq(side, dtype=torch.float64)
    return y[:, None].expand(-1, len(x)), x[None, :].expand(len(y), -1)


def taps(transfer: Tensor, size: int) -> Tensor:
    """Return the centred kernel (size, size) of sum 1 that has a given real transfer function (GRID, GRID/2 + 1).

    It is given at the `frequencies`. With the tap at (m, n) from the middle, and T(−ν) = T(ν)::

        k(m, n)  =  Σ T(ν) cos 2π(m·y + n·x)  =  Σ T(ν) (cos 2πmy · cos 2πnx − sin 2πmy · sin 2πnx)
    """
    side, offsets = len(transfer), 2 * math.pi * tap_offsets(size)
    down, right = frequencies(side)
    y, x = offsets[:, None] * down[:, 0], offsets[:, None] * right[0]
    # Each frequency stands for its negative, too, but those on the axis for themselves alone. The Nyquist frequency is
    # its own negative. Half a pixel off the grid its sign is undetermined, so it is left out.
    rows = torch.full((side,), 1.0, dtype=torch.float64)
    columns = torch.full((side // 2 + 1,), 2.0, dtype=torch.float64)
    rows[side // 2], columns[0], columns[-1] = 0.0, 1.0, 0.0
    rows = torch.stack([torch.cos(y), torch.sin(y)]) * rows
    columns = torch.stack([torch.cos(x), -torch.sin(x)]) * columns
    kernel = (rows @ transfer @ columns.transpose(1, 2)).sum(0)
    return kernel / kernel.sum()
