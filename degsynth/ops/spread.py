"""Some of many, evenly."""

from __future__ import annotations


def evenly(length: int, count: int) -> list[int]:
    """At most ``count`` of ``length`` indices, evenly spread: folders are often sorted by camera or scene."""
    return sorted({number * length // count for number in range(count)}) if length else []
