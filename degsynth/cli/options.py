"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from degsynth.config import Interval
from degsynth.errors import ConfigError

Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Device = Annotated[str, typer.Option(help="Where to compute: auto (cuda if there is one), cpu or cuda[:N].")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
DataRange = Annotated[
    str | None,
    typer.Option(
        metavar="BLACK:WHITE|dtype",
        help="Black and white of 16-bit and float files, e.g. 0:4095, or the whole range of their type (dtype). "
        "Unset: as the model was fitted.",
    ),
]
TABLE = (
    "CSV file with two columns, the paths of an HR and of an LR image, absolute or relative to its folder. Unset: none."
)
PairTable = Annotated[
    Path | None,
    typer.Option(
        "--pairs",
        metavar="PAIRS.csv",
        help=f"Instead of --hr and --lr: {TABLE}",
    ),
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A checkpoint (.pt), a run directory, the name of a shipped model, or a kernel pool (.h5).",
    ),
]
Models = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A checkpoint (.pt), a run directory, the name of a shipped model, a kernel pool (.h5), or several of "
        "these with weights, as a.pt:0.7,b.pt:0.3: one of them is drawn for each LR image. They have one scale.",
    ),
]
PoolScale = Annotated[
    int | None,
    typer.Option(
        "--scale",
        help="For a kernel pool: scale (HR size / LR size); 1 gives LR images of HR size. Unset: that of the pool.",
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Refuse images that declare more pixels than this, before they are decoded. Unset: the number in the "
        "environment variable DEGSYNTH_MAX_PIXELS, which holds for every command, or 1073741824.",
    ),
]
HardwareFactor = Annotated[
    str | None,
    typer.Option(
        metavar="F|LO:HI",
        help="For an abl model: hardware factor, which scales its blur, or a range from which every image draws one. "
        "Unset: that of the model.",
    ),
]

ToSrgb = Annotated[
    bool,
    typer.Option(
        "--to-srgb",
        help="Convert HR images that have an ICC profile to sRGB first, and write HR and LR without it. Unset: both "
        "carry the profile.",
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Take only the images that fit this pattern, e.g. '*.png' (at any depth) or 'portraits/**/*_hr.*' (the "
        "path relative to the folder that is given). Can be given several times. Unset: all.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        help="Leave out the images that fit this pattern, or that lie in a folder that does, e.g. thumbs. Can be "
        "given several times. Unset: none.",
    ),
]


def interval(text: str | None, option: str) -> Interval | None:
    """Read the value of an option that takes a number or a range; None where it was not given."""
    return None if text is None else Interval.parse(text, option)


def data_range(text: str | None) -> Interval | Literal["dtype"] | None:
    """Read the value of ``--data-range``: a range, ``dtype``, or None where it was not given."""
    if text is None:
        return None
    if text == "dtype":
        return "dtype"
    levels = Interval.parse(text, "data_range")
    if not levels.low < levels.high:
        raise ConfigError(f"--data-range {text}: give BLACK:WHITE with BLACK below WHITE, or dtype")
    return levels


def pick_device(name: str) -> str:
    """Return the device to use; ``auto`` is cuda where there is one. ConfigError for a device that does not exist."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError(f"--device {name}: give auto, cpu, cuda or cuda:N")
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: torch finds {torch.cuda.device_count()} CUDA devices; use --device cpu")
    return name


def check_output(path: Path) -> None:
    """Raise ConfigError where no file can be written to ``path``. An existing file is no error: it will be replaced."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give the file to write")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}; make it, or give another name")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{path}: the folder {path.parent} may not be written to; give another name")
