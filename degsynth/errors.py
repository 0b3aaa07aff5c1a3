"""Errors caused by input: one line that names the thing, its value, the rule and the way out.

A message names an option as the Python API does, between backticks: ``` `bad_pairs=skip` ```. The command line replaces
such a name by its flag (``--bad-pairs skip``, see `degsynth.cli.flags`), so that both kinds of users read their own
names.
"""

from __future__ import annotations

import errno
import unicodedata

STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of characters that are not shown but do something: escapes, ends of lines, changes of direction."""
HARMLESS = {"\u00ad", "\u200c", "\u200d"}
"""Characters of those categories that names are written with: soft hyphen, zero-width non-joiner and joiner."""
OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "insufficient memory",
    "failed to allocate",
    "bad_alloc",
    "alloc_failed",
    "could not create a primitive",
    "can't start new thread",
    "failed to map segment",
)
"""Parts of what torch (on any device), OpenCV, C++, Python and the loader of libraries say where memory is short."""
MORE_MEMORY = "work on fewer images at a time, or free some"
"""The way out where memory is too short for an image."""


class DegsynthError(Exception):
    """Base class of all errors whose message is meant for the user."""

    exit_code = 2
    """The exit code of the command line where this error ends it."""

    def __init__(self, message: str, hint: str = "") -> None:
        """Store what is wrong (``message``) and the way out (``hint``); they are printed with a semicolon between."""
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message, self.hint = message, hint


class ConfigError(DegsynthError):
    """A bad option, preset or configuration file, which is found before anything is written."""


class DataError(DegsynthError):
    """A missing, unreadable or unsuitable image, folder or pair."""


class CheckpointError(DegsynthError):
    """A file that is not a checkpoint, or has a newer format, or fails its verification."""


class OutputError(DegsynthError):
    """A write that fails in the middle of a run; the run can be resumed once the cause is removed."""

    exit_code = 1


class FitError(DegsynthError):
    """A fit without a result: the data do not suffice for one, or a loss or weight is not finite."""

    exit_code = 1


class FitStoppedError(DegsynthError):
    """A fit that was asked to stop and has left a snapshot."""

    exit_code = 130


def os_reason(error: OSError) -> str:
    """Return what the operating system says of a failure, without the path and the error number."""
    return error.strerror or str(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of any library says that memory, or room for another thread, is too short."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    if isinstance(error, DegsynthError):  # which has a way out of its own
        return False
    text = str(error).lower()
    return any(part in text for part in OUT_OF_MEMORY)


def steers(character: str) -> bool:
    """Tell whether a character may command a terminal, or end a line, instead of being shown."""
    return unicodedata.category(character) in STEERING and character not in HARMLESS


def can_be_shown(name: str) -> bool:
    """Tell whether all characters of a name are shown: letters of all scripts, and spaces of all widths, are."""
    return name.isprintable() or not any(map(steers, name))


def shortened(text: str, length: int = 100) -> str:
    """Return the first line of a text, without what cannot be printed, and no longer than ``length``."""
    line = "".join(character if character.isprintable() else "?" for character in (text.splitlines() or [""])[0])
    return line if len(line) <= length else line[: length - 1] + "…"
