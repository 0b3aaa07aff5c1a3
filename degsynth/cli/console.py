"""How the command line speaks: notes, warnings, progress and tables, always on stderr.

On a terminal progress is a bar; in a log file it is a line now and then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

LOG_INTERVAL_S = 10.0


def note(text: str) -> None:
    """One line for the user."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


class Progress:
    """``progress(what, count, total)`` moves it; used in a with block."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._what = ""
        self._begun = self._spoken = 0.0

    def __enter__(self) -> Progress:
        return self

    def __call__(self, what: str, count: int, total: int) -> None:
        """``count`` of ``total`` steps of ``what`` are done."""
        if what != self._what:
            self._close()
            self._what, self._begun = what, time.monotonic()
            self._spoken = self._begun
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=total, desc=what, leave=False, dynamic_ncols=True)
            self._bar.update(count - self._bar.n)
            return
        now = time.monotonic()
        if now - self._spoken >= LOG_INTERVAL_S and 0 < count < total:
            self._spoken = now
            left = (now - self._begun) / count * (total - count)
            note(f"{what}: {count}/{total}, about {left:.0f} s left")

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
    """The table of `evaluation.paired.evaluate`'s means: the model and bicubic, luma and RGB."""
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
