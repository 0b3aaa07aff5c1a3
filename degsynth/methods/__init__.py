"""The table of methods, and what each of them provides.

A method is one file with a ``Config`` (pydantic, one docstring line under each field), ``PRESETS`` (name → values)
and a ``Method``. A new one is that file and one line here; the command line, the fit and the tests find it in the
table.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.optim import Optimizer

from degsynth.config import Strict, Training, nearest
from degsynth.errors import ConfigError
from degsynth.model.degrader import Degrader
from degsynth.ops.grain import Grain

METHODS = {
    "linear": "degsynth.methods.linear",
    "dml": "degsynth.methods.dml",
    "abl": "degsynth.methods.abl",
    "directkpn": "degsynth.methods.directkpn",
    "directnet": "degsynth.methods.directnet",
    "spectral": "degsynth.methods.spectral",
    "lfl": "degsynth.methods.lfl",
    "adl": "degsynth.methods.adl",
    "pdm": "degsynth.methods.pdm",
    "kmsr": "degsynth.methods.kmsr",
}


@dataclass(frozen=True)
class Unpaired:
    """What an unpaired method is prepared with."""

    hr: Sequence[Tensor]
    """Images (C, H, W) in [0, 1]."""
    lr: Sequence[Tensor]
    """Images of other scenes, of any size."""
    noise: Tensor
    """Covariance (C, C) of the noise that LR photographs have: what the model is to add."""
    noise_left: Tensor
    """That of the noise in ``lr``: zeros where it was taken off."""
    quantum: float
    """Between two levels of the files, in [0, 1]: 1/255 for 8 bits."""
    groups: Sequence[int]
    """Which group each of ``lr`` belongs to: a camera at one sensitivity, say."""
    group_sizes: Mapping[str, int]
    """How many LR images each group has, by name and in order; not all of them need be in ``lr``."""


@dataclass(frozen=True)
class MeasuredNoise:
    """Noise of a group of LR images."""

    name: str
    grain: Grain
    number: float
    """What the last number of an image's code is where its noise is drawn."""


@dataclass(frozen=True)
class Distribution:
    """What a model draws from, beside what it was to draw from."""

    kernels: Tensor
    """(N, K, K) float64, drawn."""
    wanted: Tensor | None
    """(M, K, K) float64, drawn from what was estimated; None where nothing was."""
    varied: bool
    """Whether kernels are meant to differ from draw to draw."""
    noises: Sequence[MeasuredNoise]


Data = Literal["paired", "unpaired", "lr"]
"""Aligned HR-LR pairs; two sets of images that have nothing in common; or LR photographs alone."""


class Method(Protocol):
    """All that `degsynth.fit` knows of a method. Made as ``Method(config, scale, channels)``."""

    data: Data
    """What it learns from."""

    def prepare(self, images: Any) -> None:
        """Estimation without gradients, from whole images (C, H, W) in [0, 1].

        Paired: an iterable of (hr, lr), of sizes s·h × s·w and h × w. Unpaired: an `Unpaired`. LR alone: kernels (N,
        K, K) float64 that were estimated from the images.
        """

    def degrader(self) -> Degrader:
        """What has been learnt, ready to be exported."""

    def spec(self) -> dict[str, Any]:
        """The fields of `checkpoint.Spec` that the method decides: halos, tiling, levels, phase, …

        ``phase`` None: it follows from what was learnt and cannot be read off; `fit` measures it.
        """

    def report(self) -> dict[str, Any]:
        """What a user wants to know of the fit (kernel width, conditioning, …), for ``fit.json``."""

    def warnings(self) -> list[str]:
        """What a user should not overlook, each a line that tells the way out."""


@runtime_checkable
class Learned(Method, Protocol):
    """A method that learns by steps: what `degsynth.loop` needs of it besides.

    Its `degrader` takes optics to wrap in place of those that are being trained: their running mean.
    """

    config: Training
    modules: dict[str, nn.Module]
    """All that has weights. ``optics`` is what `degrader` wraps; its running mean is what is scored and exported."""
    optimizers: dict[str, Optimizer]
    """Their learning rates are the highest; the loop lowers them by the schedule."""
    patch: int
    """Side of a training patch, HR px."""
    least_patch: int
    """What a patch must not be smaller than, HR px, where images are small."""
    multiple_of: int
    """Patches begin at multiples of it, HR px."""

    def degrader(self, optics: nn.Module | None = None) -> Degrader:
        """What has been learnt, or other weights of the same kind, ready to be exported."""

    def training_step(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        """Learn from one batch of `data.patches.Patches`; the loss's terms by name, each a single number.

        Random numbers must follow from ``step``, so that a resumed fit ends where an uninterrupted one does.
        """


@runtime_checkable
class Diagnosed(Learned, Protocol):
    """A learned method that can tell something of how it went."""

    def diagnose(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """Figures by name, from a batch of held-out patches."""


@runtime_checkable
class Stochastic(Method, Protocol):
    """A method that learns how kernels and noise are distributed."""

    def distribution(self) -> Distribution:
        """What is drawn from, to be measured and shown."""


class MethodModule(Protocol):
    """A file of the table."""

    Config: type[Strict]
    PRESETS: dict[str, dict[str, Any]]
    Method: Any


def get(name: str) -> MethodModule:
    """The module of a method; ConfigError names the nearest where there is none."""
    if name not in METHODS:
        raise ConfigError(f"there is no method '{name}'; {nearest(name, list(METHODS))}")
    return importlib.import_module(METHODS[name])
