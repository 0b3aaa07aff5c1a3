"""Refining a map from the pixels of both photographs: Gauss-Newton on bands of frequency, from coarse to fine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from degsynth.align.lens_map import POWERS, LensMap
from degsynth.align.views import FEWEST_PIXELS, Bands, Views
from degsynth.errors import DataError

BANDS = ((4.0, 2), (2.0, 3), (1.0, 3))
"""Widths of the bands, px of the wide photograph, and the degree of the polynomial that is refined in each."""
STEPS = 12
"""Largest number of steps in a band."""
CLOSE_ENOUGH, CONVERGED = 0.02, 0.003
"""A band ends where no point moves by more than this, px: a coarse band, and the finest."""
MOST_PIXELS = 150_000
"""Of more pixels, so many are used, chosen at random."""
OUTLIER = 2.5
"""Residuals of so many standard deviations count half."""


def refine(views: Views, mapping: LensMap, bands: tuple[tuple[float, int], ...] = BANDS) -> LensMap:
    """Return the map with its polynomial refined; DataError where too little of the two photographs can be compared.

    With the telephoto t(u) as the map shows it on pixel u, the wide photograph w(u) and the basis b(u) of the
    polynomial, the step δ solves, for all pixels at once,

        w(u) − t(u) ≈ ∇t(u) · (b(u) δ)

    by least squares, whose weights fall with the residual (Cauchy), so that what moved or is hidden counts little. The
    gradient is that of the sampled telephoto: the derivative of the homography is in it, so a step moves u.
    """
    for sigma, degree in bands:
        terms = [index for index, powers in enumerate(POWERS) if sum(powers) <= degree]
        for _ in range(STEPS):
            step = _step(views.bands(mapping, sigma), mapping, views, terms)
            mapping = mapping.with_step(step)
            moved = np.abs(mapping.basis(views.box.points()[::97]) @ step.T).max()
            if moved < (CONVERGED if sigma == bands[-1][0] else CLOSE_ENOUGH):
                break
    return mapping


def _step(bands: Bands, mapping: LensMap, views: Views, terms: list[int]) -> NDArray[np.float64]:
    """Return the step (2, terms of the polynomial) of the coefficients; those of other terms stay."""
    usable = np.flatnonzero(bands.inside)
    if len(usable) < FEWEST_PIXELS:
        raise DataError("TELE and WIDE hardly overlap")
    if len(usable) > MOST_PIXELS:
        usable = np.random.default_rng(0).choice(usable, MOST_PIXELS, replace=False)
    down, across = (slope.ravel()[usable] for slope in np.gradient(bands.tele))
    basis = mapping.basis(views.box.points()[usable])[:, terms]
    columns = np.concatenate([across[:, None] * basis, down[:, None] * basis], 1)
    left = (bands.wide - bands.tele).ravel()[usable]
    weighted = columns * robust_weights(left)[:, None]
    normal = weighted.T @ columns
    normal += 1e-6 * np.trace(normal) / len(normal) * np.eye(len(normal))
    step = np.zeros((2, len(POWERS)))
    step[:, terms] = np.linalg.solve(normal, weighted.T @ left).reshape(2, -1)
    return step


def robust_weights(residuals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weight of each residual: 1 for small ones, ½ for those of `OUTLIER` standard deviations (Cauchy).

    The standard deviation is 1.48 times the median of the absolute residuals, which outliers do not change.
    """
    scale = 1.4826 * np.median(np.abs(residuals)) + 1e-9
    weights: NDArray[np.float64] = 1.0 / (1.0 + (residuals / (OUTLIER * scale)) ** 2)
    return weights
