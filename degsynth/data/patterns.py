"""Patterns for names of files, as shells and ``.gitignore`` have them."""

from __future__ import annotations

import fnmatch
import unicodedata
from functools import lru_cache

ANY_FOLDERS = "**"
"""Stands for any number of folders, also for none."""


class Pattern:
    """A pattern for POSIX paths that are relative to a folder.

    ``*``, ``?`` and ``[a-z]`` stand for characters of one name, and ``**`` for any number of folders. A pattern without
    a slash fits a file or a folder of that name at any depth (``*.png``, ``thumbs``); with one, it fits the path from
    the top (``portraits/*.png``, ``/a.png``). What fits a folder fits everything in it. Capital and small letters
    differ; accents may be stored in either of their two Unicode forms.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        parts = [part for part in unicodedata.normalize("NFC", text).split("/") if part not in ("", ".")]
        from_the_top = "/" in text.rstrip("/")
        wanted = [*parts, ANY_FOLDERS] if from_the_top else [ANY_FOLDERS, *parts, ANY_FOLDERS]
        self._wanted = tuple(part for part, before in zip(wanted, ["", *wanted], strict=False) if part != before)
        self._empty = not parts

    def fits(self, name: str) -> bool:
        """Tell whether a path fits."""
        return not self._empty and _fits(tuple(unicodedata.normalize("NFC", name).split("/")), self._wanted)


@lru_cache(2**12)
def _fits(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == ANY_FOLDERS:
        return any(_fits(parts[first:], wanted[1:]) for first in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], wanted[1:])
