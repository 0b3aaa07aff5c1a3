"""Names of outputs: where each HR image of a folder goes in ``hr/`` and ``lr/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

PREFERENCE = [".png", ".tif", ".tiff", ".bmp", ".webp", ".jpg", ".jpeg"]
"""Which of two files with equal stems keeps the stem: the more faithful format."""


def assign_stems(names: Sequence[str]) -> dict[str, str]:
    """For every relative path a stem (sub-folders kept, no extension) that no other has, whatever the case of letters.

    Of ``dup.png`` and ``dup.jpg`` the first keeps ``dup``, the other becomes ``dup_jpg``; a name already in use is
    numbered. The result depends on the set of names only.
    """

    def rank(name: str) -> tuple[int, str]:
        suffix = PurePosixPath(name).suffix.lower()
        return (PREFERENCE.index(suffix) if suffix in PREFERENCE else len(PREFERENCE), name)

    plain = {name: PurePosixPath(name).with_suffix("").as_posix() for name in names}
    taken: dict[str, str] = {}
    waiting = []
    for name in sorted(names, key=rank):
        if taken.setdefault(plain[name].casefold(), name) != name:
            waiting.append(name)
    stems = {name: plain[name] for name in taken.values()}
    for name in waiting:
        wanted = f"{plain[name]}_{PurePosixPath(name).suffix[1:].lower()}"
        stem, number = wanted, 2
        while stem.casefold() in taken:
            stem, number = f"{wanted}_{number}", number + 1
        taken[stem.casefold()] = name
        stems[name] = stem
    return stems
