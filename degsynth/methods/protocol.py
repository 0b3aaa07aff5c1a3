"""What a method is: everything that `degsynth.fit` knows of one, and what it hands to one.

A method inherits `Method`, or `Learned` if it learns by steps, and writes the verbs that have no default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from degsynth.config import Strict
from degsynth.model.degrader import Degrader
from degsynth.model.spec import MethodSpec
from degsynth.ops.grain import Grain

Data = Literal["paired", "unpaired", "lr"]
"""What a method learns from: aligned HR-LR pairs, two folders without a common scene, or LR photographs alone."""


class Training(Strict):
    """Options of the training loop. The ``Config`` of a method that learns by steps inherits them."""

    steps: int = Field(default=10_000, ge=1)
    """Number of batches to learn from."""
    minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Minutes after which training stops, if the steps take longer; the learning rate falls with whichever is nearer its
    end. Such a fit cannot be repeated exactly."""
    batch: int = Field(default=8, ge=1)
    """Number of patches in a batch."""
    patch: int | None = Field(default=None, ge=8)
    """Side of a patch, HR px; unset: what suits the method and the scale."""
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    """Largest learning rate of Adam."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate goes on after the warm-up: falling to 0 along a cosine, or constant."""
    halve_every: int = Field(default=0, ge=0)
    """Number of steps after which the learning rate is halved besides, again and again; 0: never."""
    warmup: int = Field(default=100, ge=0)
    """Number of steps over which the learning rate rises from 0."""
    average: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the running mean of the weights, which is what is scored and exported; 0: the weights themselves."""
    flips: bool = False
    """Mirror patches at random, left-right and up-down. What is learnt is then symmetric, whatever the lens does."""


@dataclass(frozen=True)
class Unpaired:
    """The images that an unpaired method is prepared with."""

    hr: Sequence[Tensor]
    """HR images (C, H, W) in [0, 1]."""
    lr: Sequence[Tensor]
    """LR images of other scenes, of any size."""
    noise: Tensor
    """Covariance (C, C) of the noise that the LR photographs have, which the model is to add."""
    noise_left: Tensor
    """Covariance (C, C) of the noise in ``lr``: zeros where it was taken off."""
    level_step: float
    """Distance between two levels of the files, in [0, 1]: 1/255 for 8 bits; 0 for float files."""
    groups: Sequence[int]
    """Number of the group that each image of ``lr`` belongs to: a camera at one sensitivity, for example."""
    group_sizes: Mapping[str, int]
    """Number of LR images in each group, by name and in order; not all of them need be in ``lr``."""


@dataclass(frozen=True)
class MeasuredNoise:
    """The noise of one group of LR images."""

    name: str
    grain: Grain
    number: float
    """Value of the last entry of an image's code for which the model draws this noise."""


@dataclass(frozen=True)
class Distribution:
    """What a model draws, beside what was estimated from the images."""

    kernels: Tensor
    """Kernels (N, K, K) float64 that the model draws."""
    wanted: Tensor | None
    """Kernels (M, K, K) float64 of the estimated distribution; None where nothing was estimated."""
    varied: bool
    """Whether kernels are meant to differ from draw to draw."""
    noises: Sequence[MeasuredNoise]


class Method(Protocol):
    """A method, made as ``Method(config, scale, channels, seed)``."""

    data: Data
    """What it learns from."""

    def prepare(self, images: Any) -> None:
        """Estimate what needs no gradients, from whole images in [0, 1].

        ``images`` is a `degsynth.methods.shared.pairs.Paired` for paired methods, an `Unpaired` for unpaired ones, and
        for methods that learn from LR alone the kernels (N, K, K) float64 that were estimated from the photographs.
        """

    def degrader(self) -> Degrader:
        """Return what has been learnt, ready to be exported."""

    def spec(self) -> MethodSpec:
        """Return what the method knows of its model: how far it reads, what it takes, what it draws."""

    def report(self) -> dict[str, Any]:
        """Return what a user wants to know of the fit (kernel width, conditioning, …), for ``fit.json``."""
        return {}

    def warnings(self) -> list[str]:
        """Return what a user must not overlook, each in one line that tells the way out."""
        return []


@runtime_checkable
class Learned(Method, Protocol):
    """A method that learns by steps."""

    config: Training
    modules: dict[str, nn.Module]
    """All modules that have weights. ``optics`` is what `degrader` wraps: its running mean is scored and exported."""
    optimizers: dict[str, Optimizer]
    """Optimisers with their largest learning rates; the loop lowers these by the schedule."""
    patch: int
    """Side of a training patch, HR px."""
    least_patch: int
    """Smallest side of a training patch, HR px: smaller images cannot be learnt from."""
    multiple_of: int
    """Patches begin at multiples of this number of HR px."""

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """Return what has been learnt, or other weights of the same modules, ready to be exported."""

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Learn from one batch and return the terms of the loss by name, each a single number.

        Every random number comes from ``rng``, which follows from the seed of the fit and the step, so that a resumed
        fit ends where an uninterrupted one does.
        """


@runtime_checkable
class Diagnosed(Learned, Protocol):
    """A learned method that can measure something about its training."""

    def diagnose(self, batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, float]:
        """Return figures by name, measured on a batch of held-out patches."""


@runtime_checkable
class Stochastic(Method, Protocol):
    """A method that learns how kernels and noise are distributed."""

    def distribution(self) -> Distribution:
        """Return what the model draws, to be measured and shown."""
