"""``degsynth fit``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from degsynth.cli import console, home, options
from degsynth.cli.signals import NOTHING_KEPT, way_on
from degsynth.errors import ConfigError

if TYPE_CHECKING:
    from degsynth.fit import FitOptions

NAME = "fit"

Tables = Mapping[str, Mapping[str, Any]]
"""What a configuration file holds: the tables ``[fit]`` and ``[method]``, or one of them."""


def command(
    method: Annotated[str | None, typer.Option(help="Method to fit; 'degsynth methods' lists them.")] = None,
    hr: Annotated[
        Path | None,
        typer.Option(
            help="Folder of HR images, one image or stack, a data set of an HDF5 file (a.h5:/hr), or a pattern in "
            "quotes ('photos/*_HR.png'). Unset: none, for methods that learn from LR alone."
        ),
    ] = None,
    lr: Annotated[
        Path | None,
        typer.Option(
            help="Folder of LR images, or the same as for --hr. Paired methods match them with HR images by "
            "name; unpaired methods take other scenes; kmsr also takes a kernel pool (.h5)."
        ),
    ] = None,
    pairs: options.PairTable = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Run directory to make, or to resume.")] = None,
    scale: Annotated[
        int | None,
        typer.Option(help="Scale (HR size / LR size). Unset: inferred from the pairs; without pairs it is required."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Preset of the method: default, or paper (as published). Unset: default."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml", help="File with these options, such as the config.toml of a run. Unset: none."
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set an option of the method, as listed by 'degsynth methods NAME'. May be repeated.",
        ),
    ] = None,
    register: Annotated[
        str | None,
        typer.Option(metavar="none|shift", help="Correct the sub-pixel shift of each pair (shift). Unset: none."),
    ] = None,
    bad_pairs: Annotated[
        str | None,
        typer.Option(
            metavar="stop|skip", help="What happens if pairs or images fail the check: stop, or skip them. Unset: stop."
        ),
    ] = None,
    tone: Annotated[
        str | None,
        typer.Option(
            metavar="learned|assumed|none",
            help="Blur light rather than levels, by a curve that is measured in pairs (learned) or, without "
            "pairs, is usual for cameras (assumed), or blur levels (none). Unset: learned or assumed; none with "
            "--preset paper.",
        ),
    ] = None,
    lr_denoise: Annotated[
        str | None,
        typer.Option(
            metavar="none|nlm",
            help="For unpaired methods: remove noise from the LR images first, by non-local means (nlm). Unset: none.",
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            metavar="none|exif|folder",
            help="For pdm: learn blur and noise separately for each camera and sensitivity (exif), or for each "
            "sub-folder of LR (folder). Unset: none.",
        ),
    ] = None,
    group_scene: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="For pairs: regular expression that finds the scene in the name of a pair; its first group is the "
            "scene, or all of it. No scene is both fitted to and held out. Unset: the name without the usual endings "
            "of sub-images (0001_s001, img__128_64, img_crop2, img_patch3, img_tile_2).",
        ),
    ] = None,
    left_out: Annotated[
        float | None,
        typer.Option(
            metavar="RATIO",
            help="For methods without pairs: σ of the noise that stands for what the model leaves out, relative to "
            "the local contrast of LR images. 0: none. Unset: 0.35, but 0.6 for kmsr.",
        ),
    ] = None,
    data_range: Annotated[
        str | None,
        typer.Option(
            metavar="BLACK:WHITE|dtype",
            help="Black and white of 16-bit and float files, e.g. 0:4095, or the whole range of their type (dtype). "
            "Unset: inferred from the files.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Number of training steps, as by --set steps=N. Unset: as in the preset."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Stop training after so many minutes, as by --set minutes=M. Unset: never."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where to train: auto (cuda if there is one), cpu or cuda[:N]. Unset: auto.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")] = False,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of all random numbers: held-out images, first weights, patches, ... Unset: 0."),
    ] = None,
) -> None:
    """Learn a degradation from images and write a run directory.

    The run directory holds the checkpoint, its scores on held-out images, and pictures. --out is required. Other
    options that are not given are taken from --config, or with --resume from the run; without either, --method and
    --lr or --pairs are required, too.

    Example: degsynth fit --method dml --hr HR --lr LR_x2 --out runs/nikon

    Unpaired: degsynth fit --method adl --hr HR --lr phone --scale 2 --out RUN

    LR alone: degsynth fit --method kmsr --lr phone --scale 2 --out runs/pool

    After Ctrl-C: degsynth fit --resume --out runs/nikon
    """
    from degsynth import fit

    if out is None:
        raise ConfigError("--out is missing: give the run directory to make")
    tables = _tables(config, out, resume)
    given = {
        "method": method,
        "hr": None if hr is None else str(hr),
        "lr": None if lr is None else str(lr),
        "pairs": None if pairs is None else str(pairs),
        "include": include or None,
        "exclude": exclude or None,
        "scale": scale,
        "preset": preset,
        "seed": seed,
        "data_range": options.data_range(data_range),
        "register_pairs": register,
        "bad_pairs": bad_pairs,
        "tone": tone,
        "lr_denoise": lr_denoise,
        "group_by": group_by,
        "group_scene": group_scene,
        "left_out": left_out,
        "device": device,
    }
    chosen = _fit_options(tables, given)
    method_values = _method_values(tables, assignments, {"steps": steps, "minutes": minutes}, resume)
    with way_on(lambda: _way_on(out)), console.Progress() as progress:
        events = fit.Events(progress, progress.note, progress.warn, progress.figures, progress.deferred_stop)
        record = fit.run(chosen, method_values, out, events, resume)
    _report(record, out)


def _way_on(out: Path) -> str:
    """Say how to go on with an interrupted fit."""
    from degsynth.fit.run_directory import RunDirectory

    return f"go on with 'degsynth fit --resume --out {out}'" if RunDirectory(out).steps() else NOTHING_KEPT


def _tables(config: Path | None, out: Path, resume: bool) -> Tables:
    """Read the configuration file, or that of a run to resume; without either there are no tables."""
    from degsynth.config import read_toml
    from degsynth.fit.run_directory import RunDirectory

    if config is None and not resume:
        return {}
    tables = RunDirectory(out).description() if config is None else read_toml(config)
    for name, table in tables.items():
        if name not in ("fit", "method") or not isinstance(table, dict):
            raise ConfigError(
                f"configuration {config or out / 'config.toml'} has '{name}'; known are the tables [fit] and [method]"
            )
    return tables


def _fit_options(tables: Tables, given: Mapping[str, object]) -> FitOptions:
    """Return the options of the fit: those of the configuration, replaced by what was given (None: not given)."""
    from degsynth.config import build
    from degsynth.fit import FitOptions

    configured = tables.get("fit", {})
    values = {**configured, **{name: value for name, value in given.items() if value is not None}}
    values = {name: home.expanded(value) for name, value in values.items()}
    values["device"] = options.pick_device(str(values.get("device", "auto")))
    preset, configured_preset = given["preset"], configured.get("preset", "default")
    if preset is not None and tables.get("method") and preset != configured_preset:
        raise ConfigError(
            f"--preset {preset}: the configuration has the preset {configured_preset} written out in full; "
            "leave one of them out"
        )
    if "method" not in values:
        raise ConfigError("--method is missing (see 'degsynth fit --help')")
    if "lr" not in values and "pairs" not in values:
        raise ConfigError("--lr, or --pairs, is missing (see 'degsynth fit --help')")
    return build(FitOptions, values, "fit")


def _method_values(
    tables: Tables, assignments: list[str] | None, budget: Mapping[str, float | None], resume: bool
) -> dict[str, Any]:
    """Return the options of the method: those of the configuration, replaced by ``--set``, then by the budget.

    ``budget`` holds ``steps`` and ``minutes`` (None: not given).
    """
    from degsynth.config import parse_assignments

    configured = dict(tables.get("method", {}))
    given = {name: value for name, value in budget.items() if value is not None}
    if resume and "steps" in given and "minutes" not in given:
        configured.pop("minutes", None)  # a new budget of steps takes the place of minutes that are used up
    return {**configured, **parse_assignments(assignments or []), **given}


def _report(record: Mapping[str, Any], out: Path) -> None:
    """Print the scores on held-out images, and where the checkpoint is."""
    held_out = record["held_out"]
    means = dict(held_out["mean"])
    kind = "pairs" if "pairs" in record else "images"
    part = f"held-out {kind} ({len(held_out['images'])})"
    if held_out.get("chose_the_weights"):
        part += ", which also chose the weights"
    elif record.get("pairs", {}).get("choosing"):
        part += ", others than those that chose the weights"
    console.scores(
        f"{part}, scale {record['scale']}",
        {record["method"]: means.pop("model"), **means},
        is_note=True,
    )
    console.note(f"{out}: fitted in {sum(record['seconds'].values()):.1f} s, the checkpoint is {out / 'checkpoint.pt'}")
