"""Images of one folder, all of one colour and type: found, inspected, and decoded on demand. Unpaired fits use two.

Of a large image only the middle is used: so a thousand images fit into memory, and the blur of a photograph can be seen
in its middle as well as in the whole of it.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from degsynth.config import Interval, OnProgress, ignore_progress
from degsynth.data import images
from degsynth.data.cache import Cache
from degsynth.data.colours import colour_name
from degsynth.data.fingerprints import fingerprint
from degsynth.data.images import Image
from degsynth.data.sources import Sources
from degsynth.data.split import held_out_indices
from degsynth.errors import DataError
from degsynth.ops.compression import BLOCK
from degsynth.ops.spread import evenly_spaced

KEPT = 1024
"""Of an image with longer sides, only the middle with sides of this length (px) is used."""


class ImageSet(Sequence[Tensor]):
    """Images as tensors (C, H, W) in [0, 1], decoded on demand and kept within a memory budget."""

    def __init__(
        self, folder: Path, sizes: Mapping[str, tuple[int, int]], channels: int, dtype: str, cache: Cache
    ) -> None:
        """Hold the images named in ``sizes``, which gives the height and width of the part of each that is used."""
        self.folder, self.names, self.channels, self.dtype = folder, list(sizes), channels, dtype
        self.sizes = dict(sizes)
        self.data_range: Interval | None = None
        self.change: Callable[[Image], Image] = lambda image: image
        """Applied to every image after it was decoded."""
        self.kind = "image"
        """Kind under which the cache keeps the images: a set of changed images has a kind of its own."""
        self._cache = cache

    def __len__(self) -> int:
        return len(self.names)

    @property
    def colour(self) -> str:
        """The colour of the images in words."""
        return colour_name(self.channels)

    def path(self, index: int) -> Path:
        """Return the file of an image."""
        return self.folder / self.names[index]

    def decoded(self, index: int) -> Image:
        """Return the pixels of the middle of an image, changed by `change`."""
        key = str(self.path(index))
        image: Image | None = self._cache.get(self.kind, key)
        if image is None:
            image = self.change(_middle(images.read(self.path(index))))
            self._cache.put(self.kind, key, image, image.pixels.nbytes)
        return image

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return images.to_tensor(self.decoded(index).pixels, self.data_range)

    def size(self, index: int) -> tuple[int, int]:
        """Return the height and width of the part of an image that is used."""
        return self.sizes[self.names[index]]

    def window(self, index: int, y: int, x: int, height: int, width: int) -> Tensor:
        """Return a part of an image that begins at (y, x); only that part is converted to float."""
        pixels = self.decoded(index).pixels[y : y + height, x : x + width]
        return images.to_tensor(pixels, self.data_range)

    def middle(self, index: int, side: int) -> Tensor:
        """Return the middle of an image, at most ``side`` px high and wide."""
        y, x, rows, columns = middle_of(*self.size(index), side)
        return self.window(index, y, x, rows, columns)

    def subset(self, indices: Sequence[int]) -> ImageSet:
        """Return a set of some of the images; it uses the same cache."""
        sizes = {self.names[i]: self.sizes[self.names[i]] for i in indices}
        subset = ImageSet(self.folder, sizes, self.channels, self.dtype, self._cache)
        subset.data_range, subset.change, subset.kind = self.data_range, self.change, self.kind
        return subset

    def changed(self, kind: str, change: Callable[[Image], Image]) -> ImageSet:
        """Return the same images, each changed after it was decoded; ``change`` must keep the size."""
        same = self.subset(range(len(self)))
        same.change, same.kind = change, kind
        return same

    def spread(self, count: int) -> list[int]:
        """Return at most ``count`` indices, evenly spread over the images."""
        return evenly_spaced(len(self), count)

    def fingerprint(self) -> str:
        """Return SHA-256 over names and bytes of all files, in order of name."""
        return fingerprint((name, self.path(index)) for index, name in enumerate(self.names))

    def held_out_split(self, seed: int, side: str, fraction: float = 0.1) -> tuple[ImageSet, ImageSet]:
        """Return the images to fit and the held-out ones, chosen by `held_out_indices`; DataError for a single image.

        ``side`` is HR or LR: each side has a choice of its own.
        """
        fitted, held_out = held_out_indices(self.names, seed, f"held-out {side}", fraction)
        if not fitted:
            raise DataError(
                f"{len(self)} {side} image is too few: one is held out to score the fit",
                "give at least 2 (one large image can be cut into parts)",
            )
        return self.subset(fitted), self.subset(held_out)


class Middles(Sequence[Tensor]):
    """The middles of at most ``count`` images of a set, evenly spread, decoded one at a time."""

    def __init__(self, images: ImageSet, count: int, side: int) -> None:
        self._images, self._indices, self._side = images, images.spread(count), side

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        return self._images.middle(self._indices[index], self._side)


def middle_of(height: int, width: int, side: int) -> tuple[int, int, int, int]:
    """Return the middle of an image, at most ``side`` px (16 or more) high and wide: (y, x, height, width).

    It begins at a block of a JPEG file, also where chroma is at half size, from whichever corner the blocks are counted
    (an image may be stored turned): what is left out at either end is a whole number of such blocks.
    """
    (y, rows), (x, columns) = _middle_of_one(height, side), _middle_of_one(width, side)
    return y, x, rows, columns


def _middle_of_one(length: int, side: int) -> tuple[int, int]:
    """Return where the middle of a length begins, and how long it is."""
    step = 2 * BLOCK
    left_out = -(-max(0, length - side) // step)  # whole blocks
    return left_out // 2 * step, length - left_out * step


def _middle(image: Image) -> Image:
    """Return the middle of an image, at most `KEPT` px high and wide, without alpha and as a copy."""
    y, x, rows, columns = middle_of(image.height, image.width, KEPT)
    return replace(image, pixels=np.ascontiguousarray(image.pixels[y : y + rows, x : x + columns]), alpha=None)


@dataclass(frozen=True)
class _Inspection:
    """What is known of one file after it was decoded once."""

    kind: tuple[int, str] = (0, "")
    """Number of channels, and type."""
    size: tuple[int, int] = (0, 0)
    """Height and width of the part that is used."""
    fault: str = ""
    """Why the image cannot be used; empty where it can."""


def _inspect(path: Path, least: int) -> _Inspection:
    """Decode a file and tell whether its image can be used."""
    try:
        image = images.read(path)
    except DataError as error:
        return _Inspection(fault=str(error).removeprefix(f"{path}: "))
    if min(image.height, image.width) < least:
        return _Inspection(fault=f"{image.width}×{image.height} px, at least {least} a side are needed")
    if image.pixels.min() == image.pixels.max():
        return _Inspection(fault=f"{image.pixels.flat[0]} all over")
    return _Inspection((image.channels, str(image.pixels.dtype)), middle_of(image.height, image.width, KEPT)[2:])


def inspect_folder(
    folder: Path | Sources,
    side: Literal["HR", "LR"],
    least: int,
    cache: Cache,
    on_progress: OnProgress = ignore_progress,
) -> tuple[ImageSet, list[tuple[str, str]]]:
    """Return the usable images of a folder, and the names of the others with the reasons why they cannot be used.

    ``folder`` may also be one image file, or a pattern.
    Usable images have the colour and type that most have, and sides of at least ``least`` px. DataError where there is
    none.
    """
    sources = folder if isinstance(folder, Sources) else Sources.of_images(folder)
    names, paths = sources.names, sources.paths()
    inspections: list[_Inspection] = []
    with ThreadPoolExecutor(2) as pool:
        for inspection in pool.map(lambda path: _inspect(path, least), paths):
            inspections.append(inspection)
            on_progress(f"checking {side} images", len(inspections), len(paths))
    kinds = collections.Counter(inspection.kind for inspection in inspections if not inspection.fault)
    if not kinds:
        raise DataError(f"no {side} image in {sources.root} can be used; {names[0]}: {inspections[0].fault}")
    usual = kinds.most_common(1)[0][0]
    faults: list[tuple[str, str]] = []
    sizes: dict[str, tuple[int, int]] = {}
    for name, inspection in zip(names, inspections, strict=True):
        if inspection.fault:
            faults.append((name, inspection.fault))
        elif inspection.kind != usual:
            faults.append((name, f"{_kind_name(inspection.kind)} among {_kind_name(usual)} images"))
        else:
            sizes[name] = inspection.size
    return ImageSet(sources.root, sizes, *usual, cache), faults


def _kind_name(kind: tuple[int, str]) -> str:
    """Return colour and type in words, e.g. ``RGB uint8``."""
    channels, dtype = kind
    return f"{colour_name(channels)} {dtype}"


def both(hr: ImageSet, lr: ImageSet) -> Iterator[Image]:
    """Yield all decoded images of two sets."""
    for side in (hr, lr):
        for index in range(len(side)):
            yield side.decoded(index)
