"""``degsynth kernel-pool train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import fit
from degsynth.cli.kernel_pool import shared

NAME = "train"


def command(
    pool: Annotated[Path, typer.Argument(metavar="POOL.h5", help="Pool of estimated kernels.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run directory to make.", show_default=False)],
    scale: Annotated[
        int | None,
        typer.Option(help="Scale (HR size / LR size), for kernels that suit any scale. Unset: the pool's own."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Preset of kmsr: default, or paper (as published). Unset: default.")
    ] = None,
    assignments: shared.Assignments = None,
    steps: Annotated[
        int | None, typer.Option(help="Number of training steps of the generator. Unset: as in the preset.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop training after so many minutes. Unset: never.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Where to train: auto, cpu or cuda[:N]. Unset: auto, or that of the run.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers. Unset: 0.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")] = False,
) -> None:
    """Train a network that generates kernels like those of a pool.

    The network is a WGAN-GP. This is the second half of 'degsynth fit --method kmsr'.

    Example: degsynth kernel-pool train estimated.h5 --out runs/kgan
    """
    fit.command(
        method="kmsr", lr=pool, out=out, scale=scale, preset=preset, assignments=assignments, steps=steps,
        minutes=minutes, device=device, seed=seed, resume=resume,
    )  # fmt: skip
