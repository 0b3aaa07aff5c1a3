"""The image files of a data set that is not made: they are encoded in memory, measured, and let go.

So a run can be tried without writing anything, by the very code that makes the data set.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from degsynth.apply.dataset_folder import Link, Written
from degsynth.data import images, writing


class MemoryFiles:
    """Takes the place of `dataset_folder.Files`."""

    def __init__(self, keep: bool = False) -> None:
        """``keep`` the pixels of what is written."""
        self.written: dict[str, int] = {}
        """Size in bytes of every file that would have been encoded, by name."""
        self.pictures: dict[str, images.Image] = {}
        """Their pixels, where they are kept."""
        self._keep = keep

    @contextlib.contextmanager
    def transaction(self) -> Iterator[MemoryFiles]:
        """Return itself: nothing has to be taken back."""
        yield self

    def write(self, name: str, size: writing.Size, bands: Iterable[images.Image]) -> Written:
        """Encode an image, and forget the file. It has no SHA-256."""
        parts: list[images.Image] = []
        buffer = io.BytesIO()
        writing.write(buffer, Path(name).suffix, size, self._noted(bands, parts))
        if self._keep:
            pixels = np.concatenate([part.pixels for part in parts])
            self.pictures[name] = images.Image(pixels)
        self.written[name] = buffer.getbuffer().nbytes
        return Written("", self.written[name])

    def _noted(self, bands: Iterable[images.Image], parts: list[images.Image]) -> Iterator[images.Image]:
        for band in bands:
            if self._keep:
                parts.append(band)
            yield band

    def link(self, path: Path, name: str, how: Link) -> Link:
        """Do nothing."""
        return how

    def copy(self, earlier: str, name: str) -> None:
        """Note a file of the same size."""
        self.written[name] = self.written[earlier]
