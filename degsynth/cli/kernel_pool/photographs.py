"""From LR photographs to a pool within a budget of time: estimate kernels, then generate more like them."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from degsynth.cli import console
from degsynth.cli.kernel_pool import shared
from degsynth.errors import ConfigError, DataError

if TYPE_CHECKING:
    from degsynth.kernel_pool.estimate import Estimated
    from degsynth.methods.kmsr import Config
    from degsynth.model.pool_file import Pool

STEPS = 500
"""Training steps of the generator if neither --set steps= nor --preset paper is given. It is a third of what a run of
kmsr takes, so that a few photographs take a few minutes."""
ESTIMATING = 0.6
"""Share of the budget in which kernels are estimated; the generator is trained in the rest."""
AROUND_TRAINING_S = 30.0
"""Seconds of the budget that the generator takes besides its training: to be judged, and to generate kernels."""
LEAST_TRAINING_S = 15.0
"""Seconds below which training a generator is not worth while."""


class Budget:
    """Minutes that a command may take from now on; None: as many as it needs."""

    def __init__(self, minutes: float | None) -> None:
        """Begin now; ConfigError for a budget that is no time."""
        if minutes is not None and not 0 < minutes < math.inf:
            raise ConfigError(f"--minutes {minutes:g}: give a number above 0")
        self._seconds, self._begun = None if minutes is None else 60 * minutes, time.monotonic()

    def left(self, share: float = 1.0) -> float | None:
        """Return the seconds that are left of a share of the budget; None where there is no end."""
        return None if self._seconds is None else share * self._seconds - (time.monotonic() - self._begun)

    def used_up(self, share: float = 1.0) -> bool:
        """Tell whether a share of the budget is used up."""
        left = self.left(share)
        return left is not None and left <= 0

    def __str__(self) -> str:
        left = self.left()
        return "" if left is None else f"{max(0.0, left) / 60:.1f} min left of --minutes"


def config(preset: str | None, assignments: list[str] | None) -> Config:
    """Return the options of kmsr, with `STEPS` where neither the preset nor ``--set`` says otherwise."""
    plain = preset in (None, "default") and not any(text.partition("=")[0] == "steps" for text in assignments or [])
    return shared.kmsr_config(preset or "default", assignments, steps=STEPS if plain else None)


def from_photographs(estimation: shared.Estimation, number: int, device: str, budget: Budget) -> tuple[Pool, bool]:
    """Return a pool of the kernels that are estimated and of ``number`` generated ones, and whether it is complete.

    Where the budget ends before, there are fewer estimated kernels, or no generated ones.
    """
    from degsynth.model import pool_file

    scale = estimation.scale
    console.note(f"scale {scale} (set it with --scale): kernels lie on a grid {scale} times as fine as the LR pixels")
    estimated = estimation.run(lambda: budget.used_up(ESTIMATING), lambda: str(budget))
    console.note(estimated.summary())
    left = budget.left()
    seconds = math.inf if left is None else left - AROUND_TRAINING_S
    if seconds < LEAST_TRAINING_S:
        pool = shared.usable(estimated.pool)
        if not len(pool):
            raise DataError("no usable kernel was estimated in time", "go on with `resume` and more `minutes`")
        console.warn("the budget leaves no time to train a generator: the pool has estimated kernels only")
        return pool, False
    generated, whole = _generated(estimated, estimation, number, device, seconds)
    return pool_file.joined(generated, shared.usable(estimated.pool)), whole and not estimated.left


def _generated(
    estimated: Estimated, estimation: shared.Estimation, number: int, device: str, seconds: float
) -> tuple[Pool, bool]:
    """Train a generator on estimated kernels for so long at most, in a temporary run, and return what it generates.

    The other value tells whether all its steps were made.
    """
    from degsynth import fit
    from degsynth.model import pool_file

    seed, values = estimation.seed, estimation.config.model_dump()
    if seconds < math.inf:
        values["minutes"] = min(values["minutes"] or math.inf, seconds / 60)
    with tempfile.TemporaryDirectory() as folder, console.Progress() as progress:
        pool, run = Path(folder) / "estimated.h5", Path(folder) / "run"
        pool_file.write(estimated.pool, pool)
        chosen = fit.FitOptions(method="kmsr", lr=str(pool), seed=seed, device=device)
        events = fit.Events(progress, progress.note, progress.warn, progress.figures)
        steps = fit.run(chosen, values, run, events)["training"]["steps"]
        generated = fit.generated_kernels(run, number, seed)
    if steps < values["steps"]:
        console.note(f"the budget ended the training of the generator after {steps} of {values['steps']} steps")
    made_by = {"method": "kmsr", "seed": seed, **values, "trained_steps": steps}
    return replace(generated, made_by=made_by), steps >= values["steps"]
