"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from degsynth.errors import ConfigError

Seed = Annotated[int, typer.Option(help="Every random number follows from it.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda[:N].")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
DataRange = Annotated[
    str | None,
    typer.Option(metavar="BLACK:WHITE|dtype", help="Black and white of 16-bit and float files, e.g. 0:4095."),
]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A checkpoint (.pt), a run directory, a shipped model's name, or a kernel pool (.h5)."
    ),
]

PoolScale = Annotated[
    int | None, typer.Option("--scale", help="Of a kernel pool: HR size / LR size; unset: its own. 1: LR at HR size.")
]

Factor = Annotated[
    str | None,
    typer.Option(metavar="F|LO:HI", help="Of an abl model: its blur, drawn anew for every image from a range."),
]


def interval(text: str | None, option: str) -> tuple[float, float] | None:
    """``"5"`` → (5, 5), ``"0:10"`` → (0, 10), None → None."""
    if text is None:
        return None
    low, _, high = text.partition(":")
    try:
        found = float(low), float(high or low)
    except ValueError:
        found = math.nan, math.nan
    if not all(map(math.isfinite, found)):
        raise ConfigError(f"{option} {text}: give a number, or a range LO:HI")
    return found


def factor(text: str | None) -> Any:
    """`render.Factor` of ``--hardware-factor``, unchecked; None where it was not given."""
    from degsynth.model.render import Factor

    found = interval(text, "--hardware-factor")
    return None if found is None else Factor(*found)


def data_range(text: str | None) -> tuple[float, float] | Literal["dtype"] | None:
    """``"100:4095"`` → (100, 4095); ``"dtype"`` and None as they are."""
    if text is None:
        return None
    if text == "dtype":
        return "dtype"
    found = interval(text, "--data-range")
    if found is None or not found[0] < found[1]:
        raise ConfigError(f"--data-range {text}: give BLACK:WHITE with BLACK below WHITE, or dtype")
    return found


def pick_device(name: str) -> str:
    """``auto`` → cuda where there is one; ConfigError for a device that is not there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError(f"--device {name}: give auto, cpu, cuda or cuda:N")
    if name.startswith("cuda") and int(name.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: torch finds {torch.cuda.device_count()} CUDA devices; use --device cpu")
    return name


def usable_cores() -> int:
    """Cores that this process may use, which a batch system may have made fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_model(name: str, scale: int | None = None, device: str = "cpu") -> Any:
    """The checkpoint that MODEL names, or what a kernel pool amounts to at a scale."""
    from degsynth.model import checkpoint

    if Path(name).suffix.lower() in checkpoint.POOL_SUFFIXES:
        from degsynth.model import pool_model

        return pool_model.as_checkpoint(Path(name), scale, device)
    loaded = checkpoint.load(checkpoint.resolve(name), device)
    if scale is not None and scale != loaded.spec.scale:
        raise ConfigError(f"--scale {scale}: the model {name} has scale {loaded.spec.scale}; leave --scale out")
    return loaded


def check_output(path: Path) -> None:
    """ConfigError where a file cannot be written there; an older file of that name is replaced."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give the file to write")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}; make it, or give another name")
