"""The training loop of every method that learns by steps. What a step does, only the method knows.

A batch and the random numbers of a step depend on the seed of the fit and on the step alone, and a snapshot holds all
that training changes. So a fit that was interrupted and resumed ends in the same weights as one that was not, on one
machine, where its budget is a number of steps. (On a GPU some sums are added up in any order: there it ends close by.)
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from degsynth.config import Events
from degsynth.errors import ConfigError, FitError, FitStoppedError, shortened
from degsynth.evaluation.held_out import Judge, StartJudge
from degsynth.fit.run_directory import RunDirectory
from degsynth.methods.protocol import Learned, Training
from degsynth.model.degrader import Degrader
from degsynth.ops.noise import generator
from degsynth.ops.spectral_lead import Lead
from degsynth.seeds import derive

VALIDATIONS = 20
"""Number of times, evenly over the fit, that held-out images are scored and a snapshot is written."""
PICTURES = 4
"""Number of previews that are drawn during the fit."""
LOG_ROWS = 200
"""Number of rows in the log of a fit."""
CLEAR_LEAD = 0.84
"""Least `degsynth.ops.spectral_lead.Lead.confidence` with which what is learnt takes the place of the start: t > 1.
Where both are equally wrong t is 0 on average, and where the start is the true blur t is negative, so this refuses a
worse blur in 96 of 100 cases or more. A stricter rule would refuse the true one too often
(`degsynth/evaluation/README.md` has the figures)."""
CHECK_STEPS = 10
"""Number of steps whose losses are looked at together: on an accelerator every look waits for it."""


def rate(config: Training, step: int, progress: float) -> float:
    """Return the learning rate as a share of its largest, at a step and a progress from 0 to 1."""
    rising = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    halved = 0.5 ** (step // config.halve_every) if config.halve_every else 1.0
    return rising * halved * (0.5 + 0.5 * math.cos(math.pi * progress) if config.schedule == "cosine" else 1.0)


@dataclass
class Counters:
    """What training counts and remembers besides the weights of its modules."""

    step: int = 0
    seconds: float = 0.0
    best_score: float = math.nan
    best_step: int = 0
    scored_step: int = -1
    """The step after which held-out images were scored last; −1: never."""
    start_score: float = math.nan
    """The score of what training starts from, where the judge compares with it."""
    start: Tensor = dataclasses.field(default_factory=lambda: torch.empty(0))
    """What such a judge measured of it."""
    lead: dict[str, float] = dataclasses.field(default_factory=dict)
    """Figures of the lead of the best weights over the start; where that is the start, of the weights scored last."""
    best_evidence: float = 0.0
    """Evidence of that lead; 0 for the start."""
    best: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    """The optics' weights that scored best."""


