"""``degsynth kernel-pool import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console
from degsynth.cli.kernel_pool import shared

NAME = "import"


def command(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="A file of kernels (.mat, .npy, .npz, .h5 or an image), or a folder."),
    ],
    output: shared.Output,
    kernel_size: Annotated[
        int | None, typer.Option(help="Taps a side, an odd number. Unset: those of the largest kernel.")
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(help="Scale at which the kernels may be used. Unset: that of imported pools, otherwise any."),
    ] = None,
    turn: Annotated[
        bool, typer.Option("--turn", help="Turn the kernels by 180°, if they were made for convolution.")
    ] = False,
    overwrite: shared.Overwrite = False,
) -> None:
    """Make a pool of kernels from the files of other programs.

    Kernels are centred and normalised; the command says what it did about even sizes and negative taps.

    Example: degsynth kernel-pool import kernelgan_mats/ -o imported.h5
    """
    from degsynth.kernel_pool import importing

    shared.check_output(output, overwrite)
    imported = importing.read(source, kernel_size, scale, turn)
    for text in imported.notes:
        console.note(text)
    shared.write_pool(imported.pool, output)
    console.note(f"{output}: {shared.counts(imported.pool)}, {imported.pool.kernels.shape[-1]} taps a side")
