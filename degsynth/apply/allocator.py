"""The C library's memory, for a process that makes one tile after another.

What is freed usually goes back to the system soon, which hands out pages anew, filled with zeros, one fault after
another: up to a third of the CPU time of a simple blur. A process that will want as much again in a moment keeps it.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt (glibc's malloc.h)."""
KEPT = 2**29
"""Bytes of free memory that are kept."""
OWN_PAGES = 2**25
"""Blocks from that size on get pages of their own, which go back at once: the largest that glibc keeps by itself."""


def keep_freed_memory() -> None:
    """Have it keep what is freed, for the rest of the process; elsewhere than on Linux with glibc nothing happens."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(TRIM_THRESHOLD, KEPT)
    mallopt(MMAP_THRESHOLD, OWN_PAGES)
