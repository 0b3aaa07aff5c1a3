"""``degsynth evaluate``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console, options

NAME = "evaluate"


def command(
    model: options.Model,
    hr: Annotated[Path, typer.Option(help="Folder of HR images.", show_default=False)],
    lr: Annotated[Path, typer.Option(help="Folder of real LR images, matched by stem.", show_default=False)],
    border: Annotated[int, typer.Option(help="LR pixels left out at each edge.")] = 8,
    noise: Annotated[str, typer.Option(metavar="learned|none", help="Whether the model's noise is in.")] = "learned",
    hardware_factor: options.HardwareFactor = None,
    data_range: options.DataRange = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    scale: options.PoolScale = None,
    json: options.Json = False,
) -> None:
    """Compare a model's LR with real LR: PSNR, SSIM, L1 in luma and RGB, beside bicubic.

    Example: degsynth evaluate nikon.pt --hr test/HR --lr test/LR_x2
    """
    from degsynth.data.images import choose_range
    from degsynth.data.opening import ScoringOptions, open_for_model
    from degsynth.errors import ConfigError
    from degsynth.evaluation.paired import evaluate
    from degsynth.model.degradation import Degradation, Noise
    from degsynth.model.resolve import open_model

    if noise not in ("learned", "none"):
        raise ConfigError(f"--noise {noise}: give learned or none")
    if border < 0:
        raise ConfigError(f"--border {border}: must be at least 0")
    levels = options.data_range(data_range)
    device = options.pick_device(device)
    loaded = open_model(model, scale, device)
    factor = options.interval(hardware_factor, "hardware_factor")
    degradation = Degradation(loaded, Noise(noise == "learned"), factor, device)
    for warning in degradation.warnings():
        console.warn(warning)
    with console.Progress() as progress:
        opened = open_for_model(
            hr,
            lr,
            ScoringOptions(loaded.spec.scale, loaded.spec.channels, choose_range(levels, loaded.spec.data_range)),
            progress,
            progress.warn,
        )
        result = evaluate(
            degradation,
            opened,
            border,
            seed,
            on_image=lambda n: progress("scoring", n, len(opened)),
        )
    if json:
        head = {"model": model, "model_sha256": loaded.sha256, "method": loaded.spec.method, "scale": loaded.spec.scale}
        if factor is not None:
            head["hardware_factor"] = list(factor)
        typer.echo(jsonlib.dumps({**head, **result}, ensure_ascii=False))
        return
    rows = [
        [
            image["name"],
            f"{image['model']['psnr_y']:.2f}",
            f"{image['bicubic']['psnr_y']:.2f}",
            f"{image['model']['ssim_y']:.4f}",
        ]
        for image in result["images"]
    ]
    console.table(
        "per image", ["", f"{loaded.spec.method} PSNR Y", "bicubic PSNR Y", f"{loaded.spec.method} SSIM Y"], rows
    )
    means = {loaded.spec.method: result["mean"]["model"], "bicubic": result["mean"]["bicubic"]}
    console.scores(f"mean of {len(rows)} images, {border} LR px left out at each border", means)
