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

from degsynth.data.members import as_file_name
from degsynth.data.scenes import scene_of
from degsynth.seeds import derive


@dataclass(frozen=True)
class Halves:
    """Indices of the images in each half of both folders."""

    synthetic: tuple[list[int], list[int]]
    real: tuple[list[int], list[int]]


FEWEST_SCENES = 4
"""With fewer scenes, a folder cannot be divided into halves of halves by scenes."""


def scenes_of_files(synthetic: Sequence[str], real: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the scene of each image of two folders, from its name without the ending, in which these may differ.

    Sub-images of one photograph are one scene, see `degsynth.data.scenes`. Where one of the folders has fewer than
    `FEWEST_SCENES`, each image is taken for a scene in both.
    """
    stems = [
        [PurePosixPath(as_file_name(name)).with_suffix("").as_posix() for name in side] for side in (synthetic, real)
    ]
    scenes = [[scene_of(stem) for stem in side] for side in stems]
    first, second = stems if min(len(set(side)) for side in scenes) < FEWEST_SCENES else scenes
    return first, second


def halves(synthetic: Sequence[str], real: Sequence[str], seed: int, number: int) -> Halves:
    """Split two folders, whose images have these names, in halves at random; ``number`` is that of the split.

    A scene of both folders belongs to the same half of both, and all its images belong to one half. Where scenes have
    one image each, the halves of a folder differ by one image at most.
    """

    def rank(name: str) -> int:
        return derive(seed, "half", number, name)

    scenes = scenes_of_files(synthetic, real)
    of_scene = [_by_scene(side) for side in scenes]
    common = sorted(of_scene[0].keys() & of_scene[1].keys(), key=rank)
    place = {name: index % 2 for index, name in enumerate(common)}
    parts: list[tuple[list[int], list[int]]] = []
    for side, images in zip(scenes, of_scene, strict=True):
        part: tuple[list[int], list[int]] = ([], [])
        for name in common:
            part[place[name]].extend(images[name])
        for name in sorted(images.keys() - place.keys(), key=rank):
            part[int(len(part[1]) < len(part[0]))].extend(images[name])
        for half in part:
            half.sort(key=[rank(scene) for scene in side].__getitem__)
        parts.append(part)
    return Halves(parts[0], parts[1])


def _by_scene(scenes: Sequence[str]) -> dict[str, list[int]]:
    """Return the indices of the images of each scene."""
    images: dict[str, list[int]] = {}
    for index, scene in enumerate(scenes):
        images.setdefault(scene, []).append(index)
    return images


def equal(split: Halves) -> Halves:
    """Return halves with the same number of images in all of them: the smallest one's."""
    count = min(len(half) for side in (split.synthetic, split.real) for half in side)
    first, second = split.synthetic, split.real
    return Halves((first[0][:count], first[1][:count]), (second[0][:count], second[1][:count]))
