"""``degsynth export``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console

NAME = "export"


def command(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run directory (or a checkpoint, to verify and copy).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint file to write.", show_default=False)],
    snapshot: Annotated[int | None, typer.Option(help="Take the weights of this step's snapshot.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Verify a run's checkpoint against the known answers and copy it out as one self-contained file.

    Example: degsynth export runs/nikon -o nikon.pt

    A fit that was stopped is exported by its snapshots: --snapshot 3000
    """
    from degsynth import checkpoint, selftest

    with tempfile.TemporaryDirectory() as elsewhere:
        if snapshot is None:
            source = checkpoint.load(checkpoint.resolve(run))
        else:
            from degsynth import fit

            source = fit.open_snapshot(Path(run), snapshot, Path(elsewhere) / "snapshot.pt")
        results = selftest.require(source)
        checkpoint.copy(source, output, overwrite)
    console.note(
        f"{output}: {output.stat().st_size / 1024:.0f} KiB, {len(results)} of {len(results)} known answers given"
    )
