"""``degsynth fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console, options

NAME = "fit"


def command(
    method: Annotated[str | None, typer.Option(help="See 'degsynth methods'.")] = None,
    hr: Annotated[Path | None, typer.Option(help="Folder of HR images; none for kmsr.")] = None,
    lr: Annotated[
        Path | None, typer.Option(help="Folder of LR images: matched to HR by stem, or of other scenes.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory to make.")] = None,
    scale: Annotated[int | None, typer.Option(help="HR size / LR size; unset: inferred from pairs.")] = None,
    preset: Annotated[str | None, typer.Option(help="default, or paper: what was published.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with all of this, e.g. a run's config.toml.")] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Method option.")] = None,
    register: Annotated[
        str | None, typer.Option(metavar="none|shift", help="shift: correct a global sub-pixel shift per pair.")
    ] = None,
    bad_pairs: Annotated[
        str | None, typer.Option(metavar="stop|skip", help="skip: leave out what cannot be used.")
    ] = None,
    lr_denoise: Annotated[
        str | None, typer.Option(metavar="none|nlm", help="Unpaired: take noise off LR first (non-local means).")
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="none|exif|folder", help="pdm: a blur and noise for each camera and ISO, or LR sub-folder."
        ),
    ] = None,
    data_range: options.DataRange = None,
    steps: Annotated[int | None, typer.Option(help="Batches to learn from; short for --set steps=.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop training earlier; short for --set minutes=.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda[:N]; unset: auto, or a run's own.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    seed: Annotated[int | None, typer.Option(help="Decides held-out pairs, first weights, patches; unset: 0.")] = None,
) -> None:
    """Learn a degradation from HR-LR images and write a run directory with a checkpoint.

    Example: degsynth fit --method dml --hr pairs/HR --lr pairs/LR_x2 --out runs/nikon

    Unpaired: degsynth fit --method adl --hr sharp --lr phone --scale 2 --out runs/phone

    LR alone: degsynth fit --method kmsr --lr phone --scale 2 --out runs/pool

    Ctrl-C leaves a snapshot: degsynth fit --resume --out runs/nikon
    """
    from degsynth import config as configuration
    from degsynth import fit
    from degsynth.errors import ConfigError
    from degsynth.fit.run_directory import RunDirectory

    if out is None:
        raise ConfigError("--out is missing: give the run directory to make")
    if resume and config is None:
        tables = RunDirectory(out).description()
    else:
        tables = configuration.read_toml(config) if config else {}
    for name in tables:
        if name not in ("fit", "method") or not isinstance(tables[name], dict):
            raise ConfigError(f"configuration {config} has '{name}'; known are the tables [fit] and [method]")
    given = {
        "method": method,
        "hr": None if hr is None else str(hr),
        "lr": None if lr is None else str(lr),
        "scale": scale,
        "preset": preset,
        "seed": seed,
        "data_range": options.data_range(data_range),
        "register_pairs": register,
        "bad_pairs": bad_pairs,
        "lr_denoise": lr_denoise,
        "group_by": group_by,
        "device": device,
    }
    values = {**tables.get("fit", {}), **{name: value for name, value in given.items() if value is not None}}
    values["device"] = options.pick_device(str(values.get("device", "auto")))
    before = tables.get("fit", {}).get("preset", "default")
    if preset is not None and tables.get("method") and preset != before:
        raise ConfigError(
            f"--preset {preset}: the configuration has preset {before} written out in full; leave one out"
        )
    for name in ("method", "lr"):
        if name not in values:
            raise ConfigError(f"--{name} is missing (see 'degsynth fit --help')")
    chosen = configuration.build(fit.FitOptions, values, "fit")
    budget = {name: value for name, value in (("steps", steps), ("minutes", minutes)) if value is not None}
    written = dict(tables.get("method", {}))
    if resume and steps is not None and minutes is None:
        written.pop("minutes", None)  # a new budget of steps takes the place of minutes that are used up
    method_values = {**written, **configuration.parse_assignments(assignments or []), **budget}
    with console.Progress() as progress:
        events = fit.Events(progress, progress.note, progress.warn, progress.figures, progress.deferred_stop)
        record = fit.run(chosen, method_values, out, events, resume)
    means = dict(record["held_out"]["mean"])
    console.scores(
        f"held-out {'pairs' if 'pairs' in record else 'images'} ({len(record['held_out']['images'])}), "
        f"scale {record['scale']}",
        {record["method"]: means.pop("model"), **means},
    )
    console.note(f"{out}: run of {sum(record['seconds'].values()):.1f} s, checkpoint in {out / 'checkpoint.pt'}")
