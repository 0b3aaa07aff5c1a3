"""SIGINT, SIGTERM and SIGHUP. The first asks a command to finish what it has begun; a second one ends it at once."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from degsynth.cli.text import printable
from degsynth.watching import board

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP
RETRY_S = 0.05
"""Seconds until it is looked at again whether an import has ended."""
NOTHING_KEPT = "nothing is kept, give the command again"
"""How to go on where an interruption leaves nothing."""

_ways_on: list[Callable[[], str]] = []


@contextlib.contextmanager
def way_on(text: Callable[[], str]) -> Iterator[None]:
    """Within this context, an interruption says with ``text`` how to go on; it is called when that happens."""
    _ways_on.append(text)
    try:
        yield
    finally:
        _ways_on.pop()


def begin_anew(out: Path) -> str:
    """Say how to go on with a command that begins anew, and wants a new folder ``out`` for that."""
    return f"to begin anew, remove {out} first" if out.exists() else NOTHING_KEPT


def interruption() -> str:
    """Return what is said where a command is interrupted."""
    return f"interrupted; {_ways_on[-1]() if _ways_on else NOTHING_KEPT}"


def handled_signals() -> list[signal.Signals]:
    """Return the signals that this process answers: those that it was not told to ignore, as nohup and ``&`` do."""
    return [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]


def stop_at_once() -> None:
    """From now on, let a signal end the command at once."""
    for number in handled_signals():
        signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise SystemExit; while a module is being imported, as soon as that has ended."""
    board().count_signal()
    _stopped_by.append(number)
    said = interruption() if len(_stopped_by) == 1 else "interrupted"
    print(f"degsynth: {printable(said)}", file=sys.stderr)  # noqa: T201
    _leave(number, frame)


def _leave(number: int, frame: FrameType | None) -> None:
    if not (_importing(frame) and _leave_later()):
        raise SystemExit(128 + _stopped_by[0])


def _leave_later() -> bool:
    """Try again in a moment; False where the system has no timer (Windows)."""
    if not hasattr(signal, "setitimer"):
        return False
    signal.signal(signal.SIGALRM, _leave)
    signal.setitimer(signal.ITIMER_REAL, RETRY_S)
    return True


def mind_lost_exits() -> None:
    """Where a signal comes during a destructor, Python drops the SystemExit: raise it again in a moment."""
    elsewhere = sys.unraisablehook

    def unraisable(arguments: Any) -> None:
        if not (isinstance(arguments.exc_value, SystemExit) and _leave_later()):
            elsewhere(arguments)

    sys.unraisablehook = unraisable


def _importing(frame: FrameType | None) -> bool:
    """Tell whether a module is being imported. Some libraries, numpy for one, lose an exception that is raised then."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


_stopped_by: list[int] = []


def stopped_by() -> int | None:
    """Return the signal that has ended the command; None where there was none."""
    return _stopped_by[0] if _stopped_by else None


class GracefulStop:
    """A context in which the first signal is remembered and the second one raises SystemExit."""

    def __init__(self) -> None:
        self._received: list[int] = []

    def __enter__(self) -> GracefulStop:
        for number in handled_signals():
            signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        board().count_signal()
        if self._received:
            print(f"degsynth: {printable(interruption())}", file=sys.stderr)  # noqa: T201
            raise SystemExit(128 + number)
        self._received.append(number)

    def asked(self) -> bool:
        """Tell whether a signal has come."""
        return bool(self._received)

    @property
    def exit_code(self) -> int:
        """The exit code of a command that the signal has stopped."""
        return 128 + self._received[0]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class DeferredSignals:
    """A context in which the first signal waits for the end of the context; a second one acts at once.

    At the end of the context the signal is passed on to the handler that was there before.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._handlers = {number: signal.getsignal(number) for number in handled_signals()}

    def __enter__(self) -> DeferredSignals:
        for number in self._handlers:
            signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        board().count_signal()
        self._received.append(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        """Tell whether a signal has come."""
        return bool(self._received)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def pass_on(self) -> None:
        """If a signal has come, raise it again for the handler that was there before."""
        if self._received:
            signal.raise_signal(self._received[0])
