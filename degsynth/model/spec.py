"""What a checkpoint says of itself: the record ``degsynth.json`` in its extra files."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from degsynth.config import Interval, Strict
from degsynth.errors import CheckpointError, shortened
from degsynth.ops.compression import Compression

FORMAT_VERSION = 1
"""Version of the record and of the contract of the module beside it."""
SPEC_NAME = "degsynth.json"
"""Name of the record among the extra files of the TorchScript archive."""


LARGEST_SCALE = 64
"""Largest scale of a model."""
LARGEST_LENGTH = 2**16
"""Largest halo or step of tiles, px."""
LARGEST_POOL = 2**24
"""Largest number of kernels in a model's pool."""
Scale = Annotated[int, Field(ge=1, le=LARGEST_SCALE)]
Length = Annotated[int, Field(ge=0, le=LARGEST_LENGTH)]
MOST_CHANNELS = 1024
"""Largest number of channels that a model takes."""
ChannelCount = Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
Line = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A text that is printed: one line, without control characters."""
PerChannel = Annotated[tuple[float, ...], Field(min_length=1, max_length=MOST_CHANNELS)]
Phase = Annotated[tuple[tuple[float, float], ...], Field(min_length=1, max_length=MOST_CHANNELS)]


class HardwareFactor(Strict):
    """The hardware factor of an abl model: a number that sets how much the finished model blurs."""

    default: float
    """Factor that `draw` writes into the code unless another is asked for."""
    trained: float
    """Factor at which the model was fitted."""
    entry: int = Field(default=0, ge=0, le=LARGEST_LENGTH)
    """Column of the code that holds the factor."""
    range: Interval
    """Smallest and largest factor that the model takes."""

    @field_validator("range")
    @classmethod
    def _is_range(cls, value: Interval) -> Interval:
        if not -math.inf < value.low <= value.high < math.inf:
            raise ValueError("give two finite numbers, the smaller one first")
        return value


class JpegShare(Strict):
    """One of the ways in which the LR images of a fit were compressed."""

    compression: Compression
    images: int = Field(ge=1, le=2**31)
    """Number of images that were compressed like this."""


MOST_JPEG = 256
"""Largest number of ways of compression that a checkpoint holds."""


class MethodSpec(Strict):
    """What a method knows of its model: how far it reads, what it takes, what it draws, what it changes on purpose."""

    clean_halo: Length
    """HR px that `clean` reads beyond an LR pixel's own block, on each side."""
    noise_halo: Length = 0
    """LR px that `noise` reads beyond an LR pixel, on each side."""
    multiple_of: int = Field(ge=1, le=LARGEST_LENGTH)
    """Tile origins are multiples of this number of HR px, in absolute image coordinates."""
    tiling: Literal["exact", "whole_only"] = "exact"
    """``exact``: tiles with that halo equal the whole image; ``whole_only``: the model needs the whole image."""
    channels: Literal["any"] | Annotated[list[ChannelCount], Field(min_length=1, max_length=MOST_CHANNELS)] = "any"
    """Numbers of channels that the model takes."""
    stochastic: bool = False
    """Whether different seeds give different images."""
    has_noise: bool = False
    """Whether `noise` gives anything but zeros."""
    pool: int = Field(default=0, ge=0, le=LARGEST_POOL)
    """Number of kernels in the pool that an image's kernel is drawn from; its index is the first entry of the code.
    0: the model has no pool."""
    gain: PerChannel = (1.0,)
    """Change of contrast that the model applies on purpose, one for all channels or one for each."""
    offset: PerChannel = (0.0,)
    """Change of level that the model applies on purpose, in [0, 1] levels, one for all channels or one for each."""
    phase: Phase | None = None
    """Centroid of the effective kernel, (y, x) in HR px from the centre of the LR pixel's s×s block, one for all
    channels or one for each. It differs from 0 where the pairs were shifted. None: `fit` measures it on the
    learnt model."""
    hardware_factor: HardwareFactor | None = None
    """The hardware factor, where the model has one."""


class Origin(Strict):
    """Which program and method a checkpoint comes from, and its scale: the head of the record."""

    format_version: int = FORMAT_VERSION
    """Version of this record and of the module's contract."""
    degsynth_version: Line
    """Version of degsynth that wrote the file."""
    method: Line
    """Name of the method in the table of methods."""
    scale: Scale
    """HR size / LR size."""


class Spec(MethodSpec, Origin):
    """Everything that a checkpoint says of itself."""

    halo: int = Field(ge=0, le=LARGEST_SCALE * LARGEST_LENGTH + LARGEST_LENGTH)
    """clean_halo + scale × noise_halo, HR px."""
    bytes_per_pixel: int = Field(default=0, ge=0, le=2**40)
    """Memory that the model needs for an HR pixel of a tile (`degsynth.model.memory`). 0: unknown."""
    phase: Phase = ((0.0, 0.0),)
    """Centroid of the effective kernel, (y, x) in HR px from the centre of the LR pixel's s×s block, one for all
    channels or one for each. It differs from 0 where the pairs were shifted."""
    tone: Annotated[tuple[float, ...], Field(max_length=16)] = ()
    """Coefficients of the curve from levels to the light in which the model blurs (`degsynth.ops.tone`); empty: the
    levels themselves are blurred."""
    jpeg: Annotated[tuple[JpegShare, ...], Field(max_length=MOST_JPEG)] = ()
    """How the LR images of the fit were compressed as JPEG files, the most frequent first; empty: they were not."""
    data_range: Interval | None = None
    """Black and white of the images of the fit, in their own units; None: the range of their type."""
    config: dict[str, Any] = Field(default_factory=dict)
    """The resolved configuration of the fit."""
    held_out: dict[str, Any] | None = None
    """Scores on images that the fit never saw, at the hardware factor of the fit where the model has one."""
    data_fingerprint: Line | None = None
    """SHA-256 over the names and bytes of all images of the fit, the held-out ones included."""
    licence: Line = "unknown: that of the training images applies"
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
                f"{path} has format {shortened(f'{version:.6g}')}, this degsynth reads up to {FORMAT_VERSION}; upgrade "
                f"degsynth (it was written by {shortened(str(record.get('degsynth_version', 'a newer one')))})"
            )
        return Spec.model_validate(record)
    except RecursionError:
        raise CheckpointError(f"{path}: its {SPEC_NAME} cannot be read (it is nested too deeply)") from None
    except (ValueError, AttributeError, TypeError, OverflowError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise CheckpointError(f"{path}: its {SPEC_NAME} cannot be read ({shortened(reason)})") from None
