"""What a fit needs to know of its images, whether they are pairs, two folders or LR photographs alone."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from degsynth.config import Interval, OnProgress
from degsynth.data.compression import saved
from degsynth.errors import DataError
from degsynth.evaluation.held_out import Judge
from degsynth.evaluation.residual import LeftOut
from degsynth.fit.options import FitOptions
from degsynth.methods.protocol import Jpeg, Learned, Method
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.spec import MOST_JPEG, JpegShare
from degsynth.model.tone import Tone
from degsynth.ops.compression import Stored
from degsynth.ops.tone import USUAL
from degsynth.reports.panels import Panel
from degsynth.reports.previews import Degrade

Means = Mapping[str, Mapping[str, float]]
"""Mean figures on held-out images, by model and by name of the figure."""


@dataclass(frozen=True)
class Batches:
    """Training batches."""

    batch: Callable[[int], dict[str, Tensor]]
    """Makes the batch of a step, on the device of the fit."""
    patch: int
    """Side of the patches, HR px."""


def assumed_tone(options: FitOptions, dtype: str, notes: list[str]) -> tuple[float, ...]:
    """Return the coefficients of the curve that is assumed of files of this type, as it cannot be measured in pairs.

    A note says so. The result is empty where no curve is wanted.
    """
    usual = options.preset != "paper" and np.issubdtype(dtype, np.integer)
    if (options.tone or ("assumed" if usual else "none")) == "none":
        return ()
    middle = float(Tone(USUAL).to_light(torch.tensor(0.5)))
    notes.append(
        f"blur is taken to act on light, as in a lens: mid-gray of the files counts as a light of {middle:.2f} "
        "(`tone=none`: on the levels of the files)"
    )
    return USUAL


def check_patch(side: int, method: Learned, name: str, advice: str) -> None:
    """Raise DataError, with advice, where the images only allow patches that are too small for a method, HR px."""
    if side < method.least_patch:
        raise DataError(
            f"{name} learns from patches of at least {method.least_patch} HR px a side; the smallest images allow "
            f"{side}",
            advice,
        )


def shares(files: Sequence[Stored | None]) -> tuple[JpegShare, ...]:
    """Return how files were compressed, the most frequent first; nothing where half of them or more are no JPEG."""
    counts = collections.Counter(file.compression for file in files if file is not None)
    if 2 * counts.total() <= len(files):
        return ()
    return tuple(JpegShare(compression=how, images=number) for how, number in counts.most_common(MOST_JPEG))


def qualities(jpeg: Sequence[JpegShare]) -> str:
    """Return the qualities of libjpeg that are nearest to some ways of compression, in words."""
    known = [share.compression.quality() for share in jpeg]
    low, high = min(known), max(known)
    return f"quality {low}" if low == high else f"quality {low} to {high}"


def jpeg_of(files: Sequence[Stored | None]) -> Jpeg | None:
    """Return how images are stored, as methods see it; None where half of them or more are no JPEG files."""
    return Jpeg(files, saved) if 2 * sum(file is not None for file in files) > len(files) else None


class Source(Protocol):
    """The images of a fit, split into those to fit to and held-out ones."""

    scale: int
    channels: int
    dtype: str
    data_range: Interval | None
    """Black and white in the units of the files; None: the range of the type."""
    tone: tuple[float, ...] = ()
    """Coefficients of the curve from levels to the light in which methods see the images; known after `prepare`."""
    jpeg: tuple[JpegShare, ...] = ()
    """How LR images were compressed, where most of them are JPEG files."""
    notes: list[str]
    """What a user should know of the images."""

    def fingerprint(self) -> str:
        """Return the SHA-256 over the names and bytes of all images, the held-out ones included."""

    def split_digest(self) -> str:
        """Return a digest of which images are fitted to, choose weights and are reported, and of how they are seen.

        By default it is empty: that follows from the images and the options, as it did in earlier versions.
        """
        return ""

    def prepare(self, method: Method, kept: Path | None = None) -> None:
        """Let the method estimate what it needs no gradients for.

        ``kept``: the run directory of a resumed fit, which holds what `write_estimates` wrote.
        """

    def write_estimates(self, out: Path) -> None:
        """Write into the run directory what took long to estimate; by default there is nothing of the kind."""
        return

    def batches(self, method: Learned, device: str) -> Batches:
        """Return the training batches. DataError where the images are too small."""

    def samples(self, count: int) -> Sequence[Tensor]:
        """Return at most ``count`` held-out HR images (C, H, W)."""

    def facts(self) -> dict[str, Any]:
        """Return, for ``fit.json``, which images were fitted to, held out and left out."""

    def scorer(self, method: Method) -> Scorer:
        """Return what judges the method on held-out images."""


class Scorer(Protocol):
    """Judges a fit on held-out images, and says what came of it."""

    references: Mapping[str, Checkpoint]
    """Models that a learned method is compared with, by name."""
    missing_reference: str
    """Why a model to compare with is missing; empty where no such model is missing."""

    def judge(self, method: Learned, device: str) -> Judge:
        """Return the figure by which training is steered."""

    def left_out(self, method: Method, model: Checkpoint) -> LeftOut | None:
        """Measure what a model leaves out of held-out LR; by default there is no real LR to compare with."""
        return None

    def evaluate(self, method: Method, model: Checkpoint, on_progress: OnProgress) -> dict[str, Any]:
        """Return the figures on held-out images: ``mean`` by model, ``images``, and what else there is."""

    def pictures(self, degrade: Degrade, count: int) -> list[list[Panel]]:
        """Return rows of pictures of at most ``count`` held-out images."""

    def summary(self, mean: Means) -> str:
        """Put the figures of `evaluate` into one line."""

    def warnings(self, mean: Means) -> list[str]:
        """Return what a user must not overlook in the images and in the figures of `evaluate`."""
