"""What a process has in hand, in memory that another process can read (`degsynth.cli.watch`).

A decoder that crashes, or a library that ends the process where memory is short, takes all threads with it. A process
that watches this one then knows which images were being made. Without such a process, nothing here has any effect.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

SLOTS = 129
"""Number of things that can be in hand at a time: one for each worker, and one more."""
LONGEST_NAME = 4096
"""Bytes of a name that are kept."""
HEADER = struct.Struct("<diiii")
"""Longest time that one thing may be in hand, s; exit code; whether the command has ended, has opened outputs; signals.
"""
PULSE = struct.Struct("<Q")
"""How often the process has shown that it can run Python; 0: it has never begun to."""
SLOT = struct.Struct("<QI")
"""Number of what is in hand, counted from 1 (0: nothing), and the length of its name."""
SLOT_BYTES = SLOT.size + LONGEST_NAME
FIRST_SLOT = HEADER.size + PULSE.size
PULSE_S = 1.0
"""Seconds between two pulses."""


class Held(NamedTuple):
    """One thing that is in hand."""

    number: int
    """No two things have the same number, even where their names are equal."""
    name: str


@dataclass
class History:
    """What became of earlier processes of the same command."""

    deaths: int = 0
    """How many of them died."""
    failed: dict[str, str] = field(default_factory=dict)
    """What has to be given up, and why."""
    new: set[str] = field(default_factory=set)
    """Those of the failed that nobody has been told of."""
    suspects: list[str] = field(default_factory=list)
    """What was in hand when one of them died, and perhaps was the cause: it is tried again, one at a time."""

    def keep(self, failures: Iterable[tuple[str, str | None]]) -> None:
        """Keep what an earlier process has found to fail, and has told of: (name, reason)."""
        for name, reason in failures:
            if name not in self.failed:
                self.failed[name] = reason or ""


class Board:
    """What the threads of a process have in hand: they write it, and a process that forked this one reads it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, FIRST_SLOT + SLOTS * SLOT_BYTES)
        self._lock = threading.Lock()
        self.history = History()
        self.clear()

    def clear(self) -> None:
        """Forget all, before another process begins."""
        self._memory[:] = bytes(len(self._memory))
        self._free, self._count = list(range(SLOTS)), 0

    def _header(self) -> tuple[float, int, int, int, int]:
        return HEADER.unpack_from(self._memory)

    def set_longest(self, seconds: float) -> None:
        """Say how long one thing may be in hand; 0: as long as it takes."""
        HEADER.pack_into(self._memory, 0, seconds, *self._header()[1:])

    @property
    def longest(self) -> float:
        """Seconds that one thing may be in hand; 0: as long as it takes."""
        return self._header()[0]

    def end(self, code: int) -> None:
        """Say that the command has ended with an exit code, whatever happens while the process is taken down."""
        HEADER.pack_into(self._memory, 0, self._header()[0], code, 1, *self._header()[3:])

    @property
    def exit_code(self) -> int | None:
        """The exit code of the command; None where it has not ended."""
        _, code, ended, _, _ = self._header()
        return code if ended else None

    def open(self) -> None:
        """Say that outputs are being written, and that another process could go on with them."""
        HEADER.pack_into(self._memory, 0, *self._header()[:3], 1, self._header()[4])

    @property
    def opened(self) -> bool:
        """Whether outputs have been written."""
        return bool(self._header()[3])

    def count_signal(self) -> None:
        """Say that a signal has been answered."""
        *others, signals = self._header()
        HEADER.pack_into(self._memory, 0, *others, signals + 1)

    @property
    def signals(self) -> int:
        """Number of signals that have been answered."""
        return self._header()[4]

    def start_pulse(self) -> None:
        """Count, in a thread, for as long as Python runs: not where a library keeps the interpreter to itself."""

        def beat() -> None:
            while True:
                PULSE.pack_into(self._memory, HEADER.size, self.pulse + 1)
                time.sleep(PULSE_S)

        with contextlib.suppress(RuntimeError, MemoryError):  # without a thread nobody counts, and nobody waits for it
            threading.Thread(target=beat, name="pulse", daemon=True).start()

    @property
    def pulse(self) -> int:
        """How often the process has shown that it can run Python; 0: nobody counts."""
        count: int = PULSE.unpack_from(self._memory, HEADER.size)[0]
        return count

    @contextlib.contextmanager
    def in_hand(self, name: str) -> Iterator[None]:
        """Say that something is in hand until the context ends."""
        with self._lock:
            slot = self._free.pop()
            self._count += 1
            number = self._count
        place, encoded = FIRST_SLOT + slot * SLOT_BYTES, name.encode("utf-8", "surrogateescape")[:LONGEST_NAME]
        start = place + SLOT.size
        self._memory[start : start + len(encoded)] = encoded
        SLOT.pack_into(self._memory, place, number, len(encoded))
        try:
            yield
        finally:
            SLOT.pack_into(self._memory, place, 0, 0)
            with self._lock:
                self._free.append(slot)

    def held(self) -> list[Held]:
        """List what is in hand, in the order in which it was taken up."""
        found = []
        for place in range(FIRST_SLOT, len(self._memory), SLOT_BYTES):
            number, length = SLOT.unpack_from(self._memory, place)
            if number:
                start = place + SLOT.size
                name = self._memory[start : start + length].decode("utf-8", "surrogateescape")
                found.append(Held(number, name))
        return sorted(found)


_boards: list[Board] = []
"""The board of this process, where it is watched."""


def watch_with(board: Board) -> None:
    """Use a board in this process, from now on."""
    _boards[:] = [board]


def board() -> Board:
    """Return the board of this process; where nobody watches it, one that nobody reads."""
    if not _boards:
        _boards.append(Board())
    return _boards[0]
