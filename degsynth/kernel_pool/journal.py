"""The journal of an estimation: every estimate is noted in a file at once, so that an interrupted run can go on."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from degsynth import files
from degsynth.errors import ConfigError, OutputError, os_reason
from degsynth.model.pool_file import SUM_TOLERANCE, Rectangle

FARTHEST = 2**31
"""Largest position or size in a photograph, px."""


@dataclass(frozen=True)
class WindowEstimate:
    """The result of one window: its kernel, or the reason why there is none."""

    image: str
    rank: int
    """Number of the window in its photograph; −1: the photograph has no window."""
    place: Rectangle
    kernel: list[list[float]] | None
    fault: str = ""
    """Why there is no kernel; empty where there is one."""


_ESTIMATE = TypeAdapter(WindowEstimate)


def journal_of(output: Path) -> Path:
    """Return the path of the journal that belongs to a pool file: that of ``pool.h5`` is ``pool.h5.part``."""
    return output.with_name(f"{output.name}.part")


class Journal:
    """The estimates of a run, in memory and in a file.

    The file has one JSON object a line: first the options of the run, then an estimate each.
    """

    def __init__(self, path: Path | None, options: dict[str, Any], resume: bool) -> None:
        """Begin the file, or go on with it where ``resume`` is set; without a path, estimates stay in memory.

        ConfigError where the file exists but ``resume`` is not set, or where the file was begun with other options.
        """
        self.path = path
        self.estimates: dict[tuple[str, int], WindowEstimate] = {}
        """Estimates by photograph and rank."""
        if path is not None:
            self._open(path, options, resume)

    def _open(self, path: Path, options: dict[str, Any], resume: bool) -> None:
        if path.exists() and not path.is_file():  # reading a FIFO would wait for ever
            raise ConfigError(f"{path} is not a file", "remove it")
        if path.exists() and not resume:
            raise ConfigError(
                f"{path} exists: an estimation was interrupted", "go on with `resume`, or begin anew with `overwrite`"
            )
        begun_with, earlier = _read(path)
        if begun_with is not None and begun_with != options:
            differing = [key for key in options if begun_with.get(key) != options[key]]
            raise ConfigError(
                f"{path} was begun with other {' and '.join(differing)}",
                "give the same, or begin anew with `overwrite` in place of `resume`",
            )
        self.estimates = {(estimate.image, estimate.rank): estimate for estimate in earlier}
        lines = [json.dumps(options), *(json.dumps(asdict(estimate)) for estimate in earlier)]
        try:
            files.write_atomic(path, "\n".join(lines) + "\n")
        except OSError as error:
            raise OutputError(f"{path}: {os_reason(error)}") from None

    def windows(self) -> int:
        """Count the windows that are in the journal, with a kernel or without."""
        return sum(rank >= 0 for _, rank in self.estimates)

    def has_kernel(self) -> bool:
        """Tell whether a kernel has been estimated."""
        return any(estimate.kernel is not None for estimate in self.estimates.values())

    def in_order(self) -> list[WindowEstimate]:
        """List the estimates by photograph and rank, in whatever order they were made."""
        return [self.estimates[key] for key in sorted(self.estimates)]

    def add(self, estimate: WindowEstimate) -> None:
        """Note one estimate; OutputError where the file cannot be written."""
        self.estimates[estimate.image, estimate.rank] = estimate
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(estimate)) + "\n")
        except OSError as error:
            raise OutputError(
                f"{self.path}: {os_reason(error)}", "remove the cause, then go on with `resume`"
            ) from None

    def delete_file(self) -> None:
        """Delete the file, if there is one."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Any] | None, list[WindowEstimate]]:
    """Read the options (None where there is no file) and the estimates of a journal.

    Lines that are no estimate are left out, and estimated again: a crash may have cut the last one short.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    estimates: list[WindowEstimate] = []
    try:
        options = json.loads(lines[0]) if lines else None
    except (ValueError, RecursionError):  # no JSON, or JSON that is nested too deeply
        options = None
    if lines and not isinstance(options, dict):
        raise ConfigError(
            f"{path} is not the journal of an estimation", "begin anew with `overwrite` in place of `resume`"
        )
    for line in lines[1:]:
        with contextlib.suppress(ValidationError):
            estimate = _ESTIMATE.validate_json(line)
            if _is_sound(estimate, options or {}):
                estimates.append(estimate)
    return options, estimates


def _is_sound(estimate: WindowEstimate, options: dict[str, Any]) -> bool:
    """Tell whether an estimate may have been written by a run with these options."""
    if "\0" in estimate.image or any(abs(number) > FARTHEST for number in estimate.place):
        return False
    if estimate.kernel is None:
        return True
    sides = {len(estimate.kernel), *map(len, estimate.kernel)}
    return sides == {options.get("kernel_size")} and abs(sum(map(sum, estimate.kernel)) - 1) <= SUM_TOLERANCE
