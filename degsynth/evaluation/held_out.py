"""The judge of a paired fit: luma PSNR on held-out pairs, of parts small enough to be scored often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from degsynth.data.pairs import PairSet
from degsynth.evaluation.metrics import psnr
from degsynth.model.checkpoint import LoadedDegrader
from degsynth.model.inference import inference
from degsynth.ops.resample import bicubic, crop_border, luma
from degsynth.ops.spectral_lead import Lead

MOST_PAIRS = 16
"""Largest number of pairs that are scored."""
LARGEST_SIDE = 512
"""Largest side of the middle of a pair that is scored, LR px."""


@dataclass(frozen=True)
class Part:
    """The middle of a held-out pair, on a device."""

    hr: Tensor
    """(C, s·h, s·w)."""
    lr: Tensor
    """(C, h, w)."""
    origin: tuple[int, int]
    """Where the part begins in the whole image (y, x), LR px."""
    frame: tuple[int, int]
    """Height and width of the whole image, LR px; a model whose blur depends on the place needs them."""


def by_degrader(degrader: LoadedDegrader) -> Callable[[Part], Tensor]:
    """Return a function that degrades a part to LR (1, C, h, w), with its position and noise in the whole image."""

    def degrade(part: Part) -> Tensor:
        (y, x), (channels, height, width), device = part.origin, part.lr.shape, part.hr.device
        code = degrader.draw(0, *part.frame).to(device)
        return degrader(part.hr[None], code, degrader.field(0, y, x, height, width, channels).to(device))

    return degrade


class Judge(Protocol):
    """Scores a degrader on images that the fit does not see; training is steered by this score."""

    figure: str
    """Name of the score in logs."""
    unit: str
    """Unit of the score, with a space before it; empty where it has none."""
    sign: int
    """1 where a higher score is better, −1 where a lower one is."""

    def score(self, degrader: LoadedDegrader) -> float:
        """Return the score of a degrader."""

    def bicubic(self) -> float:
        """Return the score of bicubic LR."""


@runtime_checkable
class StartJudge(Judge, Protocol):
    """Compares with the weights that training starts from, which are kept unless others are clearly better."""

    def measure(self, degrader: LoadedDegrader) -> Tensor:
        """Return what is to be known of a degrader, to score it and to compare it."""

    def score_of(self, measured: Tensor) -> float:
        """Return the score that belongs to what was measured."""

    def lead(self, measured: Tensor, start: Tensor) -> Lead:
        """Return the lead of what was measured over what was measured of the start."""


class HeldOut:
    """Judges by luma PSNR on the middles of at most 16 held-out pairs, which are kept in memory, on a device."""

    figure, unit, sign = "psnr_y", " dB", 1

    def __init__(self, pairs: PairSet, border: int, grid: int, device: str = "cpu") -> None:
        """Cut the middles out at multiples of ``grid`` HR px.

        ``border`` LR px are left out of the score at each edge.
        """
        self.border = border
        step = max(1, grid // pairs.scale)
        self.parts: list[Part] = []
        for index in pairs.spread(MOST_PAIRS):
            height, width = pairs.size(index)
            side = min(LARGEST_SIDE, height, width)
            y, x = ((length - side) // 2 // step * step for length in (height, width))
            hr, lr = pairs.window(index, y, x, side)
            self.parts.append(Part(hr.to(device), lr.to(device), (y, x), (height, width)))

    def score(self, degrader: LoadedDegrader) -> float:
        """Return the `psnr` of a degrader's LR."""
        return self.psnr(by_degrader(degrader))

    def bicubic(self) -> float:
        """Return the `psnr` of bicubic LR."""
        return self.psnr(lambda part: bicubic(part.hr[None], part.hr.shape[1] // part.lr.shape[1]))

    def psnr(self, degrade: Callable[[Part], Tensor]) -> float:
        """Return the mean luma PSNR (dB) of the LR that ``degrade`` makes of the parts, against the real LR."""
        scores = []
        with inference():
            for part in self.parts:
                lr = degrade(part)[0].clamp(0.0, 1.0)
                scores.append(psnr(*(crop_border(luma(image), self.border) for image in (lr, part.lr))))
        return sum(scores) / len(scores)
