"""``degsynth kernel-pool show``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console, options
from degsynth.cli.kernel_pool import shared
from degsynth.errors import ConfigError

NAME = "show"


def command(
    pool: Annotated[Path, typer.Argument(metavar="POOL.h5", help="Pool file to read.")],
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            "-o",
            metavar="P.png",
            help="Draw some kernels, and plots of their shapes, into this file. Unset: no picture.",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Show what a pool contains.

    That is the number of kernels from each source, the distribution of their widths and ratios of axes, and the
    reasons why kernels are flagged.

    Example: degsynth kernel-pool show pool.h5 -o pool.png
    """
    from degsynth.evaluation.kernel_sets import pool_summary
    from degsynth.model import pool_file
    from degsynth.reports.pool import draw_pool

    opened = pool_file.read(pool)
    if picture is not None:
        options.check_output(picture)
        if picture.suffix.lower() != ".png":
            raise ConfigError(f"-o {picture}: give a name that ends in .png")
        scale = f", scale {opened.scale}" if opened.scale else ""
        draw_pool(picture, opened, f"{pool.name}: {shared.counts(opened)}{scale}")
        console.note(f"picture: {picture}")
    facts = pool_summary(opened)
    if json:
        typer.echo(jsonlib.dumps(facts, ensure_ascii=False))
        return
    for name, value in facts.items():
        typer.echo(f"{name:14} {jsonlib.dumps(value, ensure_ascii=False)}")
