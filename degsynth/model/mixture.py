"""How the images of a run are degraded: by one model, or by one of several, which is drawn for each LR image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from degsynth.config import Interval
from degsynth.errors import ConfigError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Degradation, Noise
from degsynth.model.spec import colour_names
from degsynth.ops.noise import uniform
from degsynth.seeds import Identity

DIGITS = 9
"""Weights are rounded to so many digits, so that 7 and 3 are the same as 0.7 and 0.3."""


@dataclass(frozen=True)
class Mixture:
    """Models of one scale with the shares of LR images that they make; a single model is a mixture of one."""

    models: tuple[Checkpoint, ...]
    weights: tuple[float, ...]
    """A positive number for each model; their sum is 1."""

    @classmethod
    def of(cls, model: Checkpoint | Mixture) -> Mixture:
        """Return a model as a mixture of one."""
        return model if isinstance(model, Mixture) else cls((model,), (1.0,))

    @classmethod
    def weighted(cls, models: Sequence[Checkpoint], weights: Sequence[float]) -> Mixture:
        """Return several models with any positive weights, in an order that depends on the models alone.

        ConfigError where the models have different scales, or share no kind of images, where one is named twice, or
        where a weight is too small.
        """
        for weight, model in zip(weights, models, strict=True):
            if not 0 < weight < math.inf:
                raise ConfigError(f"weight {weight:g} of the model {model.path}: give a number above 0")
        shares = [round(weight / sum(weights), DIGITS) for weight in weights]
        mixture = sorted(zip(models, shares, strict=True), key=lambda pair: pair[0].sha256)
        _check(models)
        for model, share in mixture:
            if share == 0:
                raise ConfigError(
                    f"the weight of the model {model.path} is too small beside the others", "leave it out"
                )
        return cls(tuple(model for model, _ in mixture), tuple(share for _, share in mixture))

    @property
    def scale(self) -> int:
        """HR size / LR size, the same for all models."""
        return self.models[0].spec.scale

    def pick(self, identity: Identity) -> int:
        """Return the number of the model that makes an LR image."""
        if len(self.models) == 1:
            return 0
        drawn = uniform(identity.seed("model"), 0.0, sum(self.weights))
        for number, weight in enumerate(self.weights):
            drawn -= weight
            if drawn < 0:
                return number
        return len(self.weights) - 1


def _check(models: Sequence[Checkpoint]) -> None:
    first = models[0]
    for number, model in enumerate(models):
        if model.spec.scale != first.spec.scale:
            raise ConfigError(
                f"the models of a mixture have one scale, but {first.path} has {first.spec.scale} and {model.path} has "
                f"{model.spec.scale}"
            )
        if model.sha256 in {other.sha256 for other in models[:number]}:
            raise ConfigError(f"the model {model.path} is in the mixture twice", "add up its weights")
        own, others = model.spec.channels, first.spec.channels
        if own != "any" and others != "any" and not set(own) & set(others):
            raise ConfigError(
                f"the model {first.path} is for {colour_names(others)} images, {model.path} for {colour_names(own)}",
                "mix models for the same kind of images",
            )


class Degradations:
    """The models of a run together with everything that a user chooses about how they degrade images."""

    def __init__(
        self, mixture: Mixture, noise: Noise, hardware_factor: Interval | None = None, device: str = "cpu"
    ) -> None:
        """Take the options of `Degradation`; ConfigError where they do not suit each of the models."""
        self.mixture, self.scale = mixture, mixture.scale
        self.each = tuple(Degradation(model, noise, hardware_factor, device) for model in mixture.models)

    def of(self, identity: Identity) -> Degradation:
        """Return how an LR image is made."""
        return self.each[self.mixture.pick(identity)]

    def data_range(self) -> Interval | None:
        """Return black and white of the fits; ConfigError where those of the models differ."""
        first, *others = self.mixture.models
        for other in others:
            if other.spec.data_range != first.spec.data_range:
                levels = " and ".join(str(model.spec.data_range or "dtype") for model in (first, other))
                raise ConfigError(
                    f"the models {first.path} and {other.path} have different ranges of levels, {levels}",
                    "give the range of the images as `data_range=BLACK:WHITE`, or `data_range=dtype`",
                )
        return first.spec.data_range

    def warnings(self) -> list[str]:
        """List what a user should know before images are made."""
        return list(dict.fromkeys(text for degradation in self.each for text in degradation.warnings()))
