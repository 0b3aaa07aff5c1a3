"""``degsynth kernel-pool generate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from degsynth.cli import console, options, signals
from degsynth.cli.kernel_pool import photographs, shared
from degsynth.config import Interval
from degsynth.errors import ConfigError

NAME = "generate"
USUAL_SCALE = 2
"""Scale at which kernels are estimated from LR photographs if none is given."""
USUAL_SIZE = 25
"""Taps a side of kernels from a formula if no size is given."""

Origin = Literal["formula", "run", "photographs"]
"""What the kernels come from."""


def command(
    output: shared.Output,
    source: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN|LR",
            help="A run of kmsr, or LR photographs (a folder, a file, or a pattern in quotes). Left "
            "out with --gaussian.",
        ),
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", help="Number of kernels to generate.")] = 1000,
    beside: Annotated[
        Path | None,
        typer.Option("--with", metavar="POOL.h5", help="Add the kernels of this pool. Unset: none are added."),
    ] = None,
    gaussian: Annotated[
        str | None,
        typer.Option(
            metavar="LO:HI", help="Generate Gaussians with σ in this range (HR px), in place of RUN|LR. Unset: none."
        ),
    ] = None,
    anisotropic: Annotated[
        bool, typer.Option("--anisotropic", help="With --gaussian: two different widths, at any angle.")
    ] = False,
    kernel_size: Annotated[
        int | None, typer.Option(help=f"With --gaussian: taps a side, an odd number. Unset: {USUAL_SIZE}.")
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(help=f"With LR photographs: scale (HR size / LR size). Unset: {USUAL_SCALE}."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="With LR photographs: preset of kmsr, default or paper. Unset: default."),
    ] = None,
    assignments: shared.Assignments = None,
    workers: shared.Workers = None,
    device: Annotated[
        str | None,
        typer.Option(help="With LR photographs: where to train (auto, cpu or cuda[:N]). Unset: auto."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="With LR photographs: stop after about so many minutes with the kernels that there are by then. More "
            f"time gives kernels from more windows, up to five of each photograph, and up to {photographs.STEPS} "
            "training steps of the network, whose kernels then vary as the estimated ones do. Unset: no limit; five "
            "photographs take a few minutes on two cores."
        ),
    ] = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    seed: options.Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="With LR photographs: go on with an interrupted estimation.")
    ] = False,
    overwrite: shared.Overwrite = False,
) -> None:
    """Generate kernels by a run, from LR photographs, or by a formula.

    With LR photographs, kernels are estimated, a network is trained on them, and the pool gets the estimated kernels
    as well as the generated ones. The same photographs, options and seed give the same pool, unless --minutes ends the
    work.

    Example: degsynth kernel-pool generate runs/kgan -o pool.h5 --with est.h5

    Example: degsynth kernel-pool generate phone/ -n 1000 -o pool.h5

    Example: degsynth kernel-pool generate --gaussian 0.8:2.4 -o pool.h5
    """
    from degsynth import fit
    from degsynth.kernel_pool import analytic
    from degsynth.model import pool_file

    shared.check_output(output, overwrite)
    if not 1 <= number <= pool_file.MOST_KERNELS:
        raise ConfigError(f"-n {number}: give 1 to {pool_file.MOST_KERNELS}")
    origin = _origin(source, gaussian)
    _refuse_unused(
        origin,
        {"--anisotropic": anisotropic, "--kernel-size": kernel_size},
        {
            "--scale": scale, "--preset": preset, "--set": assignments, "--workers": workers, "--device": device,
            "--resume": resume, "--minutes": minutes, "--include": include, "--exclude": exclude,
        },
    )  # fmt: skip
    added, complete = None if beside is None else pool_file.read(beside), True
    if gaussian is not None:
        low, high = Interval.parse(gaussian, "gaussian")
        size = USUAL_SIZE if kernel_size is None else kernel_size
        pool = analytic.gaussians(low, high, anisotropic, number, size, seed)
    elif source is not None and origin == "run":
        pool = fit.generated_kernels(source, number, seed)
    elif source is not None:
        scale = USUAL_SCALE if scale is None else scale
        if added is not None and added.scale not in (None, scale):
            raise ConfigError(f"--with {beside}: its kernels are of scale {added.scale}, not {scale}")
        budget, config = photographs.Budget(minutes), photographs.config(preset, assignments)
        pool_file.check_amount(number, config.kernel_size, f"-n {number}")
        estimation = shared.Estimation(
            source, scale, config, seed, workers, output, resume, overwrite, include or (), exclude or ()
        )
        chosen = options.pick_device(device or "auto")
        with signals.way_on(lambda: shared.way_on(output)):
            pool, complete = photographs.from_photographs(estimation, number, chosen, budget)
    pool = pool if added is None else pool_file.joined(pool, shared.usable(added))
    shared.write_pool(pool, output, estimated=origin == "photographs" and complete)
    console.note(f"{output}: {shared.counts(pool)}")
    if not complete:
        console.note(
            "the time was up; with --resume --overwrite and more --minutes, the same command goes on from there"
        )


def _origin(source: Path | None, gaussian: str | None) -> Origin:
    """Tell what the kernels come from; ConfigError unless exactly one source is given."""
    if (source is None) == (gaussian is None):
        raise ConfigError("give one of these: a run, LR photographs, or --gaussian LO:HI")
    if source is None:
        return "formula"
    return "run" if (source / "config.toml").is_file() else "photographs"


def _refuse_unused(origin: Origin, formula: Mapping[str, object], photographs: Mapping[str, object]) -> None:
    """Raise ConfigError for a flag that is given but is for kernels of another origin than this."""
    unused = {
        **({} if origin == "formula" else dict.fromkeys(formula, "a formula (--gaussian)")),
        **({} if origin == "photographs" else dict.fromkeys(photographs, "LR photographs")),
    }
    values = {**formula, **photographs}
    for flag, user in unused.items():
        if values[flag] is not None and values[flag] is not False and values[flag] != []:
            raise ConfigError(f"{flag} goes with {user} only; leave it out")
