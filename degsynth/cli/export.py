"""``degsynth export``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from degsynth.cli import console
from degsynth.errors import ConfigError
from degsynth.files import is_pool_name

if TYPE_CHECKING:
    from degsynth.model.checkpoint import Checkpoint

NAME = "export"


def command(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run directory, a kernel pool (.h5), or a checkpoint."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUT", help="File to write: OUT.pt, or OUT.onnx.", show_default=False),
    ],
    snapshot: Annotated[
        int | None,
        typer.Option(metavar="STEP", help="Export the snapshot of this training step. Unset: the finished checkpoint."),
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="For a kernel pool: scale (HR size / LR size). Unset: that of the pool.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
) -> None:
    """Test a model and export it as one self-contained file.

    The file is written only if the model passes all checks of 'degsynth selftest'.

    The end of its name says the format. An ONNX file needs the extra 'degsynth[onnx]', and is compared with the model
    under onnxruntime before it is written.

    Example: degsynth export runs/nikon -o nikon.pt

    For onnxruntime, TensorRT, …: degsynth export runs/nikon -o nikon.onnx

    A fit that was stopped: degsynth export runs/nikon -o m.pt --snapshot 3000

    A kernel pool: degsynth export pool.h5 -o pool.pt --scale 2
    """
    from degsynth import onnx_export
    from degsynth.evaluation import selftest
    from degsynth.model import checkpoint

    as_onnx = output.suffix == ".onnx"
    checkpoint.check_target(output, overwrite, ".onnx" if as_onnx else ".pt")
    if is_pool_name(run) and snapshot is not None:
        raise ConfigError(f"--snapshot {snapshot}: {run} is a kernel pool, which has no snapshots; leave it out")
    if not is_pool_name(run) and scale is not None:
        raise ConfigError(f"--scale {scale} is for kernel pools, and {run} is none; leave it out")
    if as_onnx:
        onnx_export.check_installed()
    compared = ""
    with tempfile.TemporaryDirectory() as folder:
        model = _open(run, snapshot, scale, Path(folder))
        results = selftest.require(model)
        if as_onnx:
            from degsynth.onnx_export import export

            compared = f", equal to the model within {export.write(model, output, overwrite).difference:.1g}"
        else:
            checkpoint.copy(model, output, overwrite)
    size, passed = output.stat().st_size / 1024, len(results)
    console.note(f"{output}: {size:.0f} KiB, {passed} of {passed} checks passed{compared}")


def _open(run: str, snapshot: int | None, scale: int | None, folder: Path) -> Checkpoint:
    """Return the checkpoint to export; those of pools and snapshots are made in ``folder``."""
    from degsynth.model import checkpoint
    from degsynth.model.resolve import resolve

    if is_pool_name(run):
        from degsynth.model import pool_model

        return pool_model.export(Path(run), scale, folder / "pool.pt")
    if snapshot is not None:
        from degsynth import fit

        return fit.open_snapshot(Path(run), snapshot, folder / "snapshot.pt")
    return checkpoint.load(resolve(run))
