"""How the command line speaks: notes, warnings, progress and tables, always on stderr.

On a terminal progress is a bar; in a log file it is a line now and then.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType, TracebackType
from typing import Any

from degsynth.errors import DegsynthError

LOG_INTERVAL_S = 10.0


def note(text: str) -> None:
    """One line for the user."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


class Progress:
    """``progress(what, count, total)`` moves it; used in a with block."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._what = self._figures = ""
        self._begun = self._spoken = 0.0

    def __enter__(self) -> Progress:
        return self

    def __call__(self, what: str, count: int, total: int) -> None:
        """``count`` of ``total`` steps of ``what`` are done."""
        if what != self._what:
            self._close()
            self._what, self._figures = what, ""
            self._spoken = self._begun = time.monotonic()
            self._first = count - 1
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=total, initial=self._first, desc=what, leave=False, dynamic_ncols=True)
            self._bar.total = total
            self._bar.update(count - self._bar.n)
            return
        now = time.monotonic()
        if now - self._spoken >= LOG_INTERVAL_S and 0 < count < total:
            self._spoken = now
            left = (now - self._begun) / (count - self._first) * (total - count)
            note(f"{what}: {count}/{total}, about {left:.0f} s left{self._figures and '; ' + self._figures}")

    def figures(self, text: str) -> None:
        """How it goes: from now on in every line of a log; on a terminal above the bar, which has no room for it."""
        self._figures = text
        if self._bar is not None:
            self.note(f"{self._bar.n}/{self._bar.total}: {text}")

    @contextlib.contextmanager
    def deferred_stop(self) -> Iterator[Callable[[], bool]]:
        """Within it, the first SIGINT or SIGTERM waits: what it yields tells whether one came. A second acts at once.

        At its end the signal is passed on to the handler that was there before.
        """
        came: list[int] = []
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def remember(number: int, frame: FrameType | None) -> None:
            came.append(number)
            for each, handler in before.items():
                signal.signal(each, handler)

        for each in before:
            signal.signal(each, remember)
        try:
            yield lambda: bool(came)
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
            if came:
                self._close()
                failure = sys.exc_info()[1]
                if isinstance(failure, DegsynthError):
                    self.note(f"degsynth: {failure}")
                signal.raise_signal(came[0])

    def note(self, text: str) -> None:
        """A line that does not disturb the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            note(text)

    def warn(self, text: str) -> None:
        """A line that should not be overlooked."""
        self.note(f"warning: {text}")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stderr; all columns but the first are flush right."""
    from rich.console import Console
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold")
    for index, name in enumerate(header):
        made.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    Console(stderr=True, highlight=False).print(made)


def scores(title: str, means: dict[str, dict[str, float]]) -> None:
    """A table of held-out means, by model: luma and RGB figures of pairs, or whatever there is of unpaired folders."""
    if not all("psnr_y" in figures for figures in means.values()):
        names = list(dict.fromkeys(name for figures in means.values() for name in figures))
        lines = [[who, *(f"{row[name]:.3f}" if name in row else "" for name in names)] for who, row in means.items()]
        table(title, ["", *(name.replace("_", " ").replace(" 255", ", /255") for name in names)], lines)
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
    table(title, header, rows)
