"""Names of outputs: where each HR image of a folder goes in ``hr/`` and ``lr/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

PREFERENCE = [".png", ".tif", ".tiff", ".bmp", ".webp", ".jpg", ".jpeg"]
"""Which of two files with equal stems keeps the stem: the more faithful format."""


def drawn_name(name: str, draw: int, draws: int) -> str:
    """The path that an output's stem is made from: the image's, with the draw's number where there are several."""
    path = PurePosixPath(name)
    return name if draws == 1 else path.with_name(f"{path.stem}_{draw}{path.suffix}").as_posix()


def assign_stems(names: Sequence[str], settled: Mapping[str, str] | None = None) -> dict[str, str]:
    """For every relative path a stem (sub-folders kept, no extension) that no other has, whatever the case of letters.

    Of ``dup.png`` and ``dup.jpg`` the first keeps ``dup``, the other becomes ``dup_jpg``; a name already in use is
    numbered. ``settled`` are names that already have their stem (from an earlier run); they keep it. Apart from those
    the result depends on the set of names only.
    """

    def rank(name: str) -> tuple[int, str]:
        suffix = PurePosixPath(name).suffix.lower()
        return (PREFERENCE.index(suffix) if suffix in PREFERENCE else len(PREFERENCE), name)

    stems = dict(settled or {})
    taken = {stem.casefold() for stem in stems.values()}
    plain = {name: PurePosixPath(name).with_suffix("").as_posix() for name in names}
    waiting = []
    for name in sorted(set(names) - stems.keys(), key=rank):
        if plain[name].casefold() in taken:
            waiting.append(name)
        else:
            stems[name] = plain[name]
            taken.add(plain[name].casefold())
    for name in waiting:
        wanted = f"{plain[name]}_{PurePosixPath(name).suffix[1:].lower()}"
        stem, number = wanted, 2
        while stem.casefold() in taken:
            stem, number = f"{wanted}_{number}", number + 1
        stems[name] = stem
        taken.add(stem.casefold())
    return stems
