"""The stages of a fit: read, prepare, learn, measure, export, report.

All faults that the check of the images can find are reported before the run directory is made. The code here does
not depend on the method (`degsynth.methods.protocol`), nor on whether the images are pairs, two folders or LR
photographs alone (`degsynth.fit.sources`).
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import degsynth
from degsynth.config import Events, Strict
from degsynth.data import globs
from degsynth.data.ranges import resolve_range
from degsynth.errors import ConfigError, OutputError, os_reason
from degsynth.evaluation import diversity, hardware_factor, residual
from degsynth.evaluation.held_out import StartJudge
from degsynth.evaluation.residual import LeftOut, with_residual
from degsynth.files import check_makeable
from degsynth.fit import loop
from degsynth.fit.export import measured_checkpoint
from degsynth.fit.options import LEFT_OUT, FitOptions, check_options, resolve
from degsynth.fit.resuming import ended_fit, resumed_snapshot, with_absolute_paths
from degsynth.fit.run_directory import RunDirectory
from degsynth.fit.sources import open_source
from degsynth.fit.sources.source import Scorer, Source
from degsynth.methods.protocol import Distribution, Learned, Method, Stochastic, Training
from degsynth.model import checkpoint
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.degrader import Degrader
from degsynth.ops.residual_measurement import assumed
from degsynth.reports import panels, previews
from degsynth.reports.distribution import draw_distribution
from degsynth.reports.residual import draw_residual
from degsynth.seeds import derive

FACTOR_IMAGES = 4
"""Number of held-out images on which the effect of a hardware factor is measured."""
EXPORTED_FIGURES = ("psnr_y", "spectral_distance", "kernel_distance")
"""Held-out figures of the exported weights that go into the log."""


def run(
    options: FitOptions, values: Mapping[str, Any], out: Path, events: Events | None = None, resume: bool = False
) -> dict[str, Any]:
    """Fit, verify, score on held-out images, write the run directory ``out``; return what ``fit.json`` holds.

    ``values`` are options of the method. ``resume``: go on from the newest snapshot in ``out`` with the options that
    the fit was begun with; only the budget and the device may differ. Where it has ended and nothing differs, nothing
    is done, not even the images are looked at.
    """
    events = events or Events()
    if resume and (ended := ended_fit(options, values, RunDirectory(out))) is not None:
        events.on_note(f"{out} has ended already, with the same options: nothing is left to be done")
        return ended
    clock = Stopwatch()
    fit = read(options, values, out, events, resume)
    clock.lap("check")
    fit.source.prepare(fit.method, out if resume else None)
    clock.lap("prepare")
    with _writing(fit):
        fit.folder.describe(fit.tables)
        fit.source.write_estimates(out)
        scorer = fit.source.scorer(fit.method)
        if scorer.missing_reference:
            events.on_warning(scorer.missing_reference)
        trained: dict[str, Any] = {}
        if isinstance(fit.method, Learned):
            trained = learn(fit, fit.method, scorer)
            clock.add("train", trained["seconds"])
        measured = measure(fit, scorer)
        export(fit, measured, trained)
        report(fit, scorer, measured)
        clock.lap("score_and_save")
        record = _record(fit, measured, trained, clock.seconds)
        fit.folder.finish(record)
    for text in (*record["warnings"], *scorer.warnings(measured.scores["mean"])):
        events.on_warning(text)
    return record


class Stopwatch:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Record the seconds since the last call under a name."""
        before, self._last = self._last, time.perf_counter()
        self.seconds[stage] = self._last - before

    def add(self, stage: str, seconds: float) -> None:
        """Record seconds that were measured elsewhere; the next lap begins now."""
        self.seconds[stage] = seconds
        self._last = time.perf_counter()


# --- read -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """A fit whose options and images have been checked."""

    options: FitOptions
    config: Strict
    """The method's options."""
    source: Source
    method: Method
    folder: RunDirectory
    tables: dict[str, dict[str, Any]]
    """What ``config.toml`` holds."""
    fingerprint: str
    """SHA-256 over the images."""
    snapshot: Mapping[str, Any] | None
    """The snapshot that a resumed fit goes on from."""
    events: Events


def read(options: FitOptions, values: Mapping[str, Any], out: Path, events: Events, resume: bool) -> Fit:
    """Check options and images, and make the method; nothing is written."""
    module, config = resolve(options, values)
    folder = RunDirectory(out)
    _check_out(options, out, resume)
    data = module.Method.data
    check_options(options, data)
    source = open_source(data, options, events, issubclass(module.Config, Training))
    tables = _tables(options, config, source)
    fingerprint = source.fingerprint()
    snapshot = resumed_snapshot(folder, tables, fingerprint, source.split_digest()) if resume else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(options.seed, "", 0, 0, "first weights"))
        method = module.Method(config, source.scale, source.channels, options.seed)
    if options.group_by != "none" and not (data == "unpaired" and isinstance(method, Stochastic)):
        raise ConfigError(
            f"`group_by={options.group_by}` is for methods that draw noise (pdm); leave it out for {options.method}"
        )
    if source.data_range is not None:
        black, white = source.data_range
        events.on_note(f"data range {black:g}:{white:g} ({source.dtype} files)")
    for text in source.notes:
        events.on_note(text)
    return Fit(options, config, source, method, folder, tables, fingerprint, snapshot, events)


