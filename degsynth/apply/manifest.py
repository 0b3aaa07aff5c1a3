"""The manifest: one JSON row per output, appended as outputs are finished, read back to resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from degsynth.config import Strict
from degsynth.errors import DataError
from degsynth.files import write_atomic

FILE_NAME = "manifest.jsonl"
"""Name of the manifest in the folder of a data set."""


class Row(Strict):
    """One LR image of the data set, or an image that could not be made."""

    source: str
    """POSIX path of the HR image relative to the HR root; the seeds of the output follow from it."""
    source_bytes: int | None = None
    """Size of that file in bytes; a file of another size is another image."""
    status: Literal["ok", "failed"]
    error: str | None = None
    """Why the image could not be made."""
    page: int = 0
    """Slice of a stack."""
    draw: int = 0
    """Number of this LR image among several of one HR image."""
    hr: str | None = None
    """Path of the HR file relative to the folder of the data set."""
    lr: str | None = None
    """Path of the LR file relative to the folder of the data set."""
    source_size: tuple[int, int] | None = None
    """Height and width of the source."""
    hr_size: tuple[int, int] | None = None
    """Height and width of the file in ``hr/``: exactly scale × those of the LR file."""
    lr_size: tuple[int, int] | None = None
    """Height and width of the file in ``lr/``."""
    cropped: bool = False
    """Whether rows or columns at the bottom or right of the HR image were cut off."""
    hr_kept: Literal["hard", "symlink", "copy", "written"] | None = None
    """How the file in ``hr/`` was made: linked, copied, or ``written`` (decoded, cropped or turned, and encoded)."""
    channels: int | None = None
    dtype: str | None = None
    seed: int | None = None
    """``degrade(hr, seed)`` of the checkpoint makes this LR image again, before rounding, if the model's own noise and
    no other was added. Where the row has a ``hardware_factor``, call ``set_hardware_factor`` with it first."""
    kernel_id: int | None = None
    """Index of the kernel, where the model draws kernels from a pool."""
    hardware_factor: float | None = None
    """Hardware factor of the image, where the model has one: the model's own, or one that was drawn."""
    noise: Literal["learned", "other", "none"] = "none"
    """Learned noise that was added: the model's own, another model's (named in ``dataset.json``), or none."""
    warning: str | None = None
    """What may be wrong with the image."""
    awgn_sigma: float | None = None
    """σ of the AWGN on the 0–255 scale of the data range; None: none was added."""
    hr_sha256: str | None = None
    """SHA-256 of the file in ``hr/``, where degsynth wrote it."""
    lr_sha256: str | None = None
    """SHA-256 of the file in ``lr/``."""


class Manifest:
    """The manifest of a data set: a file of rows, to which rows are appended while outputs are finished."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def read(self) -> list[Row]:
        """Return all rows; a last line that a crash cut short is dropped. DataError where the file is no manifest."""
        rows = []
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n") if self.path.exists() else []
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                rows.append(Row.model_validate(json.loads(line)))
            except (ValueError, ValidationError):
                if number == len(lines):  # no newline behind it: the writer died in the middle
                    break
                raise DataError(
                    f"{self.path}, line {number}: not a manifest row; restore it or use `existing=overwrite`"
                ) from None
        return rows

    def append(self, row: Row) -> None:
        """Append a row; it has been handed to the operating system when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(row.model_dump_json(exclude_none=True) + "\n")

    def write(self, rows: list[Row]) -> None:
        """Replace the file by these rows, sorted by source, page and draw, in one move."""
        ordered = sorted(rows, key=lambda row: (row.source, row.page, row.draw))
        write_atomic(self.path, "".join(row.model_dump_json(exclude_none=True) + "\n" for row in ordered))
