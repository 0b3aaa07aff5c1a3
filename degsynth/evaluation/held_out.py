"""The figure that training is steered by: luma PSNR on held-out pairs, small enough to be taken often."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from degsynth.data.pairs import PairSet
from degsynth.evaluation.metrics import psnr
from degsynth.ops.resample import inside, luma

MOST_PAIRS = 16
LARGEST_SIDE = 512
"""Of the middle that is looked at, LR px."""


class HeldOut:
    """The middles of at most 16 held-out pairs, kept in memory, on a device."""

    def __init__(self, pairs: PairSet, border: int, grid: int, device: str = "cpu") -> None:
        """Cut at multiples of ``grid`` HR px; ``border`` LR px are left out of the score at each edge."""
        self.border, self.scale = border, pairs.scale
        step = max(1, grid // pairs.scale)
        chosen = sorted({index * len(pairs) // MOST_PAIRS for index in range(MOST_PAIRS)})
        self.parts: list[tuple[Tensor, Tensor]] = []
        for index in chosen:
            height, width = pairs.size(index)
            side = min(LARGEST_SIDE, height, width)
            y, x = ((length - side) // 2 // step * step for length in (height, width))
            hr, lr = pairs.window(index, y, x, side)
            self.parts.append((hr.to(device), lr.to(device)))

    def psnr(self, degrade: Callable[[Tensor, int], Tensor]) -> float:
        """Mean luma PSNR (dB) of ``degrade(hr (1, C, H, W), seed)`` against the real LR."""
        with torch.inference_mode():
            scores = [
                psnr(*(inside(luma(image), self.border) for image in (degrade(hr[None], seed).clamp(0.0, 1.0)[0], lr)))
                for seed, (hr, lr) in enumerate(self.parts)
            ]
        return sum(scores) / len(scores)
