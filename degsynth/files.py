"""Writing files so that nobody ever sees half of one, and telling files apart."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, cast

POOL_SUFFIXES = (".h5", ".hdf5")
"""Endings of the names of kernel pool files."""


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


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write beside ``path`` and move into place; text is UTF-8. OSError where that fails, with nothing left behind."""
    partial = path.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:  # a new file: one that is there, or a link, is not written through
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def fingerprint(files: Iterable[tuple[str, Path]]) -> str:
    """Return the SHA-256 over the names and bytes of files, in the order given."""
    whole = hashlib.sha256()
    for name, path in files:
        whole.update(f"{name}:{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def file_digest(file: BinaryIO) -> str:
    """Return the SHA-256 of an open file, from where it is to its end."""
    return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
