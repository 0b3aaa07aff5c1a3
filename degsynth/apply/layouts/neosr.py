"""neosr's ``paired`` data set.

It lists ``dataroot_gt`` recursively, takes ``.jpg``, ``.jpeg``, ``.png`` and ``.webp`` only, and looks for the LR image
under the same relative name, extension included.
"""

from __future__ import annotations

from collections.abc import Sequence

from degsynth.apply.layouts.place import Pair, Place

HOLDS_PNG = True


def write(pairs: Sequence[Pair], place: Place) -> None:
    """Write ``hr/`` and ``lr/``."""
    place.put_sides(pairs)
