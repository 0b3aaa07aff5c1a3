"""The one training loop, under every method that learns by steps. What a step does, only the method knows.

A batch depends on the seed and the step alone, and a snapshot holds all that training changes; so a fit that was
interrupted and resumed ends in the same weights as one that was not, on one machine, where a number of steps is its
budget. (On a GPU some sums are made in any order: there it ends close by.)
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from degsynth.config import Training
from degsynth.errors import FitError, FitStoppedError
from degsynth.evaluation.held_out import Judge
from degsynth.fit.run_directory import RunFolder
from degsynth.methods import Learned
from degsynth.model.degrader import Degrader

VALIDATIONS = 20
"""So often, evenly over the fit, held-out pairs are scored and a snapshot is written."""
PICTURES = 4
"""Previews on the way."""
LOG_ROWS = 200
CLEARLY = 0.02
"""By such a share of the start's score what is learnt must be better to take its place: few held-out images cannot
tell less."""
CHECK_STEPS = 10
"""Losses are looked at in groups of so many steps: on an accelerator every look waits for it."""


def rate(config: Training, step: int, progress: float) -> float:
    """The learning rate as a share of its highest, at a step and a progress in 0 … 1."""
    rising = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    halved = 0.5 ** (step // config.halve_every) if config.halve_every else 1.0
    return rising * halved * (0.5 + 0.5 * math.cos(math.pi * progress) if config.schedule == "cosine" else 1.0)


class State:
    """All that training changes: weights, optimisers, the running mean, the best so far, the clock."""

    def __init__(self, method: Learned) -> None:
        self.method, self.config = method, method.config
        self.step = 0
        self.seconds = 0.0
        self.average = copy.deepcopy(method.modules["optics"]) if method.config.average else None
        self.best_score, self.best_step = math.nan, 0
        self.scored_step = -1
        self.start_score = math.nan
        self.best: dict[str, Tensor] = {}

    def progress(self) -> float:
        """0 at the start, 1 where the budget of steps or of minutes is used up."""
        spent = self.step / self.config.steps if self.config.steps else 1.0
        if self.config.minutes is not None:
            spent = max(spent, self.seconds / (60 * self.config.minutes))
        return min(spent, 1.0)

    def total(self) -> int:
        """Steps that the whole fit will have, as far as can be told."""
        progress = self.progress()
        on_steps = not self.config.steps or progress == self.step / self.config.steps
        return self.config.steps if on_steps else round(self.step / progress)

    def set_rates(self) -> None:
        """Lower every optimiser's rates by the schedule."""
        share = rate(self.config, self.step, self.progress())
        for optimizer in self.method.optimizers.values():
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
                group["lr"] = share * group["initial_lr"]

    @torch.no_grad()
    def take_mean(self) -> None:
        """Move the running mean towards the weights: quickly in the first steps, which are soon out of date."""
        if self.average is None:
            return
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.average.parameters(), self.method.modules["optics"].parameters(), strict=True):
            mean.lerp_(now, 1 - decay)

    def learnt(self) -> nn.Module:
        """The optics that are scored: the running mean, or the weights themselves."""
        return self.method.modules["optics"] if self.average is None else self.average

    def degrader(self) -> Degrader:
        """`learnt`, as a checkpoint module."""
        return self.method.degrader(self.learnt())

    def check(self) -> None:
        """FitError where a weight is not finite: a finite loss can have a gradient that is none."""
        for name, module in self.method.modules.items():
            for parameter in module.parameters():
                if not bool(torch.isfinite(parameter).all()):
                    raise FitError(
                        f"step {self.step}: weights of '{name}' are not finite any more; lower --set learning_rate="
                    )

    def keep_if_best(self, score: float, sign: int) -> None:
        """Remember the weights where no earlier ones scored as high (sign 1) or as low (−1)."""
        self.scored_step = self.step
        if math.isnan(self.best_score) or sign * score > sign * self.best_score:
            self.best_score, self.best_step = score, self.step
            self.best = {name: value.detach().cpu().clone() for name, value in self.learnt().state_dict().items()}

    def contents(self) -> dict[str, Any]:
        """For a snapshot."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "modules": {name: module.state_dict() for name, module in self.method.modules.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.method.optimizers.items()},
            "average": None if self.average is None else self.average.state_dict(),
            "best_score": self.best_score,
            "best_step": self.best_step,
            "scored_step": self.scored_step,
            "start_score": self.start_score,
            "best": self.best,
        }

    def restore(self, contents: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        self.step, self.seconds = contents["step"], contents["seconds"]
        for name, module in self.method.modules.items():
            module.load_state_dict(contents["modules"][name])
        for name, optimizer in self.method.optimizers.items():
            optimizer.load_state_dict(contents["optimizers"][name])
        if self.average is not None:
            self.average.load_state_dict(contents["average"])
        self.best_score, self.best_step, self.best = contents["best_score"], contents["best_step"], contents["best"]
        self.scored_step, self.start_score = contents["scored_step"], contents["start_score"]


def _part(progress: float, parts: int) -> int:
    """In which of so many equal parts a progress lies; a boundary belongs to the later one, rounding or not."""
    return int(progress * parts + 1e-9)


class _Losses:
    """Terms of the last steps, looked at in groups; raises where one is not finite."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, step: int, terms: dict[str, Tensor]) -> None:
        self._waiting.append((step, terms))
        if len(self._waiting) >= CHECK_STEPS:
            self.check()

    def check(self) -> None:
        for step, terms in self._waiting:
            for name, value in terms.items():
                number = float(value)
                if not math.isfinite(number):
                    raise FitError(
                        f"step {step}: the loss term '{name}' is {number}; lower --set learning_rate=, or look for "
                        "damaged images"
                    )
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = total + number, count + 1
        self._waiting.clear()

    def means(self) -> dict[str, float]:
        """Mean of every term since the last time."""
        self.check()
        found = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return found


