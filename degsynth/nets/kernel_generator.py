"""A network that draws blur kernels: standard normal numbers in, kernels of sum 1 and centroid 0 out (pdm, 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from degsynth.nets.encoder_decoder import Convolution

STEEPEST = 8.0
"""Bound of the logits: no tap is more than e¹⁶ times another, so that there is something on both sides to balance."""
BALANCING = 12
"""Newton steps that bring a kernel's centroid to the middle; near it each squares the distance."""
STRIDE = 4.0
"""Longest step of the tilt, over K: taps at the rim then change by e² at most, and no step overshoots."""


class KernelGenerator(nn.Module):
    """Numbers (B, Z, h, w) → a kernel for every place, (B, h, w, K²): a layer, residual blocks, a softmax over taps.

    For one kernel an image h = w = 1. ``neighbours``: the first layer sees 3×3 places, so that kernels side by side are
    alike (all layers of the authors' do); else places have nothing in common.

    A discriminator does not see where a kernel lies, so nothing would hold it in the middle. It is brought there by
    tilting: taps are multiplied by exp(t·(y, x)) with the t that makes the centroid 0. Of all distributions over the
    taps with that centroid this is the nearest to the network's (Csiszár's I-projection).

    ``signed``: the difference of two such, ``(1 + m) k₊ − m k₋`` with m ≥ 0, since a softmax has no negative lobes. m
    is a number of the network's own.

    Without batch norm, unlike the authors' code: of 1×1 inputs it knows nothing but the batch.
    """

    def __init__(self, numbers: int, width: int, blocks: int, size: int, signed: bool, neighbours: bool) -> None:
        super().__init__()
        self.size, self.signed, self.steps = size, signed, BALANCING
        self.neighbours, self.rim = neighbours, nn.Buffer(binomial().square()[None, None])
        self.steepest, self.stride = STEEPEST, STRIDE / size
        self.first = Convolution(numbers, width, 3 if neighbours else 1)
        self.inner = nn.ModuleList(Convolution(width, width, 1) for _ in range(blocks))
        self.outer = nn.ModuleList(Convolution(width, width, 1) for _ in range(blocks))
        self.last = Convolution(width, size * size * (2 if signed else 1) + (1 if signed else 0), 1)
        at = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        self.places = nn.Buffer(torch.stack([at.repeat_interleave(size), at.repeat(size)], 1))

    def begin_smooth(self) -> None:
        """Let the first layer of 3×3 places do what one of 1×1 would, to their sum with weights 1 2 1 / √6 either way.

        The weights have norm 1: the sum is standard normal again, and kernels are drawn as from a single place.
        """
        weights = binomial()
        with torch.no_grad():
            middle = self.first.weight[:, :, 1:2, 1:2] * 3
            self.first.weight.copy_(middle * weights)

    def features(self, z: Tensor) -> Tensor:
        """Of every place, (B, width, h, w)."""
        x: Tensor = self.from_neighbours(z) if self.neighbours else self.first(z)
        for inner, outer in zip(self.inner, self.outer):  # noqa: B905 - TorchScript knows no strict
            x = x + outer(torch.relu(inner(torch.relu(x))))
        return torch.relu(x)

    def from_neighbours(self, z: Tensor) -> Tensor:
        """The first layer where it sees 3×3 places: beyond the rim there are none, and the rest counts for more.

        By as much as makes the sum that `begin_smooth` begins with standard normal there as well.
        """
        x = nn.functional.conv2d(z, self.first.weight, padding=1)
        variance = nn.functional.conv2d(torch.ones_like(z[:1, :1]), self.rim, padding=1)
        assert self.first.bias is not None
        return x * torch.rsqrt(variance) + self.first.bias[:, None, None]

    def taps(self, features: Tensor) -> Tensor:
        """Kernels (B, h, w, K²) of features (B, width, h, w)."""
        x = self.last(features).permute(0, 2, 3, 1)
        count = self.size * self.size
        taps = self.balanced(x[..., :count])
        if self.signed:
            share = torch.nn.functional.softplus(x[..., -1:])
            taps = (1.0 + share) * taps - share * self.balanced(x[..., count : 2 * count])
        return taps

    def balanced(self, logits: Tensor) -> Tensor:
        """Taps (…, K²) of sum 1 and centroid 0: softmax(bounded logits + places @ t), t by Newton's method.

        The centroid moves with t as the covariance of the places under the taps, which is positive: the problem is
        convex. t follows from the logits; the last step says how (its derivative, at the solution, is that of t).
        """
        logits = self.steepest * torch.tanh(logits / self.steepest)
        taps = torch.softmax(logits, -1).reshape(-1, self.size, self.size)
        tilt = torch.zeros_like(taps[:, 0, :2])
        with torch.no_grad():
            for _ in range(self.steps):
                step = self.newton(taps, tilt)
                length = step.square().sum(-1, keepdim=True).sqrt()
                tilt = tilt - step * (self.stride / length.clamp(min=self.stride))
        tilt = (tilt - self.newton(taps, tilt)).reshape(logits[..., :2].shape)
        return torch.softmax(logits + tilt @ self.places.T, -1)

    def newton(self, taps: Tensor, tilt: Tensor) -> Tensor:
        """What the tilt (N, 2) of taps (N, K, K) is off by: the covariance's inverse times the centroid, (y, x).

        exp(t·(y, x)) is a product of one factor for each row and one for each column: so are sums over all taps.
        """
        at = self.places[: self.size, 1]
        powers = torch.stack([torch.ones_like(at), at, at * at], 1)
        rows = (tilt[:, :1] * at).exp().unsqueeze(-1) * powers
        columns = (tilt[:, 1:] * at).exp().unsqueeze(-1) * powers
        sums = rows.transpose(1, 2) @ (taps @ columns)  # (N, 3, 3): of y⁰ … y² with x⁰ … x²
        sums = sums / sums[:, :1, :1]
        y, x, fixed = sums[:, 1, 0], sums[:, 0, 1], sums.detach()
        yy = fixed[:, 2, 0] - fixed[:, 1, 0] * fixed[:, 1, 0] + 1e-4
        yx = fixed[:, 1, 1] - fixed[:, 1, 0] * fixed[:, 0, 1]
        xx = fixed[:, 0, 2] - fixed[:, 0, 1] * fixed[:, 0, 1] + 1e-4
        return torch.stack([xx * y - yx * x, yy * x - yx * y], 1) / (yy * xx - yx * yx).unsqueeze(1)

    def middle(self, z: Tensor) -> Tensor:
        """Kernels (B, K²) of the middle of numbers (B, Z, p, p), p odd."""
        at = z.shape[2] // 2
        return self.taps(self.features(z)[:, :, at : at + 1, at : at + 1])[:, 0, 0]

    def forward(self, z: Tensor) -> Tensor:  # noqa: D102
        return self.taps(self.features(z))


def binomial() -> Tensor:
    """1 2 1 either way, of norm 1: (3, 3)."""
    row = torch.tensor([1.0, 2.0, 1.0])
    return row[:, None] * row / 6
