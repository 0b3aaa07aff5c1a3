"""The choice of the held-out images, which a fit never sees and on which it is scored."""

from __future__ import annotations

from collections.abc import Sequence

from degsynth.seeds import derive


def held_out_indices(
    names: Sequence[str], seed: int, purpose: str, fraction: float = 0.1
) -> tuple[list[int], list[int]]:
    """Return the indices of the names to fit to and of the held-out names, both in ascending order.

    A tenth of the names (``fraction``) is held out, but at least one; of a single name nothing is left to fit to. The
    names are ranked by a hash of the seed, the name and ``purpose``, so their order does not matter, and the choice for
    one purpose says nothing about that for another.
    """
    count = max(1, round(fraction * len(names)))
    ranked = sorted(range(len(names)), key=lambda index: derive(seed, names[index], 0, 0, purpose))
    return sorted(ranked[count:]), sorted(ranked[:count])
