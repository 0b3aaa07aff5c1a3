"""The one fit: pairs on the disk in, a run directory with a verified checkpoint out.

Everything that can be wrong with the input is found before the run directory is made. What the method is, the loop does
not know: it hands it images and takes a degrader (`degsynth.methods.Method`).
"""

from __future__ import annotations

import json
import math
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

import degsynth
from degsynth import checkpoint, methods, report
from degsynth.config import Strict, build, to_toml
from degsynth.data import pair_check
from degsynth.data import pairs as pairing
from degsynth.data.images import resolve_range
from degsynth.errors import ConfigError, DataError, OutputError
from degsynth.evaluation.effective_kernel import effective_kernel
from degsynth.evaluation.metrics import BORDER, SSIM_WINDOW
from degsynth.evaluation.paired import evaluate
from degsynth.files import write_atomic
from degsynth.ops.resample import bicubic
from degsynth.render import DEFAULT_NOISE, Identity, render

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
    scale: int | None = Field(default=None, ge=1)
    """HR size / LR size; unset: inferred from the pairs."""
    seed: int = 0
    """Decides which pairs are held out, and every random number of training."""
    data_range: tuple[float, float] | Literal["dtype"] | None = None
    """Black and white of 16-bit and float files; ``dtype``: the type's own; unset: found."""
    register_pairs: Literal["none", "shift"] = "none"
    """``shift``: correct each pair's global sub-pixel shift before fitting."""
    bad_pairs: Literal["stop", "skip"] = "stop"
    """What to do about pairs that the check faults."""
    cache_mb: int = Field(default=CACHE_MB, ge=0)
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


def find_data_range(check: pair_check.PairCheck, pairs: pairing.PairSet, asked: Any) -> tuple[float, float] | None:
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


def _checked_pairs(options: FitOptions, events: Events) -> tuple[pairing.PairSet, pair_check.PairCheck]:
    found, alone = pairing.match(Path(options.hr), Path(options.lr))
    if alone:
        events.on_warning(f"{len(alone)} files have no partner and are left out: {_some(alone)}")
    register = options.register_pairs == "shift"
    checked = pair_check.check(
        found, options.scale, register, lambda count: events.on_progress("checking pairs", count, len(found))
    )
    if checked.faults:
        details = _some([f"{fault.name} ({fault.kind}: {fault.detail})" for fault in checked.faults])
        if options.bad_pairs == "stop" or not checked.pairs:
            shifted = any(fault.kind == "misaligned" for fault in checked.faults)
            way = "--register shift corrects shifts, " if shifted else ""
            raise DataError(
                f"{len(checked.faults)} of {len(found)} pairs cannot be used: {details}; "
                f"{way}--bad-pairs skip leaves them out"
            )
        events.on_warning(f"{len(checked.faults)} of {len(found)} pairs are left out: {details}")
    pairs = pairing.PairSet(checked.pairs, checked.scale, checked.channels, None, register, options.cache_mb * 2**20)
    pairs.data_range = find_data_range(checked, pairs, options.data_range)
    return pairs, checked


