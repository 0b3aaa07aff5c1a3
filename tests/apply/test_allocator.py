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
    """Pages that were once there stay: rounds of 6144 pages ask for them once, and later threads ask for none.

    Without the setting, the first thread asks for them in each of its five rounds. (What the second thread asks for
    then depends on which of the C library's arenas it is given.)
    """
    asked = {}
    for setting in ("keep", "leave"):
        command = [sys.executable, "-c", CODE, setting, MODULE]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        asked[setting] = [int(count) for count in output.split()]
    assert max(asked["keep"]) < 2 * 6144
    assert asked["leave"][0] > 4 * 6144


def test_nothing_happens_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from degsynth.apply import allocator

    def no_library(name: object) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(allocator.ctypes, "CDLL", no_library)
    allocator.keep_freed_memory()
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("asked for a library"))
    allocator.keep_freed_memory()
