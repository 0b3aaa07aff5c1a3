"""The one fit: pairs on the disk in, a run directory with a verified checkpoint out.

Everything that can be wrong with the input is found before the run directory is made. What the method is, the loop does
not know: it hands it images and takes a degrader (`degsynth.methods.Method`).
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import degsynth
from degsynth import checkpoint, methods
from degsynth.config import Strict, build, to_toml
from degsynth.data import pairs as pairing
from degsynth.data.images import resolve_range
from degsynth.errors import ConfigError, DataError, FitError
from degsynth.evaluation.paired import evaluate

CACHE_MB = 2048
SHIFT_WARNING_HR_PX = 0.1


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
    scale: int | None = None
    """HR size / LR size; unset: inferred from the pairs."""
    seed: int = 0
    """Decides which pairs are held out, and every random number of training."""
    data_range: tuple[float, float] | Literal["dtype"] | None = None
    """Black and white of 16-bit and float files; ``dtype``: the type's own; unset: found."""
    register_pairs: Literal["none", "shift"] = "none"
    """``shift``: correct each pair's global sub-pixel shift before fitting."""
    bad_pairs: Literal["stop", "skip"] = "stop"
    """What to do about pairs that the check faults."""
    cache_mb: int = CACHE_MB
    """Memory for decoded images."""


@dataclass(frozen=True)
class Events:
    """How a fit speaks; the command line prints it, tests look at it."""

    on_progress: Callable[[str, int, int], None] = lambda what, count, total: None
    on_note: Callable[[str], None] = lambda text: None
    """Something found or decided that a user should know."""
    on_warning: Callable[[str], None] = lambda text: None


def resolve(options: FitOptions, values: Mapping[str, Any]) -> tuple[Any, Strict]:
    """The method's module and its full configuration: preset, then ``values``. ConfigError for unknown names."""
    module = methods.get(options.method)
    if options.preset not in module.PRESETS:
        known = ", ".join(module.PRESETS)
        raise ConfigError(f"method {options.method} has no preset '{options.preset}' (known: {known})")
    return module, build(module.Config, {**module.PRESETS[options.preset], **values}, f"method {options.method}")


def find_data_range(check: pairing.PairCheck, pairs: pairing.PairSet, asked: Any) -> tuple[float, float] | None:
    """Black and white: as asked; for 16-bit files the least of 10, 12, 14, 16 bits that holds every value."""
    if asked == "dtype" or check.dtype == "uint8":
        return None
    if asked is not None:
        black, white = asked
        if not black < white:
            raise ConfigError(f"data range {black:g}:{white:g}: black must be below white")
        return float(black), float(white)
    largest = max(float(image.pixels.max()) for pair in pairs.pairs for image in pairs.decoded(pair))
    if check.dtype == "uint16":
        return 0.0, float(next(2**bits - 1 for bits in (10, 12, 14, 16) if largest <= 2**bits - 1))
    if largest > 1.0:
        raise DataError(f"float images reach {largest:g}; say what is black and white with --data-range BLACK:WHITE")
    return None


def _checked_pairs(options: FitOptions, events: Events) -> tuple[pairing.PairSet, pairing.PairCheck]:
    found, alone = pairing.match(Path(options.hr), Path(options.lr))
    if alone:
        events.on_warning(f"{len(alone)} files have no partner and are left out: {_some(alone)}")
    register = options.register_pairs == "shift"
    checked = pairing.check(
        found, options.scale, register, lambda count: events.on_progress("checking pairs", count, len(found))
    )
    if checked.faults:
        details = _some([f"{fault.name} ({fault.kind}: {fault.detail})" for fault in checked.faults])
        if options.bad_pairs == "stop" or not checked.pairs:
            shifted = any(fault.detail.startswith("LR is shifted") for fault in checked.faults)
            way = "--register shift corrects shifts, " if shifted else ""
            raise DataError(
                f"{len(checked.faults)} of {len(found)} pairs cannot be used: {details}; {way}--bad-pairs skip leaves them out"
            )
        events.on_warning(f"{len(checked.faults)} of {len(found)} pairs are left out: {details}")
    pairs = pairing.PairSet(
        checked.pairs, checked.scale, checked.channels, None, register, options.cache_mb * 2**20
    )
    pairs.data_range = find_data_range(checked, pairs, options.data_range)
    return pairs, checked