class State(Counters):
    """Everything that training changes: weights, optimisers, the running mean, the best weights so far, the clock."""

    def __init__(self, method: Learned, tone: Sequence[float] = ()) -> None:
        """Begin with a method, which learns in the light of the curve ``tone`` (`degsynth.ops.tone`)."""
        super().__init__()
        self.method, self.config, self.tone = method, method.config, tone
        self.average = copy.deepcopy(method.modules["optics"]) if method.config.average else None

    def progress(self) -> float:
        """Return 0 at the start, 1 where the budget of steps or of minutes is used up."""
        spent = self.step / self.config.steps if self.config.steps else 1.0
        if self.config.minutes is not None:
            spent = max(spent, self.seconds / (60 * self.config.minutes))
        return min(spent, 1.0)

    def total(self) -> int:
        """Return the number of steps that the whole fit will have, as far as it can be foreseen."""
        progress = self.progress()
        on_steps = not self.config.steps or progress == self.step / self.config.steps
        return self.config.steps if on_steps else round(self.step / progress)

    def set_rates(self) -> None:
        """Set every optimiser's learning rates by the schedule."""
        share = rate(self.config, self.step, self.progress())
        for optimizer in self.method.optimizers.values():
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
                group["lr"] = share * group["initial_lr"]

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the running mean towards the weights: quickly in the first steps, whose weights are soon out of date."""
        if self.average is None:
            return
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.average.parameters(), self.method.modules["optics"].parameters(), strict=True):
            mean.lerp_(now, 1 - decay)

    def learnt(self) -> nn.Module:
        """Return the optics that are scored: the running mean, or the weights themselves."""
        return self.method.modules["optics"] if self.average is None else self.average

    def degrader(self) -> Degrader:
        """Return `learnt` as a checkpoint module."""
        degrader = self.method.degrader(self.learnt())
        degrader.add_tone(self.tone)
        return degrader

    def check(self) -> None:
        """Raise FitError where a weight is not finite: a finite loss can have a gradient that is not."""
        for name, module in self.method.modules.items():
            for parameter in module.parameters():
                if not bool(torch.isfinite(parameter).all()):
                    raise FitError(
                        f"step {self.step}: weights of '{name}' are not finite any more", "lower `learning_rate=`"
                    )

    def keep_if_best(self, score: float, sign: int) -> None:
        """Remember the weights where no earlier ones scored as high (sign 1) or as low (−1)."""
        self.scored_step = self.step
        if math.isnan(self.best_score) or sign * score > sign * self.best_score:
            self.best_score, self.best_step = score, self.step
            self.best = {name: value.detach().cpu().clone() for name, value in self.learnt().state_dict().items()}

    def begin(self, judge: StartJudge) -> None:
        """Remember the present weights as those with which the judge compares."""
        self.start = judge.measure(self.degrader())
        self.start_score = judge.score_of(self.start)
        self.best_score, self.lead, self.best_evidence = math.nan, {}, 0.0
        self.keep_if_best(self.start_score, judge.sign)

    def compare(self, judge: StartJudge) -> tuple[float, Lead]:
        """Return the score of the present weights and their lead over the start, and remember them if that is clear.

        Of several with a clear lead, those with the most evidence are kept.
        """
        measured = judge.measure(self.degrader())
        score, lead = judge.score_of(measured), judge.lead(measured, self.start)
        self.scored_step = self.step
        if lead.confidence > CLEAR_LEAD and lead.evidence > self.best_evidence:
            self.best_score, self.best_evidence, self.lead = math.nan, lead.evidence, lead.figures()
            self.keep_if_best(score, judge.sign)
        elif self.best_evidence == 0.0:
            self.lead = lead.figures()
        return score, lead

    def judged(self, judge: Judge) -> dict[str, Any]:
        """Score the present weights, remember them if they are the best, and return what the log shows."""
        if isinstance(judge, StartJudge):
            score, lead = self.compare(judge)
            return {"score": score, "lead": lead.figures()}
        score = judge.score(self.degrader())
        self.keep_if_best(score, judge.sign)
        return {"score": score}

    def contents(self) -> dict[str, Any]:
        """Return everything for a snapshot."""
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(Counters)},
            "modules": {name: module.state_dict() for name, module in self.method.modules.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.method.optimizers.items()},
            "average": None if self.average is None else self.average.state_dict(),
            "weights_version": self.method.weights_version,
        }

    def restore(self, contents: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        for field in dataclasses.fields(Counters):
            # Snapshots of earlier versions know nothing of leads.
            usual = {"start": self.start, "lead": self.lead, "best_evidence": self.best_evidence}
            setattr(self, field.name, contents.get(field.name, usual.get(field.name)))
        for name, module in self.method.modules.items():
            module.load_state_dict(contents["modules"][name])
        for name, optimizer in self.method.optimizers.items():
            optimizer.load_state_dict(contents["optimizers"][name])
        if self.average is not None:
            self.average.load_state_dict(contents["average"])


@contextlib.contextmanager
def fitting(name: str) -> Iterator[None]:
    """Raise ConfigError, which has the name of the run, where a snapshot turns out to be none of its method."""
    try:
        yield
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the snapshot of {name} does not fit its method ({shortened(str(error))})",
            "remove the newest one, there may be others",
        ) from None


def restore(state: State, contents: Mapping[str, Any], name: str) -> None:
    """Go back to a snapshot; ConfigError, which has the name of its run, where it is none of this method."""
    if contents.get("weights_version", 1) != state.method.weights_version:
        raise ConfigError(f"the snapshot of {name} was written by another version of degsynth", "fit anew")
    with fitting(name):
        state.restore(contents)
        for field in dataclasses.fields(Counters):
            value, usual = getattr(state, field.name), getattr(Counters(), field.name)
            if not isinstance(value, (int, float) if isinstance(usual, float) else type(usual)):
                raise TypeError(f"{field.name} is {value}")
        if state.step < 0:
            raise ValueError(f"step is {state.step}")


class _Losses:
    """The terms of the loss since the last row of the log; raises where one is not finite."""

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
                        f"step {step}: the loss term '{name}' is {number}",
                        "lower `learning_rate=`, or look for damaged images",
                    )
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = total + number, count + 1
        self._waiting.clear()

    def means(self) -> dict[str, float]:
        """Return the mean of every term since the last call."""
        self.check()
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means


@dataclass(frozen=True)
class Course:
    """What a method is trained on, how it is judged, and where the run is recorded."""

    batch_of: Callable[[int], dict[str, Tensor]] | None
    """Makes the batch of a step; None where there are to be no steps."""
    judge: Judge
    """Scores the method on held-out images; the weights that score best are exported."""
    references: Mapping[str, float]
    """Held-out scores of other models, to be seen beside the method's own."""
    folder: RunDirectory
    facts: Mapping[str, Any]
    """What travels in every snapshot besides the state."""
    seed: int
    """Seed of the fit."""
    draw_preview: Callable[[Degrader, str], None]
    """Draws a picture of what has been learnt, by a name."""


