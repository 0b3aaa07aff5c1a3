"""Writing files so that nobody ever sees half of one, and telling files apart."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

POOL_SUFFIXES = (".h5", ".hdf5")
"""Endings of the names of kernel pool files."""


def is_pool_name(name: str | Path) -> bool:
    """Tell whether a file name is that of a kernel pool."""
    return Path(name).suffix.lower() in POOL_SUFFIXES


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write beside ``path`` and move into place; text is UTF-8. OSError where that fails, with nothing left behind."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def fingerprint(files: Iterable[tuple[str, Path]]) -> str:
    """Return the SHA-256 over the names and bytes of files, in the order given."""
    whole = hashlib.sha256()
    for name, path in files:
        whole.update(f"{name}:{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
