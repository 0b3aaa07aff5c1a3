"""Crops of an HR image, each of which becomes an output of its own: where they lie, and how they are named."""

from __future__ import annotations

from degsynth.errors import ConfigError, DataError

Corner = tuple[int, int]
"""Top and left of a crop, px of the HR image."""


def check(side: int | None, step: int | None, scale: int) -> None:
    """Raise ConfigError where crops are no whole LR pixels."""
    if step is not None and side is None:
        raise ConfigError(f"`step={step}` is the distance between crops", "give their size as `crop=N`, too")
    for name, length in (("crop", side), ("step", step)):
        if length is not None and length % scale:
            below, above = length // scale * scale, -(-length // scale) * scale
            nearest = f"{below} or {above}" if below else f"{above}"
            raise ConfigError(f"`{name}={length}` is no multiple of the scale {scale}", f"give {nearest}")


def starts(length: int, side: int, step: int) -> list[int]:
    """Return where crops begin along an axis: every ``step`` px; the last one is moved inwards to the border."""
    last = length - side
    return [*range(0, last, step), last] if last >= 0 else []


def places(height: int, width: int, side: int, step: int, scale: int) -> list[Corner]:
    """Return the crops of an image, from top to bottom; none where it is too small.

    They cover all whole LR pixels, unless the step is larger than the side.
    """
    height, width = height // scale * scale, width // scale * scale
    return [(top, left) for top in starts(height, side, step) for left in starts(width, side, step)]


def suffix(place: Corner | None) -> str:
    """Return the end of the name of a crop."""
    return "" if place is None else f"_y{place[0]:04}_x{place[1]:04}"


LONGEST_SUFFIX = len(suffix((10**9, 10**9)))


def check_inside(place: Corner | None, side: int | None, height: int, width: int) -> None:
    """Raise DataError where an image (height, width) has no such crop. A place of None: it was too small for any."""
    if side is None:
        return
    if place is None:
        raise DataError(f"the image is {width}×{height}, smaller than a crop of {side} px", "give a smaller `crop`")
    if place[0] + side > height or place[1] + side > width:
        raise DataError(f"the image is {width}×{height}, and has no crop at row {place[0]}, column {place[1]} any more")
