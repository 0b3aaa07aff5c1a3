"""One HDF5 file with the datasets ``hr`` and ``lr``, as the loaders of SRCNN and its kin read them.

Arrays have the type of the image files (uint8, uint16 or float32) and the axes N, H, W, C; alpha is left out. Images
whose sizes, channels or types differ cannot be one array: ``hr`` and ``lr`` are then groups with one array (H, W, C)
for every image. Every array says so: in its attribute ``axes``, and in the labels that HDF5 has for dimensions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import h5py

from degsynth.apply.layouts.place import SIDES, Pair, Place
from degsynth.data import images

HOLDS_PNG = False
FILE_NAME = "train.h5"


def write(pairs: Sequence[Pair], place: Place) -> None:
    """Write the file; ``names`` are the stems in the order of the arrays."""
    with new_store(FILE_NAME, pairs, place) as (store, check):
        _write_images(store, pairs, place, check)


@contextlib.contextmanager
def new_store(name: str, pairs: Sequence[Pair], place: Place) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Open a new HDF5 file that has the scale and the names of the pairs.

    Yield it, and what raises the OSError of something that could not be written.
    """
    with place.open(name) as opened:
        file = _Sink(opened)
        try:
            with h5py.File(file, "w") as store:
                store.attrs["scale"] = place.scale
                store["names"] = [pair.stem for pair in pairs]
                yield store, file.check
        finally:
            file.check()


def kinds(pairs: Sequence[Pair]) -> int:
    """Return of how many kinds images are: those of one have the same size, channels and type."""
    return len({(pair.row.hr_size, pair.row.channels, pair.row.dtype) for pair in pairs})


class _Sink:
    """A file for HDF5 that keeps the first error until it is asked: the library would print it and go on."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._error: OSError | None = None
        self.read, self.readinto, self.tell = file.read, file.readinto, file.tell

    def check(self) -> None:
        """Raise the OSError of what could not be written, where there was one."""
        if self._error is not None:
            raise self._error

    def write(self, content: Any) -> int:
        """Write bytes, or nothing any more after an error."""
        self._try(self._file.write, content)
        return memoryview(content).nbytes

    def seek(self, offset: int, whence: int = 0) -> None:
        """Go to a position, which first writes what is still in the buffer."""
        self._try(self._file.seek, offset, whence)

    def truncate(self, size: int | None = None) -> None:
        """Set the length of the file."""
        self._try(self._file.truncate, size)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._try(self._file.flush)

    def _try(self, act: Callable[..., object], *arguments: object) -> None:
        if self._error is None:
            try:
                act(*arguments)
            except OSError as error:
                self._error = error


def _write_images(store: Any, pairs: Sequence[Pair], place: Place, check: Callable[[], None]) -> None:
    """Write images as two arrays where they are of one kind, and otherwise each by itself; end early on an error."""
    alike = kinds(pairs) == 1
    if alike:  # an image is a chunk
        for side in SIDES:
            shape = (*pairs[0].size(side), pairs[0].row.channels)
            array = store.create_dataset(side, (len(pairs), *shape), pairs[0].row.dtype, chunks=(1, *shape))
            _say_axes(array, "NHWC")
    for index, (pair, arrays) in enumerate(place.each(pairs, lambda pair: _arrays(pair, place))):
        check()
        for side, pixels in zip(SIDES, arrays, strict=True):
            if alike:
                store[side][index] = pixels
            else:
                _say_axes(store.create_dataset(f"{side}/{pair.stem}", data=pixels), "HWC")
        names = [f"{side}[{index}]" if alike else f"{side}/{pair.stem}" for side in SIDES]
        place.note(pair, *names, file=FILE_NAME)


def _say_axes(array: Any, axes: str) -> None:
    """Write what the axes of an array are, one letter each: 4 × 48 × 48 may be channels first, or channels last."""
    array.attrs["axes"] = axes
    for number, letter in enumerate(axes):
        array.dims[number].label = letter


def _arrays(pair: Pair, place: Place) -> tuple[images.Array, images.Array]:
    return place.pixels(pair, "hr"), place.pixels(pair, "lr")
