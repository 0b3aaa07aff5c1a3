"""``degsynth sr train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from degsynth.cli import console, options, signals
from degsynth.cli.sr import shared
from degsynth.errors import ConfigError

NAME = "train"


def command(
    dataset: Annotated[
        Path | None,
        typer.Argument(metavar="[DATASET]", help="A data set of 'degsynth apply', with the folders hr and lr."),
    ] = None,
    hr: Annotated[Path | None, typer.Option(help="Instead of DATASET: folder of HR images.")] = None,
    lr: Annotated[Path | None, typer.Option(help="Folder of LR images, matched with HR images by name.")] = None,
    pairs: options.PairTable = None,
    model: Annotated[
        str | None,
        typer.Option(help="Instead of --lr: a model that makes LR images of --hr. Without either, LR is bicubic."),
    ] = None,
    noise: Annotated[
        str, typer.Option(metavar="learned|none|MODEL", help="Noise that the model adds, as in 'degsynth apply'.")
    ] = "learned",
    awgn: Annotated[
        str | None, typer.Option(metavar="SIGMA|LO:HI", help="σ of white noise that is added, 0–255. Unset: none.")
    ] = None,
    real_hr: Annotated[
        Path | None, typer.Option(help="HR images of real pairs, which then fill half of every batch.")
    ] = None,
    real_lr: Annotated[Path | None, typer.Option(help="LR images of those real pairs.")] = None,
    real_pairs: shared.RealPairs = None,
    out: Annotated[Path | None, typer.Option(metavar="R", help="Folder of the training to make, or to resume.")] = None,
    scale: shared.Scale = None,
    net: shared.Net = "default",
    channels: shared.Channels = "luma",
    steps: shared.Steps = None,
    minutes: Annotated[
        float | None, typer.Option(help="End the training after so many minutes, if that is earlier. Unset: never.")
    ] = None,
    batch: shared.Batch = 8,
    patch: shared.Patch = 40,
    learning_rate: shared.Rate = None,
    draws: shared.Draws = 4,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the interrupted training in --out, with its options.")
    ] = False,
) -> None:
    """Train a super-resolution network.

    It is written to the folder --out as TorchScript (network.pt) and as a state dict (weights.pth).

    Example: degsynth sr train trainset --out runs/sr

    LR by a model: degsynth sr train --hr HR --model nikon.pt --out runs/sr

    After Ctrl-C: degsynth sr train --resume --out runs/sr
    """
    from degsynth.config import Events, build
    from degsynth.sr import training
    from degsynth.sr.options import Training
    from degsynth.sr.run_folder import RunFolder

    if out is None:
        raise ConfigError("--out is missing: give the folder to make")
    device, folder = options.pick_device(device), RunFolder(out)
    if resume:
        chosen = folder.training()
    else:
        values = {
            "pairs": [
                *_real(real_hr, real_lr, real_pairs),
                _table(pairs, dataset, hr, lr, _made(model, noise, awgn))
                if pairs is not None
                else _pairs(dataset, hr, lr, _made(model, noise, awgn)),
            ],
            "scale": scale,
            "net": net,
            "colours": shared.colours(channels),
            "steps": steps,
            "minutes": minutes,
            "batch": batch,
            "patch": patch,
            "learning_rate": learning_rate,
            "draws": draws,
            "seed": seed,
        }
        chosen = build(Training, values, "sr train")
    go_on = f"go on with 'degsynth sr train --resume --out {out}'"
    with signals.way_on(lambda: go_on if folder.begun() else signals.NOTHING_KEPT), console.Progress() as progress:
        events = Events(progress, progress.note, progress.warn, progress.figures, progress.deferred_stop)
        record = training.run(chosen, out, device, events, resume)
    console.note(f"{out}: {shared.described(record)}; {record['steps']} steps in {record['seconds']:.0f} s")


def _made(model: str | None, noise: str, awgn: str | None) -> dict[str, Any]:
    """Return what makes LR images; ConfigError where a noise is chosen without a model."""
    if model is None and (noise != "learned" or awgn is not None):
        raise ConfigError("--noise and --awgn are for LR that a model makes; give --model")
    return {"model": model, "noise": noise, "awgn": awgn}


def _real(hr: Path | None, lr: Path | None, table: Path | None) -> list[dict[str, Any]]:
    """Return the real pairs that fill half of every batch; none where none are given."""
    if table is not None:
        if hr is not None or lr is not None:
            raise ConfigError(f"--real-pairs {table} lists both sides of all pairs; leave --real-hr and --real-lr out")
        return [{"pairs": str(table)}]
    if (hr is None) != (lr is None):
        raise ConfigError("--real-hr and --real-lr belong together; give both, or neither")
    return [] if hr is None else [{"hr": str(hr), "lr": str(lr)}]


def _table(table: Path, dataset: Path | None, hr: Path | None, lr: Path | None, made: dict[str, Any]) -> dict[str, Any]:
    """Return where pairs come from that a table lists; ConfigError where they are said to be elsewhere, too."""
    others = {"DATASET": dataset, "--hr": hr, "--lr": lr, "--model": made["model"]}
    for flag, value in others.items():
        if value is not None:
            raise ConfigError(f"--pairs {table} lists both sides of all pairs; leave {flag} {value} out")
    return {"pairs": str(table)}


def _pairs(dataset: Path | None, hr: Path | None, lr: Path | None, made: dict[str, Any]) -> dict[str, Any]:
    """Return where pairs come from; ConfigError where that is not said, or said twice."""
    if dataset is not None:
        if hr is not None or lr is not None or made["model"] is not None:
            raise ConfigError(f"DATASET {dataset} excludes --hr, --lr and --model; leave it or them out")
        if not (dataset / "hr").is_dir() or not (dataset / "lr").is_dir():
            raise ConfigError(
                f"{dataset} has no folders hr and lr", "give a data set of 'degsynth apply', or --hr and --lr"
            )
        return {"hr": str(dataset / "hr"), "lr": str(dataset / "lr")}
    if hr is None:
        raise ConfigError("there is nothing to learn from; give DATASET, --hr and --lr, --pairs, or --hr and --model")
    if lr is not None and made["model"] is not None:
        raise ConfigError("--lr and --model exclude each other: LR is read, or it is made")
    return {"hr": str(hr), "lr": None if lr is None else str(lr), **made}
