"""Options that several sub-commands share, and their tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from degsynth.cli import console, options
from degsynth.errors import ConfigError

Net = Annotated[
    str,
    typer.Option(metavar="default|edsr|vdsr", help="Network: a small EDSR (default), the EDSR baseline, or VDSR-20."),
]
Channels = Annotated[
    str, typer.Option(metavar="luma|rgb", help="What the network sees: luma alone, as papers train and score, or RGB.")
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Number of training steps. Unset: 2500 for default, 20000 for edsr and vdsr.")
]
Batch = Annotated[int, typer.Option(min=1, max=1024, help="Number of patches in a step.")]
Patch = Annotated[int, typer.Option(min=8, max=1024, help="Sides of the LR patches, px.")]
Rate = Annotated[
    float | None,
    typer.Option("--learning-rate", help="Largest learning rate. Unset: 1e-3 for default, 2e-4 for edsr and vdsr."),
]
Draws = Annotated[
    int,
    typer.Option(min=1, max=1000, help="Number of LR images that a model makes of every HR image, each drawn anew."),
]
Scale = Annotated[
    int | None,
    typer.Option(min=1, max=4, help="Scale (HR size / LR size). Unset: that of the pairs or the model."),
]
RealPairs = Annotated[
    Path | None,
    typer.Option("--real-pairs", metavar="PAIRS.csv", help=f"Instead of --real-hr and --real-lr: {options.TABLE}"),
]
Border = Annotated[int, typer.Option(min=0, help="Number of HR px that are left out at each edge.")]
Shift = Annotated[
    int, typer.Option(min=0, max=64, help="Largest shift that the shift-tolerant PSNR allows for, HR px.")
]
Tile = Annotated[int, typer.Option(min=1, help="Side of the tiles in which images are made, LR px.")]
Network = Annotated[
    Path, typer.Argument(metavar="R", help="A run of 'degsynth sr train', or its network.pt.", show_default=False)
]


def colours(text: str) -> str:
    """Read the value of ``--channels``."""
    if text not in ("luma", "rgb"):
        raise ConfigError(f"--channels {text}: give luma or rgb")
    return text


def print_scores(title: str, means: dict[str, dict[str, float]]) -> None:
    """Print a table of mean scores, one row for each way to enlarge."""
    header = ["dB", "Y", "SSIM", "studio Y", "SSIM", "RGB", "SSIM", "RGB, shifted"]
    rows = [[name, *(_cell(figure, value) for figure, value in figures.items())] for name, figures in means.items()]
    console.table(title, header, rows)


def _cell(figure: str, value: float) -> str:
    return f"{value:.2f}" if figure.startswith("psnr") else f"{value:.4f}"


def described(record: dict[str, Any]) -> str:
    """Return in words what a network is."""
    return f"{record['net']}, scale {record['scale']}, {record['colours']}, {record['parameters']} parameters"
