"""``degsynth demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console, options, signals

NAME = "demo"


def command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")],
    seed: options.Seed = 0,
) -> None:
    """Run all steps on bundled photographs; no data is needed.

    A model is fitted to a simulated camera, exported, tested, applied and evaluated.

    Example: degsynth demo out/
    """
    from degsynth import demo

    with signals.way_on(lambda: signals.begin_anew(out)), console.Progress() as progress:
        result = demo.run(out, seed, progress, progress.note)
    console.scores(
        f"{len(result.test_images)} photographs that were not fitted, against the LR images of the simulated camera",
        {result.method: result.means["model"], **{name: result.means[name] for name in ("linear", "bicubic")}},
        is_note=True,
    )
    console.note(f"picture:      {result.picture}")
    console.note(f"training set: {result.dataset}")
    console.note(f"checkpoint:   {result.checkpoint}")
