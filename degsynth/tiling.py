"""Tiles of the LR plane and the HR windows they need. Integers only.

Every LR pixel belongs to one tile. A tile is computed from a window, larger by the halo and cut at the image's
border, so that border handling inside the degrader sees real borders and the halo alone sees false ones. Window
origins are multiples of ``multiple_of`` in absolute HR coordinates: pooling falls on the same grid as in the whole
image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


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
class Tile:
    """A rectangle of the LR plane and what has to be read for it."""

    rows: Span
    columns: Span


def spans(length: int, tile: int, halo: int, step: int) -> Iterator[Span]:
    """Cut an axis of ``length`` LR px into cores of ``tile``, rounded up to ``step``, and windows wider by ``halo``."""
    tile = -(-tile // step) * step
    for start in range(0, length, tile):
        stop = min(start + tile, length)
        window_start = max(0, (start - halo) // step * step)
        window_stop = min(length, -(-(stop + halo) // step) * step)
        yield Span(start, stop, window_start, window_stop)


def grid(height: int, width: int, tile: int, scale: int, halo: int, multiple_of: int) -> Iterator[Tile]:
    """Tiles of an LR plane of height × width, row by row.

    ``tile`` is the core's side in LR px; ``halo`` and ``multiple_of`` (a multiple of the scale) are in HR px.
    """
    if tile < 1:
        raise ValueError(f"tile (={tile}) must be at least 1 LR px")
    step, reach = multiple_of // scale, -(-halo // scale)
    for rows in spans(height, tile, reach, step):
        for columns in spans(width, tile, reach, step):
            yield Tile(rows, columns)
