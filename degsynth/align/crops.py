"""Cutting aligned parts into crops, and leaving out those in which the two sides do not show the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from degsynth.align import blocks, mask
from degsynth.align.blocks import Blocks
from degsynth.align.lens_map import Box
from degsynth.align.parts import Part
from degsynth.align.resampling import Picture, luma_of
from degsynth.ops.kernels import centroid

LEAST_CROP = 48
"""Smallest side of a crop, LR px."""
LEAST_TEXTURED = 0.15
"""Share of the blocks of a crop whose shift must be known: nothing is learnt from sky, and nobody knows how it lies."""
GOOD_SHARE = 0.95
"""Share of the blocks of a crop that must show the same on both sides."""


@dataclass(frozen=True)
class Crop:
    """An aligned pair of pictures."""

    box: Box
    """Where LR lies in the wide photograph."""
    hr: NDArray[Any]
    """(s·h, s·w, C), of the type of the telephoto."""
    lr: NDArray[Any]
    """(h, w, C): the pixels of the wide photograph themselves."""


@dataclass(frozen=True)
class _Cut:
    """A crop of a part."""

    box: Box
    """In the wide photograph."""
    hr: Picture
    lr: Picture

    def of(self, wide: NDArray[Any], white: float) -> Crop:
        """Return the crop with pixels of the type of the wide photograph."""
        lr = np.ascontiguousarray(wide[self.box.slices])
        return Crop(self.box, np.rint(self.hr * white).astype(lr.dtype), lr)


class Cutter:
    """Cuts parts into crops, and leaves out those in which the two sides do not show the same."""

    def __init__(self, parts: Sequence[Part], scale: int, side: int, max_shift: float) -> None:
        self.parts, self.scale, self.max_shift = parts, scale, max_shift
        whole = [part for part in map(_covered, parts) if part is not None]
        smallest = min((min(part.box.height, part.box.width) for part in whole), default=0)
        self.side = max(LEAST_CROP, min(side // scale, smallest))
        self.kept: list[_Cut] = []
        self.rejected: list[Box] = []
        solution = mask.explain([(part.hr, part.lr) for part in whole], scale)
        if solution is None:
            return
        good = mask.good_blocks([(part.hr, part.lr) for part in whole], scale, solution)
        for part, of_part in zip(whole, good, strict=True):
            for box in _grid(part.box, self.side):
                self._judge(part, box, of_part)

    def _judge(self, part: Part, box: Box, good: NDArray[np.bool_]) -> None:
        """Keep a crop of a part, or reject it."""
        top, left = box.top - part.box.top, box.left - part.box.left
        rows, columns = (slice(first // mask.SIDE, -(-(first + self.side) // mask.SIDE)) for first in (top, left))
        within = _within(part.shifts, box)
        possible = max(1, (self.side - blocks.SIDE) // blocks.STEP + 1) ** 2
        is_flat = within.size < max(1.0, LEAST_TEXTURED * possible)
        moved = not is_flat and bool(np.percentile(within, 95) > self.max_shift)
        if moved or is_flat or good[rows, columns].mean() < GOOD_SHARE:
            self.rejected.append(box)
            return
        s = self.scale
        hr = part.hr[s * top : s * (top + self.side), s * left : s * (left + self.side)]
        self.kept.append(_Cut(box, hr, part.lr[top : top + self.side, left : left + self.side]))

    def shifts(self) -> Blocks:
        """Return what the maps leave in blocks of all parts."""
        return blocks.joined([part.shifts for part in self.parts])

    def facts(self) -> dict[str, Any]:
        """Return the figures of the crops that are kept."""
        lengths = [length for part in self.parts for cut in self.kept for length in _within(part.shifts, cut.box)]
        pairs = [(cut.hr, cut.lr) for cut in self.kept]
        solution = mask.explain(pairs, self.scale)
        y, x = (float("nan"), float("nan")) if solution is None else centroid(solution.kernel)
        variance = float(np.mean([float(luma_of(lr).var()) for _, lr in pairs])) if pairs else float("nan")
        return {
            "crop_lr_px": self.side,
            "crops": len(self.kept),
            "rejected": len(self.rejected),
            "share_kept": len(self.kept) / max(1, len(self.kept) + len(self.rejected)),
            "shift_lr_px": {
                name: float(np.percentile(lengths, share)) if lengths else float("nan")
                for name, share in (("median", 50), ("p95", 95), ("max", 100))
            },
            "kernel_centroid_hr_px": (y, x),
            "explained": float("nan") if solution is None else 1 - solution.residual_rms**2 / variance,
            "level_residual": float(np.mean([part.level_residual for part in self.parts])),
            "boxes": [tuple(cut.box) for cut in self.kept],
        }


def _within(shifts: Blocks, box: Box) -> NDArray[np.float64]:
    """Return the lengths of the shifts of blocks whose centre lies in a box, px."""
    x, y = shifts.centres.T
    inside = (x >= box.left) & (x < box.right) & (y >= box.top) & (y < box.bottom)
    return np.asarray(shifts.lengths()[inside])


def _covered(part: Part) -> Part | None:
    """Return the largest rectangle of a part that the telephoto covers, cut from all sides; None where it is small."""
    covered = part.covered
    top, bottom, left, right = 0, covered.shape[0], 0, covered.shape[1]
    while min(bottom - top, right - left) >= LEAST_CROP:
        inner = covered[top:bottom, left:right]
        edges = [inner[0].mean(), inner[-1].mean(), inner[:, 0].mean(), inner[:, -1].mean()]
        worst = int(np.argmin(edges))
        if edges[worst] == 1.0 and inner.all():
            break
        top, bottom = top + (worst == 0), bottom - (worst == 1)
        left, right = left + (worst == 2), right - (worst == 3)
    else:
        return None
    box = Box(part.box.top + top, part.box.top + bottom, part.box.left + left, part.box.left + right)
    scale = part.hr.shape[0] // part.lr.shape[0]
    hr = part.hr[scale * top : scale * bottom, scale * left : scale * right]
    return replace(part, box=box, hr=hr, lr=part.lr[top:bottom, left:right], covered=covered[top:bottom, left:right])


def _grid(box: Box, side: int) -> Iterator[Box]:
    """Yield squares that are spread evenly over a box: as many as fit, rounded, so that they may overlap a bit."""
    tops, lefts = (
        np.linspace(first, first + length - side, max(1, round(length / side))).round().astype(int).tolist()
        for first, length in ((box.top, box.height), (box.left, box.width))
    )
    for top in tops:
        for left in lefts:
            yield Box(top, top + side, left, left + side)
