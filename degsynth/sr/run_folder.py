"""The folder of one training.

``config.json`` (what was asked for), ``log.jsonl``, ``snapshot.pt`` (to go on from; removed at the end),
``network.pt`` and ``weights.pth`` (the result), ``train.json`` (written last: the training has ended).
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from degsynth.errors import ConfigError, os_reason
from degsynth.files import check_makeable, read_bounded, write_atomic
from degsynth.sr.options import Training

CONFIG, LOG, SNAPSHOT, RECORD = "config.json", "log.jsonl", "snapshot.pt", "train.json"
LARGEST_TEXT = 2**24
"""Bytes of the largest text file that is read."""


class RunFolder:
    """A training on the disk. Nothing is written before `make`."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def make(self, training: Training) -> None:
        """Make the folder and write ``config.json``; ConfigError where the folder exists and is not empty."""
        self.check_new()
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            write_atomic(self.out / CONFIG, training.model_dump_json(indent=2) + "\n")
        except OSError as error:
            raise ConfigError(f"`out={self.out}`: cannot be made: {os_reason(error)}") from None

    def check_new(self) -> None:
        """Raise ConfigError where the folder cannot be made, or exists and is not empty."""
        if self.out.exists():
            if not self.out.is_dir() or any(self.out.iterdir()):
                raise ConfigError(f"`out={self.out}` exists; give another name, or go on with `resume`")
        else:
            check_makeable(self.out)

    def begun(self) -> bool:
        """Tell whether there is a training to go on with."""
        return (self.out / CONFIG).is_file()

    def training(self) -> Training:
        """Return what `make` wrote; ConfigError where there is no training."""
        path = self.out / CONFIG
        try:
            return Training.model_validate_json(read_bounded(path, LARGEST_TEXT))
        except OSError as error:
            raise ConfigError(f"{path}: {os_reason(error)}: there is no training to go on with") from None
        except (ValidationError, RecursionError):
            raise ConfigError(f"{path} is damaged or of another version; train anew in another folder") from None

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to ``log.jsonl``."""
        with (self.out / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def forget_after(self, step: int) -> None:
        """Remove the rows of later steps, which will be written again, and a line cut short by a crash."""
        path = self.out / LOG
        if path.is_file():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if _stays(line, step)]
            write_atomic(path, "".join(kept))

    def save_snapshot(self, contents: Mapping[str, Any]) -> None:
        """Write ``snapshot.pt`` in one move."""
        buffer = io.BytesIO()
        torch.save(dict(contents), buffer)
        write_atomic(self.out / SNAPSHOT, buffer.getvalue())

    def snapshot(self) -> dict[str, Any] | None:
        """Return what `save_snapshot` wrote; None where there is none, ConfigError where it is damaged."""
        path = self.out / SNAPSHOT
        if not path.is_file():
            return None
        try:
            with zipfile.ZipFile(path) as archive:  # torch itself does not compare the checksums
                if archive.testzip():
                    raise ValueError("a checksum does not match")
            contents: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile):
            raise ConfigError(f"{path} cannot be read; remove it, and the training begins anew") from None
        return contents

    def record(self) -> dict[str, Any] | None:
        """Return what ``train.json`` holds; None where the training has not ended."""
        path = self.out / RECORD
        if not path.is_file():
            return None
        try:
            record: dict[str, Any] = json.loads(read_bounded(path, LARGEST_TEXT))
        except (OSError, ValueError, RecursionError):
            raise ConfigError(f"{path} is damaged; remove it, and go on with `resume`") from None
        return record

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write ``train.json``, which marks a training that has ended, and remove the snapshot."""
        write_atomic(self.out / RECORD, json.dumps(record, indent=2) + "\n")
        (self.out / SNAPSHOT).unlink(missing_ok=True)


def _stays(line: str, step: int) -> bool:
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False
