"""What the command line prints.

Results, which a command was asked for, go to stdout; notes, warnings and progress go to stderr. The result of a command
that writes files are these files, so all that it prints besides is notes.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from degsynth.cli.flags import with_flags
from degsynth.cli.signals import DeferredSignals
from degsynth.cli.text import printable
from degsynth.errors import DegsynthError

if TYPE_CHECKING:
    from tqdm import tqdm

LOG_INTERVAL_S = 10.0
"""Seconds between two lines of progress in a log."""
FILE_WIDTH = 100_000
"""Columns of a table that does not go to a terminal: more than any row has."""


def note(text: str) -> None:
    """Print one line for the user."""
    print(printable(with_flags(text)), file=sys.stderr, flush=True)  # noqa: T201


def warn(text: str) -> None:
    """Print one line that should not be overlooked."""
    note(f"warning: {text}")


def result(text: str) -> None:
    """Print one line of what the command was asked for, on stdout."""
    print(printable(text))  # noqa: T201


class Progress:
    """The progress of a command: a bar on a terminal, a line every ten seconds in a log.

    It is used in a with block, and ``progress(stage, count, total)`` moves it (see `degsynth.config.OnProgress`).
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._stage = self._figures = ""
        self._begun = self._printed = 0.0
        self._first = 0

    def __enter__(self) -> Progress:
        return self

    def __call__(self, stage: str, count: int, total: int) -> None:
        """Show that ``count`` of ``total`` steps of a stage are done."""
        if stage != self._stage:
            self._close()
            self._figures = "" if self._stage else self._figures  # those of the stage before
            self._stage = stage
            self._printed = self._begun = time.monotonic()
            self._first = count - 1
        if sys.stderr.isatty():
            self._move_bar(count, total)
        else:
            self._print_line(count, total)

    def _move_bar(self, count: int, total: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=self._first, desc=self._stage, leave=False, dynamic_ncols=True)
        self._bar.total = total
        self._bar.update(count - self._bar.n)

    def _print_line(self, count: int, total: int) -> None:
        now = time.monotonic()
        if now - self._printed >= LOG_INTERVAL_S and 0 < count < total:
            self._printed = now
            left = (now - self._begun) / (count - self._first) * (total - count)
            note(f"{self._stage}: {count}/{total}, about {left:.0f} s left{self._figures and '; ' + self._figures}")

    def state(self, text: str) -> None:
        """Show beside the progress, from now on, what else is to be known of it."""
        self._figures = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def figures(self, text: str) -> None:
        """Show figures of the training: above the bar of a terminal, or in the lines of a log from now on."""
        self._figures = text
        if self._bar is not None:
            self.note(f"{self._bar.n}/{self._bar.total}: {text}")

    @contextlib.contextmanager
    def deferred_stop(self) -> Iterator[Callable[[], bool]]:
        """Let the first SIGINT or SIGTERM wait for the end of this context.

        Yields a function that tells whether a signal has come. If the body raises a DegsynthError after that, it is
        printed before the signal is passed on.
        """
        signals = DeferredSignals()
        try:
            with signals:
                yield signals.asked
        finally:
            if signals.asked():
                self._close()
                failure = sys.exc_info()[1]
                if isinstance(failure, DegsynthError):
                    self.note(f"degsynth: {failure}")
                signals.pass_on()

    def note(self, text: str) -> None:
        """Print one line without disturbing the bar."""
        if self._bar is not None:
            self._bar.write(printable(with_flags(text)), file=sys.stderr)
        else:
            note(text)

    def warn(self, text: str) -> None:
        """Print one line that should not be overlooked, without disturbing the bar."""
        self.note(f"warning: {text}")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], is_note: bool = False) -> None:
    """Print a table on stdout, or on stderr where it ``is_note``; columns other than the first are aligned right.

    On a terminal it is as wide as that. Anywhere else it is plain text, one line a row however long that is.
    """
    from rich.box import HEAVY_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = sys.stderr if is_note else sys.stdout
    on_terminal = stream.isatty()
    printed = Table(box=HEAVY_HEAD if on_terminal else None, pad_edge=on_terminal)
    for index, name in enumerate(header):
        printed.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        # Text, since rich takes square brackets and words between colons in a str for styles and pictures.
        printed.add_row(*(Text(printable(cell, kept="\n")) for cell in row))
    # Given outright, because rich takes variables such as FORCE_COLOR for a terminal, and any file for 80 columns.
    console = Console(
        file=stream, width=None if on_terminal else FILE_WIDTH, force_terminal=on_terminal, highlight=False
    )
    console.print(Text(printable(title), style="bold"))
    console.print(printed)


def scores(title: str, means: dict[str, dict[str, float]], is_note: bool = False) -> None:
    """Print a table of mean scores, one row a model: luma and RGB figures of pairs, or the figures of unpaired fits.

    ``is_note``: as of `table`.
    """
    if not all("psnr_y" in figures for figures in means.values()):
        names = list(dict.fromkeys(name for figures in means.values() for name in figures))
        lines = [
            [model, *(f"{figures[name]:.3f}" if name in figures else "" for name in names)]
            for model, figures in means.items()
        ]
        table(title, ["", *(name.replace("_", " ").replace(" 255", ", /255") for name in names)], lines, is_note)
        return
    header = ["", "PSNR Y", "SSIM Y", "L1 Y", "PSNR RGB", "SSIM RGB", "L1 RGB"]
    rows = []
    for name, figures in means.items():
        cells = [name]
        for colour in ("y", "rgb"):
            cells += [
                f"{figures[f'psnr_{colour}']:.2f} dB",
                f"{figures[f'ssim_{colour}']:.4f}",
                f"{figures[f'l1_{colour}']:.4f}",
            ]
        rows.append(cells)
    table(title, header, rows, is_note)
