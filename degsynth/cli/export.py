"""``degsynth export``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console

NAME = "export"


def command(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run directory, a kernel pool (.h5), or a checkpoint to verify and copy."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint file to write.", show_default=False)],
    snapshot: Annotated[int | None, typer.Option(help="Take the weights of this step's snapshot.")] = None,
    scale: Annotated[int | None, typer.Option(help="Of a kernel pool: HR size / LR size; unset: its own.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Verify a run's checkpoint against the known answers and copy it out as one self-contained file.

    Example: degsynth export runs/nikon -o nikon.pt

    A fit that was stopped is exported by its snapshots: --snapshot 3000

    Kernels go into the file: degsynth export pool.h5 -o pool.pt --scale 2
    """
    from degsynth.errors import ConfigError
    from degsynth.evaluation import selftest
    from degsynth.files import is_pool_name
    from degsynth.model import checkpoint
    from degsynth.model.resolve import resolve

    with tempfile.TemporaryDirectory() as elsewhere:
        is_pool = is_pool_name(run)
        if (snapshot is not None) if is_pool else (scale is not None):
            raise ConfigError(
                f"{run} is a kernel pool, which has no snapshots"
                if is_pool
                else f"--scale is for kernel pools, not {run}"
            )
        if is_pool:
            from degsynth.model import pool_model

            source = pool_model.export(Path(run), scale, Path(elsewhere) / "pool.pt")
        elif snapshot is None:
            source = checkpoint.load(resolve(run))
        else:
            from degsynth import fit

            source = fit.open_snapshot(Path(run), snapshot, Path(elsewhere) / "snapshot.pt")
        results = selftest.require(source)
        checkpoint.copy(source, output, overwrite)
    console.note(
        f"{output}: {output.stat().st_size / 1024:.0f} KiB, {len(results)} of {len(results)} known answers given"
    )