def _check_out(options: FitOptions, out: Path, resume: bool) -> None:
    if out.exists() and not resume:
        raise ConfigError(f"`out={out}` exists; give a new folder, or remove it, or `resume` it")
    if resume:
        RunDirectory(out).check_resumable()
    else:
        check_makeable(out)
    for side in (options.hr, options.lr):
        if side is not None and globs.searched(Path(side), out):
            raise ConfigError(f"`out={out}` lies inside {side}, where its pictures would be taken for images; move it")


def _tables(options: FitOptions, config: Strict, source: Source) -> dict[str, dict[str, Any]]:
    """Return what ``config.toml`` holds. Paths are absolute, so that the file repeats the run from anywhere."""
    resolved = {"scale": source.scale, "data_range": source.data_range or "dtype"}
    return {
        "fit": with_absolute_paths(options).model_copy(update=resolved).model_dump(mode="json"),
        "method": config.model_dump(mode="json"),
    }


@contextlib.contextmanager
def _writing(fit: Fit) -> Iterator[None]:
    """Make the run directory; where the body fails, remove it, unless it has a snapshot from which to go on."""
    if fit.snapshot is None:
        fit.folder.make()
    try:
        yield
    except BaseException as error:
        fit.folder.abandon()
        if isinstance(error, OSError):
            raise OutputError(f"`out={fit.folder.out}`: {os_reason(error)}") from None
        raise


# --- learn ------------------------------------------------------------------------------------------------------


def learn(fit: Fit, method: Learned, scorer: Scorer) -> dict[str, Any]:
    """Train, and leave the best weights, as held-out images judge them, in the method; return how it went."""
    options, events = fit.options, fit.events
    checkpoint.check_scriptable(method.degrader())  # what could not be exported need not be trained
    if options.device != "cpu":
        torch.backends.cudnn.allow_tf32 = False  # its 10-bit mantissa would show in the blur
    for module in method.modules.values():
        module.to(options.device)
    state = loop.State(method, fit.source.tone)
    if fit.snapshot is not None:
        loop.restore(state, fit.snapshot, str(fit.folder.out))
        fit.folder.forget_after(state.step)
        fit.folder.reopen()
        events.on_note(f"going on from step {state.step} of {state.total()}")
    batches = fit.source.batches(method, options.device) if method.config.steps else None
    judge = scorer.judge(method, options.device)
    references = {name: judge.score(model.on(options.device).degrader) for name, model in scorer.references.items()}
    references["bicubic"] = judge.bicubic()
    course = loop.Course(
        None if batches is None else batches.batch,
        judge,
        references,
        fit.folder,
        {
            "channels": fit.source.channels,
            "data_fingerprint": fit.fingerprint,
            "split": fit.source.split_digest(),
            "tone": fit.source.tone,
        },
        options.seed,
        _Preview(fit, scorer),
    )
    loop.train(state, course, events)
    if isinstance(judge, StartJudge) and state.step > 0 and state.best_step == 0:
        t = state.lead.get("t", 0.0)
        events.on_note(
            f"held-out images: what was learnt is not clearly better than its start (t {t:.1f}), which is exported"
        )
    method.modules["optics"].load_state_dict(state.best)
    for module in method.modules.values():
        module.cpu()
    return {
        "steps": state.step,
        "seconds": state.seconds,
        "patch_hr_px": None if batches is None else batches.patch,
        "best_step": state.best_step,
        f"best_held_out_{judge.figure}": state.best_score,
        **({"lead": state.lead} if state.lead else {}),
    }


class _Preview:
    """Draws a picture of what has been learnt so far."""

    def __init__(self, fit: Fit, scorer: Scorer) -> None:
        self._fit, self._scorer = fit, scorer

    def __call__(self, degrader: Degrader, name: str) -> None:
        fit, device = self._fit, self._fit.options.device
        rows = self._scorer.pictures(lambda hr, _: degrader.degrade(hr[None].to(device), 0)[0].cpu(), 2)
        rows += panels.basis_rows(degrader, fit.source.samples(1)[0].to(device))
        heading = f"{fit.options.method}, {name.replace('_', ' ')}"
        panels.sheet(fit.folder.previews / f"{name}.png", rows, heading)


# --- measure and export -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """The model of a fit, and what was measured of it on held-out images."""

    model: Checkpoint
    scores: dict[str, Any]
    """Figures on held-out images; ``mean`` has their means by model."""
    hardware_factor: dict[str, Any] | None
    """How the blur follows the hardware factor, where the model has one."""
    distribution: Distribution | None
    """What the model draws, where the method learns a distribution."""
    draws: dict[str, Any] | None
    """Figures of that distribution."""
    left_out: LeftOut | None
    """What the model leaves out of real LR, and adds as noise; None where that cannot be measured."""
    warnings: list[str]


