"""Standard output and standard error that are closed, full, or read by nobody any more."""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import sys
import tempfile
import threading
from typing import Any

from degsynth.errors import is_out_of_memory, os_reason

STANDARD_OUTPUT = "standard output"
"""What standard output is called in messages."""


def prepare() -> None:
    """Make standard output fail by name, and let what nobody can read on standard error get lost."""
    _open_closed_ones()
    sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Messages(2, "w", closefd=False), sys.stderr)


def _open_closed_ones() -> None:
    """Let descriptors 0, 1 and 2 lead somewhere, so that no file of the data set gets one of these numbers.

    Libraries print to descriptor 2, and that would get into the file. Writing to a closed standard output still fails.
    """
    for descriptor, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest number that is free
            os.set_inheritable(descriptor, True)


def _text(raw: io.FileIO, before: Any) -> io.TextIOWrapper:
    """Return a text stream with the encoding of the one before it (None: it was closed).

    What that encoding does not have, such as a σ in ASCII, is written as an escape instead of ending the command.
    """
    encoding = getattr(before, "encoding", None) or "utf-8"
    whole_lines = raw.isatty() or isinstance(raw, _Messages)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=whole_lines)


class _Output(io.FileIO):
    """Standard output, whose errors name it."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            raise OSError(error.errno, os_reason(error), STANDARD_OUTPUT) from None


class _Messages(io.FileIO):
    """Standard error, which takes everything: no run ends because nobody reads what it says."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes


def keep_input() -> None:
    """Keep what comes on standard input in a file without a name, so that it can be read more than once.

    Where a process dies, another one goes on and needs the same list. Standard input is that file from now on.
    """
    with tempfile.TemporaryFile() as kept:
        with open(0, "rb", closefd=False) as given:
            shutil.copyfileobj(given, kept)
        kept.flush()
        os.dup2(kept.fileno(), 0)


def input_lines(separator: bytes) -> list[str]:
    """Return what standard input holds, which `keep_input` has kept, in parts."""
    os.lseek(0, 0, os.SEEK_SET)
    with open(0, "rb", closefd=False) as kept:
        return [os.fsdecode(part) for part in kept.read().split(separator)]


def flush() -> str:
    """Write what is still held back of standard output; return why that failed, or an empty text.

    A reader that has left, as ``head`` does, has what it wanted.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python tries once more at its end
        return "" if error.errno == errno.EPIPE else f"{STANDARD_OUTPUT}: {os_reason(error)}"
    return ""


def hush_memory_errors() -> None:
    """Let threads and destructors that run out of memory print no traceback: the command says it in one line."""
    in_threads, elsewhere = threading.excepthook, sys.unraisablehook

    def of_thread(arguments: Any) -> None:
        if not is_out_of_memory(arguments.exc_value):
            in_threads(arguments)

    def unraisable(arguments: Any) -> None:
        if not is_out_of_memory(arguments.exc_value):
            elsewhere(arguments)

    threading.excepthook, sys.unraisablehook = of_thread, unraisable
    logging.getLogger("concurrent.futures").propagate = False
