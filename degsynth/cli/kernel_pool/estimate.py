"""``degsynth kernel-pool estimate``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console, options, signals
from degsynth.cli.kernel_pool import shared

NAME = "estimate"


def command(
    lr: Annotated[
        Path, typer.Argument(metavar="LR", help="Folder of LR photographs, one photograph, or a pattern in quotes.")
    ],
    output: shared.Output,
    scale: Annotated[
        int,
        typer.Option(help="Scale (HR size / LR size). The kernels lie on the HR grid.", show_default=False),
    ],
    preset: Annotated[str, typer.Option(help="Preset of kmsr: default, or paper (as published).")] = "default",
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="dark|gradient",
            help="Prior on sharp photographs: sparse gradients and a black dark channel (dark), or sparse gradients "
            "only (gradient), which takes a quarter of the time. Unset: as in the preset (dark).",
        ),
    ] = None,
    max_patches: Annotated[
        int | None,
        typer.Option(
            help="Largest number of windows in all photographs together. Unset: as in the preset (default: 120)."
        ),
    ] = None,
    assignments: shared.Assignments = None,
    workers: shared.Workers = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    seed: options.Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted estimation.")] = False,
    overwrite: shared.Overwrite = False,
    json: options.Json = False,
) -> None:
    """Estimate blur kernels from LR photographs alone.

    Kernels are estimated in some windows of each photograph. Those that cannot be the blur of a camera (mass
    at the border, several blobs, unusual width) stay in the file, but are flagged and never drawn.

    Example: degsynth kernel-pool estimate phone/ -o estimated.h5 --scale 2
    """
    from degsynth.evaluation.kernel_sets import pool_summary

    shared.check_output(output, overwrite)
    config = shared.kmsr_config(preset, assignments, prior=prior, max_patches=max_patches)
    with signals.way_on(lambda: shared.way_on(output)):
        estimated = shared.Estimation(
            lr, scale, config, seed, workers, output, resume, overwrite, include or (), exclude or ()
        ).run()
        shared.write_pool(estimated.pool, output, estimated=True)
    before = f" ({estimated.resumed} windows were estimated before)" if estimated.resumed else ""
    console.note(f"{output}: {estimated.summary()}{before}")
    if json:
        record = {**pool_summary(estimated.pool), "windows": estimated.windows, "failed": estimated.failed}
        typer.echo(jsonlib.dumps(record, ensure_ascii=False))
