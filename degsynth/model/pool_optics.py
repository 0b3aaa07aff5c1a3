"""A pool of kernels as optics: every image is blurred by one of them, drawn from its seed (`degsynth.degrader`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.ops.blur import blur_decimate
from degsynth.ops.noise import generator
from degsynth.ops.subpixel import suited

EMPTY = 2e-5
"""Outermost rings of taps with no more of a kernel in them are passed over: 1/200 of an 8-bit level at most."""


def empty_rims(kernels: Tensor, scale: int) -> Tensor:
    """How many outermost rings of each of kernels (N, K, K) have next to nothing in them: (N,) int64.

    A kernel of some px in a window of 32 costs a fraction of one that fills it.
    """
    size = kernels.shape[-1]
    found = torch.zeros(len(kernels), dtype=torch.int64)
    for rim in range(1, (size - scale) // 2 + 1):
        inner = kernels[:, rim : size - rim, rim : size - rim].abs().sum((1, 2))
        found[kernels.abs().sum((1, 2)) - inner <= EMPTY] = rim
    return found


def without_rim(kernel: Tensor, rim: int) -> Tensor:
    """Kernel (K, K) with zeros in its outermost rings, sum 1."""
    kept = torch.zeros_like(kernel)
    inside = slice(rim, kernel.shape[0] - rim)
    kept[inside, inside] = kernel[inside, inside]
    return kept / kept.sum()


class PoolOptics(nn.Module):
    """Kernels in a buffer; the code is the number of one.

    The kernels lie on the HR grid and are the whole blur. At scale 1 the LR image is the HR image correlated with one;
    at others every s-th pixel of that, at the centred phase, without another filter: at even scales that is between
    pixels (`ops.subpixel.suited`).
    """

    def __init__(self, kernels: Tensor, scale: int, drawn: Tensor | None = None) -> None:
        """Take kernels (N, K, K) of sum 1, K odd; ``drawn`` (M,): the numbers of those to draw from, else all."""
        super().__init__()
        self.scale = scale
        taps = suited(kernels.double(), scale).clone()
        rims = empty_rims(taps, scale)
        for kernel, rim in zip(taps, rims.tolist(), strict=True):
            kernel.copy_(without_rim(kernel, rim))
        self.kernels, self.rims = nn.Buffer(taps.float()), nn.Buffer(rims)
        self.drawn = nn.Buffer(torch.arange(len(kernels)) if drawn is None else drawn)

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:  # noqa: D102
        which = int(torch.randint(self.drawn.shape[0], (1,), generator=generator(seed)))
        return self.drawn[which].float().cpu().reshape(1, 1)

    @torch.jit.export
    def dice(self, channels: int) -> int:  # noqa: D102
        return 0

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        made: list[Tensor] = []
        for item in range(hr.shape[0]):
            number = int(code[item, 0])
            rim = int(self.rims[number])
            side = self.kernels.shape[-1] - rim
            kernel = self.kernels[number : number + 1, rim:side, rim:side]
            made.append(blur_decimate(hr[item : item + 1], kernel, self.scale))
        return torch.cat(made)

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        return torch.zeros_like(lr)

    @torch.jit.export
    def set_hardware_factor(self, f: float) -> None:  # noqa: D102
        raise ValueError("a kernel pool has no hardware factor")
