"""The folder of a data set: who made it, which outputs are finished, and a lock so that one run at a time writes it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from degsynth.apply.layouts import LAYOUTS, record
from degsynth.apply.lock import check_free, locked
from degsynth.apply.manifest import FILE_NAME, Manifest, Row
from degsynth.apply.root import LOCK, PARTIAL, Root
from degsynth.apply.verification import Check, Verification, has_source
from degsynth.config import OnText
from degsynth.data import images, writing
from degsynth.data.sources import Sources
from degsynth.errors import ConfigError, DataError, DegsynthError, OutputError, os_reason
from degsynth.files import file_digest

DATASET_NAME = "dataset.json"
"""File that says how the data set was made."""
COPIED_AT_A_TIME = 2**20
"""Bytes of a file that are copied at a time."""
LARGEST_DESCRIPTION = 2**24
"""Bytes of the largest ``dataset.json`` that is read."""
Existing = Literal["refuse", "resume", "overwrite"]
"""What happens to a data set that exists already."""
Link = Literal["hard", "symlink", "copy"]
"""How an HR file that needs no change is brought into ``hr/``."""


def check_folder(out: Path, sources: Sources, existing: str) -> bool:
    """Raise ConfigError where ``out`` must not be written; tell whether a data set written by degsynth is there."""
    sources.check_apart(out)
    if out.exists() and not out.is_dir():
        raise ConfigError(f"OUT {out} is a file; give a folder")
    Root(out).refuse_links("hr", "lr", PARTIAL, LOCK, FILE_NAME, DATASET_NAME)
    # A run that was killed in its first moment leaves nothing but `.partial`.
    filled = out.is_dir() and any(path.name != PARTIAL for path in out.iterdir())
    written_by_degsynth = described(out) is not None
    if filled and existing == "refuse" and not (written_by_degsynth and _holds_nothing(out)):
        way = (
            "use `existing=resume` to go on, `existing=overwrite` to begin anew, or another folder"
            if written_by_degsynth
            else "give another folder"
        )
        raise ConfigError(f"OUT {out} is not empty; {way}")
    if filled and not written_by_degsynth:
        raise ConfigError(
            f"OUT {out} is not empty and was not written by degsynth (no valid {DATASET_NAME}); give another folder"
        )
    return written_by_degsynth


def _holds_nothing(out: Path) -> bool:
    """Tell whether a data set has no image and no layout, as every image failed: another run then loses nothing."""
    if {path.name for path in out.iterdir()} - {"hr", "lr", PARTIAL, LOCK, FILE_NAME, DATASET_NAME}:
        return False
    if any(not path.is_dir() for side in ("hr", "lr") for path in (out / side).rglob("*")):
        return False
    try:
        return all(row.status == "failed" for row in Manifest(out).read())
    except DataError:
        return False


class Description(BaseModel):
    """What ``dataset.json`` says, of any version."""

    model_config = ConfigDict(extra="allow")
    made_by: dict[str, Any]
    environment: dict[str, Any]
    resumed_in: list[dict[str, Any]] = []


def described(out: Path) -> Description | None:
    """Return what ``dataset.json`` of a data set says; None where degsynth wrote no such file."""
    try:
        with Root(out).open(DATASET_NAME, "rb") as file:
            return Description.model_validate_json(file.read(LARGEST_DESCRIPTION))
    except (OSError, ValidationError):
        return None


@contextlib.contextmanager
def opened(
    out: Path, sources: Sources, description: dict[str, Any], existing: Existing, check: Check, on_warning: OnText
) -> Iterator[list[Row]]:
    """Make or reopen the folder ``out`` for these HR images; yield the rows of finished outputs.

    No other run can open the folder until the context ends. ``description`` becomes ``dataset.json``; to resume, its
    ``made_by`` must equal that of the data set in the folder. Raises ConfigError where `check_folder` does, where
    another run is writing, and where the folder cannot be written.
    """
    exists = check_folder(out, sources, existing)
    unfinished = (out / PARTIAL).exists()
    root = Root(out)
    with contextlib.ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(root, on_warning))
            try:
                rows: list[Row] = []
                if exists and existing == "resume":
                    rows = _reopen(root, sources.root, description, check, on_warning)
                else:
                    if exists:
                        _clear(root, on_warning)
                    _write_json(root, description)
                for name in ("hr", "lr", PARTIAL):
                    root.make_folder(name)
                Manifest(out).write(rows)
            except DegsynthError:
                if not unfinished:
                    root.remove_tree(PARTIAL)
                raise
        except OSError as error:
            raise ConfigError(f"OUT {out}: cannot be written: {os_reason(error)}") from None
        yield rows


def inspected(out: Path, sources: Sources, description: dict[str, Any], existing: Existing, check: Check) -> list[Row]:
    """Return the rows of finished outputs that `opened` would yield; ConfigError where it would raise. Writes nothing.

    Where an output is damaged and cannot be made again, there is no row, and no warning either.
    """
    exists = check_folder(out, sources, existing)
    root = Root(out)
    if out.is_dir():
        check_free(root)
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        reason = "is no folder" if not place.is_dir() else "must not be written"
        raise ConfigError(f"OUT {out}: cannot be written: {place} {reason}")
    if exists and existing == "resume":
        _check_settings(root, description)
        return _compared(root, sources.root, check)[0]
    if exists:
        _check_own(root)
    return []


def _write_json(root: Root, description: dict[str, Any]) -> None:
    root.write(DATASET_NAME, json.dumps(description, indent=2) + "\n")


class Files:
    """The image files of a data set, each made in ``.partial`` and moved into place when it is whole."""

    def __init__(self, out: Path) -> None:
        """Take the folder of an open data set."""
        self.root = Root(out)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Write several files of which either all stay or, where the body of the context fails, none."""
        transaction = Transaction(self.root)
        try:
            yield transaction
        except BaseException:
            for name in transaction.names:
                self.root.remove(name)
            raise


