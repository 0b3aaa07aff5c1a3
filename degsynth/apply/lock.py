"""The lock that keeps a second run out of the folder of a data set."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO

from degsynth.apply.root import LOCK, Root
from degsynth.config import OnText
from degsynth.errors import ConfigError, os_reason

BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""Answers of file systems that have no locks, such as Lustre without ``-o flock``, some of FUSE and NFS."""
ATTEMPTS = 20


@contextlib.contextmanager
def locked(root: Root, on_warning: OnText) -> Iterator[None]:
    """Keep other runs out of a folder by a lock of the operating system, which ends with the process.

    ConfigError where another run holds it. A file system without locks is a warning: nobody holds one there, and
    waiting would not help. (The library filelock tells neither apart, follows links and empties the file.)
    """
    with _take(root, on_warning):
        yield


def check_free(root: Root) -> None:
    """Raise ConfigError where another run holds the lock; nothing is written."""
    if not (root.path / LOCK).exists():
        return
    try:
        with root.open(LOCK, "rb") as file:
            _lock(file.fileno())
    except FileNotFoundError:  # the other run has just ended
        return
    except OSError as error:
        if error.errno in BUSY:
            raise _busy(root) from None


def _busy(root: Root) -> ConfigError:
    return ConfigError(f"OUT {root.path} is being written by another run", "wait for it")


def _take(root: Root, on_warning: OnText) -> BinaryIO:
    for _ in range(ATTEMPTS):
        try:
            file = root.open(LOCK, "r+b")
        except FileNotFoundError:  # another run ended, and removed the folder, at this very moment
            continue
        try:
            _lock(file.fileno())
            if _is_current(root, file):
                return file
        except OSError as error:
            if error.errno in UNSUPPORTED:
                on_warning(
                    f"OUT {root.path}: its file system has no locks ({os_reason(error)}); "
                    "start no second run that writes this folder"
                )
                return file
            file.close()
            if error.errno not in BUSY:
                raise
            break
        file.close()
    raise _busy(root)


def _is_current(root: Root, file: BinaryIO) -> bool:
    """Tell whether the locked file is still the one in the folder: the run before removes it when it ends."""
    try:
        return os.path.samestat(root.stat(LOCK), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
