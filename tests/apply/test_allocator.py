from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

import degsynth

MODULE = Path(degsynth.__file__).parent / "apply/allocator.py"
CODE = """
import resource, runpy, sys, threading
import numpy as np
allocator = runpy.run_path(sys.argv[2])  # by itself: torch, which the package loads, changes the C library's ways, too
if sys.argv[1] == "keep":
    allocator["keep_freed_memory"]()

def work(rounds):
    for _ in range(rounds):
        held = [np.ones(2**18) for _ in range(12)]  # 2 MB each, 6144 pages together
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
    """Once there, pages stay: fifty rounds of 6144 pages ask for none, which without it they do."""
    later = {}
    for how in ("keep", "leave"):
        told = subprocess.run([sys.executable, "-c", CODE, how, MODULE], capture_output=True, text=True, check=True)
        later[how] = int(told.stdout.split()[1])
    assert later["keep"] < 2 * 6144
    assert later["leave"] > 10 * 6144


def test_nothing_happens_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from degsynth.apply import allocator

    def no_library(name: object) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(allocator.ctypes, "CDLL", no_library)
    allocator.keep_freed_memory()
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("asked for a library"))
    allocator.keep_freed_memory()
