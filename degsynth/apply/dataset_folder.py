"""The folder of a data set: who made it, which outputs are finished, and a lock so that one run at a time writes it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from degsynth.apply.manifest import Manifest, Row
from degsynth.data import images
from degsynth.errors import ConfigError, os_reason
from degsynth.files import write_atomic

DATASET_NAME = "dataset.json"
"""File that says how the data set was made."""
PARTIAL = ".partial"
"""Folder in which files are made before they are moved into place."""
Existing = Literal["refuse", "resume", "overwrite"]
"""What happens to a data set that exists already."""
Link = Literal["hard", "symlink", "copy"]
"""How an HR file that needs no change is brought into ``hr/``."""


def check_folder(out: Path, hr: Path, existing: str) -> bool:
    """Raise ConfigError where ``out`` must not be written; tell whether a data set written by degsynth is there."""
    source, target = hr.resolve(), out.resolve()
    if target == source or target.is_relative_to(source) or source.is_relative_to(target):
        raise ConfigError(f"OUT {out} and HR {hr} lie inside each other; give OUT a folder of its own")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"OUT {out} is a file; give a folder")
    for name in ("hr", "lr"):
        if (out / name).is_symlink():
            raise ConfigError(f"OUT {out}: its {name} is a link, so files would be written where it points; remove it")
    # A run that was killed in its first moment leaves nothing but `.partial`.
    filled = out.is_dir() and any(path.name != PARTIAL for path in out.iterdir())
    written_by_degsynth = _made_by(out) is not None
    if filled and existing == "refuse":
        way = (
            "use `existing=resume` to go on, `existing=overwrite` to begin anew, or another folder"
            if written_by_degsynth
            else "give another folder"
        )
        raise ConfigError(f"OUT {out} is not empty; {way}")
    if filled and not written_by_degsynth:
        raise ConfigError(
            f"OUT {out} is not empty and was not written by degsynth (no {DATASET_NAME}); give another folder"
        )
    return written_by_degsynth


def _made_by(out: Path) -> dict[str, Any] | None:
    """Return what ``dataset.json`` says; None where degsynth wrote no such file."""
    try:
        description = json.loads((out / DATASET_NAME).read_text(encoding="utf-8"))
        return description if {"made_by", "environment"} <= description.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


@contextlib.contextmanager
def opened(out: Path, hr: Path, description: dict[str, Any], existing: Existing) -> Iterator[list[Row]]:
    """Make or reopen the folder ``out`` for the HR images below ``hr``; yield the rows of finished outputs.

    No other run can open the folder until the context ends. ``description`` becomes ``dataset.json``; to resume, its
    ``made_by`` must equal that of the data set in the folder. Raises ConfigError where `check_folder` does, where
    another run is writing, and where the folder cannot be written.
    """
    exists = check_folder(out, hr, existing)
    unfinished = (out / PARTIAL).exists()
    with contextlib.ExitStack() as stack:
        try:
            (out / PARTIAL).mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked(out))
            rows: list[Row] = []
            if exists and existing == "resume":
                rows = _reopen(out, hr if hr.is_dir() else hr.parent, description)
            else:
                if exists:
                    _clear(out)
                write_atomic(out / DATASET_NAME, json.dumps(description, indent=2) + "\n")
            for name in ("hr", "lr", PARTIAL):
                (out / name).mkdir(exist_ok=True)
            Manifest(out).write(rows)
        except OSError as error:
            raise ConfigError(f"OUT {out}: cannot be written: {os_reason(error)}") from None
        except ConfigError:
            if not unfinished:
                shutil.rmtree(out / PARTIAL, ignore_errors=True)
            raise
        yield rows


class Files:
    """The image files of a data set, each made in ``.partial`` and moved into place when it is whole."""

    def __init__(self, out: Path) -> None:
        """Take the folder of an open data set."""
        self.out = out

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Write several files of which either all stay or, where the body of the context fails, none."""
        transaction = Transaction(self.out)
        try:
            yield transaction
        except BaseException:
            for name in transaction.names:
                (self.out / name).unlink(missing_ok=True)
            raise


