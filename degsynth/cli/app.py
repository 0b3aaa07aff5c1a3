"""The typer application and the only place where errors become exit codes.

Heavy imports (torch) happen inside the commands, so that ``--help`` answers at once. Results go to stdout; progress,
notes, warnings and errors to stderr.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import sys
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import degsynth
from degsynth.cli import (
    align,
    apply,
    calibrate,
    demo,
    evaluate,
    export,
    fit,
    gap,
    home,
    inspect,
    kernel_pool,
    methods,
    selftest,
    sr,
    streams,
    verify,
)
from degsynth.cli.flags import with_flags
from degsynth.cli.signals import stop_at_once, stopped_by
from degsynth.cli.text import printable, with_short_words
from degsynth.cli.watch import watched
from degsynth.errors import DegsynthError, is_out_of_memory, os_reason, shortened
from degsynth.watching import board

UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE, errno.EBADF)
"""Errors of outputs that cannot be written; all others are of paths that cannot be used."""
SHORT_OF_MEMORY = "memory is too short; free some, raise the limit of the process, or give it less to do at a time"


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


LIST = "-"
"""Argument that stands for a list of files on standard input."""

app = typer.Typer(
    name="degsynth",
    cls=Group,
    help="Learn a camera's real degradation from HR-LR images, export it as one file, apply it to HR images.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for module in (align, fit, export, apply, verify, calibrate, evaluate, gap, selftest, inspect, methods, demo):
    app.command(module.NAME)(module.command)
app.add_typer(kernel_pool.app, name=kernel_pool.NAME)
app.add_typer(sr.app, name=sr.NAME)
home.in_every_command(app)


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


@functools.cache
def _command() -> Any:
    """Return the program as typer builds it, which takes a tenth of a second: once in a process."""
    return typer.main.get_command(app)


def main() -> None:
    """Run a command in this process, and exit.

    Exit codes are 0 (done), 1 (some inputs or checks failed, or outputs could not be written), 2 (bad usage, unsuitable
    input, or too little memory), and 128 + n (ended by signal n: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP).
    """
    stop_at_once()
    try:
        _command()()
    except DegsynthError as error:
        _end(error.exit_code, str(error))
    except Exception as error:
        if (number := stopped_by()) is not None:  # a library has made another exception of the one that ends us
            sys.exit(128 + number)
        if is_out_of_memory(error):
            _end(*((1, f"{SHORT_OF_MEMORY}, and go on with --resume") if board().opened else (2, SHORT_OF_MEMORY)))
        if not isinstance(error, OSError):
            raise
        name = f"{shortened(str(error.filename))}: " if error.filename else ""
        unwritten = error.errno in UNWRITTEN
        _end(1 if unwritten else 2, f"{name}{os_reason(error)}{'' if unwritten else '; give another path, or mend it'}")


def _end(code: int, message: str) -> NoReturn:
    print(f"degsynth: {printable(with_short_words(with_flags(message)))}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


def program() -> None:
    """Run the command line in a process that is watched. It exits as `main`."""
    code = 1
    try:
        streams.prepare()
        if LIST in sys.argv[1:]:
            streams.keep_input()
        watched()
        streams.hush_memory_errors()
        main()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except Exception:
        sys.excepthook(*sys.exc_info())
    failure = streams.flush()
    if failure and not code:
        print(f"degsynth: {failure}", file=sys.stderr)  # noqa: T201
        code = 1
    board().end(code)  # whatever happens while Python takes everything down
    sys.exit(code)