class Written(NamedTuple):
    """What was written: a file."""

    sha256: str
    size: int


class Transaction:
    """Files that belong together: both sides of all outputs of one image.

    Errors of the operating system become an OutputError that names the output.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self.names: list[str] = []
        """Names of the files that may lie in the data set by now."""

    def write(self, name: str, size: writing.Size, bands: Iterable[images.Image]) -> Written:
        """Write an image."""
        with self._placed(name) as partial, self._root.open(partial, "w+b") as file:
            writing.write(file, Path(name).suffix, size, _read(bands))
            file.seek(0)
            return Written(file_digest(file), os.fstat(file.fileno()).st_size)

    def link(self, path: Path, name: str, how: Link) -> Link:
        """Link or copy a file into the data set and return how it was done: a copy where it cannot be hard-linked."""
        source = path.resolve()
        if how == "symlink":
            with self._placed(name) as partial:
                self._root.symlink(source, partial)
            return how
        if how == "hard":
            try:
                with self._placed(name) as partial:
                    self._root.link(source, partial)
                return how
            except OutputError:  # another file system, or one without hard links
                pass
        with source.open("rb") as file:
            self._copy(file, name)
        return "copy"

    def copy(self, earlier: str, name: str) -> None:
        """Copy a file of the data set."""
        with self._root.open(earlier, "rb") as file:
            self._copy(file, name)

    def _copy(self, source: BinaryIO, name: str) -> None:
        with self._placed(name) as partial, self._root.open(partial, "w+b") as target:
            shutil.copyfileobj(source, target, COPIED_AT_A_TIME)

    @contextlib.contextmanager
    def _placed(self, name: str) -> Iterator[str]:
        """Yield a name in ``.partial`` whose file is moved to ``name`` in the end, or removed where that fails."""
        partial = self._root.partial(Path(name).suffix)
        try:
            yield partial
            self.names.append(name)
            self._root.move(partial, name)
        except OSError as error:
            self._root.remove(partial)
            raise OutputError(f"{name}: {os_reason(error)}") from None
        except BaseException:
            self._root.remove(partial)
            raise


def _read(bands: Iterable[images.Image]) -> Iterator[images.Image]:
    """Pass bands on; a source that cannot be read is told from an output that cannot be written."""
    try:
        yield from bands
    except OSError as error:
        raise DataError(f"the source: {os_reason(error)}") from None


def _reopen(root: Root, sources: Path, description: dict[str, Any], check: Check, on_warning: OnText) -> list[Row]:
    """Check that the data set was made with the same options, remove outdated outputs, return the finished rows."""
    before = _check_settings(root, description)
    finished, outdated = _compared(root, sources, check)
    if description["environment"] not in [before.environment, *before.resumed_in]:
        before.resumed_in = [*before.resumed_in, description["environment"]]
        _write_json(root, before.model_dump(mode="json", exclude_unset=True))
    kept = {name for row in finished for name in row.names}
    for row in outdated:
        if row.status != "ok":
            continue
        if not has_source(sources, row):  # what is left may be the only copy
            on_warning(
                f"{row.lr} or its HR image is damaged, and the source {row.source} is missing: "
                "the files are left as they are, without a row in the manifest"
            )
            continue
        for name in row.names:  # the outputs that take their place may have other names
            if name not in kept:
                root.remove(name)
    return finished


def _check_settings(root: Root, description: dict[str, Any]) -> Description:
    """Return what ``dataset.json`` says; ConfigError where the data set was made with other options."""
    out = root.path
    before = described(out)
    if before is None:
        raise ConfigError(f"OUT {out}: its {DATASET_NAME} was changed by somebody else")
    made_by = description["made_by"]
    for name in [*made_by, *(name for name in before.made_by if name not in made_by)]:
        if before.made_by.get(name) != made_by.get(name):
            raise ConfigError(
                f"OUT {out} was made with {name} {before.made_by.get(name)}, now it is {made_by.get(name)}; "
                "resume with the same, or use `existing=overwrite`"
            )
    return before


def _compared(root: Root, sources: Path, check: Check) -> tuple[list[Row], list[Row]]:
    """Return the rows of outputs that are finished, and those of outputs that are not what their rows say."""
    manifest = Manifest(root.path)
    rows = {row.key: row for row in manifest.read()}
    verification = Verification(root, sources, check, manifest.modified_ns())
    finished: list[Row] = []
    outdated: list[Row] = []
    for row in rows.values():
        (finished if verification.holds(row) else outdated).append(row)
    return finished, outdated


def _check_own(root: Root) -> tuple[set[str], list[str], list[str]]:
    """Return the files that rows of the manifest name, those that none names, and what is damaged in the manifest.

    ConfigError where `_clear` has to refuse.
    """
    out = root.path
    for name in LAYOUTS:
        record.check_replaceable(root, name)
    rows, damage = Manifest(out).read_what_is_whole()
    named = {name for row in rows for name in row.names}
    strays = [name for name in root.files("hr", "lr") if name not in named]
    if strays and not damage:
        raise ConfigError(
            f"OUT {out} holds {len(strays)} files that its manifest does not name, e.g. {strays[0]}; "
            "move them away, or use `existing=resume`"
        )
    return named, strays, damage


def _clear(root: Root, on_warning: OnText) -> None:
    """Remove the files that the manifest names, and all layouts.

    ConfigError, before anything is removed, where there are other files. Where lines of the manifest are damaged, the
    files that they may have named are nobody's: they are moved aside.
    """
    out = root.path
    named, strays, damage = _check_own(root)
    if strays:
        aside = f"set-aside-{uuid.uuid4().hex[:8]}"
        for name in strays:
            root.move(name, f"{aside}/{name}")
        on_warning(f"OUT {out}: {FILE_NAME}, {damage[0]}; {len(strays)} files without a row were moved to {aside}")
    for name in named:
        root.remove(name)
    for name in ("hr", "lr"):
        root.remove_empty_folders(name)
    for made in record.existing(root):
        record.remove(root, made.layout)
    root.remove(FILE_NAME)
