"""What methods that learn against a discriminator have in common: its options, and the optimisers of both sides."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from degsynth.errors import ConfigError
from degsynth.methods.protocol import Training


class Adversarial(Training):
    """Options of the discriminator. The ``Config`` of a method that learns against one inherits them."""

    discriminator: Literal["small", "paper"] = "small"
    """The discriminator: a small one that sees fine detail only, or the one of the paper."""
    discriminator_width: int = Field(default=16, ge=1, le=2**12)
    """Number of feature maps of the discriminator's first layer."""
    discriminator_rate: float = Field(default=4e-4, gt=0, le=1)
    """Largest learning rate of Adam for the discriminator."""
    discriminator_first: int = Field(default=100, ge=0, le=10**6)
    """Number of steps at the beginning in which only the discriminator learns."""
    beta: float = Field(default=0.5, ge=0, lt=1)
    """Decay of the first moment in Adam, for all networks."""


def check_head_start(config: Adversarial, name: str) -> None:
    """Raise ConfigError, with the name of the method, where the generator would have no step to learn in."""
    if 0 < config.steps <= config.discriminator_first:
        raise ConfigError(
            f"method {name}: steps (={config.steps}) must be more than discriminator_first "
            f"(={config.discriminator_first}), in which only the discriminator learns"
        )


def optimizers(
    generator: nn.Module, discriminator: nn.Module, config: Adversarial, second: float
) -> dict[str, torch.optim.Optimizer]:
    """Return Adam for both sides; ``second`` is the decay of the second moment."""
    betas = (config.beta, second)
    return {
        "generator": torch.optim.Adam(generator.parameters(), lr=config.learning_rate, betas=betas),
        "discriminator": torch.optim.Adam(discriminator.parameters(), lr=config.discriminator_rate, betas=betas),
    }
