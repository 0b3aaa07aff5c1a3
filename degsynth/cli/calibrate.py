"""``degsynth calibrate``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from degsynth.cli import console, options

if TYPE_CHECKING:
    from degsynth.evaluation.factor_search import Calibration

NAME = "calibrate"


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="An abl model: a checkpoint (.pt), a run directory, or the name of a shipped model."
        ),
    ],
    hr: Annotated[Path | None, typer.Option(help="Folder of HR images.", show_default=False)] = None,
    lr: Annotated[
        Path | None, typer.Option(help="Folder of LR images of the other camera.", show_default=False)
    ] = None,
    pairs: options.PairTable = None,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="HR and LR show different scenes; their spectra are compared.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="OUT.pt", help="Write the model with that factor to this file. Unset: not written."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.pt if it exists.")] = False,
    data_range: options.DataRange = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Find the hardware factor of another camera for an abl model.

    It is the factor at which the LR images of the model come nearest to those of the camera. A few images are enough.
    The factor is printed on stdout, those that were tried on stderr.

    Example: degsynth calibrate abl.pt --hr HR --lr LR_x2 -o phone.pt
    """
    from degsynth.evaluation import calibrate
    from degsynth.model import checkpoint
    from degsynth.model.resolve import resolve

    if out is not None:
        checkpoint.check_target(out, overwrite)
    chosen = calibrate.CalibrationOptions(unpaired, options.data_range(data_range), options.pick_device(device), pairs)
    loaded = checkpoint.load(resolve(model), chosen.device)
    with console.Progress() as progress, checkpoint.faults_named(loaded.path):
        calibration = calibrate.run(loaded, hr, lr, chosen, progress, progress.warn)
    hardware_factor = loaded.spec.hardware_factor
    assert hardware_factor is not None
    trained = hardware_factor.trained
    if out is not None:
        calibrate.save(loaded, calibration.factor, out)
        console.note(f"{out}: hardware factor {calibration.factor:g} (fitted at {trained:g})")
    if json:
        record = {
            "model": model,
            "model_sha256": loaded.sha256,
            "unpaired": unpaired,
            "factor": calibration.factor,
            "trained": trained,
            "at_the_end": calibration.at_limit,
            "written": None if out is None else str(out),
            "tried": [{"factor": factor, "distance": distance} for factor, distance in calibration.tried],
        }
        typer.echo(jsonlib.dumps(record))
    else:
        _print_result(calibration, trained, "error of the spectrum" if unpaired else "L1 of luma, levels matched")


def _print_result(calibration: Calibration, trained: float, distance_name: str) -> None:
    """Print a table of the factors that were tried as a note, and the best one, which scripts want, as the result."""
    rows = [
        [f"{factor:g}{' *' * (factor == calibration.factor)}", f"{distance:.5f}"]
        for factor, distance in calibration.tried
    ]
    console.table(f"fitted at {trained:g}; * marks the best", ["hardware factor", distance_name], rows, is_note=True)
    typer.echo(f"{calibration.factor:g}")
