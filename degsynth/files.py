"""Reading nothing but regular files, writing so that nobody ever sees half of one, and telling files apart."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from pathlib import Path
from typing import Any, BinaryIO, cast

from degsynth.errors import ConfigError

POOL_SUFFIXES = (".h5", ".hdf5")
"""Endings of the names of kernel pool files."""
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""Words for what is no regular file."""


def is_pool_name(name: str | Path) -> bool:
    """Tell whether a file name is that of a kernel pool."""
    return Path(name).suffix.lower() in POOL_SUFFIXES


def name_parts(name: str) -> list[str]:
    """Split a relative POSIX name into its parts; ValueError where it could lead out of its folder."""
    parts = name.split("/")
    # On Windows, a backslash separates folders, and a colon follows the letter of a drive.
    foreign = os.name == "nt" and any(character in name for character in "\\:")
    if "\0" in name or foreign or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name!r} is not a relative path without '..'")
    return parts


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading; OSError names anything else.

    What is no regular file is not opened: opening a named pipe waits for a writer, and opening a device can have
    effects. The file that was opened is looked at again, because the name may belong to another one by then.
    """
    try:
        _check_regular(os.stat(path).st_mode)  # noqa: PTH116 - not all paths have a text form
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    except ValueError:  # a null byte in the name
        raise OSError(errno.EINVAL, "is no name of a file") from None
    try:
        _check_regular(os.fstat(file.fileno()).st_mode)
    except BaseException:
        file.close()
        raise
    return file


def _without_waiting(path: str, flags: int) -> int:
    """Open a file such that a pipe that took its place since it was looked at does not wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise OSError(errno.EINVAL, f"is {kind}; only regular files, and links to them, are read")


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a regular file of at most ``limit`` bytes; OSError for anything else."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"has more than {limit} bytes, the most that such a file may have")
        content = file.read(size + 1)  # Python takes as much memory as is asked for, whatever the file has
    if len(content) > size:
        raise OSError(errno.EIO, "has grown while it was read")
    return content


def check_makeable(folder: Path) -> None:
    """Raise ConfigError where a new folder cannot be made, as far as that is seen without making it."""
    above = next(path for path in folder.absolute().parents if path.exists() or path.is_symlink())
    if not above.is_dir():
        raise ConfigError(f"`out={folder}`: {above} is no folder", "give another name")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"`out={folder}`: {above} may not be written to", "give another name")


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write beside ``path`` and move into place; text is UTF-8. OSError, which names ``path``, where that fails."""
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:  # a new file: one that is there, or a link, is not written through
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        partial.unlink(missing_ok=True)


def file_digest(file: BinaryIO) -> str:
    """Return the SHA-256 of an open file, from where it is to its end."""
    return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
