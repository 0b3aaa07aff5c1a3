"""The one fit: images on the disk in, a run directory with a verified checkpoint out.

What the check of the images can find is found before the run directory is made. What the method is, the fit does not
know: it hands it images, runs `degsynth.loop` where it learns by steps, and takes a degrader
(`degsynth.methods.Method`). Nor does it know whether the images are pairs or two folders (`degsynth.given.Given`).
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import degsynth
from degsynth import methods
from degsynth.config import Strict
from degsynth.data.images import resolve_range
from degsynth.errors import ConfigError, OutputError
from degsynth.evaluation import diversity, hardware_factor
from degsynth.fit import export, loop
from degsynth.fit.options import Events, FitOptions, check_folders, resolve
from degsynth.fit.run_directory import RunFolder
from degsynth.fit.sources.pairs import Pairs
from degsynth.fit.sources.photos import Photos
from degsynth.fit.sources.source import Given
from degsynth.fit.sources.unpaired import Folders
from degsynth.model import checkpoint
from degsynth.model.degrader import Degrader
from degsynth.reports import panels, previews
from degsynth.reports.distribution import draw_distribution
from degsynth.seeds import derive

KNOB_IMAGES = 4
"""So many held-out images show what a hardware factor does."""
GIVEN: dict[methods.Data, Callable[[FitOptions, Events], Given]] = {"paired": Pairs, "unpaired": Folders, "lr": Photos}
MAY_CHANGE = {"steps", "minutes", "device", "cache_mb"}
"""Options that a resumed fit may be given anew."""


def run(
    options: FitOptions, values: Mapping[str, Any], out: Path, events: Events | None = None, resume: bool = False
) -> dict[str, Any]:
    """Fit, verify, score on held-out images, write the run directory ``out``; returns what ``fit.json`` holds.

    ``resume``: go on from the newest snapshot in ``out`` with the options that it was begun with; only the budget and
    the device may differ.
    """
    events = events or Events()
    seconds, clock = {}, _Stopwatch()
    module, config = resolve(options, values)
    folder = RunFolder(out)
    if out.exists() and not resume:
        raise ConfigError(f"--out {out} exists; give a new folder, or remove it, or --resume it")
    for side in (options.hr, options.lr):
        if side is not None and out.resolve().is_relative_to(Path(side).resolve()):
            raise ConfigError(f"--out {out} lies inside {side}, where its pictures would be taken for images; move it")
    check_folders(options, module.Method.data)
    given: Given = GIVEN[module.Method.data](options, events)
    tables = _tables(options, config, given)
    fingerprint = given.fingerprint()
    snapshot = _resumed(folder, tables, fingerprint) if resume else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(options.seed, "", 0, 0, "first weights"))
        method = module.Method(config, given.scale, given.channels)
    if options.group_by != "none" and not (module.Method.data == "unpaired" and isinstance(method, methods.Stochastic)):
        raise ConfigError(
            f"--group-by {options.group_by} is for methods that draw noise (pdm); {options.method} has one for all"
        )
    if given.data_range is not None:
        events.on_note(f"data range {given.data_range[0]:g}:{given.data_range[1]:g} ({given.dtype} files)")
    for text in given.notes:
        events.on_note(text)
    seconds["check"] = clock.lap()

    given.prepare(method, out if resume else None)
    seconds["prepare"] = clock.lap()

    if snapshot is None:
        folder.make()
    try:
        folder.describe(tables)
        given.keep(out)
        spec = export.spec_of(options.method, method, given, config.model_dump(mode="json"), fingerprint)
        trained: dict[str, Any] = {}
        if isinstance(method, methods.Learned):
            given.refer()
            if given.no_references:
                events.on_warning(given.no_references)
            trained = _learn(method, options, spec, given, folder, snapshot, events)
            spec = export.spec_of(options.method, method, given, config.model_dump(mode="json"), fingerprint)
            seconds["train"] = trained["seconds"]
            clock.lap()
        degrader = method.degrader()
        # A checkpoint carries its own phase and scores: it is written, measured and scored elsewhere first.
        model = export.as_checkpoint(degrader, spec)
        spec = export.with_phase(spec, method, model)
        scores = given.evaluate(method, model, events.on_progress)
        means = scores["mean"]
        exported = {
            f"held_out_{figure}_{name}": value
            for name, figures in means.items()
            for figure, value in figures.items()
            if figure in ("psnr_y", "spectral_distance", "kernel_distance")
        }
        folder.log({"step": trained.get("best_step", 0), "exported": exported})
        knob, faults = None, list[str]()
        if spec.hardware_factor is not None:
            knob, faults = hardware_factor.look(model, given.samples(KNOB_IMAGES))
            events.on_note(f"hardware factor {spec.hardware_factor.trained:g}{hardware_factor.told(knob)}")
        rows = given.rows(previews.by_checkpoint(model), 3)
        kernels = previews.measured_kernels(model)
        rows = [*rows, kernels] if len(kernels) > 1 else [[*rows[0], *kernels], *rows[1:]]
        rows += panels.anatomy(model.degrader, given.samples(1)[0])
        drawn: dict[str, Any] | None = None
        if isinstance(method, methods.Stochastic):
            distribution = method.distribution()
            drawn = diversity.facts(distribution, model)
            faults += diversity.faults(drawn)
            if text := diversity.told(drawn):
                events.on_note(text)
            draw_distribution(folder.previews / "distribution.png", distribution, model)
        panels.sheet(folder.previews / "held_out.png", rows, given.told(means))
        known = {"held_out": means, "bytes_per_pixel": model.spec.bytes_per_pixel}
        checkpoint.save(degrader, spec.model_copy(update=known), folder.checkpoint)
        seconds["score_and_save"] = clock.lap()
        record = {
            "method": options.method,
            "preset": options.preset,
            "scale": given.scale,
            "channels": given.channels,
            "dtype": given.dtype,
            "data_range": list(resolve_range(np.dtype(given.dtype), given.data_range)),
            **given.facts(),
            "training": trained,
            "phase": [list(phase) for phase in spec.phase],
            "report": method.report(),
            "hardware_factor": knob,
            "distribution": drawn,
            "warnings": [*method.warnings(), *faults],
            "held_out": scores,
            "seconds": seconds,
            "data_fingerprint": fingerprint,
            "environment": _environment(options.device),
        }
        folder.finish(record)
    except BaseException as error:  # nothing half-written: the folder is ours
        folder.abandon()
        if isinstance(error, OSError):
            raise OutputError(f"--out {out}: {error.strerror or error}") from None
        raise
    for text in (*record["warnings"], *given.warnings(means)):
        events.on_warning(text)
    return record


def _environment(device: str) -> dict[str, Any]:
    return {
        "degsynth": degsynth.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "threads": torch.get_num_threads(),
        "device": device,
    }


def _learn(
    method: methods.Learned,
    options: FitOptions,
    spec: checkpoint.Spec,
    given: Given,
    folder: RunFolder,
    snapshot: Mapping[str, Any] | None,
    events: Events,
) -> dict[str, Any]:
    """Train, and leave the best weights, as held-out images judge them, in the method; returns how it went."""
    export.as_checkpoint(method.degrader(), spec)  # what could not be exported need not be trained
    if options.device != "cpu":
        torch.backends.cudnn.allow_tf32 = False  # its 10-bit mantissa would show in the blur
    for module in method.modules.values():
        module.to(options.device)
    state = loop.State(method)
    facts = {"spec": spec.model_dump_json(), "channels": given.channels}
    if snapshot is not None:
        state.restore(snapshot)
        folder.forget_after(state.step)
        folder.reopen()
        events.on_note(f"going on from step {state.step} of {state.total()}")
    batch_of, patch = given.batches(method, options.method, options.device) if method.config.steps else (None, None)
    judge = given.judge(method, options.device)
    scores = {name: judge.score(model.degrader.to(options.device)) for name, model in given.references.items()}
    for model in given.references.values():
        model.degrader.cpu()
    scores["bicubic"] = judge.bicubic()

    def picture(degrader: Degrader, name: str) -> None:
        rows = given.rows(lambda hr, _: degrader.degrade(hr[None].to(options.device), 0)[0].cpu(), 2)
        rows += panels.anatomy(degrader, given.samples(1)[0].to(options.device))
        panels.sheet(folder.previews / f"{name}.png", rows, f"{options.method}, {name.replace('_', ' ')}")

    loop.train(
        state, batch_of, judge, scores, folder, facts, events.on_progress, events.on_figures, picture,
        events.deferred_stop,
    )  # fmt: skip
    if judge.judges_start and state.step > 0 and state.best_step == 0:
        events.on_note("held-out images: what was learnt is not clearly better than its start, which is exported")
    method.modules["optics"].load_state_dict(state.best)
    for module in method.modules.values():
        module.cpu()
    return {
        "steps": state.step,
        "seconds": state.seconds,
        "patch_hr_px": patch,
        "best_step": state.best_step,
        f"best_held_out_{judge.figure}": state.start_score if state.best_step == 0 else state.best_score,
    }


def _tables(options: FitOptions, config: Strict, given: Given) -> dict[str, dict[str, Any]]:
    """What ``config.toml`` holds; paths are made absolute, so that `fit --config` repeats the run from anywhere."""
    found = {
        "scale": given.scale,
        "data_range": given.data_range or "dtype",
        "hr": None if options.hr is None else str(Path(options.hr).resolve()),
        "lr": str(Path(options.lr).resolve()),
    }
    return {
        "fit": options.model_copy(update=found).model_dump(mode="json"),
        "method": config.model_dump(mode="json"),
    }


def _resumed(folder: RunFolder, tables: Mapping[str, Mapping[str, Any]], fingerprint: str) -> dict[str, Any]:
    """The newest snapshot of a run that was begun with the same options and images; ConfigError names what differs."""
    before = folder.description()
    for table, now in tables.items():
        for key in now.keys() | before.get(table, {}).keys():
            was, wanted = before.get(table, {}).get(key), now.get(key)
            if key not in MAY_CHANGE and was != wanted:
                raise ConfigError(
                    f"{folder.out} was begun with {key} = {was!r}, not {wanted!r}; --resume goes on with what was "
                    "begun, only its budget and device may change"
                )
    contents = folder.load_snapshot()
    if checkpoint.parse_spec(contents["spec"], folder.out).data_fingerprint != fingerprint:
        raise ConfigError(f"the images are not those that {folder.out} was begun with; fit them anew")
    return contents


class _Stopwatch:
    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._last = self._last, time.perf_counter()
        return self._last - before
