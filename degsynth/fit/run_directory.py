"""The run directory of a fit: what is in it, and how it is written.

``config.toml`` (every value), ``log.jsonl``, ``snapshots/`` (to go on from), ``previews/`` (pictures), ``fit.json``
(written when the fit has ended) and ``checkpoint.pt``.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from degsynth.config import read_toml, to_toml
from degsynth.errors import ConfigError, os_reason, shortened
from degsynth.files import read_bounded, write_atomic

KEPT_SNAPSHOTS = 5
"""Number of snapshots that are kept: the newest ones."""
SNAPSHOT_FORMAT = 2
"""Version of what a snapshot holds."""
SNAPSHOT_CONTENTS = {"step": int, "modules": dict, "optimizers": dict}
"""What every snapshot holds, beside other things, by its type."""
SNAPSHOT_FACTS = {"data_fingerprint": str, "channels": int, "split": str}
"""What a fit adds to that."""
LARGEST_RECORD = 2**28
"""Largest ``fit.json`` that is read, bytes."""


class RunDirectory:
    """A run directory. Nothing is written before `make`."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.checkpoint, self.previews, self.snapshots = out / "checkpoint.pt", out / "previews", out / "snapshots"
        self._config, self._log, self._record = out / "config.toml", out / "log.jsonl", out / "fit.json"

    def make(self) -> None:
        """Make the folder; ConfigError where that cannot be done."""
        try:
            self.out.mkdir(parents=True)  # and not if it is there: another fit may have been faster
            self.previews.mkdir()
        except OSError as error:
            raise ConfigError(f"`out={self.out}`: cannot be made: {os_reason(error)}") from None

    def abandon(self) -> None:
        """After a failure: remove the folder, unless there is a snapshot from which the fit can go on."""
        if not self.steps():
            shutil.rmtree(self.out, ignore_errors=True)

    def describe(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Write ``config.toml``."""
        write_atomic(self._config, to_toml(tables))

    def description(self) -> dict[str, Any]:
        """Return what `describe` wrote; ConfigError where this is no run."""
        if not self._config.is_file():
            raise ConfigError(f"{self.out} has no config.toml: there is no run to go on with")
        tables = read_toml(self._config)
        for name in ("fit", "method"):
            if not isinstance(tables.get(name), dict):
                raise ConfigError(f"{self._config} has no table [{name}]: it is not as a fit has written it; fit anew")
        return tables

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to ``log.jsonl``."""
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def forget_after(self, step: int) -> None:
        """Remove rows that will be written again from the log: later steps, an export, a line cut short by a crash."""
        if self._log.is_file():
            lines = self._log.read_text(encoding="utf-8").splitlines(keepends=True)
            write_atomic(self._log, "".join(line for line in lines if _stays(line, step)))

    def steps(self) -> list[int]:
        """Return the steps that have a snapshot."""
        found = ((re.fullmatch(r"step_([0-9]{7,15})", path.stem), path) for path in self.snapshots.glob("step_*.pt"))
        return sorted(int(match[1]) for match, path in found if match and path.is_file())

    def _snapshot(self, step: int) -> Path:
        return self.snapshots / f"step_{step:07d}.pt"

    def save_snapshot(self, step: int, contents: Mapping[str, Any]) -> None:
        """Write a snapshot in one move, and remove the oldest ones."""
        self.snapshots.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        torch.save({**contents, "format": SNAPSHOT_FORMAT}, buffer)
        write_atomic(self._snapshot(step), buffer.getvalue())
        for old in self.steps()[:-KEPT_SNAPSHOTS]:
            self._snapshot(old).unlink()

    def check_resumable(self) -> None:
        """Raise ConfigError where there is no snapshot to go on from."""
        if not self.steps():
            raise ConfigError(f"{self.out} has no snapshot: there is nothing to go on from; remove it and fit anew")

    def load_snapshot(self, step: int | None = None) -> dict[str, Any]:
        """Load a snapshot, by default the newest; ConfigError where it is missing or damaged."""
        self.check_resumable()
        steps = self.steps()
        if step is not None and step not in steps:
            raise ConfigError(f"{self.out} has no snapshot of step {step}; there are {', '.join(map(str, steps))}")
        path = self._snapshot(steps[-1] if step is None else step)
        try:
            contents = _read_snapshot(path)
        except Exception as error:  # zipfile, pickle and torch raise many kinds of errors where a file is damaged
            reason = os_reason(error) if isinstance(error, OSError) else str(error) or type(error).__name__
            raise ConfigError(
                f"snapshot {path} cannot be read ({shortened(reason)}); remove it, there may be others"
            ) from None
        if contents.get("format") != SNAPSHOT_FORMAT:
            raise ConfigError(f"snapshot {path} was written by another version of degsynth; fit anew")
        kinds = SNAPSHOT_CONTENTS | {name: kind for name, kind in SNAPSHOT_FACTS.items() if name in contents}
        missing = [name for name, kind in kinds.items() if not isinstance(contents.get(name), kind)]
        if missing:
            raise ConfigError(f"snapshot {path} has no usable {missing[0]}; remove it, there may be others")
        return contents

    def record(self) -> dict[str, Any] | None:
        """Return what ``fit.json`` holds; None where the fit has not ended."""
        if not self._record.is_file():
            return None
        try:
            record = json.loads(read_bounded(self._record, LARGEST_RECORD))
        except (OSError, ValueError, RecursionError) as error:
            reason = os_reason(error) if isinstance(error, OSError) else str(error)
            raise ConfigError(f"{self._record} cannot be read ({shortened(reason)}); fit anew") from None
        if not isinstance(record, dict):
            raise ConfigError(f"{self._record} is no JSON object; fit anew")
        return record

    def finish(self, record: dict[str, Any]) -> None:
        """Write ``fit.json``, which marks a fit that has ended."""
        write_atomic(self._record, json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    def reopen(self) -> None:
        """Remove ``fit.json``: training goes on."""
        self._record.unlink(missing_ok=True)


def _read_snapshot(path: Path) -> dict[str, Any]:
    """Read what a snapshot holds, once its size and checksums have been compared. Raises exceptions of many kinds."""
    with zipfile.ZipFile(path) as archive:  # torch itself does not compare the checksums
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):  # torch compresses nothing
            raise ValueError("it has compressed members")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its members are declared larger than the file")
        if archive.testzip():
            raise ValueError("a checksum does not match")
    contents = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(contents, dict):
        raise ValueError("it holds no table")
    return contents


def _stays(line: str, step: int) -> bool:
    """Tell whether a row of the log is whole and not of a later step."""
    try:
        row = json.loads(line)
        return "exported" not in row and bool(row["step"] <= step)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
