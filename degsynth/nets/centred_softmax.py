"""A softmax over the taps of a kernel that puts the kernel's centroid in the middle."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

LOGIT_BOUND = 8.0
"""Largest magnitude of the logits. No tap is then more than e¹⁶ times another, so the taps can always be balanced."""
NEWTON_STEPS = 12
"""Number of Newton steps that bring a kernel's centroid to the middle. Near the middle each step squares the error."""
MAX_STEP = 4.0
"""Longest step of the tilt, times K: with it taps at the border change by at most e², and no step overshoots."""


class CentredSoftmax(nn.Module):
    """A layer that turns logits (…, K²) into taps (…, K²) with sum 1 and centroid 0.

    The taps are softmax(bounded logits + places @ t), where t = (t_y, t_x), the tilt, is found by Newton's method.

    A discriminator does not see where a kernel lies, so nothing would keep it in the middle. Tilting does: the taps are
    multiplied by exp(t·(y, x)) with the t that makes the centroid 0. Of all distributions over the taps with that
    centroid this one is the nearest to the network's (Csiszár's I-projection).

    The derivative of the centroid with respect to t is the covariance of the places, weighted by the taps, which is
    positive: so the problem is convex. The gradient of t with respect to the logits is that of the last Newton step,
    because at the solution the derivative of the step is that of t.
    """

    def __init__(self, size: int) -> None:
        """``size`` is K, the number of taps per side."""
        super().__init__()
        self.size, self.steps, self.logit_bound, self.max_step = size, NEWTON_STEPS, LOGIT_BOUND, MAX_STEP / size
        offsets = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        self.places = nn.Buffer(torch.stack([offsets.repeat_interleave(size), offsets.repeat(size)], 1))

    def forward(self, logits: Tensor) -> Tensor:  # noqa: D102
        logits = self.logit_bound * torch.tanh(logits / self.logit_bound)
        taps = torch.softmax(logits, -1).reshape(-1, self.size, self.size)
        tilt = torch.zeros_like(taps[:, 0, :2])
        with torch.no_grad():
            for _ in range(self.steps):
                step = self.newton(taps, tilt)
                length = step.square().sum(-1, keepdim=True).sqrt()
                tilt = tilt - step * (self.max_step / length.clamp(min=self.max_step))
        tilt = (tilt - self.newton(taps, tilt)).reshape(logits[..., :2].shape)
        return torch.softmax(logits + tilt @ self.places.T, -1)

    def balanced(self, taps: Tensor) -> Tensor:
        """Return kernels (N, K, K) float64 with sum 1 and centroid 0, tilted again after some taps were set to 0."""
        exact = copy.deepcopy(self).double().to(taps.device)
        tilt = torch.zeros_like(taps[:, 0, :2])
        for _ in range(self.steps):
            tilt = tilt - exact.newton(taps, tilt)
        kernels = taps * (tilt @ exact.places.T).exp().view_as(taps)
        return kernels / kernels.sum((1, 2), keepdim=True)

    def newton(self, taps: Tensor, tilt: Tensor) -> Tensor:
        """Return the Newton step (N, 2), (y, x), to subtract from the tilt (N, 2) of taps (N, K, K).

        It is the inverse of the covariance times the centroid, both after tilting. exp(t·(y, x)) is a product of a
        factor for each row and one for each column, so the sums over all taps are matrix products.
        """
        offsets = self.places[: self.size, 1]
        powers = torch.stack([torch.ones_like(offsets), offsets, offsets * offsets], 1)
        rows = (tilt[:, :1] * offsets).exp().unsqueeze(-1) * powers
        columns = (tilt[:, 1:] * offsets).exp().unsqueeze(-1) * powers
        sums = rows.transpose(1, 2) @ (taps @ columns)  # (N, 3, 3): the moments y⁰ … y² times x⁰ … x²
        sums = sums / sums[:, :1, :1]
        y, x, fixed = sums[:, 1, 0], sums[:, 0, 1], sums.detach()
        yy = fixed[:, 2, 0] - fixed[:, 1, 0] * fixed[:, 1, 0] + 1e-4
        yx = fixed[:, 1, 1] - fixed[:, 1, 0] * fixed[:, 0, 1]
        xx = fixed[:, 0, 2] - fixed[:, 0, 1] * fixed[:, 0, 1] + 1e-4
        return torch.stack([xx * y - yx * x, yy * x - yx * y], 1) / (yy * xx - yx * yx).unsqueeze(1)