class Transaction:
    """Files that belong together: both sides of all outputs of one image."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.names: list[str] = []
        """Names of the files that may lie in the data set by now."""

    def write(self, name: str, size: images.Size, bands: Iterable[images.Image]) -> str:
        """Write an image and return the SHA-256 of the file."""
        partial = self._partial(name)
        try:
            with partial.open("w+b") as file:
                images.write(file, partial.suffix, size, bands)
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._move(partial, name)
        return digest

    def link(self, path: Path, name: str, how: Link) -> Link:
        """Link or copy a file into the data set and return how it was done: a copy where it cannot be hard-linked."""
        partial = self._partial(name)
        if how == "symlink":
            partial.symlink_to(path.resolve())
        elif how == "hard":
            try:
                os.link(path.resolve(), partial)
            except OSError:  # another file system, or one without hard links
                how = "copy"
        if how == "copy":
            self.copy(path, name)
        else:
            self._move(partial, name)
        return how

    def copy(self, path: Path, name: str) -> None:
        """Copy a file into the data set."""
        partial = self._partial(name)
        shutil.copyfile(path, partial)
        self._move(partial, name)

    def _partial(self, name: str) -> Path:
        return self.out / PARTIAL / f"{uuid.uuid4().hex}{Path(name).suffix}"

    def _move(self, partial: Path, name: str) -> None:
        self.names.append(name)
        target = self.out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # rename() does nothing where both names are links to one file
        partial.replace(target)


def _reopen(out: Path, root: Path, description: dict[str, Any]) -> list[Row]:
    """Check that the data set was made with the same options, remove outdated outputs, return the finished rows."""
    before = _made_by(out) or {}
    for name, value in description["made_by"].items():
        if before["made_by"].get(name) != value:
            raise ConfigError(
                f"OUT {out} was made with {name} {before['made_by'].get(name)}, now it is {value}; "
                "resume with the same, or use `existing=overwrite`"
            )
    later = before.get("resumed_in", [])
    if description["environment"] not in [before["environment"], *later]:
        before["resumed_in"] = [*later, description["environment"]]
        write_atomic(out / DATASET_NAME, json.dumps(before, indent=2) + "\n")
    finished = []
    for row in Manifest(out).read():
        if row.status != "ok":
            continue
        if _still_true(out, root, row):
            finished.append(row)
        else:  # the outputs that take their place may have other names
            for name in (row.hr, row.lr):
                (out / str(name)).unlink(missing_ok=True)
    return finished


def _still_true(out: Path, root: Path, row: Row) -> bool:
    """Tell whether both files exist, LR is unchanged, and the source, where it still exists, is the same image."""
    high, low, source = out / str(row.hr), out / str(row.lr), root / row.source
    try:
        if source.exists():
            linked = row.hr_kept not in ("hard", "symlink") or high.samefile(source)
            if not linked or source.stat().st_size != row.source_bytes:
                return False
        return high.is_file() and hashlib.sha256(low.read_bytes()).hexdigest() == row.lr_sha256
    except OSError:
        return False


def _clear(out: Path) -> None:
    """Remove the files that the manifest names; ConfigError, before anything is removed, where there are others."""
    named = {name for row in Manifest(out).read() for name in (row.hr, row.lr) if name is not None}
    held = [path for side in ("hr", "lr") for path in (out / side).rglob("*") if not path.is_dir()]
    strays = sorted(name for path in held if (name := path.relative_to(out).as_posix()) not in named)
    if strays:
        raise ConfigError(
            f"OUT {out} holds {len(strays)} files that its manifest does not name, e.g. {strays[0]}; "
            "move them away, or use `existing=resume`"
        )
    for name in ("hr", "lr"):
        if (out / name).exists():
            shutil.rmtree(out / name)
    Manifest(out).path.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keep other runs out of ``out`` by a lock of the operating system, which ends with the process."""
    lock = FileLock(out / PARTIAL / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(f"OUT {out} is being written by another run; wait for it") from None
    try:
        yield
    finally:
        lock.release()
