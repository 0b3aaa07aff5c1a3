"""Compression of LR images as JPEG files: what a user asks for, and what a model has learnt of it."""

from __future__ import annotations

from typing import Literal

from degsynth.config import Interval
from degsynth.data.compression import JpegStage
from degsynth.errors import ConfigError
from degsynth.model.spec import Spec
from degsynth.ops.compression import HIGHEST_QUALITY, LOWEST_QUALITY

JpegChoice = Interval | Literal["learned", "none"]
"""A quality, or a range of qualities, of libjpeg; as the LR images of the fit were compressed; or not at all."""


def stage(choice: JpegChoice | None, spec: Spec) -> JpegStage | None:
    """Return the last stage of making LR images by a model; None where they are not compressed.

    ``choice`` None: as the LR images of the fit, where they were JPEG files. ConfigError where it cannot be done.
    """
    if choice == "none" or (choice is None and not spec.jpeg):
        return None
    if isinstance(choice, Interval):
        low, high = choice
        if not LOWEST_QUALITY <= low <= high <= HIGHEST_QUALITY or low != int(low) or high != int(high):
            raise ConfigError(
                f"`jpeg={choice}`: give a whole quality from {LOWEST_QUALITY} to {HIGHEST_QUALITY}, or LO:HI with "
                "LO ≤ HI"
            )
        return JpegStage.at_qualities(int(low), int(high))
    learned = JpegStage.of((share.compression, share.images) for share in spec.jpeg)
    if learned is None:
        raise ConfigError(
            f"`jpeg=learned`: the LR images of the fit of this model ({spec.method}) were no JPEG files",
            "give a quality, such as 85",
        )
    return learned


def parse(text: str | None) -> JpegChoice | None:
    """Read ``learned``, ``none``, ``85`` or ``70:95``; None is None. ConfigError for anything else."""
    if text is None:
        return None
    if text in ("learned", "none"):
        return "learned" if text == "learned" else "none"
    try:
        return Interval.parse(text, "jpeg")
    except ConfigError:
        raise ConfigError(f"`jpeg={text}`: give learned, none, a quality from 1 to 100, or a range LO:HI") from None
