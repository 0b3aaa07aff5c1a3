"""Losses of discriminators and generators, and the optimiser step that all methods share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer


def update(optimizer: Optimizer, loss: Tensor) -> Tensor:
    """Take one step of the optimiser down the gradient of ``loss``, and return the loss, detached."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def squares(logits: Tensor, target: float) -> Tensor:
    """Return the mean of (logits − target)². In a least-squares GAN the target is 1 for real, 0 for fake."""
    return (logits - target).square().mean()


def real(logits: Tensor) -> Tensor:
    """Return the cross-entropy, mean over logits, for the label "real": −log sigmoid (adl, Eq. 2, non-saturating)."""
    return F.softplus(-logits).mean()


def fake(logits: Tensor) -> Tensor:
    """Return the cross-entropy, mean over logits, for the label "fake": −log(1 − sigmoid)."""
    return F.softplus(logits).mean()
