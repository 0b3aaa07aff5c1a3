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

LENGTH_IN_HALOS = 16
"""Length of a tile in halos, if memory allows: the halo is then an eighth of what is computed."""
WORTHWHILE_PIXELS = 2**19
"""HR pixels that a tile has at least, if memory allows: in smaller ones the calls cost more than the computing."""


@dataclass(frozen=True)
class Span:
    """One axis of a tile, LR px: the core [start, stop) is written, the window [window_start, window_stop) is read."""

    start: int
    stop: int
    window_start: int
    window_stop: int

    @property
    def core(self) -> slice:
        """The place of the core inside the window."""
        return slice(self.start - self.window_start, self.stop - self.window_start)


@dataclass(frozen=True)
class Tiling:
    """How an LR plane is cut into tiles. All lengths are in LR px."""

    rows: int
    """Height of a tile's core."""
    columns: int
    """Width of a tile's core."""
    halo: int
    """Pixels that a window reads beyond its core, on each side."""
    step: int
    """Windows begin at multiples of this number."""

    def bands(self, height: int, first: int = 0) -> Iterator[Span]:
        """Yield the rows of tiles from top to bottom, or from row ``first`` on, which is a multiple of the step."""
        return spans(height, self.rows, self.halo, self.step, first)

    def tiles(self, width: int) -> Iterator[Span]:
        """Yield the tiles of a band from left to right."""
        return spans(width, self.columns, self.halo, self.step)

    def smaller(self, height: int, width: int) -> Tiling:
        """Return tiles of half the height and width; a tile larger than the plane counts as large as the plane."""
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
    """Return tiles of ``tile`` LR px a side; ``halo`` and ``multiple_of`` (a multiple of the scale) are in HR px."""
    return Tiling(tile, tile, -(-halo // scale), multiple_of // scale)


def fitting(height: int, width: int, pixels: float, scale: int, halo: int, multiple_of: int) -> Tiling:
    """Return tiles for an LR plane whose windows have, if possible, no more than ``pixels`` HR px.

    Tiles are strips over the whole width, just long enough that the halo costs little: strips read a file from top to
    bottom. Where memory does not allow that they are narrower; where it does not allow that either they are squares, as
    large as possible.
    """
    reach, step = -(-halo // scale), multiple_of // scale
    largest, beyond = int(pixels / scale**2), 2 * (reach + step - 1)

    def whole_steps(length: int) -> int:
        return max(step, length // step * step)

    worthwhile = min(WORTHWHILE_PIXELS // (scale**2 * width), largest // width - beyond)
    rows, columns = whole_steps(max(LENGTH_IN_HALOS * reach, worthwhile)), width
    if (min(rows, height) + beyond) * width > largest:
        columns = whole_steps(largest // (rows + beyond) - beyond)
        if columns < rows:
            rows = columns = whole_steps(math.isqrt(largest) - beyond)
    return Tiling(rows, columns, reach, step)
