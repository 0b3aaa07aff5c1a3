"""Parts of the overlap of two photographs, each with a map of its own: a hand-held phone is not one lens."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from degsynth.align import blocks, levels, local
from degsynth.align.blocks import Blocks
from degsynth.align.lens_map import Box, LensMap
from degsynth.align.levels import LevelsChoice
from degsynth.align.refine import refine
from degsynth.align.resampling import Picture, Telephoto, block_means
from degsynth.align.views import Views
from degsynth.errors import DataError

PART = 640
"""Largest side of a part, which has a map of its own, px of the wide photograph: a hand-held phone is not one lens."""
MARGIN = 24
"""Pixels around a part that its map is refined on, too."""
OF_PARTS = ((2.0, 3), (1.0, 3))
"""Bands in which the map of a part is refined, as in `degsynth.align.refine.BANDS`."""


@dataclass(frozen=True)
class Part:
    """A part of the overlap, with a map of its own."""

    box: Box
    mapping: LensMap
    hr: Picture
    lr: Picture
    covered: NDArray[np.bool_]
    shifts: Blocks
    level_residual: float


def boxes(box: Box, longest: int = PART) -> Iterator[Box]:
    """Cut a box into equal ones of at most ``longest`` px a side."""
    rows, columns = (
        np.linspace(first, first + length, math.ceil(length / longest) + 1).round().astype(int).tolist()
        for first, length in ((box.top, box.height), (box.left, box.width))
    )
    for top, bottom in itertools.pairwise(rows):
        for left, right in itertools.pairwise(columns):
            yield Box(top, bottom, left, right)


def part_of(views: Views, whole: LensMap, telephoto: Telephoto, wide: Picture, box: Box, choice: LevelsChoice) -> Part:
    """Refine the map of a part, and make its HR.

    What refining or correcting makes worse, by the median shift that is left in blocks, is not kept.
    """
    outer = Box(
        max(views.box.top, box.top - MARGIN),
        min(views.box.bottom, box.bottom + MARGIN),
        max(views.box.left, box.left - MARGIN),
        min(views.box.right, box.right + MARGIN),
    )
    here = views.part(outer)
    mapping = whole.around(outer)
    shifts = blocks.measure(here, mapping)
    for improve in (_refined, _corrected):
        other = improve(here, mapping)
        left = blocks.measure(here, other)
        if _usual(left) < _usual(shifts):
            mapping, shifts = other, left
    hr, lr = telephoto.sampled(mapping, box), np.ascontiguousarray(wide[box.slices])
    covered = telephoto.covers(mapping, box)
    places = _places(box, views.box)
    scale = telephoto.scale
    change = levels.measure(block_means(hr, scale), lr, covered, places, choice)
    fine = cv2.resize(places.astype(np.float32), (hr.shape[1], hr.shape[0]), interpolation=cv2.INTER_LINEAR)
    return Part(box, mapping, change.apply(hr, fine.astype(np.float64)), lr, covered, shifts, change.residual)


def _refined(views: Views, mapping: LensMap) -> LensMap:
    """Return the map of a part, refined, or as it is where too little of the part is covered."""
    try:
        return refine(views, mapping, OF_PARTS)
    except DataError:
        return mapping


def _corrected(views: Views, mapping: LensMap) -> LensMap:
    return local.correct(views, mapping)[0]


def _usual(shifts: Blocks) -> float:
    """Return the median length of shifts, px; infinite where no block is known."""
    return float(np.median(shifts.lengths())) if len(shifts.errors) else math.inf


def _places(box: Box, whole: Box) -> NDArray[np.float64]:
    """Return where the pixels (h, w) of a box lie in the whole one: x and y from −1 to 1, (h, w, 2)."""
    points = box.points() - ((whole.left + whole.right - 1) / 2, (whole.top + whole.bottom - 1) / 2)
    return (2 * points / max(whole.height, whole.width)).reshape(box.height, box.width, 2)
