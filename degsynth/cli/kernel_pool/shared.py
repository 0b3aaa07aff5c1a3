"""Options and steps that several sub-commands of ``degsynth kernel-pool`` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from degsynth.cli import console, options
from degsynth.cli.signals import NOTHING_KEPT
from degsynth.errors import ConfigError, OutputError, os_reason
from degsynth.files import is_pool_name

if TYPE_CHECKING:
    from degsynth.kernel_pool.estimate import Estimated
    from degsynth.methods.kmsr import Config
    from degsynth.model.pool_file import Pool

Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="POOL.h5", help="Pool file to write.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace POOL.h5 if it exists.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set an option of kmsr, as listed by 'degsynth methods kmsr'. May be repeated.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Number of windows that are processed at a time. Unset: the number of cores."),
]


def check_output(path: Path, overwrite: bool) -> None:
    """Raise ConfigError where a pool must not be written to ``path``."""
    options.check_output(path)
    if not is_pool_name(path):
        raise ConfigError(f"{path}: give a name that ends in .h5")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists; give another name, or --overwrite")


def kmsr_config(preset: str, assignments: list[str] | None, **flags: object) -> Config:
    """Return the options of kmsr: the preset, then the values of ``--set`` and of ``flags`` (None: not given).

    ConfigError where an option is given both ways.
    """
    from degsynth import config
    from degsynth.fit import FitOptions, resolve
    from degsynth.methods.kmsr import Config

    assigned = config.parse_assignments(assignments or [])
    given = {name: value for name, value in flags.items() if value is not None}
    for name in assigned.keys() & given.keys():
        raise ConfigError(f"--set {name}= and --{name.replace('_', '-')} are both given; leave one out")
    resolved = resolve(FitOptions(method="kmsr", lr="", preset=preset), {**assigned, **given})[1]
    assert isinstance(resolved, Config)
    return resolved


@dataclass(frozen=True)
class Estimation:
    """An estimation of kernels, as the options of a command describe it."""

    lr: Path
    """Folder of LR photographs, one photograph, or a pattern."""
    scale: int
    config: Config
    seed: int
    workers: int | None
    """Number of windows at a time; None: the number of cores."""
    output: Path
    """Pool file that will be written in the end; the journal of the estimation lies beside it."""
    resume: bool
    overwrite: bool
    include: Sequence[str] = ()
    """Patterns that photographs must fit one of, where there are any."""
    exclude: Sequence[str] = ()
    """Patterns that they must not fit."""

    def run(
        self, stop_asked: Callable[[], bool] = lambda: False, time_left: Callable[[], str] = lambda: ""
    ) -> Estimated:
        """Estimate the kernels, until ``stop_asked``. The journal stays until `write_pool` has written the pool.

        The progress shows how many photographs are to come, and ``time_left``.
        """
        from degsynth.data.sources import Choice, Sources
        from degsynth.kernel_pool.estimate import Pace, estimate
        from degsynth.kernel_pool.journal import journal_of
        from degsynth.model.pool_model import LARGEST_SCALE
        from degsynth.parallel import MAX_WORKERS, usable_cores

        if not 1 <= self.scale <= LARGEST_SCALE:
            raise ConfigError(f"--scale {self.scale}: give 1 to {LARGEST_SCALE}")
        if self.workers is not None and not 1 <= self.workers <= MAX_WORKERS:
            raise ConfigError(f"--workers {self.workers}: give 1 to {MAX_WORKERS}")
        if is_pool_name(self.lr):
            raise ConfigError(
                f"{self.lr} is a pool already; learn from it with 'degsynth kernel-pool train', "
                "or add it to another pool with --with"
            )
        photographs = Sources.of_images(self.lr, Choice(tuple(self.include), tuple(self.exclude)))
        if photographs.left_out:
            console.note(f"{photographs.left_out} photographs left out by --include and --exclude")
        journal, workers = journal_of(self.output), self.workers or usable_cores()
        if self.overwrite and not self.resume:
            journal.unlink(missing_ok=True)
        with console.Progress() as progress:

            def on_photographs(seen: int, total: int) -> None:
                parts = [f"{total - seen} of {total} photographs to come" if seen < total else "", time_left()]
                progress.state(", ".join(filter(None, parts)))

            pace = Pace(workers, stop_asked, on_photographs)
            return estimate(photographs, self.scale, self.config, self.seed, pace, journal, self.resume, progress)


def way_on(output: Path) -> str:
    """Say how to go on with an interrupted estimation."""
    from degsynth.kernel_pool.journal import journal_of

    return "go on with the same command and --resume" if journal_of(output).exists() else NOTHING_KEPT


def write_pool(pool: Pool, output: Path, estimated: bool = False) -> None:
    """Write a pool in one move. If it was ``estimated``, its journal is of no further use and is deleted."""
    from degsynth.kernel_pool.journal import journal_of
    from degsynth.model import pool_file

    try:
        pool_file.write(pool, output)
        if estimated:
            journal_of(output).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: {os_reason(error)}") from None


def usable(pool: Pool) -> Pool:
    """Return the kernels of a pool that are not flagged, and say how many are left out."""
    kept = pool.subset(pool.usable())
    if len(kept) < len(pool):
        console.note(f"{len(pool) - len(kept)} flagged kernels are left out")
    return kept


def counts(pool: Pool) -> str:
    """Return how many kernels of each kind a pool has, in words."""
    return ", ".join(f"{count} {kind}" for kind, count in pool.counts().items())
