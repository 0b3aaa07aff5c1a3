"""What training minimises, and the one way in which an optimiser is moved."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer


def update(optimizer: Optimizer, loss: Tensor) -> Tensor:
    """One step downhill; returns the loss, detached."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def squares(logits: Tensor, wanted: float) -> Tensor:
    """Mean square of logits less a number (least squares GAN: 1 for real, 0 for made)."""
    return (logits - wanted).square().mean()


def real(logits: Tensor) -> Tensor:
    """Cross-entropy of being taken for real, mean over logits: −log sigmoid (adl, Eq. 2, non-saturating)."""
    return F.softplus(-logits).mean()


def fake(logits: Tensor) -> Tensor:
    """Cross-entropy of being taken for made."""
    return F.softplus(logits).mean()
