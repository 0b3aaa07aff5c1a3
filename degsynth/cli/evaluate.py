"""``degsynth evaluate``."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from degsynth.cli import console, options
from degsynth.errors import ConfigError

if TYPE_CHECKING:
    from degsynth.config import Interval
    from degsynth.model.checkpoint import Checkpoint

NAME = "evaluate"


def command(
    model: options.Model,
    hr: Annotated[Path | None, typer.Option(help="Folder of HR images, or one image.", show_default=False)] = None,
    lr: Annotated[
        Path | None,
        typer.Option(
            help="Folder of real LR images, matched with HR images by name, or one image.", show_default=False
        ),
    ] = None,
    pairs: options.PairTable = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    border: Annotated[int, typer.Option(help="Number of LR pixels that are left out at each edge.")] = 8,
    noise: Annotated[
        str,
        typer.Option(
            metavar="learned|none",
            help="Noise that is added: the model's own (learned), or none. Noise is random, so it lowers PSNR.",
        ),
    ] = "none",
    hardware_factor: options.HardwareFactor = None,
    data_range: options.DataRange = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    scale: options.PoolScale = None,
    json: options.Json = False,
) -> None:
    """Compare a model's LR images with real LR images.

    PSNR, SSIM and L1, in luma and RGB, are printed for the model and for bicubic LR images.

    Example: degsynth evaluate nikon.pt --hr test/HR --lr test/LR_x2
    """
    from degsynth.data.opening import ScoringOptions, open_for_model
    from degsynth.data.ranges import choose_range
    from degsynth.data.sources import Choice
    from degsynth.evaluation.paired import evaluate
    from degsynth.model import checkpoint
    from degsynth.model.degradation import Degradation, Noise
    from degsynth.model.resolve import open_model

    if noise not in ("learned", "none"):
        raise ConfigError(f"--noise {noise}: give learned or none")
    if pairs is not None and (include or exclude):
        raise ConfigError(
            f"--include and --exclude choose among images of folders, not of --pairs {pairs}", "leave them out"
        )
    if border < 0:
        raise ConfigError(f"--border {border}: give 0 or more")
    levels = options.data_range(data_range)
    device = options.pick_device(device)
    loaded = open_model(model, scale, device)
    spec = loaded.spec
    factor = options.interval(hardware_factor, "hardware_factor")
    degradation = Degradation(loaded, Noise(noise == "learned"), factor, device)
    for warning in degradation.warnings():
        console.warn(warning)
    choice = Choice(tuple(include or ()), tuple(exclude or ()))
    levels = choose_range(levels, spec.data_range)
    scoring = ScoringOptions(spec.scale, spec.channels, levels, table=pairs, choice=choice)
    with console.Progress() as progress:
        opened = open_for_model(hr, lr, scoring, progress, progress.warn)
        with checkpoint.faults_named(loaded.path):
            scores = evaluate(
                degradation, opened, border, seed, on_image=lambda count: progress("scoring", count, len(opened))
            )
    if json:
        typer.echo(jsonlib.dumps({**_identity(model, loaded, factor), **scores}, ensure_ascii=False))
    else:
        _print_tables(scores, spec.method, border)


def _identity(name: str, model: Checkpoint, factor: Interval | None) -> dict[str, Any]:
    """Return what identifies the model in the JSON document."""
    spec = model.spec
    record = {"model": name, "model_sha256": model.sha256, "method": spec.method, "scale": spec.scale}
    return record if factor is None else {**record, "hardware_factor": list(factor)}


def _print_tables(scores: dict[str, Any], method: str, border: int) -> None:
    """Print a table of the images and one of the means."""
    rows = [
        [
            image["name"],
            f"{image['model']['psnr_y']:.2f}",
            f"{image['bicubic']['psnr_y']:.2f}",
            f"{image['model']['ssim_y']:.4f}",
            f"{image['bicubic']['ssim_y']:.4f}",
        ]
        for image in scores["images"]
    ]
    console.table(
        "per image",
        ["", *(f"{model} {score}" for score in ("PSNR Y", "SSIM Y") for model in (method, "bicubic"))],
        rows,
    )
    means = {method: scores["mean"]["model"], "bicubic": scores["mean"]["bicubic"]}
    console.scores(f"mean of {len(rows)} images, {border} LR px left out at each edge", means)
    if not sys.stdout.isatty():  # the tables may go to a file, and nobody would see them
        figures = ", ".join(f"{name} {mean['psnr_y']:.2f} dB" for name, mean in means.items())
        console.note(f"mean of {len(rows)} images: {figures}")
