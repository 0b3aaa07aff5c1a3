"""The command line in a forked process, which starts at once because everything is imported already."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from tests.fuzz.material import command

PATIENCE_S = 120.0
"""Longest time that a run may take, seconds; then it is killed."""


class Run:
    """A run of the command line; what it prints on stderr goes to a file, which is never shared."""

    def __init__(self, log: Path, *arguments: object, stdout: bool = False) -> None:
        """Start it. With ``stdout`` it prints JSON lines, which can be read."""
        self.log, self.code = log, 0
        self._stdout, writing = os.pipe()
        self.begun = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._stdout)
            _be_child(log, (*arguments, "--json") if stdout else arguments, writing if stdout else -1)
        os.close(writing)

    def ended(self) -> bool:
        """Tell whether the process has ended; its exit code is then in ``code``, negative for a signal."""
        if self.pid:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid, self.code = 0, os.waitstatus_to_exitcode(status)
                self._close()
        return not self.pid

    def _close(self) -> None:
        if self._stdout >= 0:
            os.close(self._stdout)
            self._stdout = -1

    def wait_until(self, true: Callable[[], bool]) -> bool:
        """Wait until something is true, or the process has ended; tell whether it still runs."""
        while not self.ended():
            if true():
                return True
            if time.monotonic() > self.begun + PATIENCE_S:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        return False

    def wait(self) -> int:
        """Wait for the end; return the exit code."""
        self.wait_until(lambda: False)
        return self.code

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def read_lines(self, count: int) -> None:
        """Read so many lines of stdout, or all there are, and close it."""
        while count > 0 and (part := os.read(self._stdout, 1)):
            count -= part == b"\n"
        self._close()

    def said(self) -> str:
        """Return what was printed on stderr."""
        return self.log.read_text("utf-8", "backslashreplace")


def _be_child(log: Path, arguments: tuple[object, ...], stdout: int) -> None:
    code = 70
    try:
        os.dup2(stdout if stdout >= 0 else os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), 2)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python has it
        # A fork loses torch's thread pool, and torch makes it anew when a thread first asks for it; of two threads that
        # ask at once, one gets none ("Invalid thread pool!"). So this one asks before there are others.
        torch.set_num_threads(torch.get_num_threads())
        code = command(*arguments)
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)
