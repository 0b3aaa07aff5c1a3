"""The typer application and the only place where errors become exit codes.

Heavy imports (torch) happen inside the commands, so that ``--help`` answers at once. Data goes to stdout; progress,
warnings, tables and errors to stderr.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

import degsynth
from degsynth.cli import apply, calibrate, demo, evaluate, export, fit, inspect, kernel_pool, methods, selftest
from degsynth.cli.flags import with_flags
from degsynth.errors import DegsynthError

app = typer.Typer(
    name="degsynth",
    help="Learn a camera's real degradation from HR-LR images, export it as one file, apply it to HR images.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for module in (fit, export, apply, calibrate, evaluate, selftest, inspect, methods, demo):
    app.command(module.NAME)(module.command)
app.add_typer(kernel_pool.app, name=kernel_pool.NAME)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(degsynth.__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    print("degsynth: interrupted", file=sys.stderr)  # noqa: T201
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line: the entry point of the console script.

    Exit codes are 0 (done), 1 (some inputs or checks failed), 2 (bad usage or unsuitable input), and 130 or 143
    (interrupted).
    """
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except DegsynthError as error:
        print(f"degsynth: {with_flags(str(error))}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