def train(
    state: State,
    batch_of: Callable[[int], dict[str, Tensor]] | None,
    judge: Judge,
    beside: Mapping[str, float],
    folder: RunFolder,
    facts: Mapping[str, Any],
    on_progress: Callable[[str, int, int], None],
    on_figures: Callable[[str], None],
    on_picture: Callable[[Degrader, str], None],
    deferred_stop: Callable[[], AbstractContextManager[Callable[[], bool]]],
) -> None:
    """Learn until the budget is used up; the best weights, as ``judge`` finds them, are then in ``state.best``.

    ``batch_of`` makes the batch of a step; None where there are to be no steps. ``beside`` are held-out figures of
    others, to be seen beside the method's own; ``facts`` travel in every snapshot.
    Within ``deferred_stop`` a wish to stop is answered between two steps, with a snapshot. Raises FitError where a
    loss is not finite, FitStoppedError where it was stopped.
    """

    def snapshot() -> None:
        state.check()
        folder.save_snapshot(state.step, {**state.contents(), **facts})

    if judge.judges_start and state.scored_step < 0:
        state.start_score = judge.score(state.degrader())
        state.keep_if_best(state.start_score * (1 + judge.sign * CLEARLY), judge.sign)
    if batch_of is None:
        snapshot()  # from which a fit with steps can go on
        return
    losses = _Losses()
    others = ", ".join(f"{name} {score:.4g}" for name, score in beside.items())
    with deferred_stop() as stop_asked, ThreadPoolExecutor(1) as pool:
        begun = time.monotonic() - state.seconds
        upcoming = pool.submit(batch_of, state.step)
        while (before := state.progress()) < 1.0:
            state.set_rates()
            batch = upcoming.result()
            upcoming = pool.submit(batch_of, state.step + 1)
            losses.add(state.step, state.method.training_step(batch, state.step))
            state.step += 1
            state.take_mean()
            state.seconds = time.monotonic() - begun
            now = state.progress()
            on_progress("fitting", state.step, state.total())

            def passed(parts: int, before: float = before, now: float = now) -> bool:
                return _part(now, parts) > _part(before, parts)

            if passed(LOG_ROWS):
                means = losses.means()
                row: dict[str, Any] = {"step": state.step, "seconds": round(state.seconds, 3), **means}
                row["learning_rate"] = rate(state.config, state.step, now)
                if passed(VALIDATIONS):
                    state.check()
                    score = judge.score(state.degrader())
                    if score != state.start_score:  # or nothing has moved yet
                        state.keep_if_best(score, judge.sign)
                    row[f"held_out_{judge.figure}"] = {"model": score, **beside}
                    terms = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
                    on_figures(f"{terms}; held out {score:.4g}{judge.unit} ({others})")
                folder.log(row)
                if passed(VALIDATIONS):
                    snapshot()
                if passed(PICTURES) and now < 1.0:
                    on_picture(state.degrader(), f"step_{state.step:07d}")
            if stop_asked():
                losses.check()
                snapshot()
                raise FitStoppedError(f"stopped after step {state.step}; --resume goes on from there")
    if state.scored_step != state.step:  # resumed with a budget that was used up already
        state.keep_if_best(judge.score(state.degrader()), judge.sign)
