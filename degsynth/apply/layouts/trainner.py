"""traiNNer-redux's ``PairedImageDataset``.

It lists ``dataroot_gt`` and ``dataroot_lq`` recursively, where every file counts, and pairs images by their stems. It
converts images with a colour profile to sRGB; HR and LR have the same profile, so both are converted alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from degsynth.apply.layouts.place import Pair, Place

HOLDS_PNG = True


def write(pairs: Sequence[Pair], place: Place) -> None:
    """Write ``hr/`` and ``lr/``."""
    place.put_sides(pairs)
