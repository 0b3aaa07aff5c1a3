"""``degsynth verify``."""

from __future__ import annotations

import dataclasses
import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from degsynth.cli import console, options
from degsynth.cli.flags import with_flags
from degsynth.cli.text import printable

NAME = "verify"


def command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Data set that apply has written.", show_default=False)],
    hr: Annotated[
        Path | None,
        typer.Option(
            metavar="HR",
            help="Folder or image that OUT was made of: linked and copied HR files are compared with it. Unset: they "
            "are compared with the size and the time of modification that the manifest has.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=128, help="Number of pairs that are read at a time. Unset: all cores.")
    ] = None,
    max_pixels: options.MaxPixels = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the problems as JSON lines on stdout instead of a table.")
    ] = False,
) -> None:
    """Check that a data set is whole, and as it was written.

    Every problem is a row on stdout: a file that is missing, was changed, cannot be decoded, or has another size than
    the manifest says; a file in OUT/hr or OUT/lr that no row of the manifest names (stray), or whose partner is missing
    (orphan). The exit code is 0 if there is none, and 1 otherwise. Nothing is written.

    Example: degsynth verify trainset/ --hr my_hr_photos/
    """
    from degsynth import apply
    from degsynth.parallel import usable_cores

    with console.Progress() as progress:
        report = apply.verify(out, hr, workers or usable_cores(), max_pixels, progress)
    width = max((len(printable(problem.file)) for problem in report.problems), default=0)
    for problem in report.problems:
        if json:
            typer.echo(jsonlib.dumps(dataclasses.asdict(problem)))
        else:
            console.result(with_flags(f"{problem.kind:10}  {problem.file:{width}}  {problem.reason}"))
    made = f", and {report.failed} that could not be made" if report.failed else ""
    found = f"{len(report.problems)} problems" if report.problems else "all is well"
    console.note(f"{out}: {report.pairs} pairs{made}; {found}")
    if report.problems:
        raise typer.Exit(1)
