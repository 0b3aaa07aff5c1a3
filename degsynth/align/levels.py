"""Giving the telephoto the levels of the wide photograph: tone, colour, and a gain that varies slowly.

The levels of LR are the camera's, and stay. Those of HR are changed, so that a fit does not take exposure, white
balance or the fall of light towards the corners for a degradation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.ndimage as ndi
from numpy.typing import NDArray

from degsynth.align.refine import robust_weights
from degsynth.align.resampling import Picture
from degsynth.errors import DataError

LevelsChoice = Literal["match", "gain", "none"]
"""``match``: a cubic tone curve of each channel, what the other channels add, and a gain that varies slowly; ``gain``:
a gain and an offset of each channel; ``none``: levels stay."""

TONE_DEGREE, FIELD_DEGREE = 3, 2
"""Degrees of the tone curve, and of the polynomial of places by which the gain varies."""
SMOOTHED_PX = 2.0
"""Both sides are blurred by this before levels are compared, px of the wide photograph: their blur differs."""
ITERATIONS = 8
BLACK, WHITE = 0.01, 0.985
"""Levels outside of these are clipped, and say nothing."""
FEWEST = 500
"""Pixels of the wide photograph that are needed."""
MOST = 60_000
"""Of more, so many are used, chosen at random."""


@dataclass(frozen=True)
class LevelChange:
    """How the levels of the telephoto are changed."""

    coefficients: tuple[NDArray[np.float64], ...]
    """Of each channel, those of the columns of `_design`; none where levels stay."""
    choice: LevelsChoice
    residual: float
    """RMS of what is left between the two, blurred, in [0, 1]."""

    def apply(self, hr: Picture, places: NDArray[np.float64]) -> Picture:
        """Return HR (H, W, C) with changed levels, in [0, 1]; ``places`` (H, W, 2) are as in `measure`."""
        if self.choice == "none":
            return np.clip(hr, 0.0, 1.0)
        designs = (_design(hr, channel, places, self.choice) for channel in range(hr.shape[2]))
        planes = [design @ of for design, of in zip(designs, self.coefficients, strict=True)]
        return np.clip(np.stack(planes, 2), 0.0, 1.0).astype(np.float32)


def measure(
    hr: Picture, lr: Picture, usable: NDArray[np.bool_], places: NDArray[np.float64], choice: LevelsChoice
) -> LevelChange:
    """Measure how levels change from hr (h, w, C), averaged over the pixels of LR, to lr (h, w, C).

    ``usable`` (h, w): pixels that may be compared; ``places`` (h, w, 2): where they lie in the whole picture, −1 to 1.
    Least squares with weights that fall with the residual. DataError where too little is left that is not clipped.
    """
    if choice == "none":
        return LevelChange((), choice, float("nan"))
    soft_hr, soft_lr = (_soft(side) for side in (hr, lr))
    near = ndi.binary_erosion(usable, iterations=int(3 * SMOOTHED_PX), border_value=0)
    unclipped = (lr.max(2) < WHITE) & (hr.max(2) < WHITE) & (hr.min(2) > BLACK) & (lr.min(2) > BLACK)
    chosen = np.flatnonzero(near & unclipped)
    if len(chosen) < FEWEST:
        raise DataError("too little of TELE and WIDE is neither black nor white to compare their levels")
    if len(chosen) > MOST:
        chosen = np.random.default_rng(0).choice(chosen, MOST, replace=False)
    flat_hr, flat_lr = (side.reshape(-1, side.shape[2])[chosen] for side in (soft_hr, soft_lr))
    flat_places = places.reshape(-1, 2)[chosen]
    coefficients, residuals = [], []
    for channel in range(hr.shape[2]):
        design, wanted = _design(flat_hr, channel, flat_places, choice), flat_lr[:, channel].astype(np.float64)
        weights = np.ones(len(wanted))
        for _ in range(ITERATIONS):
            weighted = design * weights[:, None]
            normal = weighted.T @ design
            found = np.linalg.solve(normal + 1e-7 * np.trace(normal) * np.eye(len(normal)), weighted.T @ wanted)
            left = wanted - design @ found
            weights = robust_weights(left)
        coefficients.append(found)
        residuals.append(float((weights * left**2).mean() / weights.mean()))
    return LevelChange(tuple(coefficients), choice, float(np.sqrt(np.mean(residuals))))


def _soft(picture: Picture) -> Picture:
    """Return a picture (h, w, C), blurred."""
    return np.stack([ndi.gaussian_filter(plane, SMOOTHED_PX) for plane in np.moveaxis(picture, 2, 0)], 2)


def _design(
    picture: NDArray[np.float32], channel: int, places: NDArray[np.float64], choice: LevelsChoice
) -> NDArray[np.float64]:
    """Return the columns (…, K) of which a channel of LR is a weighted sum, of pixels (…, C) at places (…, 2)."""
    level = picture[..., channel].astype(np.float64)
    columns: list[NDArray[np.float64]] = [np.ones_like(level), level]
    if choice == "match":
        columns += [level**power for power in range(2, TONE_DEGREE + 1)]
        others = (other for other in range(picture.shape[-1]) if other != channel)
        columns += [picture[..., other].astype(np.float64) for other in others]
        x, y = places[..., 0], places[..., 1]
        fields = [x**i * y ** (n - i) for n in range(1, FIELD_DEGREE + 1) for i in range(n + 1)]
        columns += [level * field for field in fields]
    return np.stack(columns, -1)
