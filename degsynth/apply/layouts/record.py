"""What a layout consists of: the record that lies in its folder, by which it is verified, replaced and removed."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence

from pydantic import ValidationError, field_validator

from degsynth.apply.layouts import LAYOUTS
from degsynth.apply.manifest import Row
from degsynth.apply.root import Root
from degsynth.config import Strict
from degsynth.errors import ConfigError
from degsynth.files import name_parts

RECORD_NAME = "layout.json"
"""File in the folder of a layout that says what it is and lists its files."""
PAIRS_NAME = "pairs.jsonl"
"""File in the folder of a layout that has a row for every pair: which HR image it came from, and where it is now."""
FORMAT = 1
"""Version of what layouts consist of; a layout of another version is made anew."""
LARGEST_RECORD = 2**28
"""Bytes of the largest record that is read."""
LOCK_NAME = "lock.mdb"
"""A file that readers of LMDB make."""


class File(Strict):
    """A file of a layout."""

    name: str
    """POSIX name relative to the folder of the layout."""
    bytes: int
    sha256: str

    @field_validator("name")
    @classmethod
    def _stays_below(cls, name: str) -> str:
        name_parts(name)
        return name


class Record(Strict):
    """What a layout is and what it consists of."""

    layout: str
    format: int
    degsynth: str
    """Version of degsynth that made it."""
    scale: int
    made_of: str
    """Fingerprint of the data set that it was made of."""
    pairs: int
    files: list[File]
    """All files of the layout but this record, sorted by name."""


def fingerprint(rows: Sequence[Row]) -> str:
    """Return the SHA-256 over what decides a layout: names, sizes and hashes of all pairs, in any order."""
    lines = sorted(
        row.model_dump_json(include={"source", "source_bytes", "page", "draw", "hr", "lr", "hr_sha256", "lr_sha256"})
        for row in rows
        if row.status == "ok"
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read(root: Root, name: str) -> Record | None:
    """Return the record of a layout of a data set; None where this version of degsynth can have made no such layout."""
    try:
        with root.open(f"{name}/{RECORD_NAME}", "rb") as file:
            record = Record.model_validate_json(file.read(LARGEST_RECORD))
    except (OSError, ConfigError, ValidationError):
        return None
    return record if (record.layout, record.format) == (name, FORMAT) else None


def existing(root: Root) -> Iterator[Record]:
    """Yield the records of all layouts in the folder of a data set."""
    for name in LAYOUTS:
        record = read(root, name)
        if record is not None:
            yield record


def strays(root: Root, record: Record) -> list[str]:
    """Return the names, relative to the data set, of files in the folder of a layout that are not of it."""
    own = {f"{record.layout}/{name}" for name in (RECORD_NAME, *(file.name for file in record.files))}
    return [name for name in root.files(record.layout) if name not in own and not name.endswith(f"/{LOCK_NAME}")]


def is_complete(root: Root, record: Record) -> bool:
    """Tell whether all files of a layout are there with their size; their content is not read."""
    with contextlib.suppress(OSError, ConfigError):
        return all((root.path / record.layout / file.name).stat().st_size == file.bytes for file in record.files)
    return False


def check_replaceable(root: Root, name: str) -> None:
    """Raise ConfigError where the folder of a layout holds anything that degsynth has not put there."""
    out = root.path
    root.refuse_links(name)
    if not (out / name).exists():
        return
    record = read(root, name)
    if record is None:
        raise ConfigError(f"OUT {out}: {name} was not written by degsynth (no valid {RECORD_NAME})", "move it away")
    others = strays(root, record)
    if others:
        raise ConfigError(f"OUT {out} holds {len(others)} files of others, e.g. {others[0]}", "move them away")


def remove(root: Root, name: str) -> None:
    """Remove the folder of a layout, which was checked before, so that it is never seen half removed."""
    aside = root.partial()
    root.move(name, aside)
    root.remove_tree(aside)
