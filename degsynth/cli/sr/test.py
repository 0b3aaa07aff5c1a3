"""``degsynth sr test``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console, options
from degsynth.cli.sr import shared

NAME = "test"


def command(
    network: shared.Network,
    lr: Annotated[Path | None, typer.Option(help="Folder of real LR images.", show_default=False)] = None,
    hr: Annotated[
        Path | None, typer.Option(help="Folder of real HR images, matched by name.", show_default=False)
    ] = None,
    pairs: options.PairTable = None,
    border: shared.Border = 16,
    shift: shared.Shift = 4,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Score a trained network on real pairs, beside bicubic.

    PSNR and SSIM are those of images rounded to 8 bits, in luma of full range, in the studio-range Y of most papers
    (which reads about 1.32 dB higher), and in RGB.

    Example: degsynth sr test runs/sr --hr test/HR --lr test/LR_x2
    """
    from degsynth.config import Events
    from degsynth.sr import networks, testing

    loaded = networks.load(network, options.pick_device(device))
    with console.Progress() as progress:
        events = Events(progress, progress.note, progress.warn, progress.figures, progress.deferred_stop)
        opened = testing.open_pairs(hr, lr, loaded, events, pairs)
        scores = testing.run({"network": loaded}, opened, border, shift, events)
    if json:
        typer.echo(jsonlib.dumps({**loaded.record.model_dump(), **scores}, ensure_ascii=False))
    else:
        title = f"mean of {len(scores['images'])} images, {border} HR px left out at each edge"
        shared.print_scores(title, scores["mean"])
