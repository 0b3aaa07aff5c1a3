"""A few images, degraded in memory by the code of a run, to be looked at before a data set is made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from degsynth.apply.layouts.pairs import PairWriter
from degsynth.apply.manifest import Row
from degsynth.apply.memory_files import MemoryFiles
from degsynth.apply.options import Options
from degsynth.apply.stages import plan
from degsynth.config import Interval, OnText, ignore_text
from degsynth.data import images
from degsynth.data.sources import Sources
from degsynth.errors import DataError, DegsynthError
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.mixture import Mixture
from degsynth.ops.resample import bicubic
from degsynth.parallel import one_torch_thread

IMAGES = 3
"""Number of images that are shown."""
DRAWS = 3
"""Largest number of LR images that are shown of each."""
MARGIN = 8
"""LR px around the shown part that the bicubic LR is made of, too: more than its kernel reaches."""


@dataclass(frozen=True)
class Example:
    """The middle of an image: HR, LR, and bicubic LR of the same place."""

    rows: tuple[Row, ...]
    """What the manifest would say of each LR image."""
    hr: Tensor
    """(C, s·h, s·w) in [0, 1]."""
    lr: tuple[Tensor, ...]
    """(C, h, w), as they would be written."""
    bicubic: Tensor
    """(C, h, w)."""


def preview(
    model: Checkpoint | Mixture,
    hr: Path | Sources,
    side: int,
    options: Options | None = None,
    on_warning: OnText = ignore_text,
) -> list[Example]:
    """Degrade the first images of ``hr`` and show at most ``side`` LR px of the middle of each. Writes nothing.

    An image that fails is named by ``on_warning``; DataError where none is left.
    """
    options = options or Options()
    degradations = options.degradations(model)
    if options.replay is not None:
        options.replay.check_model(degradations.mixture)
    options = dataclasses.replace(
        options, draws=min(options.draws, DRAWS), crop=None, step=None, replay=None, jpeg_files=False
    )
    sources = hr if isinstance(hr, Sources) else Sources.of(hr)
    files = MemoryFiles(keep=True)
    writer = PairWriter(degradations, options, sources.root, files)
    shown: list[Example] = []
    failure: str | None = None
    for outputs in plan(sources, options, [], degradations.scale).values():
        first = [output for output in outputs if output.page == outputs[0].page][:DRAWS]
        try:
            with one_torch_thread():
                rows = writer.write(first)
            low = [images.to_tensor(files.pictures[str(row.lr)].pixels, writer.data_range) for row in rows]
            with images.opened_stack(sources.root / rows[0].source, options.max_pixels) as stack:
                picture, _ = writer.picture(stack, rows[0].page, sources.root / rows[0].source)
                shown.append(_example(picture, tuple(rows), low, side, writer.data_range))
        except (DegsynthError, OSError, RuntimeError, MemoryError) as error:
            failure = f"{first[0].source}: {writer.failed(first, error)[0].error}"
            on_warning(failure)
        files.pictures.clear()
        if len(shown) == IMAGES:
            break
    if not shown:
        raise DataError(f"no image can be shown, e.g. {failure}")
    return shown


def _example(
    picture: images.Picture, rows: tuple[Row, ...], low: list[Tensor], side: int, data_range: Interval | None
) -> Example:
    """Cut out the middle of an image whose LR images (C, h, w) are ``low``."""
    _, height, width = low[0].shape
    scale = (rows[0].hr_size or (0, 0))[0] // height
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    bottom, right = min(height, top + side), min(width, left + side)
    above, before = max(0, top - MARGIN), max(0, left - MARGIN)
    window = above, min(height, bottom + MARGIN), before, min(width, right + MARGIN)
    high = images.to_tensor(picture.window(*(scale * edge for edge in window)).pixels, data_range)
    part = slice(top - above, bottom - above), slice(left - before, right - before)
    large = (slice(scale * edges.start, scale * edges.stop) for edges in part)
    return Example(
        rows,
        high[(slice(None), *large)],
        tuple(image[:, top:bottom, left:right] for image in low),
        bicubic(high[None], scale)[0][(slice(None), *part)].clamp(0.0, 1.0),
    )
