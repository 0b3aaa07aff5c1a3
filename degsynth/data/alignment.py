"""How an LR image lies on its HR image: shifted, zoomed or turned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from torch import Tensor

from degsynth.ops.resample import bicubic

SURELY_ALIGNED = 0.9
"""A shift that leaves a correlation above this is taken, and no other is tried."""
WARP_LEAVES = 0.8
"""A warp is believed where it leaves less than this share of what a shift leaves unexplained."""
MEASURED_LR_PX = 400
"""Sides of the middle part of a pair in which its alignment is measured."""
LEAST_LR_PX = 16
"""In an image with a shorter side, nothing is measured."""
BANDS = (3.0, 1.0)
"""Widths of the band passes in which a displacement is searched for, from coarse to fine, LR px."""
STEPS = 12
"""Largest number of steps in a band."""
LARGEST_STEP = 2.0
"""A step changes no displacement by more than this, LR px."""
CLOSE_ENOUGH, CONVERGED = 0.05, 1e-3
"""A band ends with a step smaller than this, LR px: a coarse one, and the finest."""

Plane = NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """Where LR pixels lie on HR, in LR px; directions are y, x.

    At a place ``p`` from the middle, LR shows what lies on HR at ``p + shift``; or, where there is a warp, at about
    ``p + shift + warp @ p``.
    """

    shift: tuple[float, float]
    """The shift that fits the picture best; where there is a warp, the displacement in its middle."""
    correlation: float
    """Correlation of the two sides once shift and warp are corrected; −1 where the search diverges."""
    warp: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))
    """Change of the displacement (y, x) with the place (y, x); 0 where a shift explains the picture nearly as well."""

    @property
    def zoom(self) -> tuple[float, float]:
        """By how much larger LR shows the scene than HR, in height and width: 0.02 is 2 %."""
        return 1 / (1 + self.warp[0][0]) - 1, 1 / (1 + self.warp[1][1]) - 1

    @property
    def turn(self) -> float:
        """Angle by which LR is turned against HR, degrees, clockwise."""
        return math.degrees((self.warp[1][0] - self.warp[0][1]) / 2)

    def displacement(self, height: int, width: int) -> float:
        """Return the RMS displacement that no shift can correct, over an LR image of this size, LR px."""
        variances = np.array([height, width]) ** 2 / 12
        return float(np.sqrt((np.array(self.warp) ** 2 @ variances).sum()))


NOT_MOVED = Alignment((0.0, 0.0), 1.0)


def measure_alignment(hr: Tensor, lr: Tensor, scale: int) -> Alignment:
    """Measure how lr (1, h, w) lies on hr (1, s·h, s·w), both luma.

    Gauss-Newton solves ``lr(p) ≈ g · base(p + t + A p)`` for the gain g, the shift t and the warp A, where base is the
    bicubic LR and p a place. With the gradients of the moved base the equation is linear in (g, g·δt, g·δA), so each
    step is one small least-squares problem. The gain is free, and blur has no direction, so neither contrast nor
    sharpness biases t and A. Both sides are band-passed: first in a coarse band, which catches large displacements; and
    always without the low frequencies, where a shift looks like a change of level. A shift is searched for first, from
    none; where that leaves a low correlation, once more from the peak of the phase correlation, and the better of the
    two is taken. From there a warp is searched for, which moves all parts of the picture at once.
    """
    search = _Search(*(_middle(image[0].numpy()) for image in (bicubic(hr[None], scale)[0], lr)))
    if min(search.shape) < LEAST_LR_PX:
        return Alignment((0.0, 0.0), _correlation(search.base, search.view))
    shifted = search.shift(np.zeros(2))
    if shifted.correlation <= SURELY_ALIGNED:
        shifted = max(shifted, search.shift(search.phase_peak()), key=lambda found: found.correlation)
    warped = search.warp(shifted.shift)
    if warped.correlation > 0 and 1 - warped.correlation**2 < WARP_LEAVES * (1 - max(shifted.correlation, 0) ** 2):
        return warped
    return shifted


class _Search:
    """Moves the bicubic LR of a pair onto its LR."""

    def __init__(self, base: Plane, view: Plane) -> None:
        self.base, self.view = base, view
        self.shape: tuple[int, int] = (view.shape[0], view.shape[1])

    def phase_peak(self) -> Plane:
        """Return the shift (y, x) at the peak of the phase correlation, in whole LR px."""
        window = cv2.createHanningWindow(self.shape[::-1], cv2.CV_64F)
        (x, y), _ = cv2.phaseCorrelate(self.view.copy(), self.base.copy(), window)  # OpenCV windows them in place
        return np.array([round(y), round(x)], np.float64)

    def shift(self, start: Plane) -> Alignment:
        """Return the shift (y, x) that the search reaches from ``start``."""

        def move(spline: Plane, shift: Plane) -> Plane:
            return np.asarray(scipy.ndimage.shift(spline, -shift, order=3, mode="nearest", prefilter=False))

        (y, x), correlation = self._refine(start, move, lambda slopes: slopes)
        return Alignment((float(y), float(x)), correlation)

    def warp(self, shift: tuple[float, float]) -> Alignment:
        """Return the shift and the warp that the search reaches from a shift.

        The unknowns are t, and A times half the longer side, so that all are displacements in LR px.
        """
        middle, unit = (np.array(self.shape) - 1) / 2, max(self.shape) / 2
        places = [(axis - centre) / unit for axis, centre in zip(np.indices(self.shape), middle, strict=True)]

        def move(spline: Plane, found: Plane) -> Plane:
            matrix = np.eye(2) + found[2:].reshape(2, 2) / unit
            offset = middle + found[:2] - matrix @ middle
            moved = scipy.ndimage.affine_transform(spline, matrix, offset, order=3, mode="nearest", prefilter=False)
            return np.asarray(moved)

        def columns(slopes: list[Plane]) -> list[Plane]:
            return [*slopes, *(slope * place for slope in slopes for place in places)]

        found, correlation = self._refine(np.array([*shift, 0.0, 0.0, 0.0, 0.0]), move, columns)
        (yy, yx), (xy, xx) = (found[2:].reshape(2, 2) / unit).tolist()
        return Alignment((float(found[0]), float(found[1])), correlation, ((yy, yx), (xy, xx)))

    def _refine(
        self, found: Plane, move: Callable[[Plane, Plane], Plane], columns: Callable[[list[Plane]], list[Plane]]
    ) -> tuple[Plane, float]:
        """Return what Gauss-Newton reaches from ``found``, and the correlation; −1 where it diverges.

        ``move`` moves a spline, and ``columns`` makes of its slopes (y, x) how it changes with each unknown.
        """
        correlation = -1.0
        for sigma in BANDS:
            smooth_base, smooth_view = (_band(image, sigma) for image in (self.base, self.view))
            spline = scipy.ndimage.spline_filter(smooth_base, order=3, mode="nearest")
            for _ in range(STEPS):
                reach = np.abs(found).reshape(-1, 2)
                inner = self._inner(float(reach[0].max() + reach[1:].sum(1).max(initial=0.0)), sigma)
                if inner is None:
                    return found, -1.0
                moved = move(spline, found)
                changes = columns(list(np.gradient(moved)))
                step = _solve([moved[inner], *(change[inner] for change in changes)], smooth_view[inner])
                found = found + step
                if np.abs(step).max() < (CONVERGED if sigma == BANDS[-1] else CLOSE_ENOUGH):
                    break
            correlation = _correlation(moved[inner], smooth_view[inner])
        return found, correlation

    def _inner(self, reach: float, sigma: float) -> tuple[slice, slice] | None:
        """Return the part of the picture that can be compared, as displacements reach so far; None where none is left.

        Along the border, the displacement and the filter bring in values that the other side does not have.
        """
        height, width = self.shape
        border = int(np.ceil(reach + 3 * sigma)) + 1
        if reach > min(self.shape) / 4 or min(self.shape) <= 2 * border + 4:
            return None
        return slice(border, height - border), slice(border, width - border)


def _solve(columns: list[Plane], wanted: Plane) -> Plane:
    """Return the step of the unknowns, given the moved base and its changes; 0 where the base has no contrast."""
    matrix = np.stack([column.ravel() for column in columns])
    normal = matrix @ matrix.T + 1e-12 * np.eye(len(matrix))  # the small diagonal keeps it regular for flat pictures
    gain, *slopes = np.linalg.solve(normal, matrix @ wanted.ravel())
    step = np.array(slopes) / gain if abs(gain) > 1e-3 else np.zeros(len(slopes))
    return np.asarray(np.clip(step, -LARGEST_STEP, LARGEST_STEP))


def _middle(image: NDArray[np.float32]) -> Plane:
    """Return the middle of a plane, which is enough to measure one shift."""
    top, left = (max(0, (n - MEASURED_LR_PX) // 2) for n in image.shape)
    return image[top : top + MEASURED_LR_PX, left : left + MEASURED_LR_PX].astype(np.float64)


def _band(image: Plane, sigma: float) -> Plane:
    """Return the image band-passed by a difference of Gaussians of widths ``sigma`` and 3 · ``sigma``."""
    fine, coarse = (scipy.ndimage.gaussian_filter(image, width) for width in (sigma, 3 * sigma))
    return np.asarray(fine - coarse)


def _correlation(a: Plane, b: Plane) -> float:
    """Return the correlation coefficient of two arrays; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
