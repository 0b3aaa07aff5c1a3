"""The training of a super-resolution network: L1, Adam, one cycle of the learning rate.

A step depends on the seed and its number alone, and a snapshot holds all that training changes. So a training that was
interrupted and resumed ends in the same weights as one that was not, on one machine and with a budget of steps.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from degsynth.config import Events
from degsynth.errors import FitError, FitStoppedError
from degsynth.parallel import one_torch_thread
from degsynth.sr import networks
from degsynth.sr.networks import Record
from degsynth.sr.options import Training
from degsynth.sr.run_folder import RunFolder
from degsynth.sr.sources import Batches, open_source

RISING = 0.05
"""Share of the training in which the learning rate rises."""
LOWEST = 0.04
"""Share of the largest learning rate with which the training begins."""
LOG_ROWS = 100
"""Number of rows in the log of a training."""
SNAPSHOTS = 10
"""Number of times, evenly over the training, that a snapshot is written."""


def rate(progress: float) -> float:
    """Return the learning rate as a share of the largest, at a progress from 0 to 1: up quickly, then down to 0."""
    if progress < RISING:
        return LOWEST + (1 - LOWEST) * (0.5 - 0.5 * math.cos(math.pi * progress / RISING))
    return 0.5 + 0.5 * math.cos(math.pi * (progress - RISING) / (1 - RISING))


class _State:
    """Everything that training changes, and the budget."""

    def __init__(self, training: Training, scale: int, device: str) -> None:
        network = networks.get(training.net)
        channels = 1 if training.colours == "luma" else 3
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            self.module = network.build(scale, channels).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.learning_rate = training.learning_rate or network.learning_rate
        self.optimizer = torch.optim.Adam(self.module.parameters(), self.learning_rate)
        self.steps, self.minutes = training.steps or network.steps, training.minutes
        self.step, self.seconds = 0, 0.0

    def progress(self) -> float:
        """Return 0 at the start, 1 where the budget of steps or of minutes is used up."""
        spent = self.step / self.steps
        return min(1.0, spent if self.minutes is None else max(spent, self.seconds / (60 * self.minutes)))

    def contents(self) -> dict[str, Any]:
        """Return everything for a snapshot."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }

    def restore(self, contents: dict[str, Any]) -> None:
        """Go back to a snapshot."""
        self.module.load_state_dict(contents["module"])
        self.optimizer.load_state_dict(contents["optimizer"])
        self.step, self.seconds = contents["step"], contents["seconds"]

    def learn(self, hr: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
        """Do one step, and return its loss, the mean absolute error."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * rate(self.progress())
        loss: torch.Tensor = (self.module(lr) - hr).abs().mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()


def run(
    training: Training, out: Path, device: str = "cpu", events: Events | None = None, resume: bool = False
) -> dict[str, Any]:
    """Train a network in the folder ``out`` and return the record of the training; it is in ``train.json``, too.

    On the CPU the training takes one thread, and a second one prepares patches. With ``resume`` it goes on from the
    last snapshot, if there is one. Raises ConfigError and DataError where the options or the images cannot be used,
    FitError where the loss is not finite, FitStoppedError where the training was asked to stop.
    """
    events, folder = events or Events(), RunFolder(out)
    networks.get(training.net)
    if resume and (finished := folder.record()) is not None:
        return finished
    if not resume:
        folder.check_new()
    snapshot = folder.snapshot() if resume else None
    with one_torch_thread():
        sources = [open_source(pairs, training, device, events) for pairs in training.pairs]
        batches = Batches(sources, training, device)
        state = _State(training, batches.scale, device)
        if not resume:
            folder.make(training)
        if snapshot is not None:
            state.restore(snapshot)
        folder.forget_after(state.step)
        losses = _train(state, batches, folder, events)
        levels = sources[0].data_range
        record = Record(
            net=training.net,
            scale=batches.scale,
            colours=training.colours,
            halo=networks.get(training.net).halo,
            data_range=None if levels is None else (levels.low, levels.high),
            parameters=networks.parameter_count(state.module),
        )
        networks.save(state.module, record, out)
    summary = {
        **record.model_dump(),
        "steps": state.step,
        "seconds": round(state.seconds, 1),
        "loss": losses,
        "training": training.model_dump(mode="json"),
    }
    folder.finish(summary)
    return summary


def _train(state: _State, batches: Batches, folder: RunFolder, events: Events) -> float:
    """Learn until the budget is used up, and return the mean loss since the last row of the log but one."""
    losses: list[torch.Tensor] = []
    mean = math.nan
    with events.deferred_stop() as stop_asked, ThreadPoolExecutor(1) as pool:
        begun = time.monotonic() - state.seconds
        upcoming = pool.submit(batches.batch, state.step)
        while (before := state.progress()) < 1.0:
            hr, lr = upcoming.result()
            upcoming = pool.submit(batches.batch, state.step + 1)
            losses.append(state.learn(hr, lr))
            state.step += 1
            state.seconds = time.monotonic() - begun
            now = state.progress()
            events.on_progress("training", state.step, round(state.step / now))
            if _part(now, LOG_ROWS) > _part(before, LOG_ROWS):
                mean = float(torch.stack(losses).mean())
                losses.clear()
                _record(state, folder, events, mean)
            stopping = stop_asked()
            if stopping or _part(now, SNAPSHOTS) > _part(before, SNAPSHOTS):
                folder.save_snapshot(state.contents())
            if stopping:
                raise FitStoppedError(f"stopped after step {state.step}; `resume` goes on from there")
    return mean


def _part(progress: float, parts: int) -> int:
    """Return in which of so many equal parts a progress lies; a boundary belongs to the later one, rounding or not."""
    return int(progress * parts + 1e-9)


def _record(state: _State, folder: RunFolder, events: Events, loss: float) -> None:
    """Write a row of the log; FitError where the loss or a weight is not finite."""
    finite = all(bool(torch.isfinite(weight).all()) for weight in state.module.parameters())
    if not math.isfinite(loss) or not finite:
        raise FitError(
            f"step {state.step}: the loss is {loss}, or a weight is not finite", "train anew with a lower learning rate"
        )
    row = {
        "step": state.step,
        "seconds": round(state.seconds, 3),
        "loss": loss,
        "learning_rate": rate(state.progress()),
    }
    folder.log(row)
    events.on_figures(f"L1 {255 * loss:.3f}/255")
