"""What a map leaves: the shift of each block of the wide photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from degsynth.align.lens_map import LensMap
from degsynth.align.views import Plane, Views

SIDE, STEP = 32, 16
"""Side of a block, and distance of two, px of the wide photograph."""
BAND = 1.0
"""Width of the band in which shifts are measured, px."""
ITERATIONS = 3
LEAST_COVERED = 0.95
"""Share of a block that the telephoto must cover."""
SURE_PX, LEAST_CORRELATION, FARTHEST_PX = 0.15, 0.6, 2.0
"""A block counts where its shift and its standard error are smaller, and the correlation of the sides is larger."""


@dataclass(frozen=True)
class Blocks:
    """Blocks whose shift is known."""

    centres: NDArray[np.float64]
    """(N, 2): x, y in the wide photograph, px."""
    shifts: NDArray[np.float64]
    """(N, 2): x, y by which the telephoto, as the map shows it, must still be moved, px of the wide photograph."""
    errors: NDArray[np.float64]
    """(N,): standard errors of the shifts, px."""

    def lengths(self) -> NDArray[np.float64]:
        """Return the lengths (N,) of the shifts, px."""
        lengths: NDArray[np.float64] = np.hypot(*self.shifts.T)
        return lengths


def joined(several: Sequence[Blocks]) -> Blocks:
    """Return the blocks of several parts as one."""
    return Blocks(
        np.concatenate([of.centres for of in several]),
        np.concatenate([of.shifts for of in several]),
        np.concatenate([of.errors for of in several]),
    )


def measure(views: Views, mapping: LensMap) -> Blocks:
    """Measure the shift that a map leaves in each block, where there is texture enough.

    In a block, the wide photograph is g · t(u + δ) + o with the telephoto t. A few Gauss-Newton steps find g, δ and o,
    with weights that fall towards the edges of the block.
    """
    bands = views.bands(mapping, BAND)
    spline = ndi.spline_filter(bands.tele, order=3)
    window = np.hanning(SIDE + 2)[1:-1]
    weights = np.outer(window, window).ravel()
    height, width = views.shape
    found = []
    for top in range(0, height - SIDE + 1, STEP):
        for left in range(0, width - SIDE + 1, STEP):
            part = slice(top, top + SIDE), slice(left, left + SIDE)
            if bands.inside[part].mean() >= LEAST_COVERED:
                block = _Block(spline, bands.wide[part].ravel(), (top, left), weights)
                x, y = (first + (SIDE - 1) / 2 for first in (left + views.box.left, top + views.box.top))
                found.append((x, y, *block.shift()))
    table = np.array(found).reshape(-1, 6)
    known = (table[:, 4] < SURE_PX) & (table[:, 5] > LEAST_CORRELATION) & (np.abs(table[:, 2:4]).max(1) < FARTHEST_PX)
    return Blocks(table[known, :2], table[known, 2:4], table[known, 4])


@dataclass(frozen=True)
class _Block:
    spline: Plane
    wide: NDArray[np.float64]
    """Its pixels in the wide photograph, (n,)."""
    corner: tuple[int, int]
    weights: NDArray[np.float64]

    def shift(self) -> tuple[float, float, float, float]:
        """Return the shift (x, y), its standard error and the correlation of the two sides."""
        rows, columns = (first + np.arange(SIDE, dtype=np.float64) for first in self.corner)
        y, x = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
        moved = np.zeros(2)

        def at(down: float, across: float) -> NDArray[np.float64]:
            places = [y + moved[1] + down, x + moved[0] + across]
            return np.asarray(ndi.map_coordinates(self.spline, places, order=3, mode="nearest", prefilter=False))

        for _ in range(ITERATIONS):
            seen = at(0, 0)
            design = np.stack([seen, at(0, 0.5) - at(0, -0.5), at(0.5, 0) - at(-0.5, 0), np.ones_like(seen)], 1)
            weighted = design * self.weights[:, None]
            normal = weighted.T @ design
            normal += 1e-9 * np.trace(normal) * np.eye(4)
            found = np.linalg.solve(normal, weighted.T @ self.wide)
            gain = float(found[0])
            if abs(gain) < 0.1:
                return 0.0, 0.0, float("inf"), 0.0
            moved = moved + np.clip(found[1:3] / gain, -1, 1)
        left = self.wide - design @ found
        variance = float((self.weights * left**2).sum() / self.weights.sum())
        # Neighbours in a band are correlated, and the window leaves some out: about twice the variance of white noise.
        covariance = 2.0 * variance * np.linalg.inv(normal)[1:3, 1:3] / gain**2
        return (
            float(moved[0]),
            float(moved[1]),
            float(np.sqrt(np.trace(covariance))),
            float(np.corrcoef(seen, self.wide)[0, 1]),
        )
