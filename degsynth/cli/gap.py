"""``degsynth gap``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from degsynth.cli import console, options

NAME = "gap"


def command(
    synthetic: Annotated[
        Path, typer.Argument(metavar="SYNTHETIC", help="Folder of synthetic LR images.", show_default=False)
    ],
    real: Annotated[
        Path,
        typer.Argument(
            metavar="REAL", help="Folder of real LR images; they may show other scenes.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PICTURE.png",
            help="Draw spectra, noise, gradients and telltale patches into this file. Unset: not drawn.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=8, help="Largest number of images of a folder that are used, evenly spread.")
    ] = 100,
    splits: Annotated[
        int, typer.Option(min=2, max=1000, help="Number of random splits into halves that figures are averaged over.")
    ] = 40,
    steps: Annotated[
        int, typer.Option(min=1, max=100_000, help="Training steps of each network of the two-sample test.")
    ] = 200,
    width: Annotated[int, typer.Option(min=1, max=256, help="Channels of the layers of these networks.")] = 16,
    data_range: Annotated[
        str | None,
        typer.Option(
            metavar="BLACK:WHITE|dtype",
            help="Black and white of 16-bit and float files, e.g. 0:4095, or the whole range of their type (dtype). "
            "Unset: dtype, if the folders do not seem to differ.",
        ),
    ] = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Measure how far synthetic LR is from real LR, without pairs.

    Each figure is printed beside its floor: what it is between two halves of REAL, on average and at most (in 95 % of
    splits). Small networks learn to tell SYNTHETIC from REAL; 50 % means that they cannot.

    Example: degsynth gap trainset/lr phone/ -o gap.png
    """
    from degsynth.evaluation.gap import measurement

    levels = options.data_range(data_range)
    if out is not None:
        options.check_output(out)
    chosen = measurement.GapOptions(seed, splits, steps, width, limit, levels)
    with console.Progress() as progress:
        gap = measurement.run(synthetic, real, chosen, progress, progress.warn)
    if out is not None:
        from degsynth.reports.gap import draw_gap

        draw_gap(out, gap)
        console.note(f"{out}: picture of the gap")
    if json:
        typer.echo(jsonlib.dumps(gap.record, ensure_ascii=False))
    else:
        _print(gap.record)


def _print(record: dict[str, Any]) -> None:
    """Print the table of the figures, the test in its last row."""
    rows = [
        [
            f"{figure['name']}, {figure['unit']}",
            f"{figure['gap']:.2f}",
            f"{figure['floor']:.2f}",
            f"{figure['floor_high']:.2f}",
            figure["synthetic_is"],
        ]
        for figure in record["figures"].values()
    ]
    test, floor = record["two_sample"], record["two_sample"]["floor"]
    rows.append(
        [
            "patches told apart, %",
            f"{100 * test['accuracy']:.1f}",
            f"{100 * floor['accuracy']:.1f}",
            "",
            f"{100 * test['low']:.0f} to {100 * test['high']:.0f} %",
        ]
    )
    counts = record["images"]
    title = f"{counts['synthetic']} synthetic and {counts['real']} real images, in halves of {record['half']}"
    console.table(title, ["", "gap", "floor", "95 %", "synthetic is"], rows)
    console.result(verdict(record))
    fine = record["figures"]["fine_power"]
    if fine["above_floor"] and fine["direction"] < 0:
        console.warn(
            "the synthetic images have less fine detail and noise than the real ones; a super-resolution network that "
            "learns from them amplifies what it did not see: add noise, such as 'apply --awgn'"
        )


def verdict(record: dict[str, Any]) -> str:
    """Say in one line what the test and the figures come to."""
    above = [figure["name"] for figure in record["figures"].values() if figure["above_floor"]]
    figures = f"above their floor: {', '.join(above)}" if above else "no figure is above its floor"
    test = record["two_sample"]
    told = "can" if test["low"] > 0.5 else "cannot"
    return f"a small network {told} tell them apart (50 % is guessing); {figures}"
