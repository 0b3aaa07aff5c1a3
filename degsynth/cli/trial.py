"""What ``degsynth apply`` does instead of making a data set: ``--dry-run`` and ``--preview``."""

from __future__ import annotations

import dataclasses
import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from degsynth.cli import console, options
from degsynth.cli.flags import with_flags
from degsynth.data.members import file_of
from degsynth.errors import ConfigError

if TYPE_CHECKING:
    from degsynth.apply import Example, Forecast, Options
    from degsynth.apply.manifest import Row
    from degsynth.data.sources import Sources
    from degsynth.model.mixture import Mixture
    from degsynth.reports.panels import Panel

LR_SIDE = 96
"""Largest side of the part of an image that a preview shows, LR px."""
SHOWN_SIDE = 384
"""Side to which that part is about enlarged, px of the picture."""
NAMED = 3
"""Number of failing images that are named."""


def check(dry_run: bool, preview: Path | None) -> None:
    """Raise ConfigError where both are asked for, or where the preview cannot be written."""
    if preview is None:
        return
    if dry_run:
        raise ConfigError("--dry-run and --preview exclude each other", "give one of them")
    if preview.suffix.lower() != ".png":
        raise ConfigError(f"--preview {preview}: give the name of a PNG file")
    options.check_output(preview)


def check_no_input(preview: Path, sources: Sources) -> None:
    """Raise ConfigError where the preview would take the place of an HR image."""
    for name in sources.names:
        path = file_of(sources.root / name)
        if preview.exists() and path.exists() and preview.samefile(path):
            raise ConfigError(f"--preview {preview}: that is an HR image", "give another name")


def report_forecast(model: Mixture, sources: Sources, out: Path, chosen: Options, json: bool) -> None:
    """Say what a run would do; Exit 1 where an image would fail or the disk has too little room."""
    from degsynth import apply

    with console.Progress() as progress:
        found = apply.forecast(model, sources, out, chosen, progress)
    if json:
        record = dataclasses.asdict(found)
        record["failing"] = [{"source": name, "reason": with_flags(reason)} for name, reason in found.failing]
        typer.echo(jsonlib.dumps({**record, "needed_bytes": found.needed_bytes}, ensure_ascii=False))
    else:
        say_passed_over(sources)
        _print(out, found)
    if found.failing or not found.fits:
        raise typer.Exit(1)


def say_passed_over(sources: Sources) -> None:
    """Say what is passed over; warn of all that may hold images."""
    from degsynth.data.sources import UNNAMED

    for text in sources.passed_over():
        (console.note if text.startswith(UNNAMED) else console.warn)(text)


def _print(out: Path, found: Forecast) -> None:
    for name, reason in found.failing[:NAMED]:
        console.note(f"would fail: {name}: {reason}")
    if len(found.failing) > NAMED:
        console.note(f"would fail: {len(found.failing) - NAMED} more")
    before = f"; {found.finished} are finished and would stay" if found.finished else ""
    console.note(
        f"{out}: {found.outputs} LR images would be made of {found.inputs} HR files "
        f"({found.hr_pixels / 1e6:.1f} megapixels in all){before}"
    )
    if found.lr_bytes is not None and found.hr_bytes is not None and found.seconds is not None:
        layouts = f", layouts {_size(found.layout_bytes)}" if found.layout_bytes else ""
        verdict = "" if found.fits else "too little: "
        console.note(
            f"disk: about {_size(found.needed_bytes)} (LR {_size(found.lr_bytes)}, HR {_size(found.hr_bytes)}{layouts})"
            f"; {verdict}{_size(found.free_bytes)} are free"
        )
        console.note(f"time: about {_time(found.seconds)} with {found.workers} workers at work")
    console.note("nothing was written")


def _size(count: int | None) -> str:
    """Write a number of bytes with two or three digits."""
    value = float(count or 0)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.4g} TB"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"


def draw_preview(path: Path, model: Mixture, name: str, sources: Sources, chosen: Options) -> None:
    """Degrade the first images and draw them into a PNG file."""
    from degsynth import apply
    from degsynth.reports.panels import sheet

    scale = model.scale
    side = max(1, min(LR_SIDE, 2 * SHOWN_SIDE // scale))
    examples = apply.preview(model, sources, side, chosen, lambda text: console.warn(f"not shown: {text}"))
    heading = f"{name} at scale {scale}; the middle of each image, one LR pixel is a square"
    names = {one.sha256: one.path.name for one in model.models}
    sheet(path, [_panels(example, names) for example in examples], heading, SHOWN_SIDE, exact=True)
    console.note(f"{path}: {len(examples)} images; nothing else was written")


def _panels(example: Example, names: dict[str, str]) -> list[Panel]:
    from degsynth.reports.panels import Panel

    return [
        Panel(f"HR: {Path(example.rows[0].source).name}", example.hr),
        *(Panel(_title(row, names), lr) for row, lr in zip(example.rows, example.lr, strict=True)),
        Panel("bicubic LR", example.bicubic),
    ]


def _title(row: Row, names: dict[str, str]) -> str:
    """Name an LR image by what was drawn for it; ``names`` are those of the models, by their SHA-256."""
    facts = [
        names.get(row.model_sha256 or "", ""),
        "" if row.awgn_sigma is None else f"σ {row.awgn_sigma:.1f}",
        "" if row.shot_read is None else "noise {:.2g}x + {:.2g}".format(*row.shot_read),
        "" if row.kernel_id is None else f"kernel {row.kernel_id}",
        "" if row.hardware_factor is None else f"factor {row.hardware_factor:.2f}",
    ]
    return ", ".join([f"LR {row.draw}", *(fact for fact in facts if fact)])
