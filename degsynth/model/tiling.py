"""Tiles of the LR plane and the HR windows they need. Integers only.

Every LR pixel belongs to one tile. A tile is computed from a window, larger by the halo and cut at the image's
border, so that border handling inside the degrader sees real borders and the halo alone sees false ones. Window
origins are multiples of ``multiple_of`` in absolute HR coordinates: pooling falls on the same grid as in the whole
image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

THRIFT = 16
"""A tile is so many times as long as its halo, if memory allows: the halo is then an eighth of what is computed."""
AMPLE = 2**19
"""And as large, in HR px: calls of smaller ones cost more than what is computed in them."""


@dataclass(frozen=True)
class Span:
    """One axis of a tile, LR px: the core [start, stop) is written, the window [window_start, window_stop) read."""

    start: int
    stop: int
    window_start: int
    window_stop: int

    @property
    def core(self) -> slice:
        """Where the core lies inside the window."""
        return slice(self.start - self.window_start, self.stop - self.window_start)


@dataclass(frozen=True)
class Tiling:
    """How an LR plane is cut up. Lengths are LR px."""

    rows: int
    """Of a tile's core."""
    columns: int
    """Likewise."""
    halo: int
    """What a window reads beyond its core, on each side."""
    step: int
    """Windows begin at multiples of it."""

    def bands(self, height: int, first: int = 0) -> Iterator[Span]:
        """The rows of tiles from top to bottom, or from row ``first``, a multiple of the step."""
        return spans(height, self.rows, self.halo, self.step, first)

    def tiles(self, width: int) -> Iterator[Span]:
        """The tiles of a band from left to right."""
        return spans(width, self.columns, self.halo, self.step)

    def smaller(self, height: int, width: int) -> Tiling:
        """Half as long and half as wide, as far as a plane of that size knows of it."""
        return replace(self, rows=-(-min(self.rows, height) // 2), columns=-(-min(self.columns, width) // 2))


def spans(length: int, tile: int, halo: int, step: int, first: int = 0) -> Iterator[Span]:
    """Cut an axis of ``length`` LR px into cores of ``tile``, rounded up to ``step``, and windows wider by ``halo``."""
    if tile < 1:
        raise ValueError(f"tile (={tile}) must be at least 1 LR px")
    tile = -(-tile // step) * step
    for start in range(first, length, tile):
        stop = min(start + tile, length)
        window_start = max(0, (start - halo) // step * step)
        window_stop = min(length, -(-(stop + halo) // step) * step)
        yield Span(start, stop, window_start, window_stop)


def square(tile: int, scale: int, halo: int, multiple_of: int) -> Tiling:
    """Tiles of ``tile`` LR px a side; ``halo`` and ``multiple_of`` (a multiple of the scale) are in HR px."""
    return Tiling(tile, tile, -(-halo // scale), multiple_of // scale)


def fitting(height: int, width: int, pixels: float, scale: int, halo: int, multiple_of: int) -> Tiling:
    """Tiles for an LR plane of which no window, if possible, has more than ``pixels`` HR px.

    Strips over the whole width, just long enough that the halo costs little: they read a file from top to bottom.
    Narrower ones where memory does not allow that, and squares, as large as may be, where it does not even allow those.
    """
    reach, step = -(-halo // scale), multiple_of // scale
    most, beyond = int(pixels / scale**2), 2 * (reach + step - 1)

    def whole_steps(length: int) -> int:
        return max(step, length // step * step)

    ample = min(AMPLE // (scale**2 * width), most // width - beyond)
    rows, columns = whole_steps(max(THRIFT * reach, ample)), width
    if (min(rows, height) + beyond) * width > most:
        columns = whole_steps(most // (rows + beyond) - beyond)
        if columns < rows:
            rows = columns = whole_steps(math.isqrt(most) - beyond)
    return Tiling(rows, columns, reach, step)
