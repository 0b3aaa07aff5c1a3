"""Where in a photograph a blur kernel can be told from: windows with edges in all directions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 6
"""Windows are looked at this many to their own length."""
APART = 0.5
"""Chosen windows overlap by no more than this share of their sides, in one direction at least."""


def least_gradient(image: Tensor, side: tuple[int, int], step: int) -> Tensor:
    """Root mean square gradient, in the direction in which it is least, of windows of an image (H, W), per px.

    The root of the smaller eigenvalue of the mean gradient tensor (Shi & Tomasi 1994): a window with edges in one
    direction only tells nothing of the blur along them. Gradients are those of the image smoothed by 1 2 1 twice, in
    which noise counts little. Windows begin at multiples of ``step``.
    """
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    smooth = F.conv2d(F.pad(image[None, None], (2, 2, 2, 2), mode="replicate"), torch.outer(row, row)[None, None])[0, 0]
    across = F.pad((smooth[:, 2:] - smooth[:, :-2])[None] / 2, (1, 1))[0]
    down = F.pad((smooth[2:] - smooth[:-2])[None] / 2, (0, 0, 1, 1))[0]
    parts = torch.stack([across * across, across * down, down * down])[:, None]
    xx, xy, yy = F.avg_pool2d(parts, side, stride=step)[:, 0]
    middle, half = (xx + yy) / 2, torch.hypot((xx - yy) / 2, xy)
    found: Tensor = (middle - half).clamp(min=0.0).sqrt()
    return found


def best_windows(image: Tensor, side: tuple[int, int], count: int, least: float) -> list[tuple[int, int]]:
    """Where at most ``count`` windows of (height, width) begin that have the most `least_gradient`, at least ``least``.

    Best first, none upon another (`APART`).
    """
    step = max(1, min(side) // STEPS)
    scores = least_gradient(image, side, step)
    found: list[tuple[int, int]] = []
    for index in scores.flatten().argsort(descending=True, stable=True).tolist():
        row, column = divmod(index, scores.shape[1])
        if len(found) == count or float(scores[row, column]) < least:
            break
        y, x = row * step, column * step
        if all(abs(y - v) >= APART * side[0] or abs(x - u) >= APART * side[1] for v, u in found):
            found.append((y, x))
    return found


def passes_eq6(window: Tensor, alpha: float) -> bool:
    """Eq. 6 of kmsr as it is printed: |mean − variance| ≥ α · mean, of values in [0, 1].

    Of values in [0, 1] the variance is at most mean − mean², so the difference is at least mean²: a window whose mean
    is α or more passes, and α is .003.
    """
    mean, variance = float(window.mean()), float(window.var(correction=0))
    return abs(mean - variance) >= alpha * mean
