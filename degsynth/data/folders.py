"""Images of one folder, of one colour and type: found, looked at, decoded on demand. Unpaired fits take two of them.

Of a large image the middle is what counts: a thousand of these fit into memory, and a photograph shows as much blur
there as all over.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from degsynth.data import images
from degsynth.data.images import Image
from degsynth.data.pairs import Cache
from degsynth.errors import DataError
from degsynth.files import fingerprint
from degsynth.ops.spread import evenly
from degsynth.seeds import derive

KEPT = 1024
"""Side of the middle that is kept of larger images, px."""
COLOURS = {1: "gray", 3: "RGB"}


class ImageSet(Sequence[Tensor]):
    """Images as tensors (C, H, W) in [0, 1], decoded on demand and kept within a memory budget."""

    def __init__(
        self, folder: Path, sizes: Mapping[str, tuple[int, int]], channels: int, dtype: str, cache: Cache
    ) -> None:
        """Take the sizes (height, width) of what is kept of each image, by name."""
        self.folder, self.names, self.channels, self.dtype = folder, list(sizes), channels, dtype
        self.sizes = dict(sizes)
        self.data_range: tuple[float, float] | None = None
        self.change: Callable[[Image], Image] = lambda image: image
        """What is done to an image when it is decoded."""
        self.kind = "image"
        """Under which images are remembered: changed ones are others."""
        self._cache = cache

    def __len__(self) -> int:
        return len(self.names)

    @property
    def colour(self) -> str:
        """In words."""
        return COLOURS.get(self.channels, f"{self.channels}-channel")

    def path(self, index: int) -> Path:
        """The file."""
        return self.folder if self.folder.is_file() else self.folder / self.names[index]

    def decoded(self, index: int) -> Image:
        """The pixels of its middle, changed as asked."""
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
        """Height and width, of what is kept."""
        return self.sizes[self.names[index]]

    def window(self, index: int, y: int, x: int, height: int, width: int) -> Tensor:
        """A part, from (y, x); only that part is converted."""
        pixels = self.decoded(index).pixels[y : y + height, x : x + width]
        return images.to_tensor(pixels, self.data_range)

    def middle(self, index: int, side: int) -> Tensor:
        """The middle of an image, at most ``side`` px a side."""
        height, width = self.size(index)
        rows, columns = min(side, height), min(side, width)
        return self.window(index, (height - rows) // 2, (width - columns) // 2, rows, columns)

    def subset(self, indices: Sequence[int]) -> ImageSet:
        """Some of them, sharing the memory of all."""
        sizes = {self.names[i]: self.sizes[self.names[i]] for i in indices}
        some = ImageSet(self.folder, sizes, self.channels, self.dtype, self._cache)
        some.data_range, some.change, some.kind = self.data_range, self.change, self.kind
        return some

    def changed(self, kind: str, change: Callable[[Image], Image]) -> ImageSet:
        """The same images, each changed when it is decoded, in a way that keeps its size."""
        same = self.subset(range(len(self)))
        same.change, same.kind = change, kind
        return same

    def spread(self, count: int) -> list[int]:
        """At most so many indices, evenly spread."""
        return evenly(len(self), count)

    def fingerprint(self) -> str:
        """SHA-256 over names and bytes of all files, in order of name."""
        return fingerprint((name, self.path(index)) for index, name in enumerate(self.names))

    def held_out_split(self, seed: int, side: str, fraction: float = 0.1) -> tuple[ImageSet, ImageSet]:
        """Images to fit and held-out ones: 10 %, at least one, chosen by a hash of their names and the seed."""
        count = max(1, round(fraction * len(self)))
        if count >= len(self):
            raise DataError(
                f"{len(self)} {side} image is too few: one is held out to judge the fit; give at least 2 "
                "(one large image can be cut into parts)"
            )
        ranked = sorted(range(len(self)), key=lambda i: derive(seed, self.names[i], 0, 0, f"held-out {side}"))
        return self.subset(sorted(ranked[count:])), self.subset(sorted(ranked[:count]))


class Middles(Sequence[Tensor]):
    """The middles of some images of a set, decoded one at a time."""

    def __init__(self, images: ImageSet, count: int, side: int) -> None:
        self._images, self._indices, self._side = images, images.spread(count), side

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        return self._images.middle(self._indices[index], self._side)


def _middle(image: Image) -> Image:
    """At most `KEPT` px a side, without alpha, in memory of its own."""
    rows, columns = min(KEPT, image.height), min(KEPT, image.width)
    y, x = (image.height - rows) // 2, (image.width - columns) // 2
    return Image(np.ascontiguousarray(image.pixels[y : y + rows, x : x + columns]), None, image.rotated)


@dataclass(frozen=True)
class _Seen:
    """What looking at a file tells."""

    kind: tuple[int, str] = (0, "")
    """Channels and type."""
    size: tuple[int, int] = (0, 0)
    fault: str = ""


def _look(path: Path, least: int) -> _Seen:
    try:
        image = images.read(path)
    except DataError as error:
        return _Seen(fault=str(error).removeprefix(f"{path}: "))
    if min(image.height, image.width) < least:
        return _Seen(fault=f"{image.width}×{image.height} px, at least {least} a side are needed")
    if image.pixels.min() == image.pixels.max():
        return _Seen(fault=f"{image.pixels.flat[0]} all over")
    return _Seen((image.channels, str(image.pixels.dtype)), (min(KEPT, image.height), min(KEPT, image.width)))


def look_at(
    folder: Path,
    side: Literal["HR", "LR"],
    least: int,
    cache: Cache,
    on_image: Callable[[int, int], None] = lambda count, total: None,
) -> tuple[ImageSet, list[tuple[str, str]]]:
    """The usable images of a folder, of the colour and type that most have, and the others with what is wrong.

    ``least``: smallest side, px. Raises DataError where none is usable.
    """
    names, _ = images.find(folder)
    paths = [folder if folder.is_file() else folder / name for name in names]
    found: list[_Seen] = []
    with ThreadPoolExecutor(2) as pool:
        for seen in pool.map(lambda path: _look(path, least), paths):
            found.append(seen)
            on_image(len(found), len(paths))
    kinds = collections.Counter(seen.kind for seen in found if not seen.fault)
    if not kinds:
        raise DataError(f"no {side} image in {folder} can be used; {names[0]}: {found[0].fault}")
    most = kinds.most_common(1)[0][0]
    faults: list[tuple[str, str]] = []
    good: dict[str, tuple[int, int]] = {}
    for name, seen in zip(names, found, strict=True):
        if seen.fault:
            faults.append((name, seen.fault))
        elif seen.kind != most:
            own, usual = (f"{COLOURS.get(kind[0], kind[0])} {kind[1]}" for kind in (seen.kind, most))
            faults.append((name, f"{own} among {usual} images"))
        else:
            good[name] = seen.size
    return ImageSet(folder, good, *most, cache), faults


def both(hr: ImageSet, lr: ImageSet) -> Iterator[Image]:
    """All decoded images of two sets."""
    for side in (hr, lr):
        for index in range(len(side)):
            yield side.decoded(index)
