"""An even choice of some items among many."""

from __future__ import annotations


def evenly_spaced(length: int, count: int) -> list[int]:
    """Return at most ``count`` of the indices 0 … length − 1, evenly spread.

    An even choice matters because folders are often sorted by camera or scene.
    """
    return sorted({number * length // count for number in range(count)}) if length else []
