"""The one fit: pairs on the disk in, a run directory with a verified checkpoint out.

What the check of the pairs can find is found before the run directory is made. What the method is, the fit does not
know: it hands it images, runs `degsynth.loop` where it learns by steps, and takes a degrader
(`degsynth.methods.Method`).
"""

from __future__ import annotations

import contextlib
import math
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

import degsynth
from degsynth import checkpoint, exporting, loop, methods, previews, report
from degsynth.config import Strict, build
from degsynth.data.images import resolve_range
from degsynth.data.opening import open_for_fit
from degsynth.data.pair_check import PairCheck
from degsynth.data.pairs import PairSet
from degsynth.data.patches import Patches
from degsynth.degrader import Degrader
from degsynth.errors import ConfigError, DataError, FitError, OutputError
from degsynth.evaluation import hardware_factor
from degsynth.evaluation.held_out import HeldOut, by_degrader
from degsynth.evaluation.metrics import BORDER, SSIM_WINDOW
from degsynth.evaluation.paired import evaluate
from degsynth.ops.resample import bicubic
from degsynth.run_folder import RunFolder
from degsynth.seeds import derive

CACHE_MB = 2048
SHIFT_WARNING_HR_PX = 0.1
START_PAIRS = 64
"""So many pairs, evenly spread, are enough for what training starts from, and for the kernel it is compared with."""
KNOB_IMAGES = 4
"""So many held-out images show what a hardware factor does."""
MAY_CHANGE = {"steps", "minutes", "device", "cache_mb"}
"""Options that a resumed fit may be given anew."""


class FitOptions(Strict):
    """What every fit has, whatever the method; the ``[fit]`` table of ``config.toml``."""

    method: str
    """Name in the table of methods."""
    hr: str
    """Folder of HR images."""
    lr: str
    """Folder of LR images."""
    preset: str = "default"
    """Where the method's options start from."""
    scale: int | None = Field(default=None, ge=1)
    """HR size / LR size; unset: inferred from the pairs."""
    seed: int = 0
    """Decides which pairs are held out, where weights begin, and which patches are seen."""
    data_range: tuple[float, float] | Literal["dtype"] | None = None
    """Black and white of 16-bit and float files; ``dtype``: the type's own; unset: found."""
    register_pairs: Literal["none", "shift"] = "none"
    """``shift``: correct each pair's global sub-pixel shift before fitting."""
    bad_pairs: Literal["stop", "skip"] = "stop"
    """What to do about pairs that the check faults."""
    cache_mb: int = Field(default=CACHE_MB, ge=0)
    """Memory for decoded images."""
    device: str = "cpu"
    """Where methods that learn by steps do so: cpu or cuda[:N]."""


@dataclass(frozen=True)
class Events:
    """How a fit speaks; the command line prints it, tests look at it."""

    on_progress: Callable[[str, int, int], None] = lambda what, count, total: None
    on_note: Callable[[str], None] = lambda text: None
    """Something found or decided that a user should know."""
    on_warning: Callable[[str], None] = lambda text: None
    on_figures: Callable[[str], None] = lambda text: None
    """How training goes: losses and held-out scores, now and then."""
    deferred_stop: Callable[[], AbstractContextManager[Callable[[], bool]]] = lambda: contextlib.nullcontext(
        lambda: False
    )
    """Inside this context a wish to stop can wait for the end of a step; what it yields tells whether there is one."""


def resolve(options: FitOptions, values: Mapping[str, Any]) -> tuple[Any, Strict]:
    """The method's module and its full configuration: preset, then ``values``. ConfigError for unknown names."""
    module = methods.get(options.method)
    if options.preset not in module.PRESETS:
        known = ", ".join(module.PRESETS)
        raise ConfigError(f"method {options.method} has no preset '{options.preset}' (known: {known})")
    return module, build(module.Config, {**module.PRESETS[options.preset], **values}, f"method {options.method}")


