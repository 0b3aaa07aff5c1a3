"""A command runs in a process of its own, and a small process that does nothing else watches it.

Where memory is short, libraries end the process in ways that Python cannot catch; a decoder may crash or wait for ever.
The watching process then names what was in hand, lets another process go on without it, and ends with an exit code that
is documented. Both are forks of one process that has loaded nothing yet, which takes a few milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from degsynth.cli.console import note
from degsynth.cli.signals import handled_signals, stop_at_once
from degsynth.watching import Board, watch_with

MOST_DEATHS = 10
"""Processes of one command that may die before it is given up."""
TICK_S = 1.0
"""Seconds between two looks at what is in hand."""
ONE_REQUEST_S = 0.02
"""Signals that come within this time are one request: programs such as timeout send them to a process and its group."""
TERMINAL_S = 0.1
"""Seconds in which a signal that a terminal or a batch system sends to all processes has reached the other one."""
LAST_WAIT_S = 10.0
"""Seconds in which a process ends that was killed, unless it waits for a file system that does not answer."""
LONGEST_SILENCE_S = 120.0
"""Seconds in which a process runs no line of Python before it counts as dead: some libraries try for ever to get memory
that they do not get, while they are loaded."""
ARENA_MAX = -8
"""Parameter of mallopt (glibc's malloc.h): how many arenas there are."""
FOR_DEATH_OF_PARENT = 1
"""``PR_SET_PDEATHSIG`` of prctl: the signal that a process gets when its parent dies."""


def watched() -> None:
    """Go on in a process that is watched: the process that called this never returns, and ends as the other one does.

    Does nothing except on Linux, nor where threads run already or the system grants no other process.
    """
    if sys.platform != "linux" or _has_threads():
        return
    board = Board()
    watcher = _Watcher(board)
    while True:
        with _blocked_signals():
            try:
                is_watched = watcher.fork()
            except OSError:
                return
        if is_watched:
            watch_with(board)
            board.start_pulse()
            return
        watcher.finish()


def _has_threads() -> bool:
    """Tell whether this process has other threads, Python's or those of a library: they would be lost in a fork."""
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir()) > 1
    except OSError:
        return threading.active_count() > 1


class _Watcher:
    """The process that watches."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._pid = self._pipe = -1
        self._asked, self._last = 0, -ONE_REQUEST_S
        self._number = 0
        self._seconds: dict[int, float] = {}
        self._pulse, self._silence, self._silent = 0, 0.0, False

    def fork(self) -> bool:
        """Begin another process; True in that one. Signals are blocked."""
        self._pipe, writable = os.pipe()
        parent = os.getpid()
        try:
            self._pid = os.fork()
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            if self._pid:
                os.close(writable)
        if self._pid == 0:
            _die_with_parent(parent)
            _spare_addresses()
            os.close(self._pipe)
            stop_at_once()
            return True
        for number in handled_signals():
            signal.signal(number, self._receive)
        return False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        """Pass a signal on, unless it was sent to the other process as well."""
        now = time.monotonic()
        if now - self._last < ONE_REQUEST_S:
            return
        self._asked, self._last, self._number = self._asked + 1, now, number
        time.sleep(TERMINAL_S)
        if self.board.signals < self._asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def finish(self) -> None:
        """Wait for the end of the other process; return where another one has to go on, else end this one, too."""
        code, overdue = self._wait()
        os.close(self._pipe)
        held, history = self.board.held(), self.board.history
        if self.board.exit_code is not None:
            _exit(self.board.exit_code)
        if self._asked:
            _exit(128 + self._number)
        history.deaths += 1
        silence = f"a library did not answer for {LONGEST_SILENCE_S:g} s"
        why = "" if overdue else silence if self._silent else _death(code)
        self._silence, self._silent = 0.0, False
        if not self.board.opened or not held or history.deaths >= MOST_DEATHS:
            self._give_up(why or f"{overdue} took longer than {self.board.longest:g} s", [thing.name for thing in held])
        history.new.clear()
        guilty = overdue or (held[0].name if len(held) == 1 else None)
        if guilty is not None:
            reason = f"took longer than {self.board.longest:g} s; give a longer `timeout`"
            if why:
                reason = f"{why}; memory is too short (give less `memory` or fewer `workers`), or the file is damaged"
            history.failed[guilty] = reason
            history.new.add(guilty)
        elif not overdue:
            history.suspects += [thing.name for thing in held]
        self.board.clear()

    def _give_up(self, why: str, names: list[str]) -> NoReturn:
        where = f" while {' and '.join(names)} {'was' if len(names) == 1 else 'were'} made" if names else ""
        advice = "memory may be too short"
        if self.board.opened:
            advice += ": give less `memory`, a smaller `tile` or fewer `workers`, and go on with `existing=resume`"
        note(f"degsynth: {why}{where}; {advice}")
        _exit(1 if self.board.opened else 2)

    def _wait(self) -> tuple[int, str | None]:
        """Wait for the end; return the exit code (−n: ended by signal n), and what was in hand for too long."""
        overdue, killed = None, 0.0
        while True:
            ended = bool(select.select([self._pipe], [], [], TICK_S)[0])
            pid, status = os.waitpid(self._pid, 0 if ended else os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status), overdue
            if not killed:
                overdue = self._overdue()
                self._silent = overdue is None and self._is_silent()
                if overdue is not None or self._silent:
                    os.kill(self._pid, signal.SIGKILL)
                    killed = time.monotonic()
            elif time.monotonic() - killed > LAST_WAIT_S:
                note(
                    f"degsynth: {overdue or 'a library'} takes too long, and process {self._pid} cannot be ended: it "
                    "waits for the file system; go on with `existing=resume` once that process is gone"
                )
                _exit(1)

    def _is_silent(self) -> bool:
        """Tell whether the other process has run no Python for so many looks that it never will again."""
        before, self._pulse = self._pulse, self.board.pulse
        self._silence = self._silence + TICK_S if self._pulse == before != 0 else 0.0
        return self._silence >= LONGEST_SILENCE_S

    def _overdue(self) -> str | None:
        """Return what has been in hand for too long, where something has.

        Looks are counted, not time: a computer that was asleep, or a process that was stopped, does not look.
        """
        held = self.board.held() if self.board.longest else []
        self._seconds = {thing.number: self._seconds.get(thing.number, -TICK_S) + TICK_S for thing in held}
        return next((thing.name for thing in held if self._seconds[thing.number] >= self.board.longest), None)


def _death(code: int) -> str:
    """Say how a process ended that did not end by itself."""
    if code == -signal.SIGKILL:
        return "the process was killed (as the system does where memory is short)"
    return f"the process was ended by {signal.Signals(-code).name}" if code < 0 else "a library ended the process"


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """A context in which signals wait."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, handled_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_parent(parent: int) -> None:
    """Let the system kill this process as soon as the one that watches it dies: nobody would end it otherwise."""
    import ctypes

    ctypes.CDLL(None).prctl(FOR_DEATH_OF_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it has died already
        os._exit(128 + signal.SIGKILL)


def _spare_addresses() -> None:
    """Where the address space is limited (``ulimit -v``), let all threads take memory from one place.

    The C library otherwise reserves 64 MB for each thread; where it gets none, it tries again at every allocation.
    """
    import ctypes
    import resource

    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(ARENA_MAX, 1)


def _exit(code: int) -> NoReturn:
    """End this process, which has nothing open and nothing to tidy up."""
    os._exit(code)
