"""The adaptive blurring layer (abl, 3.2.2): fixed Gaussians, of which every channel has a mixture of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from degsynth.ops.blur import convolved
from degsynth.ops.gaussian_cells import WIDER, covariances, integrated

NODES = 16
FIRST_LOGITS = 0.5
"""Standard deviation of the mixture's logits at the start, so that channels begin differently."""


class AdaptiveBlur(nn.Module):
    """(B, W, H, W') → (B, W, H/stride, W'/stride): channel c blurred with ``Σ_g p_cg · Gaussian_g(factor)``."""

    def __init__(self, channels: int, group: int, size: int, stride: int) -> None:
        """Take the Gaussians of group one (4) or two (8), ``size`` px a side."""
        super().__init__()
        first = covariances()
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        self.covariance = nn.Buffer(first if group == 1 else torch.cat([first, WIDER * first]))
        self.nodes, self.weights = nn.Buffer(torch.from_numpy(nodes)), nn.Buffer(torch.from_numpy(weights))
        self.logits = nn.Parameter(FIRST_LOGITS * torch.randn(channels, len(self.covariance)))
        self.size, self.stride = size, stride

    @torch.jit.export
    def table(self, factor: Tensor) -> Tensor:
        """The Gaussians at factors (N,): (N, 4 or 8, size, size), sum 1."""
        return integrated(factor, self.covariance, self.nodes, self.weights, self.size).to(self.logits.dtype)

    @torch.jit.export
    def kernels(self, factor: Tensor) -> Tensor:
        """Each channel's mixture as one kernel, at factors (N,): (N, W, size, size)."""
        return torch.einsum("cg,ngyx->ncyx", torch.softmax(self.logits, 1), self.table(factor))

    @torch.jit.export
    def padded(self, features: Tensor) -> Tensor:
        """With borders repeated; an even kernel that moves by one pixel reads one more below and right."""
        before = (self.size - self.stride) // 2
        after = self.size - self.stride - before
        return F.pad(features, [before, after, before, after], mode="replicate")

    def forward(self, features: Tensor, factor: Tensor) -> Tensor:
        """Blur features with factors (B,), one for each item: the mixtures collapsed."""
        padded = self.padded(features)
        batch, channels, height, width = padded.shape
        kernels = self.kernels(factor).reshape(batch * channels, self.size, self.size)
        if padded.is_cuda:
            together = padded.reshape(1, batch * channels, height, width)
            out = F.conv2d(together, kernels.unsqueeze(1), stride=self.stride, groups=batch * channels)
            return out.reshape(batch, channels, out.shape[2], out.shape[3])
        planes = padded.reshape(batch * channels, 1, height, width)
        made: list[Tensor] = []
        for number in range(batch * channels):
            made.append(convolved(planes[number : number + 1], kernels[number : number + 1], self.stride))
        out = torch.cat(made)
        return out.reshape(batch, channels, out.shape[2], out.shape[3])

    def learning(self, features: Tensor, factor: Tensor) -> Tensor:
        """`forward` at one factor (1,), differentiated by features and mixture weights only."""
        made: Tensor = _Mixture.apply(  # type: ignore[no-untyped-call]
            self.padded(features), torch.softmax(self.logits, 1), self.table(factor)[0], self.stride
        )
        return made


class _Mixture(torch.autograd.Function):
    """``y_c = Σ_g p_cg (k_g ⋆ x_c)``, whose gradient by p needs no gradient of a 16×16 depthwise kernel.

    ``∂L/∂p_cg = ⟨∂L/∂y_c, k_g ⋆ x_c⟩``: the separate responses are kept, which a forward pass makes quickly, where the
    gradient by all taps of a depthwise convolution would take ten times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: Tensor, table: Tensor, stride: int) -> Tensor:
        channels = x.shape[1]
        seen = torch.stack(
            [F.conv2d(x, k.expand(channels, 1, *k.shape).contiguous(), stride=stride, groups=channels) for k in table]
        )
        ctx.save_for_backward(p, table, seen)
        ctx.shape, ctx.stride = x.shape, stride
        return torch.einsum("cg,gbcyx->bcyx", p, seen)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        p, table, seen = ctx.saved_tensors
        dy = gradients[0].contiguous()
        kernels = torch.einsum("cg,gyx->cyx", p, table).unsqueeze(1)
        dx = conv2d_input(ctx.shape, kernels, dy, stride=ctx.stride, groups=len(p))  # type: ignore[no-untyped-call]
        return dx, torch.einsum("bcyx,gbcyx->cg", dy, seen), None, None
