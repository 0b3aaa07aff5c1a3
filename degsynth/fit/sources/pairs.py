"""Aligned pairs, as a fit is given them (`degsynth.given.Given`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from degsynth import methods
from degsynth.data.opening import open_for_fit
from degsynth.data.pairs import PairSet
from degsynth.data.patches import Patches
from degsynth.errors import DataError, FitError
from degsynth.evaluation.held_out import HeldOut, Judge
from degsynth.evaluation.metrics import BORDER, SSIM_WINDOW
from degsynth.evaluation.paired import evaluate
from degsynth.fit import export
from degsynth.fit.options import Events, FitOptions
from degsynth.methods import Learned, Method
from degsynth.model.checkpoint import Checkpoint
from degsynth.reports import previews
from degsynth.reports.panels import Panel

SHIFT_WARNING_HR_PX = 0.1
START_PAIRS = 64
"""So many pairs, evenly spread, are enough for what training starts from, and for the kernel it is compared with."""


class Pairs:
    """Pairs to fit to and held-out ones."""

    def __init__(self, options: FitOptions, events: Events) -> None:
        """Find, check and split the pairs; DataError names those that cannot be used."""
        self.options = options
        self.pairs, self.checked = open_for_fit(
            Path(str(options.hr)),
            Path(options.lr),
            options.scale,
            options.data_range,
            options.register_pairs == "shift",
            options.bad_pairs == "skip",
            options.cache_mb * 2**20,
            events.on_progress,
            events.on_warning,
        )
        self.scale, self.channels, self.dtype = self.pairs.scale, self.pairs.channels, self.checked.dtype
        self.data_range = self.pairs.data_range
        self.train, self.held = self.pairs.held_out_split(options.seed)
        self.border = _border(self.held)
        self.notes = [f"scale {self.scale}; {len(self.train)} pairs to fit, {len(self.held)} held out"]
        self.references: dict[str, Checkpoint] = {}
        self.no_references = ""

    def fingerprint(self) -> str:
        """Over all pairs, the held-out ones among them."""
        return self.pairs.fingerprint()

    def _start(self) -> PairSet:
        return self.train.subset(self.train.spread(START_PAIRS))

    def prepare(self, method: Method, kept: Path | None = None) -> None:
        """From all pairs where the method ends with that, else from some."""
        method.prepare(self._start() if isinstance(method, methods.Learned) else self.train)

    def keep(self, out: Path) -> None:
        """Nothing takes so long that it must be kept."""

    def refer(self) -> None:
        """What one kernel can do on the same pairs: the figure that a learned method must beat."""
        from degsynth.methods import linear

        method = linear.Method(linear.Config(), self.scale, self.channels)
        try:
            method.prepare(self._start())
        except FitError as error:  # a learned method may do with less
            self.no_references = f"no figure of linear to compare with: {error}"
            return
        spec = export.spec_of("linear", method, self.train, {}, None)
        self.references["linear"] = export.as_checkpoint(method.degrader(), spec)

    def batches(self, method: Learned, name: str, device: str) -> tuple[Callable[[int], dict[str, Tensor]], int]:
        """Aligned patches."""
        config = method.config
        patches = Patches(
            self.train, self.options.seed, config.batch, method.patch, method.multiple_of, config.flips, device
        )
        side = patches.patch * self.scale
        if side < method.least_patch:
            raise DataError(
                f"{name} learns from patches of at least {method.least_patch} HR px; the smallest image allows "
                f"{side}: leave it out"
            )
        return patches.batch, side

    def judge(self, method: Learned, device: str) -> Judge:
        """PSNR on held-out pairs."""
        return HeldOut(self.held, self.border, method.multiple_of, device)

    def evaluate(
        self, method: Method, model: Checkpoint, on_progress: Callable[[str, int, int], None]
    ) -> dict[str, Any]:
        """`evaluation.paired` on the held-out pairs."""
        return evaluate(
            model,
            self.held,
            border=self.border,
            beside=self.references,
            on_image=lambda count: on_progress("scoring", count, len(self.held)),
        )

    def rows(self, degrade: previews.Degrade, count: int) -> list[list[Panel]]:
        """What is made of held-out pairs beside what is real."""
        return previews.rows(degrade, self.held, count)

    def samples(self, count: int) -> Sequence[Tensor]:
        """HR of held-out pairs."""
        return [self.held.tensors(index)[0] for index in self.held.spread(count)]

    def facts(self) -> dict[str, Any]:
        """Names, shifts and faults."""
        found = {
            "fitted": [pair.name for pair in self.train.pairs],
            "held_out": [pair.name for pair in self.held.pairs],
            "left_out": [asdict(fault) for fault in self.checked.faults],
            "shift_lr_px": {pair.name: pair.shift for pair in self.pairs.pairs},
            "median_shift_lr_px": self.checked.median_shift(),
        }
        return {"pairs": found}

    def warnings(self, mean: Mapping[str, Mapping[str, float]]) -> list[str]:
        """A shift that all pairs have."""
        shifts = [pair.shift for pair in self.pairs.pairs if pair.shift is not None]
        y, x = (self.scale * float(np.mean([shift[axis] for shift in shifts])) for axis in (0, 1))
        if self.options.register_pairs == "shift" or math.hypot(y, x) < SHIFT_WARNING_HR_PX:
            return []
        return [
            f"the pairs are shifted against each other by ({y:+.2f}, {x:+.2f}) HR px (y, x) on average, and so will be "
            "what the model makes; --register shift takes that out"
        ]

    def told(self, mean: Mapping[str, Mapping[str, float]]) -> str:
        """PSNR of each."""
        figures = ", ".join(f"{name} {figures['psnr_y']:.2f} dB" for name, figures in mean.items())
        return f"held-out pairs, luma PSNR against the real LR: {figures}"


def _border(held: PairSet) -> int:
    """The usual border, or less where held-out images are small; DataError where they are too small to score."""
    smallest = min(min(lr.shape[1:]) for _, lr in held)  # as they are scored: registration crops
    if smallest < SSIM_WINDOW:
        raise DataError(f"an LR image is {smallest} px high or wide; at least {SSIM_WINDOW} are needed to score a fit")
    return min(BORDER, (smallest - SSIM_WINDOW) // 2)
