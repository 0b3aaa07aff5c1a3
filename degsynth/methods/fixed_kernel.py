"""The optics that unpaired fits end with: one kernel, and noise of one level (no method of its own)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.ops.blur import blur_decimate
from degsynth.ops.noise_level import square_root


class KernelOptics(nn.Module):
    """One kernel for all channels, and white Gaussian noise that channels may share."""

    def __init__(self, kernel: Tensor, scale: int, noise: Tensor | None = None) -> None:
        """Take a kernel (K, K) of sum 1 and the noise's covariance (C, C) in levels², or None."""
        super().__init__()
        self.scale = scale
        self.noisy = noise is not None
        self.kernels = nn.Buffer((kernel / kernel.sum()).float()[None])
        self.mixing = nn.Buffer(torch.zeros(1, 1) if noise is None else square_root(noise).float())

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:  # noqa: D102
        return torch.zeros(1, 0)

    @torch.jit.export
    def dice(self, channels: int) -> int:  # noqa: D102
        return channels if self.noisy else 0

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        return blur_decimate(hr, self.kernels, self.scale)

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        if not self.noisy:
            return torch.zeros_like(lr)
        return torch.einsum("ab,nbhw->nahw", self.mixing, field)

    @torch.jit.export
    def set_hardware_factor(self, f: float) -> None:  # noqa: D102
        raise ValueError("this model has no hardware factor")
