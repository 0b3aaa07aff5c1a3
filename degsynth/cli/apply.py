"""``degsynth apply``."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console, options

NAME = "apply"


def command(
    model: options.Model,
    hr: Annotated[Path, typer.Argument(metavar="HR", help="Folder of HR images, searched recursively, or one image.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the data set.")],
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="learned|none|OTHER",
            help="The model's own noise, none, or another model's; unset: its own where it has one.",
        ),
    ] = None,
    awgn: Annotated[
        str | None, typer.Option(metavar="SIGMA|LO:HI", help="Add white Gaussian noise, σ on the 0–255 scale.")
    ] = None,
    scale: options.PoolScale = None,
    hardware_factor: options.Factor = None,
    draws: Annotated[int, typer.Option(help="So many LR of every HR, each with dice of its own.")] = 1,
    seed: options.Seed = 0,
    data_range: options.DataRange = None,
    memory: Annotated[
        float | None,
        typer.Option(
            metavar="GB",
            help="Memory for the tiles of all workers; unset: 0.25 a worker, on a GPU half of what is free.",
        ),
    ] = None,
    tile: Annotated[int | None, typer.Option(help="Tile side in LR pixels; unset: by the memory.")] = None,
    link: Annotated[
        str, typer.Option(metavar="hard|symlink|copy", help="How unchanged HR files get into OUT/hr.")
    ] = "hard",
    workers: Annotated[int | None, typer.Option(help="Images worked on at a time; unset: one per core.")] = None,
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
    from degsynth.apply.manifest import Row
    from degsynth.errors import ConfigError, DegsynthError
    from degsynth.model import checkpoint
    from degsynth.model.render import Noise, far_below

    allocator.keep_freed_memory()
    if link not in apply.LINKS:
        raise ConfigError(f"--link {link}: give hard, symlink or copy")
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite exclude each other")
    levels = options.data_range(data_range)
    device = options.pick_device(device)
    loaded = options.open_model(model, scale, device)
    factor = options.factor(hardware_factor)
    if factor is not None:
        factor.check(loaded)
    if warning := far_below(loaded, factor):
        console.note(f"warning: {warning}")
    if noise == "learned" and not loaded.spec.has_noise:
        raise ConfigError(
            f"--noise learned: the model {model} ({loaded.spec.method}) has none; use --awgn or another's"
        )
    giver = None
    if noise not in (None, "learned", "none"):
        try:
            giver = checkpoint.load(checkpoint.resolve(noise), device)
        except DegsynthError as error:
            raise ConfigError(f"--noise {noise}: give learned, none or a model; {error}") from None
    added = Noise(noise != "none", giver, options.interval(awgn, "--awgn"))
    if warning := added.warning(loaded):
        console.note(f"warning: {warning}")
    chosen = apply.Options(
        seed=seed,
        noise=added,
        draws=draws,
        factor=factor,
        data_range=levels,
        tile=tile,
        memory=None if memory is None else 1e9 * memory,
        link=link,
        workers=options.usable_cores() if workers is None else workers,
        device=device,
        existing="resume" if resume else "overwrite" if overwrite else "refuse",
        limit=limit,
    )

    # The first signal lets what has begun be finished; the second ends at once.
    stopped: list[int] = []

    def ask_to_stop(number: int, frame: object) -> None:
        if stopped:
            raise SystemExit(128 + number)
        stopped.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)

    with console.Progress() as progress:
        count = 0

        def on_row(row: Row, total: int) -> None:
            nonlocal count
            count += 1
            if row.status == "failed":
                progress.note(f"failed: {row.source}: {row.error}")
            if json:
                typer.echo(row.model_dump_json(exclude_none=True))
            progress("apply", count, total)

        summary = apply.run(loaded, hr, out, chosen, on_row, lambda: bool(stopped))
    if summary.ignored:
        console.note(f"{len(summary.ignored)} files are no images by their name, e.g. {summary.ignored[0]}")
    before = f" ({summary.resumed} of them before)" if summary.resumed else ""
    console.note(f"{out}: {summary.done} LR images{before}, {summary.failed} failed")
    if summary.interrupted:
        console.note("interrupted; go on with --resume")
        raise typer.Exit(128 + stopped[0])
    if summary.failed:
        raise typer.Exit(1)
