"""The windows of a photograph from which a blur kernel can be estimated: those with edges in all directions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS_PER_SIDE = 6
"""Number of positions, along the shorter side of a window, at which windows are evaluated."""
MIN_DISTANCE = 0.5
"""Chosen windows are at least this share of their side apart along at least one axis."""


def least_gradient(image: Tensor, side: tuple[int, int], step: int) -> Tensor:
    """Return the RMS gradient, per px, of windows of an image (H, W) in the direction in which it is least.

    It is the root of the smaller eigenvalue of the mean gradient tensor (Shi & Tomasi 1994): a window with edges in one
    direction only gives no information on the blur along them. The image is first smoothed by 1 2 1 twice along both
    axes, so that noise counts little. ``side`` is (height, width); windows begin at multiples of ``step``.
    """
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    smooth = F.conv2d(F.pad(image[None, None], (2, 2, 2, 2), mode="replicate"), torch.outer(row, row)[None, None])[0, 0]
    across = F.pad((smooth[:, 2:] - smooth[:, :-2])[None] / 2, (1, 1))[0]
    down = F.pad((smooth[2:] - smooth[:-2])[None] / 2, (0, 0, 1, 1))[0]
    products = torch.stack([across * across, across * down, down * down])[:, None]
    xx, xy, yy = F.avg_pool2d(products, side, stride=step)[:, 0]
    middle, half = (xx + yy) / 2, torch.hypot((xx - yy) / 2, xy)
    root: Tensor = (middle - half).clamp(min=0.0).sqrt()
    return root


def best_windows(image: Tensor, side: tuple[int, int], count: int, least: float) -> list[tuple[int, int]]:
    """Return the upper left corners (y, x) of at most ``count`` windows with the largest `least_gradient`, best first.

    ``side`` is (height, width). Windows whose value is below ``least`` are left out, and so are those that are nearer
    than `MIN_DISTANCE` to a better one.
    """
    step = max(1, min(side) // STEPS_PER_SIDE)
    scores = least_gradient(image, side, step)
    corners: list[tuple[int, int]] = []
    for index in scores.flatten().argsort(descending=True, stable=True).tolist():
        row, column = divmod(index, scores.shape[1])
        if len(corners) == count or float(scores[row, column]) < least:
            break
        y, x = row * step, column * step
        if all(abs(y - v) >= MIN_DISTANCE * side[0] or abs(x - u) >= MIN_DISTANCE * side[1] for v, u in corners):
            corners.append((y, x))
    return corners


def passes_eq6(window: Tensor, alpha: float) -> bool:
    """Return whether a window of values in [0, 1] passes Eq. 6 of kmsr as printed: |mean − variance| ≥ α · mean.

    It rejects next to nothing. The variance of values in [0, 1] is at most mean − mean², so the difference is at least
    mean²: a window passes if its mean is α or more, and α is .003.
    """
    mean, variance = float(window.mean()), float(window.var(correction=0))
    return abs(mean - variance) >= alpha * mean
