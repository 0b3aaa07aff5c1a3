"""What unpaired methods learn and end with (no method of its own): a kernel or a network, and noise of one level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.model.optics import Optics
from degsynth.nets.downsampler import Downsampler
from degsynth.ops.blind_kernel import leeway, level_and_place
from degsynth.ops.blur import blur_decimate
from degsynth.ops.noise_level import matrix_sqrt

HELD, LOOSE = (0.03, 4.0), (0.1, 4.0)
"""Departure and reach (`ops.blind_kernel.leeway`) about a start that a family explains, or about any other."""


class KernelOptics(Optics):
    """One kernel for all channels, and white Gaussian noise that channels may share."""

    def __init__(self, kernel: Tensor, scale: int, noise: Tensor | None = None) -> None:
        """Take a kernel (K, K) of sum 1 and the noise's covariance (C, C) in levels², or None."""
        super().__init__()
        self.scale = scale
        self.noisy = noise is not None
        self.kernels = nn.Buffer((kernel / kernel.sum()).float()[None])
        self.mixing = nn.Buffer(torch.zeros(1, 1) if noise is None else matrix_sqrt(noise).float())

    @torch.jit.export
    def field_planes(self, channels: int) -> int:  # noqa: D102
        return channels if self.noisy else 0

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        return blur_decimate(hr, self.kernels, self.scale)

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        if not self.noisy:
            return torch.zeros_like(lr)
        return torch.einsum("ab,nbhw->nahw", self.mixing, field)


class Taps(nn.Module):
    """A kernel about a start: ``k = start + spread · (tie @ z @ tieᵀ)``, less its sum and first moments.

    `ops.blind_kernel.leeway` says how.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.z = nn.Parameter(torch.zeros(size, size))
        self.start, self.spread = nn.Buffer(torch.zeros(size, size)), nn.Buffer(torch.zeros(size, size))
        self.tie, self.back = nn.Buffer(torch.zeros(size, size)), nn.Buffer(torch.zeros(size**2, 3))
        self.rows = nn.Buffer(level_and_place(size).float())

    def begin(self, kernel: Tensor, scale: int, held: bool) -> None:
        """Start at a kernel (K, K)."""
        spread, tie, back = leeway(kernel, scale, *(HELD if held else LOOSE))
        for buffer, value in ((self.start, kernel), (self.spread, spread), (self.tie, tie), (self.back, back)):
            buffer.copy_(value)

    def kernel(self) -> Tensor:
        """(K, K)."""
        change = (self.spread * (self.tie @ self.z @ self.tie.T)).flatten()
        return self.start + (change - self.back @ (self.rows @ change)).view_as(self.start)


class Memory(nn.Module):
    """What snapshots keep besides weights.

    k̄ (K, K); the covariance of the noise that the model adds (C, C); what makes the fakes' noise of white (C, C).
    """

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.kernel, self.noise = nn.Buffer(torch.zeros(size, size)), nn.Buffer(torch.zeros(channels, channels))
        self.matched = nn.Buffer(torch.zeros(channels, channels))


class NetworkOptics(Optics):
    """The network of the paper, once or twice, and white noise."""

    def __init__(self, network: Downsampler, rounds: int, noise: Tensor | None) -> None:
        super().__init__()
        self.network, self.rounds, self.noisy = network, rounds, noise is not None
        self.mixing = nn.Buffer(torch.zeros(1, 1) if noise is None else matrix_sqrt(noise).float())

    @torch.jit.export
    def field_planes(self, channels: int) -> int:  # noqa: D102
        return channels if self.noisy else 0

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        for _ in range(self.rounds):
            hr = self.network(hr)
        return hr

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        return torch.einsum("ab,nbhw->nahw", self.mixing, field) if self.noisy else torch.zeros_like(lr)
