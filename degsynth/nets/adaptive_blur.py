"""The adaptive blurring layer (abl, 3.2.2): each channel is blurred with its own mixture of fixed Gaussians."""

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
"""Nodes per pixel of the Gauss–Legendre rule by which the Gaussians are integrated (`ops.gaussian_cells`)."""
INITIAL_LOGIT_STD = 0.5
"""Standard deviation of the mixtures' logits at the start, so that the channels begin with different mixtures."""


class AdaptiveBlur(nn.Module):
    """A layer that blurs channel c with ``Σ_g p_cg · Gaussian_g(factor)``, where the weights p_cg are learnt.

    (B, C, H, W) → (B, C, H/stride, W/stride). The weights of a channel are a softmax of its logits.
    """

    def __init__(self, channels: int, group: int, size: int, stride: int) -> None:
        """Build a layer that mixes the four Gaussians of group 1 or the eight of group 2, ``size`` px a side."""
        super().__init__()
        group_one = covariances()
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        self.covariance = nn.Buffer(group_one if group == 1 else torch.cat([group_one, WIDER * group_one]))
        self.nodes, self.weights = nn.Buffer(torch.from_numpy(nodes)), nn.Buffer(torch.from_numpy(weights))
        self.logits = nn.Parameter(INITIAL_LOGIT_STD * torch.randn(channels, len(self.covariance)))
        self.size, self.stride = size, stride

    @torch.jit.export
    def table(self, factor: Tensor) -> Tensor:
        """Return the Gaussians at hardware factors (N,), with sum 1: (N, 4 or 8, size, size)."""
        return integrated(factor, self.covariance, self.nodes, self.weights, self.size).to(self.logits.dtype)

    @torch.jit.export
    def kernels(self, factor: Tensor) -> Tensor:
        """Return the mixture of each channel as one kernel, at hardware factors (N,): (N, C, size, size)."""
        return torch.einsum("cg,ngyx->ncyx", torch.softmax(self.logits, 1), self.table(factor))

    @torch.jit.export
    def padded(self, features: Tensor) -> Tensor:
        """Return the features padded by replication, so that the blurred features have 1/stride of their size.

        An even kernel with stride 1 reads one pixel more below and to the right than above and to the left.
        """
        before = (self.size - self.stride) // 2
        after = self.size - self.stride - before
        return F.pad(features, [before, after, before, after], mode="replicate")

    def forward(self, features: Tensor, factor: Tensor) -> Tensor:
        """Blur features with hardware factors (B,), one for each item. Each mixture is applied as one kernel."""
        padded = self.padded(features)
        batch, channels, height, width = padded.shape
        kernels = self.kernels(factor).reshape(batch * channels, self.size, self.size)
        if padded.is_cuda:
            grouped = padded.reshape(1, batch * channels, height, width)
            out = F.conv2d(grouped, kernels.unsqueeze(1), stride=self.stride, groups=batch * channels)
            return out.reshape(batch, channels, out.shape[2], out.shape[3])
        planes = padded.reshape(batch * channels, 1, height, width)
        blurred: list[Tensor] = []
        for number in range(batch * channels):
            blurred.append(convolved(planes[number : number + 1], kernels[number : number + 1], self.stride))
        out = torch.cat(blurred)
        return out.reshape(batch, channels, out.shape[2], out.shape[3])

    def forward_with_fast_gradient(self, features: Tensor, factor: Tensor) -> Tensor:
        """Blur as `forward` does, at one factor (1,), with a fast gradient.

        It can be differentiated with respect to the features and the mixture weights only.
        """
        blurred: Tensor = _Mixture.apply(  # type: ignore[no-untyped-call]
            self.padded(features), torch.softmax(self.logits, 1), self.table(factor)[0], self.stride
        )
        return blurred


class _Mixture(torch.autograd.Function):
    """The function ``y_c = Σ_g p_cg (k_g ⋆ x_c)`` with a fast gradient with respect to p.

    ``∂L/∂p_cg = ⟨∂L/∂y_c, k_g ⋆ x_c⟩``, so the responses k_g ⋆ x_c of the single Gaussians are kept, which a forward
    pass computes quickly. The gradient with respect to all taps of a 16×16 depthwise convolution, which is not needed
    this way, would take ten times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: Tensor, table: Tensor, stride: int) -> Tensor:
        channels = x.shape[1]
        responses = torch.stack(
            [F.conv2d(x, k.expand(channels, 1, *k.shape).contiguous(), stride=stride, groups=channels) for k in table]
        )
        ctx.save_for_backward(p, table, responses)
        ctx.shape, ctx.stride = x.shape, stride
        return torch.einsum("cg,gbcyx->bcyx", p, responses)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        p, table, responses = ctx.saved_tensors
        dy = gradients[0].contiguous()
        kernels = torch.einsum("cg,gyx->cyx", p, table).unsqueeze(1)
        dx = conv2d_input(ctx.shape, kernels, dy, stride=ctx.stride, groups=len(p))  # type: ignore[no-untyped-call]
        return dx, torch.einsum("bcyx,gbcyx->cg", dy, responses), None, None
