"""Trainings with their tests, several at a time: each in a process of its own, with one thread of torch."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

from degsynth.config import Events, OnProgress
from degsynth.data.fingerprints import fingerprint
from degsynth.errors import DegsynthError, FitError, FitStoppedError
from degsynth.files import write_atomic
from degsynth.parallel import one_torch_thread
from degsynth.sr import networks, testing, training
from degsynth.sr.options import Training
from degsynth.sr.run_folder import CONFIG

SCORES = "test.json"
"""File, in the folder of a training, that holds the scores of its test."""
POLL_S = 0.5
"""Seconds between two looks at the processes."""


@dataclass(frozen=True)
class Test:
    """The real pairs that networks are tested on, and how."""

    __test__ = False  # no class of tests, as pytest would think

    hr: Path | None
    lr: Path | None
    border: int
    shift: int
    table: Path | None = None
    """A table of the pairs, instead of both folders."""


@dataclass(frozen=True)
class Job:
    """A training and its test. What an earlier run has finished is not done again."""

    label: str
    training: Training
    out: Path
    test: Test
    device: str
    steps: int
    """Number of training steps, for the progress."""


def do(job: Job, events: Events) -> dict[str, Any]:
    """Train a network and return its scores on the test pairs, as `testing.run` does."""
    with one_torch_thread():
        record = training.run(job.training, job.out, job.device, events, resume=(job.out / CONFIG).is_file())
        network = networks.load(job.out, job.device)
        pairs = testing.open_pairs(job.test.hr, job.test.lr, network, Events(), job.test.table)
        files = fingerprint((pair.name, path) for pair in pairs.pairs for path in (pair.hr, pair.lr))
        identity = {"files": files, "border": job.test.border, "shift": job.test.shift}
        done = _read(job.out / SCORES)
        if done is None or done.get("identity") != identity:
            scores = testing.run({"network": network}, pairs, job.test.border, job.test.shift)
            done = {"identity": identity, "scores": scores}
            write_atomic(job.out / SCORES, json.dumps(done, indent=2) + "\n")
    return {**done["scores"], "seconds": record["seconds"]}


def _read(path: Path) -> dict[str, Any] | None:
    """Return earlier scores; None where there are none that can be read."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content


def run(jobs: Sequence[Job], workers: int, events: Events) -> list[dict[str, Any]]:
    """Do all jobs, ``workers`` at a time, and return their scores in the order of the jobs.

    A failure of one ends the others: their trainings leave snapshots, from which the next run goes on. FitStoppedError
    where that was asked for.
    """
    if workers == 1:
        return [do(job, _inline(events, index, jobs)) for index, job in enumerate(jobs)]
    with events.deferred_stop() as stop_asked, _Processes(jobs, workers) as processes:
        while not processes.done():
            if stop_asked():
                raise FitStoppedError("stopped; the same command goes on from there")
            processes.look(events.on_progress)
    return [processes.results[index] for index in range(len(jobs))]


def _inline(events: Events, index: int, jobs: Sequence[Job]) -> Events:
    """Return events whose progress is that of all jobs, of which number ``index`` is being done."""
    before, total = sum(job.steps for job in jobs[:index]), sum(job.steps for job in jobs)

    def on_progress(stage: str, count: int, _: int) -> None:
        if stage == "training":
            events.on_progress("training", before + count, total)

    return replace(events, on_progress=on_progress)


@dataclass(frozen=True)
class _Running:
    """A process, and the end of the pipe on which it tells its steps and its result."""

    process: SpawnProcess
    messages: Connection


class _Processes:
    """The processes of jobs; those that still run when the context is left are asked to end, and waited for."""

    def __init__(self, jobs: Sequence[Job], workers: int) -> None:
        self._jobs, self._workers = jobs, workers
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._running: dict[int, _Running] = {}
        self._waiting = list(range(len(jobs)))
        self._steps = dict.fromkeys(self._waiting, 0)
        self.results: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._running.values():
            running.process.terminate()
        for running in self._running.values():
            running.process.join()

    def done(self) -> bool:
        return len(self.results) == len(self._jobs)

    def look(self, on_progress: OnProgress) -> None:
        """Start what can be started, and hear what the processes say within the next half second."""
        while self._waiting and len(self._running) < self._workers:
            self._start(self._waiting.pop(0))
        ends = [running.messages for running in self._running.values()]
        ready = multiprocessing.connection.wait(ends, POLL_S)
        for index, running in list(self._running.items()):
            if running.messages in ready:
                self._hear(index, running)
        on_progress("training", sum(self._steps.values()), sum(job.steps for job in self._jobs))

    def _start(self, index: int) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(self._jobs[index], theirs), daemon=True)
        process.start()
        theirs.close()
        self._running[index] = _Running(process, ours)

    def _hear(self, index: int, running: _Running) -> None:
        """Take a message of a process; raise what ended it."""
        label = self._jobs[index].label
        try:
            kind, content = running.messages.recv()
        except EOFError:  # it ended without a word
            running.process.join()
            raise FitError(
                f"the training on {label} ended with exit code {running.process.exitcode}",
                "give fewer `workers` if memory was short; the same command goes on from there",
            ) from None
        if kind == "steps":
            self._steps[index] = content
        elif kind == "error":
            kind_of_error, message, hint = content
            raise kind_of_error(message, hint)
        else:
            self._steps[index] = self._jobs[index].steps
            self.results[index] = content
            del self._running[index]
            running.process.join()


def _work(job: Job, messages: Connection) -> None:
    """Do a job in this process, and tell steps, and the result or the error."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: asked.append(received))

    @contextlib.contextmanager
    def deferred_stop() -> Iterator[Callable[[], bool]]:
        yield lambda: bool(asked)

    def on_progress(stage: str, count: int, total: int) -> None:
        if stage == "training" and count % 10 == 0:
            try:
                messages.send(("steps", count))
            except OSError:  # the other side is gone: it has asked us to end, or was killed
                asked.append(0)

    try:
        messages.send(("result", do(job, Events(on_progress, deferred_stop=deferred_stop))))
    except DegsynthError as error:
        with contextlib.suppress(OSError):
            messages.send(("error", (type(error), f"{job.label}: {error.message}", error.hint)))
