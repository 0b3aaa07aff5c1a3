"""Memory that is kept after it is freed, for a process that makes one tile after another.

The C library usually returns freed memory to the system soon, and the system hands it out again page by page, filled
with zeros. For a simple blur these page faults take up to a third of the CPU time. A process that will need as much
memory again in a moment had better keep it.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt (glibc's malloc.h)."""
KEPT_BYTES = 2**29
"""Free memory that is kept, bytes."""
LARGEST_BLOCK = 2**25
"""Size in bytes from which a block gets pages of its own, which return to the system as soon as it is freed. It is the
largest size that glibc allows."""


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the rest of the process; does nothing except on Linux with glibc."""
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(MMAP_THRESHOLD, LARGEST_BLOCK)
