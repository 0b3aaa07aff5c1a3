"""What training minimises, and the one way in which an optimiser is moved."""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer


def update(optimizer: Optimizer, loss: Tensor) -> Tensor:
    """One step downhill; returns the loss, detached."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()
