"""Blur kernels from a folder of LR photographs.

Windows are chosen and enlarged to the HR grid, and a kernel is estimated from each, in several threads at a time. The
windows and their kernels depend on the photographs and the options alone, and every estimate is noted in a journal
(`degsynth.kernel_pool.journal`). A run that was interrupted and resumed therefore ends in the same file as one that was
not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from degsynth.config import OnProgress, ignore_progress
from degsynth.data import fingerprints
from degsynth.data.sources import Sources
from degsynth.errors import DataError
from degsynth.kernel_pool.journal import Journal, WindowEstimate
from degsynth.kernel_pool.outliers import flags
from degsynth.kernel_pool.windows import Photographs, Window, WindowQueue, enlarged
from degsynth.methods.kmsr import Config
from degsynth.model.pool_file import Origin, Pool
from degsynth.ops import dark_channel
from degsynth.ops.enlargement import without_enlargement
from degsynth.ops.subpixel import centred
from degsynth.parallel import one_torch_thread, stream

DECIDING = (
    "prior", "patch", "patches", "max_patches", "selection", "least_texture", "alpha", "kernel_size", "fitted",
    "interpolation",
)  # fmt: skip
"""Options of kmsr that the kernels depend on."""
STAGE = "estimating kernels"
"""Name of the stage that is passed to `OnProgress`."""


@dataclass(frozen=True)
class Pace:
    """How many windows are worked on, and until when."""

    workers: int = 1
    """Number of windows at a time."""
    stop_asked: Callable[[], bool] = lambda: False
    """Asked after every window. Once it says True and there is a kernel, no further window is estimated."""
    on_photographs: Callable[[int, int], None] = lambda seen, total: None
    """Called after every window with the number of photographs of which there are estimates, and of all."""


@dataclass(frozen=True)
class Estimated:
    """The kernels of a folder, and what could not be estimated."""

    pool: Pool
    windows: int
    """Number of windows, with a kernel or without."""
    failed: dict[str, int]
    """Reasons why there is no kernel, and the number of windows or photographs with each."""
    resumed: int
    """Number of windows that an earlier run had estimated."""
    left: int = 0
    """Number of windows, as far as it is known, that were not estimated because `Pace.stop_asked` said so."""

    def summary(self) -> str:
        """Summarise the result in one line."""
        flagged = Counter(origin.flag for origin in self.pool.origins if origin.flag)
        left_out = [f"{count} flagged ({flag})" for flag, count in sorted(flagged.items())]
        left_out += [f"{count} failed ({reason})" for reason, count in sorted(self.failed.items())]
        usable = len(self.pool.usable())
        text = f"{usable} kernels from {self.windows} windows" + "".join(f", {text}" for text in left_out)
        return text + (f"; {self.left} windows were left when the time was up" if self.left else "")


def fingerprint(photographs: Path | Sources) -> str:
    """Return the SHA-256 over all images of a folder, or over one image file."""
    sources = Sources.of_images(photographs) if isinstance(photographs, Path) else photographs
    return fingerprints.fingerprint(zip(sources.names, sources.paths(), strict=True))


def estimate(
    folder: Path | Sources,
    scale: int,
    config: Config,
    seed: int = 0,
    pace: Pace = Pace(),
    journal: Path | None = None,
    resume: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Estimated:
    """Estimate the kernels of a folder of LR photographs; ``folder`` may also be one image file, or a pattern.

    Estimates are noted in the file ``journal``, if one is given; ``resume`` goes on with the estimates that it holds.
    Raises DataError where not a single kernel could be estimated, ConfigError for a journal of another run.
    ``on_progress`` is called after every window; its total is the number of windows as far as it is known.
    """
    photographs = Photographs.find(folder, scale, config, seed)
    options = {name: getattr(config, name) for name in DECIDING}
    inputs = {"scale": scale, "seed": seed, "photographs": fingerprint(folder), **options}
    notes = Journal(journal, inputs, resume)
    resumed = notes.windows()
    left = _estimate_missing(photographs, notes, pace, on_progress)
    results = notes.in_order()
    failed = Counter(result.fault for result in results if result.kernel is None)
    kept = [result for result in results if result.kernel is not None]
    if not kept:
        notes.delete_file()  # there is nothing to go on from
        reasons = ", ".join(f"{reason} ({count})" for reason, count in failed.most_common(3))
        raise DataError(
            f"no kernel could be estimated from {photographs.folder}: {reasons}",
            "give sharp photographs with texture, or a lower `least_texture`",
        )
    made_by: dict[str, Any] = {"method": "kmsr", "seed": seed, **options}
    made_by |= {"windows": notes.windows(), "failed": dict(sorted(failed.items()))}
    if left:
        made_by["windows_left"] = left
    return Estimated(_pool(kept, scale, config, made_by), notes.windows(), dict(failed), resumed, left)


def _estimate_missing(photographs: Photographs, notes: Journal, pace: Pace, on_progress: OnProgress) -> int:
    """Estimate from every window that the journal does not have yet, or until it is asked to stop.

    Returns the number of windows that are left.
    """
    queue = WindowQueue(photographs, notes.estimates)
    work = stream(queue, partial(estimate_window, photographs), pace.workers)
    with one_torch_thread(), closing(work):
        for finished in work:
            if finished.error is not None:
                raise finished.error
            assert finished.result is not None
            notes.add(finished.result)
            count = notes.windows()
            expected = max(count, queue.expected())
            pace.on_photographs(len({image for image, _ in notes.estimates}), len(photographs.names))
            on_progress(STAGE, count, expected)
            if count < expected and notes.has_kernel() and pace.stop_asked():
                return expected - count
    return 0


def estimate_window(photographs: Photographs, window: Window) -> WindowEstimate:
    """Estimate the kernel of one window; a failure is noted in the result."""
    kernel, fault = None, window.fault
    if not fault:
        try:
            pixels = enlarged(photographs.gray(window.image), window.place, photographs.scale)
            kernel = centred(dark_channel.estimate(pixels, photographs.config.settings())).tolist()
        except (ValueError, DataError) as error:
            fault = str(error)
    return WindowEstimate(window.image, window.rank, window.place, kernel, fault)


def _pool(results: Sequence[WindowEstimate], scale: int, config: Config, made_by: dict[str, Any]) -> Pool:
    """Collect the kernels of windows in a pool; unusual ones are flagged, as they were estimated."""
    kernels = torch.tensor([result.kernel for result in results], dtype=torch.float64)
    origins = [
        Origin("estimated", result.image, result.place, flag)
        for result, flag in zip(results, flags(kernels), strict=True)
    ]
    if config.interpolation == "removed":
        kernels = torch.stack([centred(kernel) for kernel in without_enlargement(kernels, scale)])
    return Pool(kernels, origins, scale, made_by)
