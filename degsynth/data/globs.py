"""Patterns that name images, such as ``photos/**/*.png``, where the shell did not expand them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from degsynth.errors import ConfigError, DataError

WILDCARDS = "*?["


class Glob(NamedTuple):
    """A pattern below a folder."""

    root: Path
    """The folders before the first wildcard, which names are relative to."""
    pattern: str


def split(path: Path) -> Glob | None:
    """Return a path with wildcards as a pattern; None where it has none, or where there is something of that name."""
    first = next((index for index, part in enumerate(path.parts) if any(sign in part for sign in WILDCARDS)), None)
    if first is None or path.exists():
        return None
    return Glob(Path(*path.parts[:first]), "/".join(path.parts[first:]))


def searched(asked: Path, folder: Path) -> bool:
    """Tell whether images would be taken from a folder, as it lies below what is asked for."""
    glob = split(asked)
    if glob is not None and "**" not in glob.pattern.split("/"):
        return False
    return folder.resolve().is_relative_to((asked if glob is None else glob.root).resolve())


def found(glob: Glob, asked: Path) -> Iterator[Path]:
    """Yield the files that fit a pattern, and those in folders that do, each once.

    Linked folders are not searched. DataError, which names what was ``asked`` for, where nothing fits; ConfigError
    where the pattern is none.
    """
    try:
        matches = sorted(glob.root.glob(glob.pattern))
    except (ValueError, NotImplementedError) as error:
        raise ConfigError(
            f"{asked}: is no pattern: {error}", "give '**' as a folder of its own: 'photos/**/*.png'"
        ) from None
    if not matches:
        raise DataError(
            f"{asked}: there is no such file or folder, and as a pattern it fits nothing in {glob.root}",
            "'**' stands for any number of folders, '*' for a part of one name",
        )
    folder: Path | None = None
    for match in matches:  # what is in a folder comes after it
        if folder is not None and match.is_relative_to(folder):
            continue
        if match.is_dir() and not match.is_symlink():
            folder = match
            yield from match.rglob("*")
        else:
            yield match
