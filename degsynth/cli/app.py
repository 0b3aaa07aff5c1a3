"""The typer application and the only place where errors become exit codes.

Heavy imports (torch) happen inside the commands, so that ``--help`` answers at once. Data goes to stdout; progress,
warnings, tables and errors to stderr.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import degsynth
from degsynth.cli import apply, calibrate, demo, evaluate, export, fit, inspect, kernel_pool, methods, selftest, sr
from degsynth.cli.flags import with_flags
from degsynth.cli.text import printable
from degsynth.errors import DegsynthError


class Group(TyperGroup):
    """The commands; what they say of bad usage does not steer the terminal, whatever the arguments hold."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse the arguments before the command's name."""
        with _printable_usage_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Parse the arguments of the command and run it."""
        with _printable_usage_errors():
            return super().invoke(ctx)


@contextlib.contextmanager
def _printable_usage_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "message"):  # ClickException, of typer's own click
            error.message = printable(str(error.message), kept="\n")
        raise


app = typer.Typer(
    name="degsynth",
    cls=Group,
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
app.add_typer(sr.app, name=sr.NAME)


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
        print(f"degsynth: {printable(with_flags(str(error)))}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
