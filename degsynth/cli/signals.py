"""SIGINT and SIGTERM. The first one asks a command to finish what it has begun; a second one ends it at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class GracefulStop:
    """A context in which the first SIGINT or SIGTERM is remembered and the second one raises SystemExit."""

    def __init__(self) -> None:
        self._received: list[int] = []

    def __enter__(self) -> GracefulStop:
        for number in SIGNALS:
            signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received:
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
    """A context in which the first SIGINT or SIGTERM waits for the end of the context; a second one acts at once.

    At the end of the context the signal is passed on to the handler that was there before.
    """

    def __init__(self) -> None:
        self._received: list[int] = []
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def __enter__(self) -> DeferredSignals:
        for number in SIGNALS:
            signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
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
