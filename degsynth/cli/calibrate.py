"""``degsynth calibrate``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console, options

NAME = "calibrate"


def command(
    model: options.Model,
    hr: Annotated[Path, typer.Option(help="Folder of HR images.", show_default=False)],
    lr: Annotated[Path, typer.Option(help="Folder of the other camera's LR images.", show_default=False)],
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="HR and LR show different scenes: compare spectra.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="MODEL.pt", help="Write the model with that factor.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace MODEL.pt.")] = False,
    data_range: options.DataRange = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Find the hardware factor at which an abl model comes nearest to another camera's LR, from a few images.

    The factor is printed on stdout.

    Example: degsynth calibrate nikon_abl.pt --hr phone/HR --lr phone/LR_x2 -o phone_abl.pt
    """
    from degsynth.evaluation import calibrate
    from degsynth.model import checkpoint
    from degsynth.model.resolve import resolve

    levels = options.data_range(data_range)
    device = options.pick_device(device)
    loaded = checkpoint.load(resolve(model), device)
    if out is not None:
        checkpoint.check_target(out, overwrite)
    with console.Progress() as progress:
        found = calibrate.run(loaded, hr, lr, unpaired, levels, device, progress, progress.warn)
    knob = loaded.spec.hardware_factor
    assert knob is not None
    if out is not None:
        calibrate.save(loaded, found.factor, out)
        console.note(f"{out}: hardware factor {found.factor:g} (fitted at {knob.trained:g})")
    if json:
        record = {
            "model": model,
            "model_sha256": loaded.sha256,
            "unpaired": unpaired,
            "factor": found.factor,
            "trained": knob.trained,
            "at_the_end": found.at_the_end,
            "written": None if out is None else str(out),
            "tried": [{"factor": factor, "distance": distance} for factor, distance in found.tried],
        }
        typer.echo(jsonlib.dumps(record))
        return
    what = "error of the spectrum" if unpaired else "L1 of luma, levels matched"
    rows = [[f"{factor:g}{' *' * (factor == found.factor)}", f"{distance:.5f}"] for factor, distance in found.tried]
    console.table(f"fitted at {knob.trained:g}; * best", ["hardware factor", what], rows)
    typer.echo(f"{found.factor:g}")
