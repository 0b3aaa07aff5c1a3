"""Halves of two folders, between which all figures are computed, so that a gap and its floor are of equal size.

A figure of two small sets of equal kind is not 0, because their scenes differ. How large it is depends on the number of
images. So a gap is computed between a half of the synthetic images and a half of the real ones, and its floor between
the two halves of the real ones, and all halves have the same number of images. Scenes that both folders have are never
in both halves that are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from degsynth.seeds import derive


@dataclass(frozen=True)
class Halves:
    """Indices of the images in each half of both folders."""

    synthetic: tuple[list[int], list[int]]
    real: tuple[list[int], list[int]]


def scene(name: str) -> str:
    """Return the name of a scene: that of its file, without the ending, which may differ between the folders."""
    return PurePosixPath(name).with_suffix("").as_posix()


def halves(synthetic: Sequence[str], real: Sequence[str], seed: int, number: int) -> Halves:
    """Split two folders, whose images have these names, in halves at random; ``number`` is that of the split.

    A scene of both folders belongs to the same half of both. Halves of a folder differ by one image at most.
    """

    def rank(name: str) -> int:
        return derive(seed, "half", number, name)

    scenes = {scene(name) for name in synthetic}, {scene(name) for name in real}
    common = sorted(scenes[0] & scenes[1], key=rank)
    place = {name: index % 2 for index, name in enumerate(common)}
    parts: list[tuple[list[int], list[int]]] = []
    for names in (synthetic, real):
        own = sorted((name for name in names if scene(name) not in place), key=rank)
        # Where the common scenes are odd in number, the first of the others goes to the smaller half.
        of_own = {name: (index + len(common)) % 2 for index, name in enumerate(own)}
        part: tuple[list[int], list[int]] = ([], [])
        for index, name in enumerate(names):
            part[of_own[name] if name in of_own else place[scene(name)]].append(index)
        for half in part:
            half.sort(key=lambda index: rank(scene(names[index])))
        parts.append(part)
    return Halves(parts[0], parts[1])


def equal(split: Halves) -> Halves:
    """Return halves with the same number of images in all of them: the smallest one's."""
    count = min(len(half) for side in (split.synthetic, split.real) for half in side)
    first, second = split.synthetic, split.real
    return Halves((first[0][:count], first[1][:count]), (second[0][:count], second[1][:count]))
