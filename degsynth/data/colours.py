"""Words for the colours of images. This module imports nothing, so every other module can use it."""

from __future__ import annotations


def colour_name(channels: int) -> str:
    """Return the word for images that have so many channels: ``gray``, ``RGB``, or for example ``4-channel``."""
    return {1: "gray", 3: "RGB"}.get(channels, f"{channels}-channel")
