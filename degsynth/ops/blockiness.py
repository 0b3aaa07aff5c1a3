"""Whether an image has been JPEG: steps between its 8×8 blocks."""

from __future__ import annotations

import torch
from torch import Tensor

PERIOD = 8


def blockiness(gray: Tensor) -> float:
    """How much higher steps between pixels are at every eighth place than elsewhere: about 1 where nothing is special.

    gray (h, w). A step is the difference of two neighbours less the mean of the two differences beside it, so that
    slopes are none; of its sizes the mean is taken over all columns (rows) of a phase, and of the eight phases the
    highest over the median, of columns and rows together. Large steps are edges of the scene and are cut off at twice
    the median of those that are none.
    """
    ratios = []
    for plane in (gray, gray.T):
        first = plane.double().diff(dim=1)
        step = (first[:, 1:-1] - 0.5 * (first[:, :-2] + first[:, 2:])).abs()
        if step.shape[1] < 4 * PERIOD:
            return 1.0
        some = step[step > 0]
        if len(some) == 0:
            return 1.0
        step = step.clamp(max=2 * float(some.median())).mean(0)
        whole = step[: len(step) // PERIOD * PERIOD].view(-1, PERIOD).mean(0)
        ratios.append(whole / whole.median().clamp(min=1e-12))
    return float(torch.stack([ratio.max() for ratio in ratios]).prod().sqrt())
