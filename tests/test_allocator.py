from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys, threading
import numpy as np
from degsynth import allocator
if sys.argv[1] == "keep":
    allocator.keep_freed_memory()

def work(rounds):
    for _ in range(rounds):
        held = [np.ones(2**20), np.ones(2**19)]  # 8 and 4 MB, 3072 pages
        del held

def in_a_thread(rounds):
    thread = threading.Thread(target=work, args=[rounds])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread.start()
    thread.join()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

in_a_thread(5)
in_a_thread(50)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library, which is left as it is")
def test_memory_that_is_freed_is_used_again() -> None:
    """Once there, pages stay: rounds after rounds ask for none."""
    told = subprocess.run([sys.executable, "-c", CODE, "keep"], capture_output=True, text=True, check=True)
    _, later = map(int, told.stdout.split())
    assert later < 2 * 3072, "fifty rounds of 3072 pages each"


def test_nothing_happens_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from degsynth import allocator

    def no_library(name: object) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(allocator.ctypes, "CDLL", no_library)
    allocator.keep_freed_memory()
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("asked for a library"))
    allocator.keep_freed_memory()
