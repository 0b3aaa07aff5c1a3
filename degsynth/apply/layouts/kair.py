"""KAIR's ``DatasetSR``.

It lists ``dataroot_H`` and ``dataroot_L`` recursively, sorts both lists, and pairs images by their place in them,
whatever they are called. With the same names in two flat folders both are sorted in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

from degsynth.apply.layouts.place import Pair, Place

HOLDS_PNG = True


def write(pairs: Sequence[Pair], place: Place) -> None:
    """Write ``hr/`` and ``lr/``."""
    place.put_sides(pairs)
