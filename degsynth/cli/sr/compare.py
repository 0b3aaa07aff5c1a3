"""``degsynth sr compare``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from degsynth.cli import console, options, signals
from degsynth.cli.sr import shared
from degsynth.errors import ConfigError

if TYPE_CHECKING:
    from degsynth.sr.contestants import Folders

NAME = "compare"
CROP_SIDE = 288
"""Side of the crops in the picture, about, px."""


def command(
    hr: Annotated[Path, typer.Option(help="Folder of HR images to train on.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the table, pictures and trainings.", show_default=False)
    ],
    test_hr: Annotated[Path | None, typer.Option(help="HR images of the real test pairs.", show_default=False)] = None,
    test_lr: Annotated[Path | None, typer.Option(help="LR images of the real test pairs.", show_default=False)] = None,
    test_pairs: Annotated[
        Path | None,
        typer.Option("--test-pairs", metavar="PAIRS.csv", help=f"Instead of --test-hr and --test-lr: {options.TABLE}"),
    ] = None,
    train: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL[:noise=…][,awgn=…]|DATASET|real+…",
            help="LR to train on: made by a model, read from a data set of 'degsynth apply', or a mixture with real "
            "pairs. May be repeated. Bicubic LR and, where there are real pairs, the real LR are always in the table.",
        ),
    ] = None,
    real_lr: Annotated[
        Path | None, typer.Option(help="Real LR images of the training scenes: the oracle. Unset: no oracle.")
    ] = None,
    real_hr: Annotated[
        Path | None, typer.Option(help="HR images of --real-lr, if they are others than those of --hr.")
    ] = None,
    real_pairs: shared.RealPairs = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Number of trainings on each kind of LR.")] = 3,
    net: shared.Net = "default",
    channels: shared.Channels = "luma",
    steps: shared.Steps = None,
    batch: shared.Batch = 8,
    patch: shared.Patch = 40,
    learning_rate: shared.Rate = None,
    draws: shared.Draws = 4,
    border: shared.Border = 16,
    shift: shared.Shift = 4,
    workers: Annotated[int, typer.Option(min=1, max=128, help="Number of trainings at a time, one thread each.")] = 1,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Compare LR of several kinds by the networks that they train.

    The table says how far each kind goes from bicubic LR (0 %) to real LR (100 %). It is written to compare.json, and
    crops of test images to crops.png. The same command goes on after Ctrl-C; finished trainings are not repeated.

    Example: degsynth sr compare --hr A --train R --test-hr B --test-lr C -o D

    Without noise: --train nikon.pt:noise=none

    With white noise: --train nikon.pt:awgn=5

    Half of each batch real pairs: --train real+nikon.pt
    """
    from degsynth.config import Events, build
    from degsynth.sr import compare, networks
    from degsynth.sr.contestants import Folders, contestants
    from degsynth.sr.options import Training

    if real_hr is not None and real_lr is None:
        raise ConfigError(f"--real-hr {real_hr} has no LR images; give --real-lr")
    if real_pairs is not None and (real_hr is not None or real_lr is not None):
        raise ConfigError(f"--real-pairs {real_pairs} lists both sides of all pairs; leave --real-hr and --real-lr out")
    _check_test(test_hr, test_lr, test_pairs)
    networks.get(net)
    folders = Folders(hr, test_hr, test_lr, real_hr, real_lr, test_pairs, real_pairs)
    entrants = contestants(train or [], folders)
    values = {
        "pairs": entrants[0].pairs,  # of each training there will be others
        "net": net,
        "colours": shared.colours(channels),
        "steps": steps,
        "batch": batch,
        "patch": patch,
        "learning_rate": learning_rate,
        "draws": draws,
    }
    chosen = compare.Comparison(
        folders, build(Training, values, "sr compare"), seeds, border, shift, workers, options.pick_device(device)
    )
    with signals.way_on(lambda: "the same command goes on from there"), console.Progress() as progress:
        events = Events(progress, progress.note, progress.warn, progress.figures, progress.deferred_stop)
        table = compare.run(entrants, chosen, out, events)
        _draw(table, folders, out)
    if json:
        typer.echo(jsonlib.dumps(table, ensure_ascii=False))
    else:
        _print(table)
    console.note(f"{out}: the table is {out / compare.RESULT}, pictures are {out / 'crops.png'}")


def _check_test(hr: Path | None, lr: Path | None, table: Path | None) -> None:
    """Raise ConfigError where it is not said what networks are tested on, or said twice."""
    if table is not None and (hr is not None or lr is not None):
        raise ConfigError(f"--test-pairs {table} lists both sides of all pairs; leave --test-hr and --test-lr out")
    if table is None and (hr is None or lr is None):
        missing = "--test-hr" if hr is None else "--test-lr"
        raise ConfigError(f"{missing} is missing: give --test-hr and --test-lr, or --test-pairs")


def _draw(table: dict[str, Any], folders: Folders, out: Path) -> None:
    """Draw crops of test images, super-resolved by all networks."""
    from degsynth.reports.panels import Panel, sheet
    from degsynth.sr import crops

    rows = [[Panel(title, image) for title, image in row] for row in crops.of_comparison(table, folders, out)]
    heading = f"{table['training']['net']} ×{table['scale']}, trained on LR of several kinds"
    sheet(out / "crops.png", rows, heading, CROP_SIDE)


def _print(table: dict[str, Any]) -> None:
    """Print the table, the enlargement in its first row."""
    enlargement = table["enlargement"]
    rows = [["(bicubic enlargement)", "", f"{enlargement['psnr_y']:.2f}", "", f"{enlargement['ssim_y']:.4f}", ""]]
    for row in table["rows"]:
        spread = "" if row["spread"] is None else f" ± {row['spread']:.2f}"
        rows.append(
            [
                row["name"],
                "" if row["lr_psnr_y"] is None else f"{row['lr_psnr_y']:.2f}",
                f"{row['mean']['psnr_y']:.2f}{spread}",
                "" if row["share"] is None else f"{100 * row['share']:.0f} %",
                f"{row['mean']['ssim_y']:.4f}",
                f"{row['mean']['psnr_studio_y']:.2f}",
            ]
        )
    rows[0][5] = f"{enlargement['psnr_studio_y']:.2f}"
    title = (
        f"×{table['scale']}, {table['test_images']} test images, luma, {table['border']} HR px left out at each edge"
    )
    console.table(title, ["trained on", "LR, dB", "SR, dB", "of the way", "SSIM", "studio Y, dB"], rows)
