"""``degsynth sr apply``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console, options, signals
from degsynth.cli.sr import shared

NAME = "apply"


def command(
    network: shared.Network,
    lr: Annotated[Path, typer.Argument(metavar="LR", help="Folder of LR images, or one image.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; new or empty.", show_default=False)],
    tile: shared.Tile = 256,
    device: options.Device = "auto",
) -> None:
    """Super-resolve a folder of images.

    Names, bit depth and channels are kept, and files are lossless. Of a colour image, a network of luma gets the luma;
    the colours are enlarged bicubically.

    Example: degsynth sr apply runs/sr phone/ large/
    """
    from degsynth.sr import folders, networks

    loaded = networks.load(network, options.pick_device(device))
    with signals.way_on(lambda: signals.begin_anew(out)), console.Progress() as progress:

        def on_image(name: str, fault: str, count: int, total: int) -> None:
            if fault:
                progress.note(f"failed: {name}: {fault}")
            progress("super-resolving", count, total)

        failed = folders.run(loaded, lr, out, tile, on_image)
    console.note(f"{out}: super-resolved by {shared.described(loaded.record.model_dump())}; {failed} failed")
    if failed:
        raise typer.Exit(1)
