"""What a checkpoint says of itself: the record ``degsynth.json`` in its extra files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from degsynth.config import Interval, Strict
from degsynth.errors import CheckpointError

FORMAT_VERSION = 1
"""Version of the record and of the contract of the module beside it."""
SPEC_NAME = "degsynth.json"
"""Name of the record among the extra files of the TorchScript archive."""


class HardwareFactor(Strict):
    """The hardware factor of an abl model: a number that sets how much the finished model blurs."""

    default: float
    """Factor that `draw` writes into the code unless another is asked for."""
    trained: float
    """Factor at which the model was fitted."""
    entry: int = 0
    """Column of the code that holds the factor."""
    range: Interval
    """Smallest and largest factor that the model takes."""


class MethodSpec(Strict):
    """What a method knows of its model: how far it reads, what it takes, what it draws, what it changes on purpose."""

    clean_halo: int = Field(ge=0)
    """HR px that `clean` reads beyond an LR pixel's own block, on each side."""
    noise_halo: int = Field(default=0, ge=0)
    """LR px that `noise` reads beyond an LR pixel, on each side."""
    multiple_of: int = Field(ge=1)
    """Tile origins are multiples of this number of HR px, in absolute image coordinates."""
    tiling: Literal["exact", "whole_only"] = "exact"
    """``exact``: tiles with that halo equal the whole image; ``whole_only``: the model needs the whole image."""
    channels: Literal["any"] | list[int] = "any"
    """Numbers of channels that the model takes."""
    stochastic: bool = False
    """Whether different seeds give different images."""
    has_noise: bool = False
    """Whether `noise` gives anything but zeros."""
    pool: int = Field(default=0, ge=0)
    """Number of kernels in the pool that an image's kernel is drawn from; its index is the first entry of the code.
    0: the model has no pool."""
    gain: tuple[float, ...] = (1.0,)
    """Change of contrast that the model applies on purpose, one for all channels or one for each."""
    offset: tuple[float, ...] = (0.0,)
    """Change of level that the model applies on purpose, in [0, 1] levels, one for all channels or one for each."""
    phase: tuple[tuple[float, float], ...] | None = None
    """Centroid of the effective kernel, (y, x) in HR px from the centre of the LR pixel's s×s block, one for all
    channels or one for each. It differs from 0 where the pairs were shifted. None: `fit` measures it on the
    learnt model."""
    hardware_factor: HardwareFactor | None = None
    """The hardware factor, where the model has one."""


class Origin(Strict):
    """Which program and method a checkpoint comes from, and its scale: the head of the record."""

    format_version: int = FORMAT_VERSION
    """Version of this record and of the module's contract."""
    degsynth_version: str
    """Version of degsynth that wrote the file."""
    method: str
    """Name of the method in the table of methods."""
    scale: int = Field(ge=1)
    """HR size / LR size."""


class Spec(MethodSpec, Origin):
    """Everything that a checkpoint says of itself."""

    halo: int = Field(ge=0)
    """clean_halo + scale × noise_halo, HR px."""
    bytes_per_pixel: int = Field(default=0, ge=0)
    """Memory that the model needs for an HR pixel of a tile (`degsynth.model.memory`). 0: unknown."""
    phase: tuple[tuple[float, float], ...] = ((0.0, 0.0),)
    """Centroid of the effective kernel, (y, x) in HR px from the centre of the LR pixel's s×s block, one for all
    channels or one for each. It differs from 0 where the pairs were shifted."""
    data_range: Interval | None = None
    """Black and white of the images of the fit, in their own units; None: the range of their type."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The resolved configuration of the fit."""
    held_out: dict[str, Any] | None = None
    """Scores on images that the fit never saw, at the hardware factor of the fit where the model has one."""
    data_fingerprint: str | None = None
    """SHA-256 over the names and bytes of all images of the fit, the held-out ones included."""
    licence: str = "unknown: that of the training images applies"
    """Terms under which the model may be used."""

    def level(self, value: float, channel: int) -> float:
        """Return what a flat image of this value becomes in a channel."""
        return value * self.gain[channel % len(self.gain)] + self.offset[channel % len(self.offset)]

    def channel_counts(self) -> list[int]:
        """Return the numbers of channels to test the model with."""
        return [1, 3, 4] if self.channels == "any" else self.channels

    def usual_channels(self) -> int:
        """Return 3 (RGB) where the model takes that, else the largest number of channels that it takes."""
        return 3 if 3 in self.channel_counts() else max(self.channel_counts())


def colour_names(channels: Sequence[int]) -> str:
    """Name images by their numbers of channels: ``gray or RGB``."""
    names = {1: "gray", 3: "RGB"}
    return " or ".join(names.get(count, f"{count}-channel") for count in channels)


def parse_spec(text: str | bytes, path: Path) -> Spec:
    """Read ``degsynth.json``; CheckpointError where it is damaged or has a newer format, which is looked at first."""
    try:
        record = json.loads(text)
        version = int(record.get("format_version", 0))
        if version > FORMAT_VERSION:
            raise CheckpointError(
                f"{path} has format {version}, this degsynth reads up to {FORMAT_VERSION}; upgrade degsynth "
                f"(it was written by {record.get('degsynth_version', 'a newer one')})"
            )
        return Spec.model_validate(record)
    except (ValueError, AttributeError, TypeError) as error:
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            error = ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        raise CheckpointError(f"{path}: its {SPEC_NAME} cannot be read ({error})") from None
