"""The choice of the held-out images, which a fit never sees and on which it is scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from degsynth.seeds import derive

FRACTION = 0.1
"""Share of the images, or of the scenes, that is held out."""
LEAST_SCENES = 6
"""With fewer scenes than this a single one is held out: it chooses the weights and is reported, too."""
LARGE = 1.5
"""A scene with more pairs than this times the mean is never held out, or too few pairs would be left to fit to. A third
of all scenes at least are smaller."""


def held_out_indices(
    names: Sequence[str], seed: int, purpose: str, fraction: float = FRACTION
) -> tuple[list[int], list[int]]:
    """Return the indices of the names to fit to and of the held-out names, both in ascending order.

    A tenth of the names (``fraction``) is held out, but at least one; of a single name nothing is left to fit to. The
    names are ranked by a hash of the seed, the name and ``purpose``, so their order does not matter, and the choice for
    one purpose says nothing about that for another.
    """
    count = max(1, round(fraction * len(names)))
    ranked = sorted(range(len(names)), key=lambda index: derive(seed, names[index], 0, 0, purpose))
    return sorted(ranked[count:]), sorted(ranked[:count])


@dataclass(frozen=True)
class Split:
    """Indices of pairs, each list in ascending order."""

    fitted: list[int]
    """Pairs to fit to."""
    choosing: list[int]
    """Held-out pairs on which the weights are chosen; none where nothing is chosen."""
    reported: list[int]
    """Held-out pairs that are reported. They are those of ``choosing`` where there are fewer than 6 scenes; else no
    scene is in both."""

    def held_out(self) -> list[int]:
        """Return the indices of all held-out pairs."""
        return sorted({*self.choosing, *self.reported})


def split_by_scene(scenes: Sequence[str], seed: int, chooses: bool) -> Split:
    """Split pairs, given the scene of each, such that no scene is fitted to and held out.

    ``chooses``: weights are to be chosen on held-out pairs. A tenth of the scenes is held out, but at least one; where
    weights are chosen, at least two of 6 or more scenes, half of them, rounded down, to choose. Scenes are ranked by a
    hash of the seed and their name, so the order of the pairs does not matter. Of a single scene nothing is left to fit
    to.
    """
    sizes = Counter(scenes)
    count = max(1, round(FRACTION * len(sizes)))
    apart = chooses and len(sizes) >= LEAST_SCENES
    if apart:
        count = max(2, count)
    usual = [scene for scene, size in sizes.items() if size * len(sizes) <= LARGE * len(scenes)]
    ranked = sorted(usual, key=lambda scene: (derive(seed, scene, 0, 0, "held-out"), scene))[:count]
    reporting = set(ranked[: count - count // 2] if apart else ranked)
    choosing = (set(ranked) - reporting if apart else reporting) if chooses else set()

    def members(of: set[str]) -> list[int]:
        return [index for index, scene in enumerate(scenes) if scene in of]

    return Split(members(sizes.keys() - set(ranked)), members(choosing), members(reporting))
