"""``degsynth align``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from degsynth.cli import console, signals
from degsynth.errors import ConfigError

NAME = "align"


def command(
    tele: Annotated[
        Path | None,
        typer.Argument(
            metavar="TELE",
            help="Folder of photographs that are zoomed in, or one of them: they become HR.",
            show_default=False,
        ),
    ] = None,
    wide: Annotated[
        Path | None,
        typer.Argument(
            metavar="WIDE",
            help="Folder of photographs of the same scenes that are not, matched by name, or one of them: LR.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="PAIRS", help="Folder for the folders HR and LR.")
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(metavar="PAIRS.csv", help="Instead of TELE and WIDE: CSV file with both paths in each line."),
    ] = None,
    scale: Annotated[
        str, typer.Option(metavar="auto|N", help="HR size / LR size. auto: the whole number nearest to the zoom.")
    ] = "auto",
    levels: Annotated[
        str,
        typer.Option(
            metavar="match|gain|none",
            help="What HR gets of the levels of LR: tone, colour and a slowly varying gain (match), a gain and an "
            "offset of each channel (gain), or nothing.",
        ),
    ] = "match",
    crop: Annotated[
        int, typer.Option(min=96, help="Side of the crops, HR px; less where photographs overlap less.")
    ] = 480,
    max_shift: Annotated[
        float, typer.Option(min=0.01, max=2.0, help="Largest shift that may be left in 95 % of a crop, LR px.")
    ] = 0.25,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Number of pairs that are aligned at a time.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in --out.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the row of each pair on stdout.")] = False,
) -> None:
    """Make HR-LR pairs from photographs, zoomed in and not.

    The pixels of LR are those of WIDE, cut out; TELE is resampled onto a grid that is a whole number of times finer.
    Crops are left out where the two sides do not show the same.

    Example: degsynth align tele/ wide/ --out pairs/
    """
    from degsynth.align import run as runs
    from degsynth.align.levels import LevelsChoice
    from degsynth.align.pair import AlignOptions

    if out is None:
        raise ConfigError("--out is missing: give a folder for the pairs")
    if levels not in get_args(LevelsChoice):
        raise ConfigError(f"--levels {levels}: give match, gain or none")
    if scale != "auto" and (not scale.isdecimal() or not 1 <= int(scale) <= 8):
        raise ConfigError(f"--scale {scale}: give auto, or a whole number from 1 to 8")
    chosen = AlignOptions(None if scale == "auto" else int(scale), cast(LevelsChoice, levels), crop, max_shift)
    found = runs.find(tele, wide, pairs)
    if found.unmatched:
        console.warn(f"photographs without a partner are left out ({len(found.unmatched)}), e.g. {found.unmatched[0]}")
    count = 0
    with signals.way_on(lambda: f"go on with --resume --out {out}"), console.Progress() as progress:

        def on_row(row: dict[str, Any], total: int) -> None:
            nonlocal count
            count += 1
            if json:
                typer.echo(jsonlib.dumps(row, ensure_ascii=False))
            else:
                progress.note(_line(row))
            progress("aligning", count, total)

        with signals.GracefulStop() as stop:
            summary = runs.run(found, out, chosen, workers, resume, on_row, stop.asked, progress.warn)
    console.note(
        f"{out}: {summary.crops} crops of {summary.aligned} pairs"
        + (f", {summary.refused} pairs refused" if summary.refused else "")
        + (f", {summary.resumed} done before" if summary.resumed else "")
    )
    if summary.interrupted:
        console.note(f"interrupted; go on with --resume --out {out}")
        raise typer.Exit(stop.exit_code)
    if summary.refused:
        raise typer.Exit(1)


def _line(row: dict[str, Any]) -> str:
    """Say in one line what became of a pair."""
    if row["status"] != "ok":
        return f"{row['name']}: refused: {row['reason']}"
    shift = row["shift_lr_px"]
    return (
        f"{row['name']}: zoom {row['ratio']:.3f}, {row['crops']} crops of {row['crop_lr_px']} LR px "
        f"({row['rejected']} left out), shifts of {shift['median']:.2f} LR px (95 %: {shift['p95']:.2f})"
    )
