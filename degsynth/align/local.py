"""A local correction of a map, which is accepted only where blocks that were held out agree on it.

Parallax, rolling shutters and stitched frames move parts of a picture by amounts that no lens explains. A flow that
follows every block follows its errors, too, and is worse than none where nothing local is there. So the shifts of
blocks are smoothed, and how much, if anything, is decided by how well other blocks predict those that were left out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from degsynth.align import blocks
from degsynth.align.blocks import SIDE, Blocks
from degsynth.align.lens_map import LensMap, LocalShift
from degsynth.align.views import Views

Array = NDArray[np.float64]

WIDTHS = (16.0, 24.0, 40.0, 64.0, 112.0)
"""Widths of the Gaussians that are tried, px of the wide photograph."""
ROUNDS = 3
LEAST_GAIN = 0.1
"""Share of the squared shifts of held-out blocks that a correction must explain."""
FEWEST_BLOCKS = 12
PRIOR = 0.3
"""Weight of a shift of 0 at every place; that of a block that is surely known is 1."""
KNOWN_PX = 0.03
"""A block with this standard error has half the weight of one that is surely known, px."""
MOST_SQUARE = 0.5
"""A held-out block counts with this squared error at most, px²: some blocks are wrong."""
LATTICE = 8
"""Distance of the places at which the correction is stored, px."""


def correct(views: Views, mapping: LensMap) -> tuple[LensMap, float]:
    """Return the map with local corrections, and the share of the squared shifts of held-out blocks that these explain.

    The share is 0 where nothing is corrected.
    """
    explained = 0.0
    for _ in range(ROUNDS):
        found = blocks.measure(views, mapping)
        if len(found.errors) < FEWEST_BLOCKS:
            break
        gains = [_gain(found, width) for width in WIDTHS]
        best = int(np.argmax(gains))
        if gains[best] < LEAST_GAIN:
            break
        explained = max(explained, gains[best])
        mapping = replace(mapping, local=(*mapping.local, _smoothed(views, found, WIDTHS[best])))
    return mapping, explained


def _weights(of: Blocks) -> Array:
    """Return the weight (N,) of each block."""
    weights: Array = KNOWN_PX**2 / (of.errors**2 + KNOWN_PX**2)
    return weights


def _predicted(
    centres: Array,
    shifts: Array,
    weights: Array,
    at: Array,
    width: float,
) -> Array:
    """Return the mean shift at places (M, 2), weighted by Gaussians of the distance to blocks, and by a prior of 0."""
    squares = ((at[:, None] - centres[None]) ** 2).sum(2)
    near = np.exp(-0.5 * squares / width**2) * weights
    predicted: Array = (near @ shifts) / (near.sum(1, keepdims=True) + PRIOR)
    return predicted


def _gain(of: Blocks, width: float) -> float:
    """Return the share of squared shifts that is explained where others, which do not overlap it, predict each block.

    Blocks are held out in four groups of whole squares of `SIDE` px, like the fields of a chessboard in four colours.
    """
    places, weights = (of.centres // SIDE).astype(int), _weights(of)
    colours = (places[:, 0] % 2) + 2 * (places[:, 1] % 2)
    alone = weights @ np.minimum(of.shifts**2, MOST_SQUARE).sum(1)
    left = 0.0
    for colour in range(4):
        held = colours == colour
        for index in np.flatnonzero(held):
            at = of.centres[index]
            others = ~held & (np.abs(of.centres - at).max(1) >= SIDE)
            guess = _predicted(of.centres[others], of.shifts[others], weights[others], at[None], width)[0]
            left += weights[index] * np.minimum((of.shifts[index] - guess) ** 2, MOST_SQUARE).sum()
    return float(1.0 - left / max(alone, 1e-12))


def _smoothed(views: Views, of: Blocks, width: float) -> LocalShift:
    """Return the smoothed shifts of blocks on a lattice."""
    box, weights = views.box, _weights(of)
    rows, columns = (np.arange(0, length + LATTICE, LATTICE) for length in views.shape)
    y, x = np.meshgrid(rows + box.top, columns + box.left, indexing="ij")
    at = np.stack([x.ravel(), y.ravel()], 1).astype(np.float64)
    some = np.array_split(at, 1 + len(at) // 2000)  # the memory for all at once would be large
    values = np.concatenate([_predicted(of.centres, of.shifts, weights, part, width) for part in some])
    return LocalShift(values.T.reshape(2, len(rows), len(columns)), box, LATTICE)
