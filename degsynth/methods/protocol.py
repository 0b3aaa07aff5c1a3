"""The interface between methods and `degsynth.fit`: what a method offers, and what it is given.

A method inherits `Method`, or `Learned` if it learns by steps, and writes the verbs that have no default here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer

from degsynth.config import Strict
from degsynth.model.degrader import Degrader
from degsynth.model.spec import MethodSpec
from degsynth.model.tone import Tone
from degsynth.ops.compression import Compression, Stored
from degsynth.ops.grain import Grain

Data = Literal["paired", "unpaired", "lr"]
"""The images that a method learns from: aligned HR-LR pairs, two folders without a common scene, or LR images alone."""


class Training(Strict):
    """Options of the training loop. The ``Config`` of a method that learns by steps inherits them."""

    steps: int = Field(default=10_000, ge=1, le=10**9)
    """Number of batches to learn from."""
    minutes: float | None = Field(default=None, gt=0)
    """Minutes after which training stops even if steps are left. The learning rate follows the budget that is nearer to
    its end. Such a fit cannot be repeated exactly."""
    batch: int = Field(default=8, ge=1, le=2**14)
    """Number of patches in a batch."""
    patch: int | None = Field(default=None, ge=8, le=2**14)
    """Side of a patch, HR px; unset: a size that suits the method and the scale."""
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    """Largest learning rate of Adam."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Course of the learning rate after the warm-up: it falls to 0 along a cosine, or stays constant."""
    halve_every: int = Field(default=0, ge=0, le=10**9)
    """The learning rate is also halved each time that this number of steps has passed; 0: never."""
    warmup: int = Field(default=100, ge=0, le=10**9)
    """Number of steps over which the learning rate rises from 0."""
    average: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the running mean of the weights, which is scored and exported; 0: the weights themselves are."""
    flips: bool = False
    """Mirror patches at random, left-right and up-down. What is learnt is then symmetric, even if the lens is not."""


@dataclass(frozen=True)
class Jpeg:
    """How LR images are stored in JPEG files, and the same compression done to other images."""

    of_images: Sequence[Stored | None]
    """Of each image; None where it is no JPEG."""
    save: Callable[[Tensor, Compression], Tensor]
    """Compresses an image (C, h, w) in [0, 1], and returns what is read back."""

    def subset(self, indices: Sequence[int]) -> Jpeg:
        """Return the same for some of the images."""
        return Jpeg([self.of_images[index] for index in indices], self.save)


@dataclass(frozen=True)
class Unpaired:
    """The images that an unpaired method is prepared with.

    Blur is learnt in light (`in_light`), in which batches of training come, too. Noise is added to levels, so it is
    measured in the images as they are in the files.
    """

    hr: Sequence[Tensor]
    """HR images (C, H, W) in [0, 1], in levels."""
    lr: Sequence[Tensor]
    """LR images of other scenes, of any size, in levels."""
    noise: Tensor
    """Covariance (C, C) of the noise of the LR photographs, which the model is to add."""
    noise_left: Tensor
    """Covariance (C, C) of the noise that ``lr`` still has: zeros where the noise was removed."""
    level_step: float
    """Distance between two neighbouring levels of the files, in [0, 1]: 1/255 for 8 bits; 0 for float files."""
    groups: Sequence[int]
    """For each image of ``lr`` the number of its group. A group is, for example, one camera at one sensitivity."""
    group_sizes: Mapping[str, int]
    """Number of LR images in each group, by name, in the order of the numbers. Not all of them need be in ``lr``."""
    tone: Tone = field(default_factory=Tone)
    """The curve between levels and light (`degsynth.ops.tone`)."""

    jpeg: Jpeg | None = None
    """How ``lr`` were compressed, where most of them are JPEG files."""

    def in_light(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return the HR and the LR images in light."""
        return InLight(self.hr, self.tone), InLight(self.lr, self.tone)


