"""Opening regular files only: a pipe, device, socket or folder with the name of an image is an error, not a hang."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from degsynth.errors import DataError, os_reason

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""Words for what is no regular file."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading; DataError names anything else.

    What is no regular file is not opened: opening a named pipe waits for a writer, and opening a device can have
    effects. The file that was opened is looked at again, because the name may belong to another one by then.
    """
    try:
        _check(path, os.stat(path).st_mode)  # noqa: PTH116 - not all paths have a text form
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise DataError(f"{path}: {os_reason(error)}") from None
    except ValueError:  # a null byte in the name
        raise DataError(f"{str(path)!r}: is no name of a file") from None
    try:
        _check(path, os.fstat(file.fileno()).st_mode)
    except BaseException:
        file.close()
        raise
    return file


def _without_waiting(path: str, flags: int) -> int:
    """Open a file such that a pipe that took its place since it was looked at does not wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise DataError(f"{path}: is {kind}; only regular files, and links to them, are read")