def _some(names: Sequence[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def run(options: FitOptions, values: Mapping[str, Any], out: Path, events: Events | None = None) -> dict[str, Any]:
    """Fit, verify, score on held-out pairs, write the run directory ``out``; returns what ``fit.json`` holds."""
    events = events or Events()
    seconds, clock = {}, _Stopwatch()
    module, config = resolve(options, values)
    if out.exists():
        raise ConfigError(f"--out {out} exists; give a new folder, or remove it")
    for side in (options.hr, options.lr):
        if out.resolve().is_relative_to(Path(side).resolve()):
            raise ConfigError(f"--out {out} lies inside {side}, where its pictures would be taken for images; move it")
    pairs, checked = _checked_pairs(options, events)
    method = module.Method(config, pairs.scale, pairs.channels)
    train, held = pairs.held_out_split(options.seed)
    border = _border(held)
    if pairs.data_range is not None:
        events.on_note(f"data range {pairs.data_range[0]:g}:{pairs.data_range[1]:g} ({checked.dtype} files)")
    events.on_note(f"scale {pairs.scale}; {len(train)} pairs to fit, {len(held)} held out")
    seconds["check"] = clock.lap()

    method.prepare(train)
    seconds["fit"] = clock.lap()

    folder = _RunFolder(out)
    try:
        folder.describe(options, config, pairs)
        fingerprint = pairs.fingerprint()
        spec = _spec(options, method, pairs, config.model_dump(mode="json"), fingerprint)
        degrader = method.degrader()
        # A checkpoint carries its own scores: it is written and scored elsewhere first.
        with tempfile.TemporaryDirectory() as elsewhere:
            checkpoint.save(degrader, spec, Path(elsewhere) / "unscored.pt")
            model = checkpoint.load(Path(elsewhere) / "unscored.pt")
        scores = evaluate(
            model, held, border=border, on_image=lambda count: events.on_progress("scoring", count, len(held))
        )
        means = scores["mean"]
        folder.log({"step": 0, **{f"held_out_psnr_y_{name}": figures["psnr_y"] for name, figures in means.items()}})
        figures = ", ".join(f"{name} {figures['psnr_y']:.2f} dB" for name, figures in means.items())
        rows = preview_rows(model, held.subset(range(min(3, len(held)))))
        rows[0].append(report.Panel("effective kernel", measured_kernel(model)))
        heading = f"held-out pairs, luma PSNR against the real LR: {figures}"
        report.sheet(folder.previews / "held_out.png", rows, heading)
        checkpoint.save(degrader, spec.model_copy(update={"held_out": means}), folder.checkpoint)
        seconds["score_and_save"] = clock.lap()
        record = folder.finish(
            {
                "method": options.method,
                "preset": options.preset,
                "scale": pairs.scale,
                "channels": pairs.channels,
                "dtype": checked.dtype,
                "data_range": list(resolve_range(np.dtype(checked.dtype), pairs.data_range)),
                "pairs": {
                    "fitted": [pair.name for pair in train.pairs],
                    "held_out": [pair.name for pair in held.pairs],
                    "left_out": [asdict(fault) for fault in checked.faults],
                    "shift_lr_px": {pair.name: pair.shift for pair in pairs.pairs},
                    "median_shift_lr_px": checked.median_shift(),
                },
                "report": method.report(),
                "warnings": method.warnings(),
                "held_out": scores,
                "seconds": seconds,
                "data_fingerprint": fingerprint,
                "environment": {
                    "degsynth": degsynth.__version__,
                    "torch": torch.__version__,
                    "python": platform.python_version(),
                    "system": platform.platform(),
                    "threads": torch.get_num_threads(),
                },
            }
        )
    except BaseException as error:  # nothing half-written: the folder is ours, made a moment ago
        shutil.rmtree(out, ignore_errors=True)
        if isinstance(error, OSError):
            raise OutputError(f"--out {out}: {error.strerror or error}") from None
        raise
    for text in (*method.warnings(), *_shift_warning(pairs, options.register_pairs == "shift")):
        events.on_warning(text)
    return record


def _shift_warning(pairs: pairing.PairSet, registered: bool) -> list[str]:
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


class _RunFolder:
    """The run directory: ``config.toml``, ``log.jsonl``, ``previews/``, ``checkpoint.pt``, ``fit.json``."""

    def __init__(self, out: Path) -> None:
        self.out, self.checkpoint, self.previews = out, out / "checkpoint.pt", out / "previews"
        try:
            self.previews.mkdir(parents=True)
        except OSError as error:
            raise ConfigError(f"--out {out}: cannot be made: {error.strerror}") from None

    def describe(self, options: FitOptions, config: Strict, pairs: pairing.PairSet) -> None:
        """Write ``config.toml``; paths are made absolute, so that `fit --config` repeats the run from anywhere."""
        found = {
            "scale": pairs.scale,
            "data_range": pairs.data_range or "dtype",
            "hr": str(Path(options.hr).resolve()),
            "lr": str(Path(options.lr).resolve()),
        }
        tables = {
            "fit": options.model_copy(update=found).model_dump(mode="json"),
            "method": config.model_dump(mode="json"),
        }
        (self.out / "config.toml").write_text(to_toml(tables), encoding="utf-8")

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to ``log.jsonl``."""
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def finish(self, record: dict[str, Any]) -> dict[str, Any]:
        """Write ``fit.json``, the mark of a fit that ended."""
        write_atomic(self.out / "fit.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        return record


def _spec(
    options: FitOptions, method: methods.Method, pairs: pairing.PairSet, config: dict[str, Any], fingerprint: str
) -> checkpoint.Spec:
    facts = method.spec()
    return checkpoint.Spec(
        degsynth_version=degsynth.__version__,
        method=options.method,
        scale=pairs.scale,
        halo=facts["clean_halo"] + pairs.scale * facts["noise_halo"],
        data_range=pairs.data_range,
        config=config,
        data_fingerprint=fingerprint,
        **facts,
    )


def _border(held: pairing.PairSet) -> int:
    """The usual border, or less where held-out images are small; DataError where they are too small to score."""
    smallest = min(min(lr.shape[1:]) for _, lr in held)  # as they are scored: registration crops
    if smallest < SSIM_WINDOW:
        raise DataError(f"an LR image is {smallest} px high or wide; at least {SSIM_WINDOW} are needed to score a fit")
    return min(BORDER, (smallest - SSIM_WINDOW) // 2)


def preview_rows(model: checkpoint.Checkpoint, pairs: pairing.PairSet, whose: str = "real") -> list[list[report.Panel]]:
    """A row of pictures for each pair: HR, real LR, synthesised LR, bicubic LR, and the errors of both."""
    rows = []
    with torch.inference_mode():
        for index, (hr, lr) in enumerate(pairs):
            name = pairs.pairs[index].name
            made = render(model, hr, Identity(0, name), DEFAULT_NOISE).lr
            rows.append(report.comparison(name, hr, lr, made, bicubic(hr[None], pairs.scale)[0], pairs.scale, whose))
    return rows


def measured_kernel(model: checkpoint.Checkpoint) -> torch.Tensor:
    """The effective kernel of a model's first channel, (K, K)."""
    with torch.inference_mode():
        return effective_kernel(model).kernel
