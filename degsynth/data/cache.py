"""Decoded images that are kept in memory, within a budget."""

from __future__ import annotations

import threading
from typing import Any

import cachetools


class Cache:
    """Values in memory, at most ``budget`` bytes of them: the least recently used ones leave first.

    Values are decoded files, and registered tensors, which take far longer to compute than a file takes to decode.
    Several threads may use a cache at the same time.
    """

    def __init__(self, budget: int) -> None:
        self._values: cachetools.LRUCache[tuple[str, str], tuple[Any, int]] = cachetools.LRUCache(
            budget, getsizeof=lambda entry: entry[1]
        )
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def used(self) -> int:
        """Bytes of all values that are kept."""
        return int(self._values.currsize)

    def get(self, kind: str, name: str) -> Any:
        """Return the value of this kind and name; None where it is not kept."""
        with self._lock:
            entry = self._values.get((kind, name))
            return None if entry is None else entry[0]

    def put(self, kind: str, name: str, value: Any, size: int) -> None:
        """Keep a value of ``size`` bytes, unless it alone exceeds the budget or its name has a value already."""
        with self._lock:
            if (kind, name) not in self._values and size <= self._values.maxsize:
                self._values[kind, name] = value, size