class InLight(Sequence[Tensor]):
    """Images in light; they are converted one at a time, as they are looked at."""

    def __init__(self, images: Sequence[Tensor], tone: Tone) -> None:
        """Take images in levels."""
        self._images, self._tone = images, tone

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        return self._tone.to_light(self._images[index])


@dataclass(frozen=True)
class MeasuredNoise:
    """The noise of one group of LR images."""

    name: str
    grain: Grain
    number: float
    """The model draws this noise for images whose code has this value as its last entry."""


@dataclass(frozen=True)
class Distribution:
    """The kernels and the noise that a model draws, and those that were estimated from the images."""

    kernels: Tensor
    """Kernels (N, K, K) float64 that the model draws."""
    wanted: Tensor | None
    """Kernels (M, K, K) float64 of the estimated distribution; None where nothing was estimated."""
    varied: bool
    """Whether kernels are meant to differ from draw to draw."""
    noises: Sequence[MeasuredNoise]


class Method(Protocol):
    """A method, made as ``Method(config, scale, channels, seed)``.

    ``channels`` is the number of channels of the images, ``seed`` the seed of the fit. The fit seeds torch's global
    generator before it makes a method, so first weights may be drawn from it.
    """

    data: Data
    """The images that the method learns from."""

    def holds_level(self) -> bool:
        """Return whether flat images keep their level. Only such a method can be given light instead of levels."""
        return True

    def prepare(self, images: Any) -> None:
        """Estimate everything that needs no training steps, from whole images in [0, 1].

        ``images`` is a `degsynth.methods.shared.pairs.Paired` for paired methods and an `Unpaired` for unpaired ones.
        For methods that learn from LR images alone it is the kernels (N, K, K), float64, estimated from them.
        """

    def degrader(self) -> Degrader:
        """Return what has been learnt, ready to be exported."""

    def spec(self) -> MethodSpec:
        """Return what the method knows of its model: how far it reads, what images it takes, what it draws."""

    def report(self) -> dict[str, Any]:
        """Return figures of the fit for ``fit.json``, such as the width of the kernel. By default there are none."""
        return {}

    def warnings(self) -> list[str]:
        """Return what a user must not overlook, each in one line that names the way out. By default nothing."""
        return []


@runtime_checkable
class Learned(Method, Protocol):
    """A method that learns by steps."""

    config: Training
    modules: dict[str, nn.Module]
    """All modules that have weights, by name. `degrader` wraps ``optics``; its running mean is scored and exported."""
    optimizers: dict[str, Optimizer]
    """The optimisers, by name, with their largest learning rates, which the training loop lowers by the schedule."""
    patch: int
    """Side of a training patch, HR px."""
    least_patch: int
    """Smallest side of a training patch, HR px. The method cannot learn from smaller images."""
    multiple_of: int
    """Patches begin at multiples of this number of HR px."""
    weights_version: int = 1
    """Raised when the same weights make another model, so that snapshots of earlier versions are refused."""

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """Return what has been learnt, ready to be exported. ``optics`` has other weights to use: a running mean."""

    def training_step(self, batch: dict[str, Tensor], step: int, rng: torch.Generator) -> dict[str, Tensor]:
        """Learn from one batch, and return the terms of the loss by name, each a single number.

        ``step`` counts from 0. All random numbers must come from ``rng``. Its seed is derived from the seed of the fit
        and the step, so that a resumed fit ends where an uninterrupted one does.
        """


@runtime_checkable
class Diagnosed(Learned, Protocol):
    """A method that learns by steps and can measure how its training goes."""

    def diagnose(self, batch: dict[str, Tensor], rng: torch.Generator) -> dict[str, float]:
        """Return figures by name, which are measured on a batch of held-out patches."""


@runtime_checkable
class Stochastic(Method, Protocol):
    """A method that learns how kernels and noise are distributed."""

    def distribution(self) -> Distribution:
        """Return the distribution that the model draws from, to be measured and shown."""
