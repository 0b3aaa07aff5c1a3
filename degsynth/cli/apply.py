"""``degsynth apply``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from degsynth.cli import console, options
from degsynth.cli.signals import GracefulStop
from degsynth.errors import ConfigError, DegsynthError

if TYPE_CHECKING:
    from degsynth.apply import Summary
    from degsynth.apply.manifest import Row
    from degsynth.config import Interval
    from degsynth.model.checkpoint import Checkpoint
    from degsynth.model.degradation import Noise

NAME = "apply"


def command(
    model: options.Model,
    hr: Annotated[Path, typer.Argument(metavar="HR", help="Folder of HR images, searched recursively, or one image.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the data set.")],
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="learned|none|OTHER",
            help="The model's own noise, none, or another model's; unset: its own where it has some.",
        ),
    ] = None,
    awgn: Annotated[
        str | None, typer.Option(metavar="SIGMA|LO:HI", help="Add white Gaussian noise, σ on the 0–255 scale.")
    ] = None,
    scale: options.PoolScale = None,
    hardware_factor: options.HardwareFactor = None,
    draws: Annotated[int, typer.Option(help="LR images made from every HR image, each drawn anew.")] = 1,
    seed: options.Seed = 0,
    data_range: options.DataRange = None,
    memory: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            help="Memory for the tiles of all workers; unset: 0.25 for each worker, on a GPU half of what is free.",
        ),
    ] = None,
    tile: Annotated[int | None, typer.Option(help="Tile side in LR pixels; unset: as the memory allows.")] = None,
    link: Annotated[
        str, typer.Option(metavar="hard|symlink|copy", help="How unchanged HR files are brought into OUT/hr.")
    ] = "hard",
    workers: Annotated[int | None, typer.Option(help="Images worked on at a time; unset: one for each core.")] = None,
    device: options.Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a data set that degsynth wrote.")] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first N images.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the manifest rows as JSON lines on stdout.")] = False,
) -> None:
    """Degrade a folder of HR images into an HR-LR training set: OUT/hr, OUT/lr, a manifest.

    Example: degsynth apply nikon.pt my_hr_photos/ trainset/ --awgn 5

    Example: degsynth apply nikon.pt my_hr_photos/ trainset/ --noise runs/phone --draws 3

    Example: degsynth apply pool.h5 my_hr_photos/ trainset/ --scale 2
    """
    from degsynth import apply
    from degsynth.apply import allocator
    from degsynth.model.resolve import open_model
    from degsynth.parallel import usable_cores

    allocator.keep_freed_memory()
    if link not in apply.LINKS:
        raise ConfigError(f"--link {link}: give hard, symlink or copy")
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other")
    levels = options.data_range(data_range)
    device = options.pick_device(device)
    loaded = open_model(model, scale, device)
    chosen = apply.Options(
        seed=seed,
        noise=_noise(noise, options.interval(awgn, "awgn"), loaded, model, device),
        draws=draws,
        hardware_factor=options.interval(hardware_factor, "hardware_factor"),
        data_range=levels,
        tile=tile,
        memory=None if memory is None else 1e9 * memory,
        link=link,
        workers=usable_cores() if workers is None else workers,
        device=device,
        existing="resume" if resume else "overwrite" if overwrite else "refuse",
        limit=limit,
    )
    for warning in chosen.degradation(loaded).warnings():
        console.warn(warning)
    with GracefulStop() as stop, console.Progress() as progress:
        rows = _Rows(progress, json)
        summary = apply.run(loaded, hr, out, chosen, rows, stop.asked)
    _report(out, summary)
    if summary.interrupted:
        console.note("interrupted; go on with --resume")
        raise typer.Exit(stop.exit_code)
    if summary.failed:
        raise typer.Exit(1)


def _noise(text: str | None, awgn: Interval | None, model: Checkpoint, name: str, device: str) -> Noise:
    """Read the value of ``--noise`` for a model that was given by ``name``."""
    from degsynth.model import checkpoint
    from degsynth.model.degradation import Noise
    from degsynth.model.resolve import resolve

    if text in (None, "learned", "none"):
        if text == "learned" and not model.spec.has_noise:
            raise ConfigError(
                f"--noise learned: the model {name} ({model.spec.method}) has none; use --awgn or another's"
            )
        return Noise(text != "none", None, awgn)
    try:
        return Noise(True, checkpoint.load(resolve(str(text)), device), awgn)
    except DegsynthError as error:
        raise ConfigError(f"--noise {text}: give learned, none or a model; {error}") from None


class _Rows:
    """Reports every row of the manifest: progress, failures, and JSON where it is asked for."""

    def __init__(self, progress: console.Progress, json: bool) -> None:
        self._progress, self._json, self._count = progress, json, 0

    def __call__(self, row: Row, total: int) -> None:
        self._count += 1
        if row.status == "failed":
            self._progress.note(f"failed: {row.source}: {row.error}")
        if self._json:
            typer.echo(row.model_dump_json(exclude_none=True))
        self._progress("apply", self._count, total)


def _report(out: Path, summary: Summary) -> None:
    if summary.ignored:
        console.note(f"{len(summary.ignored)} files are no images by their name, e.g. {summary.ignored[0]}")
    before = f" ({summary.resumed} of them before)" if summary.resumed else ""
    console.note(f"{out}: {summary.done} LR images{before}, {summary.failed} failed")
