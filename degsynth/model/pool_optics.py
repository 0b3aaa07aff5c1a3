"""A pool of kernels as optics: every image is blurred by one of them, which is drawn from the image's seed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.model.optics import Optics
from degsynth.ops.blur import blur_decimate
from degsynth.ops.noise import uniform
from degsynth.ops.subpixel import suited

NEGLIGIBLE = 2e-5
"""Outermost rings of taps are left out if they hold at most this share of the kernel together. That changes a pixel
by at most 1/200 of an 8-bit level."""


def empty_borders(kernels: Tensor, scale: int) -> Tensor:
    """Count the outermost rings of taps that are `NEGLIGIBLE` together, for each of kernels (N, K, K): (N,) int64.

    Leaving them out saves time: blurring with a kernel of a few px costs a fraction of blurring with one that fills its
    window of 32.
    """
    size = kernels.shape[-1]
    borders = torch.zeros(len(kernels), dtype=torch.int64)
    for border in range(1, (size - scale) // 2 + 1):
        inner = kernels[:, border : size - border, border : size - border].abs().sum((1, 2))
        borders[kernels.abs().sum((1, 2)) - inner <= NEGLIGIBLE] = border
    return borders


def without_border(kernel: Tensor, border: int) -> Tensor:
    """Set the outermost ``border`` rings of a kernel (K, K) to zero, and scale the rest to the sum 1."""
    kept = torch.zeros_like(kernel)
    inside = slice(border, kernel.shape[0] - border)
    kept[inside, inside] = kernel[inside, inside]
    return kept / kept.sum()


class PoolOptics(Optics):
    """Kernels in a buffer; the code (1, 1) of an image is the number of its kernel. There is no noise.

    The kernels lie on the HR grid and are the whole blur. At scale 1 the LR image is the HR image correlated with one
    of them; at scale s it is every s-th pixel of that, at the centred phase and without another filter. At even scales
    the centred phase lies between two pixels, see `degsynth.ops.subpixel.suited`.
    """

    def __init__(self, kernels: Tensor, scale: int, drawn: Tensor | None = None) -> None:
        """Take kernels (N, K, K) of sum 1, K odd; ``drawn`` (M,): the numbers of those to draw from (None: all)."""
        super().__init__()
        self.scale = scale
        taps = suited(kernels.double(), scale).clone()
        borders = empty_borders(taps, scale)
        for kernel, border in zip(taps, borders.tolist(), strict=True):
            kernel.copy_(without_border(kernel, border))
        self.kernels = nn.Buffer(taps.float())
        self.rims = nn.Buffer(borders)  # files on users' disks have this name
        self.drawn = nn.Buffer(torch.arange(len(kernels)) if drawn is None else drawn)

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:
        """Return the code (1, 1) of the image with this seed: the number of its kernel."""
        number = int(uniform(seed, 0.0, float(self.drawn.shape[0])))
        return self.drawn[number].float().cpu().reshape(1, 1)

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:
        """Blur and decimate each item of hr (B, C, s·h, s·w) by the kernel of its code."""
        lr: list[Tensor] = []
        for item in range(hr.shape[0]):
            number = int(code[item, 0])
            border = int(self.rims[number])
            end = self.kernels.shape[-1] - border
            kernel = self.kernels[number : number + 1, border:end, border:end]
            lr.append(blur_decimate(hr[item : item + 1], kernel, self.scale))
        return torch.cat(lr)
