"""The windows of LR photographs that kernels are estimated from: which ones, in what order, and how they are enlarged.

The choice depends on the photographs, the options and the seed alone. A run that goes on after an interruption
therefore chooses the same windows again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.data import images
from degsynth.data.opening import find_data_range
from degsynth.data.sources import Sources
from degsynth.errors import DataError, DegsynthError
from degsynth.methods.kmsr import Config
from degsynth.model.pool_file import NO_RECTANGLE, Rectangle
from degsynth.ops.noise import generator
from degsynth.ops.resample import luma
from degsynth.ops.spread import evenly_spaced
from degsynth.ops.texture import best_windows, passes_eq6
from degsynth.seeds import derive

MARGIN = 4
"""LR px around a window that are enlarged with it; bicubic interpolation reads fewer."""
TRIES = 20
"""Number of random windows that are tried for each one that is wanted, with `selection=eq6`."""


@dataclass(frozen=True)
class Window:
    """A part of a photograph that a kernel is estimated from, or the reason why the photograph has no such part."""

    image: str
    """POSIX path of the photograph relative to the folder."""
    rank: int
    """Number of the window in its photograph, from 0, the best, on; −1: the photograph has no window."""
    place: Rectangle = NO_RECTANGLE
    """The window in the photograph."""
    fault: str = ""
    """Why the photograph has no window; empty where it has one."""


@dataclass(frozen=True)
class Photographs:
    """LR photographs, with the options that decide which windows are taken from them."""

    folder: Path
    """The folder that the names are relative to."""
    names: Sequence[str]
    scale: int
    config: Config
    seed: int

    @classmethod
    def find(cls, source: Path | Sources, scale: int, config: Config, seed: int) -> Photographs:
        """Find the photographs of a folder; ``source`` may also be one image file, or a pattern.

        DataError where there is none.
        """
        sources = Sources.of_images(source) if isinstance(source, Path) else source
        return cls(sources.root, sources.names, scale, config, seed)

    @property
    def limit(self) -> int:
        """Largest number of windows that are taken from all photographs together."""
        limit = self.config.patches * len(self.names)
        return limit if self.config.max_patches is None else min(limit, self.config.max_patches)

    def gray(self, name: str) -> Tensor:
        """Read the luma (H, W) of one photograph."""
        return gray_of(self.folder / name)

    def windows(self, name: str) -> list[Window]:
        """Choose all windows of one photograph, best first; a single one of rank −1 says why there is none."""
        config = self.config
        try:
            gray = self.gray(name)
            size = self._window_size(gray)
        except DegsynthError as error:
            return [Window(name, -1, fault=str(error).removeprefix(f"{self.folder / name}: "))]
        if config.selection == "texture":
            corners = best_windows(gray, size, config.patches, config.least_texture / 255)
        else:
            seed = derive(self.seed, name, 0, 0, "windows")
            corners = _random_windows(gray, size, config.patches, config.alpha, seed)
        if not corners:
            return [Window(name, -1, fault="no texture" if config.selection == "texture" else "rejected by Eq. 6")]
        return [Window(name, rank, (y, x, *size)) for rank, (y, x) in enumerate(corners)]

    def _window_size(self, gray: Tensor) -> tuple[int, int]:
        """Return the height and width of windows, LR px; DataError where the photograph is too small for any."""
        side = -(-(self.config.patch or 256) // self.scale)
        size = min(side, gray.shape[0]), min(side, gray.shape[1])
        least = 3 * self.config.kernel_size
        if min(size) * self.scale < least:
            raise DataError(f"smaller than {-(-least // self.scale)} px")
        return size


class WindowQueue:
    """The windows that are still to be estimated, in order.

    First comes the best window of every photograph, then the second of every one, and so on, until the limit is
    reached. Where there are more photographs than windows, evenly spread photographs come first; the others take the
    place of those that have no window.
    """

    def __init__(self, photographs: Photographs, done: Iterable[tuple[str, int]]) -> None:
        """``done``: photographs and ranks of windows that an earlier run has estimated; they count towards the limit.

        A rank of −1 stands for a photograph that has no window.
        """
        self._photographs, self._done = photographs, set(done)
        self._windows: dict[str, list[Window]] = {name: [] for name, rank in self._done if rank < 0}
        """Windows of the photographs that have been read; empty for those without a window."""
        names = photographs.names
        first = evenly_spaced(len(names), photographs.limit)
        self._order = [names[i] for i in first + sorted(set(range(len(names))) - set(first))]

    def __iter__(self) -> Iterator[Window]:
        """Yield the windows, and for every photograph without one, once, the reason (a window of rank −1)."""
        chosen = 0
        for rank in range(self._photographs.config.patches):
            for name in self._order:
                if chosen == self._photographs.limit:
                    return
                if (name, rank) in self._done:
                    chosen += 1
                    continue
                if name not in self._windows:
                    windows = self._photographs.windows(name)
                    self._windows[name] = [window for window in windows if window.rank >= 0]
                    if not self._windows[name]:
                        yield windows[0]
                if rank < len(self._windows[name]):
                    chosen += 1
                    yield self._windows[name][rank]

    def expected(self) -> int:
        """Return how many windows there will be in all, as far as the photographs have been read."""
        most = self._photographs.config.patches
        counts = [len(self._windows[name]) if name in self._windows else most for name in self._photographs.names]
        return min(self._photographs.limit, sum(counts))


def gray_of(path: Path) -> Tensor:
    """Read the luma (H, W) of a photograph; black and white of a 16-bit file are found from that file alone."""
    image = images.read(path)
    black_white = find_data_range(str(image.pixels.dtype), [image], None)
    return luma(images.to_tensor(image.pixels, black_white))[0]


def _random_windows(gray: Tensor, size: tuple[int, int], count: int, alpha: float, seed: int) -> list[tuple[int, int]]:
    """Choose where at most ``count`` windows begin (y, x), as the paper does: at random, kept where Eq. 6 holds."""
    rng, corners = generator(seed), list[tuple[int, int]]()
    for _ in range(TRIES * count):
        y, x = (int(torch.randint(gray.shape[axis] - size[axis] + 1, (1,), generator=rng)) for axis in (0, 1))
        if passes_eq6(gray[y : y + size[0], x : x + size[1]], alpha):
            corners.append((y, x))
        if len(corners) == count:
            break
    return corners


def enlarged(gray: Tensor, place: Rectangle, scale: int) -> Tensor:
    """Return a window of an image (H, W), enlarged by bicubic interpolation (a = −0.5).

    The result is the same as the window's part of the enlarged whole image.
    """
    y, x, height, width = place
    top, left = max(0, y - MARGIN), max(0, x - MARGIN)
    part = gray[top : y + height + MARGIN, left : x + width + MARGIN]
    if scale > 1:
        size = [length * scale for length in part.shape]
        part = F.interpolate(part[None, None], size, mode="bicubic", antialias=True, align_corners=False)[0, 0]
    first = (y - top) * scale, (x - left) * scale
    return part[first[0] : first[0] + height * scale, first[1] : first[1] + width * scale].contiguous()
