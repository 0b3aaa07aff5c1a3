"""A softmax over the taps of a kernel whose centroid is in the middle."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

STEEPEST = 8.0
"""Bound of the logits: no tap is more than e¹⁶ times another, so that there is something on both sides to balance."""
BALANCING = 12
"""Newton steps that bring a kernel's centroid to the middle; near it each squares the distance."""
STRIDE = 4.0
"""Longest step of the tilt, over K: taps at the rim then change by e² at most, and no step overshoots."""


class CentredSoftmax(nn.Module):
    """Logits (…, K²) → taps of sum 1 and centroid 0: softmax(bounded logits + places @ t), t by Newton's method.

    A discriminator does not see where a kernel lies, so nothing would hold it in the middle. It is brought there by
    tilting: taps are multiplied by exp(t·(y, x)) with the t that makes the centroid 0. Of all distributions over the
    taps with that centroid this is the nearest to the network's (Csiszár's I-projection).

    The centroid moves with t as the covariance of the places under the taps, which is positive: the problem is convex.
    t follows from the logits; the last step says how (its derivative, at the solution, is that of t).
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.steps, self.steepest, self.stride = size, BALANCING, STEEPEST, STRIDE / size
        at = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        self.places = nn.Buffer(torch.stack([at.repeat_interleave(size), at.repeat(size)], 1))

    def forward(self, logits: Tensor) -> Tensor:  # noqa: D102
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

    def balanced(self, taps: Tensor) -> Tensor:
        """Kernels (N, K, K) float64 with some taps taken off, tilted to centroid 0 again; sum 1."""
        exact = copy.deepcopy(self).double().to(taps.device)
        tilt = torch.zeros_like(taps[:, 0, :2])
        for _ in range(self.steps):
            tilt = tilt - exact.newton(taps, tilt)
        found = taps * (tilt @ exact.places.T).exp().view_as(taps)
        return found / found.sum((1, 2), keepdim=True)

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