def run(
    options: FitOptions, values: Mapping[str, Any], out: Path, events: Events | None = None, resume: bool = False
) -> dict[str, Any]:
    """Fit, verify, score on held-out pairs, write the run directory ``out``; returns what ``fit.json`` holds.

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
        if out.resolve().is_relative_to(Path(side).resolve()):
            raise ConfigError(f"--out {out} lies inside {side}, where its pictures would be taken for images; move it")
    pairs, checked = open_for_fit(
        Path(options.hr),
        Path(options.lr),
        options.scale,
        options.data_range,
        options.register_pairs == "shift",
        options.bad_pairs == "skip",
        options.cache_mb * 2**20,
        events.on_progress,
        events.on_warning,
    )
    tables = _tables(options, config, pairs)
    fingerprint = pairs.fingerprint()
    snapshot = _resumed(folder, tables, fingerprint) if resume else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(options.seed, "", 0, 0, "first weights"))
        method = module.Method(config, pairs.scale, pairs.channels)
    train, held = pairs.held_out_split(options.seed)
    border = _border(held)
    if pairs.data_range is not None:
        events.on_note(f"data range {pairs.data_range[0]:g}:{pairs.data_range[1]:g} ({checked.dtype} files)")
    events.on_note(f"scale {pairs.scale}; {len(train)} pairs to fit, {len(held)} held out")
    seconds["check"] = clock.lap()

    method.prepare(train.subset(train.spread(START_PAIRS)) if isinstance(method, methods.Learned) else train)
    seconds["prepare"] = clock.lap()

    if snapshot is None:
        folder.make()
    try:
        folder.describe(tables)
        spec = exporting.spec_of(options.method, method, pairs, config.model_dump(mode="json"), fingerprint)
        beside: dict[str, checkpoint.Checkpoint] = {}
        trained: dict[str, Any] = {}
        if isinstance(method, methods.Learned):
            try:
                beside["linear"] = _linear(train)
            except FitError as error:  # a learned method may do with less
                events.on_warning(f"no figure of linear to compare with: {error}")
            trained = _learn(method, options, spec, train, held, border, beside, folder, snapshot, events)
            spec = exporting.spec_of(options.method, method, pairs, config.model_dump(mode="json"), fingerprint)
            seconds["train"] = trained["seconds"]
            clock.lap()
        degrader = method.degrader()
        # A checkpoint carries its own phase and scores: it is written, measured and scored elsewhere first.
        model = exporting.as_checkpoint(degrader, spec)
        spec = exporting.with_phase(spec, method, model)
        scores = evaluate(
            model,
            held,
            border=border,
            beside=beside,
            on_image=lambda count: events.on_progress("scoring", count, len(held)),
        )
        means = scores["mean"]
        folder.log(
            {
                "step": trained.get("best_step", 0),
                "exported": {f"held_out_psnr_y_{name}": figures["psnr_y"] for name, figures in means.items()},
            }
        )
        figures = ", ".join(f"{name} {figures['psnr_y']:.2f} dB" for name, figures in means.items())
        knob, faults = None, list[str]()
        if spec.hardware_factor is not None:
            knob, faults = hardware_factor.look(model, [held.tensors(index)[0] for index in held.spread(KNOB_IMAGES)])
            events.on_note(f"hardware factor {spec.hardware_factor.trained:g}{hardware_factor.told(knob)}")
        rows = previews.rows(previews.by_checkpoint(model), held, 3)
        kernels = previews.measured_kernels(model)
        rows = [*rows, kernels] if len(kernels) > 1 else [[*rows[0], *kernels], *rows[1:]]
        rows += report.anatomy(model.degrader, held.tensors(0)[0])
        heading = f"held-out pairs, luma PSNR against the real LR: {figures}"
        report.sheet(folder.previews / "held_out.png", rows, heading)
        checkpoint.save(degrader, spec.model_copy(update={"held_out": means}), folder.checkpoint)
        seconds["score_and_save"] = clock.lap()
        record = {
            "method": options.method,
            "preset": options.preset,
            "scale": pairs.scale,
            "channels": pairs.channels,
            "dtype": checked.dtype,
            "data_range": list(resolve_range(np.dtype(checked.dtype), pairs.data_range)),
            "pairs": _pair_facts(pairs, train, held, checked),
            "training": trained,
            "phase": [list(phase) for phase in spec.phase],
            "report": method.report(),
            "hardware_factor": knob,
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
    for text in (*record["warnings"], *_shift_warning(pairs, options.register_pairs == "shift")):
        events.on_warning(text)
    return record


def _pair_facts(pairs: PairSet, train: PairSet, held: PairSet, checked: PairCheck) -> dict[str, Any]:
    return {
        "fitted": [pair.name for pair in train.pairs],
        "held_out": [pair.name for pair in held.pairs],
        "left_out": [asdict(fault) for fault in checked.faults],
        "shift_lr_px": {pair.name: pair.shift for pair in pairs.pairs},
        "median_shift_lr_px": checked.median_shift(),
    }


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
    train: PairSet,
    held: PairSet,
    border: int,
    beside: Mapping[str, checkpoint.Checkpoint],
    folder: RunFolder,
    snapshot: Mapping[str, Any] | None,
    events: Events,
) -> dict[str, Any]:
    """Train, and leave the best held-out weights in the method; returns how it went."""
    exporting.as_checkpoint(method.degrader(), spec)  # what could not be exported need not be trained
    if options.device != "cpu":
        torch.backends.cudnn.allow_tf32 = False  # its 10-bit mantissa would show in the blur
    for module in method.modules.values():
        module.to(options.device)
    state = loop.State(method)
    facts = {"spec": spec.model_dump_json(), "channels": train.channels}
    if snapshot is not None:
        state.restore(snapshot)
        folder.forget_after(state.step)
        folder.reopen()
        events.on_note(f"going on from step {state.step} of {state.total()}")
    config = method.config
    patches = Patches(train, options.seed, config.batch, method.patch, method.multiple_of, config.flips, options.device)
    if patches.patch * train.scale < method.least_patch:
        raise DataError(
            f"{options.method} learns from patches of at least {method.least_patch} HR px; the smallest image allows "
            f"{patches.patch * train.scale}: leave it out"
        )
    held_out = HeldOut(held, border, method.multiple_of, options.device)
    scores = {name: held_out.psnr(by_degrader(model.degrader.to(options.device))) for name, model in beside.items()}
    for model in beside.values():
        model.degrader.cpu()
    scores["bicubic"] = held_out.psnr(lambda part: bicubic(part.hr[None], train.scale))

    def picture(degrader: Degrader, name: str) -> None:
        rows = previews.rows(lambda hr, _: degrader.degrade(hr[None].to(options.device), 0)[0].cpu(), held, 2)
        rows += report.anatomy(degrader, held.tensors(0)[0].to(options.device))
        report.sheet(folder.previews / f"{name}.png", rows, f"{options.method}, {name.replace('_', ' ')}")

    loop.train(
        state, patches, held_out, scores, folder, facts, events.on_progress, events.on_figures, picture,
        events.deferred_stop,
    )  # fmt: skip
    method.modules["optics"].load_state_dict(state.best)
    for module in method.modules.values():
        module.cpu()
    return {
        "steps": state.step,
        "seconds": state.seconds,
        "patch_hr_px": patches.patch * train.scale,
        "best_step": state.best_step,
        "best_held_out_psnr_y": state.best_psnr,
    }


def _linear(train: PairSet) -> checkpoint.Checkpoint:
    """What one kernel can do on the same pairs: the figure that a learned method must beat."""
    from degsynth.methods import linear

    method = linear.Method(linear.Config(), train.scale, train.channels)
    method.prepare(train.subset(train.spread(START_PAIRS)))
    return exporting.as_checkpoint(method.degrader(), exporting.spec_of("linear", method, train, {}, None))


def open_snapshot(run: Path, step: int, path: Path) -> checkpoint.Checkpoint:
    """The weights of a run's snapshot, written to ``path`` as the checkpoint that they make, without scores.

    Raises ConfigError where there is no such run or snapshot.
    """
    folder = RunFolder(run)
    tables = folder.description()
    contents = folder.load_snapshot(step)
    options = build(FitOptions, tables["fit"], str(run))
    module, config = resolve(options, tables["method"])
    spec = checkpoint.parse_spec(contents["spec"], run)
    method = module.Method(config, spec.scale, contents["channels"])
    state = loop.State(method)
    state.restore(contents)
    spec = exporting.with_phase(spec, method, exporting.as_checkpoint(state.degrader(), spec))
    checkpoint.save(state.degrader(), spec, path)
    return checkpoint.load(path)


def _tables(options: FitOptions, config: Strict, pairs: PairSet) -> dict[str, dict[str, Any]]:
    """What ``config.toml`` holds; paths are made absolute, so that `fit --config` repeats the run from anywhere."""
    found = {
        "scale": pairs.scale,
        "data_range": pairs.data_range or "dtype",
        "hr": str(Path(options.hr).resolve()),
        "lr": str(Path(options.lr).resolve()),
    }
    return {
        "fit": options.model_copy(update=found).model_dump(mode="json"),
        "method": config.model_dump(mode="json"),
    }


def _resumed(folder: RunFolder, tables: Mapping[str, Mapping[str, Any]], fingerprint: str) -> dict[str, Any]:
    """The newest snapshot of a run that was begun with the same options and pairs; ConfigError names what differs."""
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
        raise ConfigError(f"the pairs are not those that {folder.out} was begun with; fit them anew")
    return contents


def _shift_warning(pairs: PairSet, registered: bool) -> list[str]:
    shifts = [pair.shift for pair in pairs.pairs if pair.shift is not None]
    y, x = (pairs.scale * float(np.mean([shift[axis] for shift in shifts])) for axis in (0, 1))
    if registered or math.hypot(y, x) < SHIFT_WARNING_HR_PX:
        return []
    return [
        f"the pairs are shifted against each other by ({y:+.2f}, {x:+.2f}) HR px (y, x) on average, and so will be "
        "what the model makes; --register shift takes that out"
    ]


class _Stopwatch:
    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._last = self._last, time.perf_counter()
        return self._last - before


def _border(held: PairSet) -> int:
    """The usual border, or less where held-out images are small; DataError where they are too small to score."""
    smallest = min(min(lr.shape[1:]) for _, lr in held)  # as they are scored: registration crops
    if smallest < SSIM_WINDOW:
        raise DataError(f"an LR image is {smallest} px high or wide; at least {SSIM_WINDOW} are needed to score a fit")
    return min(BORDER, (smallest - SSIM_WINDOW) // 2)
