"""The figure that training is steered by: luma PSNR on held-out pairs, small enough to be taken often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from degsynth.data.pairs import PairSet
from degsynth.evaluation.metrics import psnr
from degsynth.ops.resample import bicubic, crop_border, luma

MOST_PAIRS = 16
LARGEST_SIDE = 512
"""Of the middle that is looked at, LR px."""


@dataclass(frozen=True)
class Part:
    """The middle of a held-out pair."""

    hr: Tensor
    """(C, s·h, s·w), on the device."""
    lr: Tensor
    """(C, h, w), likewise."""
    origin: tuple[int, int]
    """Where it begins in the whole image, LR px."""
    frame: tuple[int, int]
    """Height and width of the whole image, LR px: a model that blurs by place must know."""


def by_degrader(degrader: Any) -> Callable[[Part], Tensor]:
    """What a degrader makes of a part, as it would in the whole image: (1, C, h, w)."""

    def degrade(part: Part) -> Tensor:
        (y, x), (channels, height, width), device = part.origin, part.lr.shape, part.hr.device
        code = degrader.draw(0, *part.frame).to(device)
        made: Tensor = degrader(part.hr[None], code, degrader.field(0, y, x, height, width, channels).to(device))
        return made

    return degrade


class Judge(Protocol):
    """What training is steered by."""

    figure: str
    """What the score is, as logs name it."""
    unit: str
    sign: int
    """1: the higher the better; −1: the lower."""
    judges_start: bool
    """Whether what training starts from is judged, too, and kept unless something is clearly better."""

    def score(self, degrader: Any) -> float:
        """Of a degrader, on images that the fit does not see."""

    def bicubic(self) -> float:
        """The score of the usual LR."""


class HeldOut:
    """The middles of at most 16 held-out pairs, kept in memory, on a device."""

    figure, unit, sign, judges_start = "psnr_y", " dB", 1, False

    def __init__(self, pairs: PairSet, border: int, grid: int, device: str = "cpu") -> None:
        """Cut at multiples of ``grid`` HR px; ``border`` LR px are left out of the score at each edge."""
        self.border = border
        step = max(1, grid // pairs.scale)
        self.parts: list[Part] = []
        for index in pairs.spread(MOST_PAIRS):
            height, width = pairs.size(index)
            side = min(LARGEST_SIDE, height, width)
            y, x = ((length - side) // 2 // step * step for length in (height, width))
            hr, lr = pairs.window(index, y, x, side)
            self.parts.append(Part(hr.to(device), lr.to(device), (y, x), (height, width)))

    def score(self, degrader: Any) -> float:
        """`psnr` of a degrader's LR."""
        return self.psnr(by_degrader(degrader))

    def bicubic(self) -> float:
        """`psnr` of bicubic LR."""
        return self.psnr(lambda part: bicubic(part.hr[None], part.hr.shape[1] // part.lr.shape[1]))

    def psnr(self, degrade: Callable[[Part], Tensor]) -> float:
        """Mean luma PSNR (dB) of what ``degrade`` makes of the parts, against the real LR."""
        scores = []
        with torch.inference_mode():
            for part in self.parts:
                made = degrade(part)[0].clamp(0.0, 1.0)
                scores.append(psnr(*(crop_border(luma(image), self.border) for image in (made, part.lr))))
        return sum(scores) / len(scores)
