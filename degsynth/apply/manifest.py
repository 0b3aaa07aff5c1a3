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


class Row(Strict):
    """An output, or an input that failed."""

    source: str
    """POSIX path relative to the HR root: the key of its seeds."""
    source_bytes: int | None = None
    """Size of that file: another size is another image."""
    status: Literal["ok", "failed"]
    error: str | None = None
    """Why it failed."""
    page: int = 0
    """Slice of a stack."""
    draw: int = 0
    """Which of several LR of one HR."""
    hr: str | None = None
    """Relative to the data set's folder."""
    lr: str | None = None
    """Likewise."""
    source_size: tuple[int, int] | None = None
    """Height, width of the HR file."""
    hr_size: tuple[int, int] | None = None
    """Height, width of what lies in ``hr/``: scale × LR exactly."""
    lr_size: tuple[int, int] | None = None
    """Height, width."""
    cropped: bool = False
    """Whether HR lost rows or columns at the bottom or right."""
    hr_kept: Literal["hard", "symlink", "copy", "written"] | None = None
    """How HR got into ``hr/``; ``written``: decoded, cropped or turned upright, and encoded."""
    channels: int | None = None
    dtype: str | None = None
    seed: int | None = None
    """``degrade(hr, seed)`` of the checkpoint repeats this LR, after ``set_hardware_factor`` with the one below, unless
    its noise was left out, or another's or AWGN added."""
    kernel_id: int | None = None
    """Index in the pool, where the model is one."""
    hardware_factor: float | None = None
    """Of a model that has one: its own, or what was drawn."""
    noise: Literal["learned", "other", "none"] = "none"
    """The model's own, or another's, which ``dataset.json`` names."""
    warning: str | None = None
    """What may be wrong with it."""
    awgn_sigma: float | None = None
    """On the 0–255 scale."""
    hr_sha256: str | None = None
    """Of the file in ``hr/`` where degsynth wrote it."""
    lr_sha256: str | None = None


class Manifest:
    """An append-only file of rows in a data set's folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def read(self) -> list[Row]:
        """All rows; a last line that a crash cut short is dropped. DataError where the file is something else."""
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
        """Add a row; it is on its way to the disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(row.model_dump_json(exclude_none=True) + "\n")

    def write(self, rows: list[Row]) -> None:
        """Replace the file by these rows, in order of source, in one move."""
        ordered = sorted(rows, key=lambda row: (row.source, row.page, row.draw))
        write_atomic(self.path, "".join(row.model_dump_json(exclude_none=True) + "\n" for row in ordered))