def _some(names: Sequence[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def run(options: FitOptions, values: Mapping[str, Any], out: Path, events: Events = Events()) -> dict[str, Any]:
    """Fit, verify, score on held-out pairs, write the run directory ``out``; returns what ``fit.json`` holds."""
    started = time.perf_counter()
    module, config = resolve(options, values)
    if out.exists():
        raise ConfigError(f"--out {out} exists; give a new folder, or remove it")
    pairs, checked = _checked_pairs(options, events)
    method = module.Method(config, pairs.scale, pairs.channels)
    train, held = pairs.held_out_split(options.seed)
    if pairs.data_range is not None:
        events.on_note(f"data range {pairs.data_range[0]:g}:{pairs.data_range[1]:g} ({checked.dtype} files)")
    events.on_note(f"scale {pairs.scale}; {len(train)} pairs to fit, {len(held)} held out")
    checked_s = time.perf_counter() - started

    began = time.perf_counter()
    method.prepare(train)
    fitted_s = time.perf_counter() - began

    began = time.perf_counter()
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be made: {error.strerror}") from None
    # Paths are kept absolute: a run is repeated with `fit --config RUN/config.toml` from anywhere.
    resolved = options.model_copy(
        update={
            "scale": pairs.scale,
            "data_range": pairs.data_range or "dtype",
            "hr": str(Path(options.hr).resolve()),
            "lr": str(Path(options.lr).resolve()),
        }
    )
    tables = {"fit": resolved.model_dump(mode="json"), "method": config.model_dump(mode="json")}
    (out / "config.toml").write_text(to_toml(tables), encoding="utf-8")

    fingerprint = pairs.fingerprint()
    facts = method.spec()
    spec = checkpoint.Spec(
        degsynth_version=degsynth.__version__,
        method=options.method,
        scale=pairs.scale,
        halo=facts["clean_halo"] + pairs.scale * facts["noise_halo"],
        data_range=pairs.data_range,
        config=tables["method"],
        data_fingerprint=fingerprint,
        **facts,
    )
    # The scores go into the file that they are the scores of: verify it once without, score it, write it again with them.
    degrader, file = method.degrader(), out / "checkpoint.pt"
    checkpoint.save(degrader, spec, file)
    scores = evaluate(
        checkpoint.load(file), held, border=_border(held), on_image=lambda n: events.on_progress("scoring", n, len(held))
    )
    if not math.isfinite(scores["mean"]["model"]["l1_rgb"]):
        raise FitError(f"method {options.method}: the fitted model gives values that are not finite")
    spec = checkpoint.save(degrader, spec.model_copy(update={"held_out": scores["mean"]}), file)
    offset = math.hypot(*spec.phase)
    if offset > SHIFT_WARNING_HR_PX:
        events.on_warning(
            f"the kernel's centroid is ({spec.phase[0]:+.2f}, {spec.phase[1]:+.2f}) HR px off the centred phase: "
            "the pairs are shifted by that much on the whole; --register shift takes it out"
        )
    record = {
        "method": options.method,
        "preset": options.preset,
        "scale": pairs.scale,
        "channels": pairs.channels,
        "dtype": checked.dtype,
        "data_range": list(resolve_range(np.dtype(checked.dtype), pairs.data_range)),
        "pairs": {
            "fitted": [pair.name for pair in train.pairs],
            "held_out": [pair.name for pair in held.pairs],
            "left_out": [fault.__dict__ for fault in checked.faults],
            "shift_lr_px": {pair.name: pair.shift for pair in pairs.pairs},
            "median_shift_lr_px": checked.median_shift(),
        },
        "report": method.report(),
        "held_out": scores,
        "seconds": {"check": checked_s, "fit": fitted_s, "score_and_save": time.perf_counter() - began},
        "data_fingerprint": fingerprint,
        "environment": {
            "degsynth": degsynth.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "system": platform.platform(),
            "threads": torch.get_num_threads(),
        },
    }
    (out / "fit.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return record


def _border(held: pairing.PairSet) -> int:
    """The usual border, or less where held-out images are small."""
    smallest = min(min(lr.height, lr.width) for _, lr in (held.decoded(pair) for pair in held.pairs))
    return max(0, min(8, (smallest - 11) // 2))
