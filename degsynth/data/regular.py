"""Image files are opened only if they are regular files."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from degsynth import files
from degsynth.errors import DataError, os_reason


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or a link to one, for reading; DataError where that fails, or where it is anything else."""
    try:
        return files.open_regular(path)
    except OSError as error:
        raise DataError(f"{path}: {os_reason(error)}") from None
