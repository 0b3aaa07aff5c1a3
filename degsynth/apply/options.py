"""What a run of `apply` is asked for, and what it reports at the end."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Literal

import torch

from degsynth.apply import layouts
from degsynth.apply.dataset_folder import Existing, Link
from degsynth.apply.jpeg import JpegChoice, stage
from degsynth.apply.layouts import crops
from degsynth.apply.replay import Replay
from degsynth.apply.verification import Check
from degsynth.config import Interval
from degsynth.data.ranges import choose_range
from degsynth.errors import ConfigError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degradation import Noise
from degsynth.model.mixture import Degradations, Mixture
from degsynth.parallel import MAX_WORKERS

LINKS: tuple[Link, ...] = ("hard", "symlink", "copy")
"""Ways to bring unchanged HR files into the data set."""
CHECKS: tuple[Check, ...] = ("quick", "full")
"""Ways to look at finished outputs when a run is resumed."""
WORKER_MEMORY = 0.25e9
"""Bytes that the tiles of one worker may need on a CPU, unless the user says otherwise."""


@dataclass(frozen=True)
class Options:
    """Everything about a run but the model and the folders."""

    seed: int = 0
    """Every random number of the run follows from this seed and the identity of the output."""
    noise: Noise = Noise()  # noqa: RUF009 - frozen
    """Noise that is added after the blur."""
    hardware_factor: Interval | None = None
    """Interval from which each image's hardware factor is drawn; None: the model's own factor, where it has one."""
    jpeg: JpegChoice | None = None
    """Compression of the LR images as JPEG files, whose pixels are then written without further loss; None: as the LR
    images of the fit, where these were JPEG files."""
    jpeg_files: bool = False
    """Write these JPEG files themselves as LR images, instead of their pixels."""
    data_range: Interval | Literal["dtype"] | None = None
    """Black and white in the units of the files; ``dtype``: the range of the type; None: the checkpoint's, else the
    type's."""
    tile: int | None = None
    """Side of a tile in LR px; None: as large as the memory allows."""
    memory: float | None = None
    """Bytes that the tiles of all workers together may need; None: `WORKER_MEMORY` for each worker, on a GPU half of
    what is free there."""
    to_srgb: bool = False
    """Convert images that have an ICC profile to sRGB (`degsynth.data.srgb`); otherwise HR and LR carry the profile."""
    link: Link = "hard"
    """How HR files that need no change are brought into ``hr/``."""
    workers: int = 2
    """Number of images that are worked on at a time, each by one thread."""
    device: str = "cpu"
    """Where the model runs: cpu or cuda[:N]."""
    existing: Existing = "refuse"
    """What happens to a data set that exists already."""
    check: Check = "quick"
    """How closely a resumed run looks at finished outputs. Both compare the SHA-256 of LR and the size, times and inode
    of the source; ``quick`` reads HR only where it has changed since the last run, ``full`` always."""
    limit: int | None = None
    """Only the first so many images are made; None: all."""
    max_pixels: int | None = None
    """Images that declare more pixels are refused before they are decoded; of a TIFF file, each strip or tile. None:
    the number in the environment variable DEGSYNTH_MAX_PIXELS, or 2³⁰."""
    draws: int = 1
    """Number of LR images made from every HR image. From 2 on their names end in ``_0``, ``_1``, …"""
    crop: int | None = None
    """Side of square crops of HR images, HR px, a multiple of the scale; each is an output of its own. None: whole
    images. The LR image of a crop is the crop of the LR image of the whole, with its noise."""
    step: int | None = None
    """Distance between crops, HR px, a multiple of the scale; None: their side. The last crop of a row or column is
    moved inwards, so that the whole image is covered."""

    layouts: tuple[str, ...] = ()
    """Layouts (`degsynth.apply.layouts.LAYOUTS`) that are made of the finished data set, each in a folder of its name.
    """

    replay: Replay | None = None
    """A manifest whose outputs are made again, under the same names, and no others. The options above must be those of
    `Replay.settings`."""

    def __post_init__(self) -> None:
        for layout in self.layouts:
            layouts.check(layout)
        if self.jpeg_files and self.crop is not None:
            raise ConfigError(
                f"`jpeg_files` and `crop={self.crop}` exclude each other: a crop is no JPEG file of its own",
                "leave one of them out",
            )
        with self._named():
            self._check_positive("draws", "crop", "step")
        self._check_positive("workers", "tile", "limit", "max_pixels")
        if self.check not in CHECKS:
            raise ConfigError(f"`check={self.check}`: give quick or full")
        if self.workers > MAX_WORKERS:
            raise ConfigError(f"`workers={self.workers}` must be at most {MAX_WORKERS}")
        if self.memory is not None and not 0 < self.memory < math.inf:
            raise ConfigError(f"memory (={self.memory:g} bytes) must be above 0, and finite")

    def _named(self) -> contextlib.AbstractContextManager[None]:
        """Name ``dataset.json`` in errors about options that a replay has read there."""
        return contextlib.nullcontext() if self.replay is None else self.replay.named()

    def _check_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"`{name}={value}` must be at least 1")

    def degradations(self, model: Checkpoint | Mixture) -> Degradations:
        """Return how images are degraded by a model, or by several; ConfigError where the options do not suit them."""
        with self._named():
            crops.check(self.crop, self.step, Mixture.of(model).scale)
            for one in Mixture.of(model).models:
                if stage(self.jpeg, one.spec) is None and self.jpeg_files:
                    raise ConfigError("`jpeg_files`: the LR images are not compressed", "give `jpeg=QUALITY`, too")
            return Degradations(Mixture.of(model), self.noise, self.hardware_factor, self.device)

    def levels(self, degradations: Degradations) -> Interval | None:
        """Return black and white of all images; ConfigError where none is given, and the models have different ones."""
        return choose_range(self.data_range, None if self.data_range is not None else degradations.data_range())

    def worker_memory(self) -> float:
        """Return the bytes that the tiles of one worker may need."""
        if self.memory is not None:
            return self.memory / self.workers
        if self.device == "cpu":
            return WORKER_MEMORY
        return torch.cuda.mem_get_info(self.device)[0] / 2 / self.workers


@dataclass(frozen=True)
class Summary:
    """What became of the inputs."""

    done: int
    failed: int
    resumed: int
    """Outputs that an earlier run had finished."""
    ignored: list[str]
    """Files of the HR folder whose names are not those of images."""
    interrupted: bool = False
    differing: int = 0
    """Outputs that are not those of the manifest that was replayed."""
