"""A sharp image from a blurred one and its kernel: deconvolution with priors that count (L0).

Natural images have few gradients, and blur makes pixels that were black less so (the *dark channel*, the least value
within a window about a pixel, has fewer zeros). The latent image x of a blurred b, kernel k, is to minimise (Pan et
al. 2016; without the last term Xu et al. 2013)::

    ‖k ∗ x − b‖² + μ ‖∇x‖₀ + λ ‖D(x)‖₀

Both counts are split off (half-quadratic splitting): g stands for ∇x, u for x, held to them ever more tightly::

    ‖k ∗ x − b‖² + β ‖∇x − g‖² + μ ‖g‖₀ + α ‖x − u‖² + λ ‖D(u)‖₀

Of g and u each entry is decided by itself: g = ∇x where |∇x|² ≥ μ/β, else 0; u = x, but 0 where x is dark and x² <
λ/α. x is then a division in the Fourier domain::

    x̂ = (k̂* b̂ + β ∇̂* ĝ + α û) / (|k̂|² + β |∇̂|² + α)

which takes images to be periodic: `periodic` makes them so. Convolution is meant here, kernels are flipped.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

DARK = 35
"""Side of the dark channel's windows, px."""
TIGHTEST_GRADIENT, TIGHTEST_DARK = 1e5, 8.0
"""Until β and α are as much, they are doubled."""


def fast_length(length: int) -> int:
    """The next length that has no prime factor above 7, which Fourier transforms are quick for."""
    while True:
        rest = length
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def periodic(image: Tensor, margin: int) -> Tensor:
    """Image (H, W) with at least ``margin`` rows and columns more, below and right, that lead back to its beginning.

    Both rims are mirrored into the gap and cross-faded, so that there is no edge for the kernel to see.
    """

    def longer(x: Tensor) -> Tensor:
        length = x.shape[-1]
        gap = fast_length(length + margin) - length
        share = torch.arange(1, gap + 1, dtype=x.dtype) / (gap + 1)
        share = share * share * (3 - 2 * share)
        near, far = (F.pad(part[None], (0, gap), mode="replicate")[0, :, :gap] for part in (x.flip(-1), x))
        return torch.cat([x, near * (1 - share) + far.flip(-1) * share], -1)

    return longer(longer(image).T).T.contiguous()


def spectrum(kernel: Tensor, size: torch.Size) -> Tensor:
    """Transfer function, as `torch.fft.rfft2` has it, of a kernel (K, K), K odd, whose middle is its origin."""
    reach = kernel.shape[-1] // 2
    plane = torch.zeros(size, dtype=kernel.dtype)
    plane[: kernel.shape[-1], : kernel.shape[-1]] = kernel
    found: Tensor = torch.fft.rfft2(plane.roll((-reach, -reach), (0, 1)))
    return found


def running_max(x: Tensor, side: int) -> Tensor:
    """Largest of the side × side px about every pixel of (H, W), side odd, by doubling: windows of 2, 4, 8, … first."""
    for axis in (0, 1):
        reach = side // 2
        length, width = x.shape[axis], 1
        gap = (0, 0, reach, reach) if axis == 0 else (reach, reach, 0, 0)
        largest = F.pad(x, gap, value=-math.inf)
        while 2 * width <= side:
            count = largest.shape[axis] - width
            largest = torch.maximum(largest.narrow(axis, 0, count), largest.narrow(axis, width, count))
            width *= 2
        x = torch.maximum(largest.narrow(axis, 0, length), largest.narrow(axis, side - width, length))
    return x


def is_dark(x: Tensor, side: int = DARK) -> Tensor:
    """Pixels of (H, W) that the dark channel is made of: the least of at least one window.

    A pixel of value v is the least of some window that it lies in if, and only if, the largest of the least values of
    all windows about it is v: that is the image's morphological opening.
    """
    least = -running_max(-x, side)
    return x <= running_max(least, side)


def otsu(values: Tensor) -> float:
    """The threshold that parts values in [0, 1] into two classes of the greatest variance between them (Otsu 1979)."""
    share = torch.histc(values.clamp(0, 1), 256, 0, 1).double()
    share /= share.sum()
    at = (torch.arange(256, dtype=torch.float64) + 0.5) / 256
    below, moment = share.cumsum(0), (share * at).cumsum(0)
    between = (moment[-1] * below - moment).square() / (below * (1 - below)).clamp(min=1e-12)
    return float(at[between.argmax()])


def latent(blurred: Tensor, kernel: Tensor, dark: float, gradient: float) -> Tensor:
    """The latent image of a periodic one (H, W) float32 and a kernel (K, K); weights λ (0: no such prior) and μ."""
    size = blurred.shape
    waves = [
        torch.exp(2j * math.pi * table(n)) for table, n in ((torch.fft.fftfreq, size[0]), (torch.fft.rfftfreq, size[1]))
    ]
    gradients = (waves[0] - 1).abs().square()[:, None] + (waves[1] - 1).abs().square()
    passed = spectrum(kernel.float(), size)
    seen, power = passed.conj() * torch.fft.rfft2(blurred), passed.abs().square()
    if not dark:
        return _few_gradients(blurred, seen, power, gradients, gradient)
    x = blurred
    tightness = dark / max(otsu(x.square()), 1e-3)
    while tightness < TIGHTEST_DARK:
        black = is_dark(x) & (x.square() < dark / tightness)
        held = torch.fft.rfft2(x.masked_fill(black, 0.0))
        x = _few_gradients(x, seen + tightness * held, power + tightness, gradients, gradient)
        tightness *= 2
    return x


def _few_gradients(x: Tensor, seen: Tensor, power: Tensor, gradients: Tensor, weight: float) -> Tensor:
    """Minimise over x and g, from x on: ``seen`` and ``power`` are numerator and denominator without ∇'s terms."""
    tightness = 2 * weight
    while tightness < TIGHTEST_GRADIENT:
        across, down = x.roll(-1, 1) - x, x.roll(-1, 0) - x
        kept = across.square().addcmul_(down, down) >= weight / tightness
        across, down = across * kept, down * kept
        adjoint = across.roll(1, 1).sub_(across).add_(down.roll(1, 0)).sub_(down)
        numerator = torch.fft.rfft2(adjoint).mul_(tightness).add_(seen)
        x = torch.fft.irfft2(numerator.div_(power + tightness * gradients), s=x.shape)
        tightness *= 2
    return x
