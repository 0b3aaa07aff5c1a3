"""A measure of whether an image was once a JPEG file: the height of the steps between its 8×8 blocks."""

from __future__ import annotations

import torch
from torch import Tensor

PERIOD = 8
"""Side of a JPEG block, px."""


def blockiness(gray: Tensor) -> float:
    """Return the height of the steps at every eighth pixel of an image (h, w), relative to the steps elsewhere.

    It is about 1 for an image without blocks. A step is the difference of two neighbours minus the mean of the two
    differences beside it, so that slopes do not count. Large steps are edges of the scene, so absolute steps are
    clipped at twice the median of those that are not 0. They are averaged over all columns with the same position
    modulo 8, and the highest of the eight means is divided by their median. The result is the geometric mean of this
    ratio for columns and for rows. It is 1 for images that are flat or too small.
    """
    ratios = []
    for plane in (gray, gray.T):
        difference = plane.double().diff(dim=1)
        step = (difference[:, 1:-1] - 0.5 * (difference[:, :-2] + difference[:, 2:])).abs()
        if step.shape[1] < 4 * PERIOD:
            return 1.0
        positive = step[step > 0]
        if len(positive) == 0:
            return 1.0
        profile = step.clamp(max=2 * float(positive.median())).mean(0)
        phases = profile[: len(profile) // PERIOD * PERIOD].view(-1, PERIOD).mean(0)
        ratios.append(phases / phases.median().clamp(min=1e-12))
    return float(torch.stack([ratio.max() for ratio in ratios]).prod().sqrt())