def measure(fit: Fit, scorer: Scorer) -> Measured:
    """Measure the model before it is written, so that its file carries its own phase and scores."""
    config = fit.config.model_dump(mode="json")
    model = measured_checkpoint(fit.options.method, fit.method, fit.source, config, fit.fingerprint)
    scores = scorer.evaluate(fit.method, model, fit.events.on_progress)
    warnings = fit.method.warnings()
    factor: dict[str, Any] | None = None
    if model.spec.hardware_factor is not None:
        factor, more = hardware_factor.measure(model, fit.source.samples(FACTOR_IMAGES))
        warnings += more
        fit.events.on_note(f"hardware factor {model.spec.hardware_factor.trained:g}{hardware_factor.summary(factor)}")
    distribution, draws = None, None
    if isinstance(fit.method, Stochastic):
        distribution = fit.method.distribution()
        draws = diversity.figures(distribution, model)
        warnings += diversity.warnings(draws)
        if text := diversity.summary(draws):
            fit.events.on_note(text)
    left_out = scorer.left_out(fit.method, model)
    ratio = _assumed_ratio(fit)
    if left_out is not None:
        model = with_residual(model, left_out.noise)
        warnings += residual.warnings(left_out)
        fit.events.on_note(residual.summary(left_out))
    elif fit.method.data != "paired" and ratio:
        model = with_residual(model, assumed(ratio, fit.source.channels))
        fit.events.on_note(f"what the model leaves out is assumed: noise with σ of {ratio:g} of the local contrast")
    return Measured(model, scores, factor, distribution, draws, left_out, warnings)


def export(fit: Fit, measured: Measured, trained: Mapping[str, Any]) -> None:
    """Write the checkpoint with its scores, and log the figures of the exported weights."""
    means = measured.scores["mean"]
    figures = {
        f"held_out_{figure}_{name}": value
        for name, row in means.items()
        for figure, value in row.items()
        if figure in EXPORTED_FIGURES
    }
    fit.folder.log({"step": trained.get("best_step", 0), "exported": figures})
    spec = measured.model.spec.model_copy(update={"held_out": means})
    checkpoint.save(measured.model.degrader, spec, fit.folder.checkpoint)


# --- report -----------------------------------------------------------------------------------------------------


def report(fit: Fit, scorer: Scorer, measured: Measured) -> None:
    """Draw the pictures of the finished fit."""
    model = measured.model
    # Beside the real LR of the same scene, noise would hide what the model itself gets wrong.
    rows = scorer.pictures(previews.by_checkpoint(model, noise=measured.left_out is None), 3)
    kernels = previews.measured_kernels(model)
    rows = [*rows, kernels] if len(kernels) > 1 else [[*rows[0], *kernels], *rows[1:]]
    rows += panels.basis_rows(model.degrader, fit.source.samples(1)[0])
    if measured.distribution is not None:
        draw_distribution(fit.folder.previews / "distribution.png", measured.distribution, model)
    if measured.left_out is not None:
        draw_residual(fit.folder.previews / "residual.png", measured.left_out)
    panels.sheet(fit.folder.previews / "held_out.png", rows, scorer.summary(measured.scores["mean"]))


def _assumed_ratio(fit: Fit) -> float:
    """Return σ of the noise that is assumed for what the model leaves out, as a multiple of the contrast."""
    asked = fit.options.left_out
    return LEFT_OUT.get(fit.method.data, 0.0) if asked is None else asked


def _noise_record(fit: Fit, measured: Measured) -> dict[str, Any] | None:
    """Return what ``fit.json`` says of the noise for what the model leaves out; None where there is none."""
    if measured.left_out is not None:
        return residual.figures(measured.left_out)
    known = isinstance(measured.model.degrader, Degrader) and measured.model.residual() is not None
    return {"assumed": _assumed_ratio(fit)} if known else None


def _record(fit: Fit, measured: Measured, trained: Mapping[str, Any], seconds: Mapping[str, float]) -> dict[str, Any]:
    """Return what ``fit.json`` holds."""
    source = fit.source
    return {
        "method": fit.options.method,
        "preset": fit.options.preset,
        "scale": source.scale,
        "channels": source.channels,
        "dtype": source.dtype,
        "data_range": list(resolve_range(np.dtype(source.dtype), source.data_range)),
        **source.facts(),
        "training": trained,
        "phase": [list(phase) for phase in measured.model.spec.phase],
        "report": fit.method.report(),
        "hardware_factor": measured.hardware_factor,
        "distribution": measured.draws,
        "noise": _noise_record(fit, measured),
        "warnings": measured.warnings,
        "held_out": measured.scores,
        "seconds": seconds,
        "data_fingerprint": fit.fingerprint,
        "environment": {
            "degsynth": degsynth.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "system": platform.platform(),
            "threads": torch.get_num_threads(),
            "device": fit.options.device,
        },
    }