def train(state: State, course: Course, events: Events) -> None:
    """Learn until the budget is used up; the best weights, as the judge finds them, are then in ``state.best``.

    A request to stop is answered between two steps, with a snapshot. Raises FitError where a loss is not finite,
    FitStoppedError where the fit was stopped.
    """
    judge = course.judge
    if isinstance(judge, StartJudge) and not len(state.start):
        state.begin(judge)
    if course.batch_of is None:
        _snapshot(state, course)  # from which a fit with steps can go on
        return
    losses = _Losses()
    with events.deferred_stop() as stop_asked, ThreadPoolExecutor(1) as pool:
        begun = time.monotonic() - state.seconds
        upcoming = pool.submit(course.batch_of, state.step)
        while (before := state.progress()) < 1.0:
            state.set_rates()
            batch = upcoming.result()
            upcoming = pool.submit(course.batch_of, state.step + 1)
            rng = generator(derive(course.seed, "training step", state.step))
            losses.add(state.step, state.method.training_step(batch, state.step, rng))
            state.step += 1
            state.update_average()
            state.seconds = time.monotonic() - begun
            events.on_progress("fitting", state.step, state.total())
            _observe(state, course, losses, events, before)
            if stop_asked():
                losses.check()
                _snapshot(state, course)
                raise FitStoppedError(f"stopped after step {state.step}; `resume` goes on from there")
    if state.scored_step != state.step:  # resumed with a budget that was used up already
        state.judged(judge)


def _snapshot(state: State, course: Course) -> None:
    state.check()
    course.folder.save_snapshot(state.step, {**state.contents(), **course.facts})


def _part(progress: float, parts: int) -> int:
    """Return in which of so many equal parts a progress lies; a boundary belongs to the later one, rounding or not."""
    return int(progress * parts + 1e-9)


def _observe(state: State, course: Course, losses: _Losses, events: Events, before: float) -> None:
    """Write the log, score held-out images, write a snapshot and draw a preview, whenever a part of the fit is done.

    ``before`` is the progress before the last step.
    """
    now = state.progress()

    def passed(parts: int) -> bool:
        return _part(now, parts) > _part(before, parts)

    if not passed(LOG_ROWS):
        return
    means = losses.means()
    row: dict[str, Any] = {"step": state.step, "seconds": round(state.seconds, 3), **means}
    row["learning_rate"] = rate(state.config, state.step, now)
    if passed(VALIDATIONS):
        row |= _validate(state, course, means, events)
    course.folder.log(row)
    if passed(VALIDATIONS):
        _snapshot(state, course)
    if passed(PICTURES) and now < 1.0:
        course.draw_preview(state.degrader(), f"step_{state.step:07d}")


def _validate(state: State, course: Course, means: Mapping[str, float], events: Events) -> dict[str, Any]:
    """Score held-out images, keep the weights if they are the best, and return the entry for the log."""
    state.check()
    judge = course.judge
    figures = state.judged(judge)
    score = figures.pop("score")
    terms = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
    others = ", ".join(f"{name} {value:.4g}" for name, value in course.references.items())
    lead = f", t {figures['lead']['t']:.1f} against the start" if "lead" in figures else ""
    events.on_figures(f"{terms}; held out {score:.4g}{judge.unit}{lead} ({others})")
    return {f"held_out_{judge.figure}": {"model": score, **course.references}, **figures}
