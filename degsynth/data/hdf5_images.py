"""Images in the data sets of an HDF5 file, by names such as ``photos.h5:/train/hr[17]``.

A name is the file, a colon, the path of the data set in it, where they are given its axes (``photos.h5:/hr:NCHW``),
and the number of the image where there are several. Axes are N (images), C (channels), H and W. An image is read when
it is asked for, never the whole set.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from degsynth import hdf5
from degsynth.data.hdf5_names import Place, split
from degsynth.data.headers import Header, check_size
from degsynth.data.regular import open_regular
from degsynth.errors import MORE_MEMORY, DataError, is_out_of_memory, os_reason, shortened

Array = NDArray[Any]
CHANNELS = (1, 3)
"""Sizes that an axis of channels has where nothing says which axis that is."""
OTHER_LETTERS = str.maketrans("TZBYXS", "NNNHWC")
"""Letters that others write for the axes in the attribute ``axes``."""
CACHE = 2**28
"""Bytes of unpacked chunks that are kept, as a chunk may hold parts of many images."""
MOST_IMAGES = 10**7


@dataclass
class _Opened:
    """The file that is open, which is kept from one image to the next together with its unpacked chunks."""

    file: BinaryIO | None = None
    store: h5py.File | None = None
    identity: tuple[Any, ...] = ()
    checked: set[tuple[str, int]] = field(default_factory=set)
    """Data sets and places of chunks that were found sound."""

    def close(self) -> None:
        """Close the file, where one is open."""
        if self.store is not None:
            self.store.close()
        if self.file is not None:
            self.file.close()
        self.file, self.store, self.identity, self.checked = None, None, (), set()

    def reopen(self, path: Path) -> h5py.File:
        """Return the open file, after opening it where it is another one, or was changed."""
        status = path.stat()
        identity = (path.absolute(), status.st_size, status.st_mtime_ns, status.st_ino)
        if self.store is None or identity != self.identity:
            self.close()
            self.file = open_regular(path)
            self.store = h5py.File(self.file, "r", rdcc_nbytes=CACHE, rdcc_nslots=100_003)
            self.identity = identity
        return self.store


_OPENED, _LOCK = _Opened(), threading.Lock()
"""HDF5 reads one thing at a time in any case."""
atexit.register(_OPENED.close)


class Found(NamedTuple):
    """What a name in an HDF5 file stands for."""

    images: list[str]
    """Names of the images."""
    others: list[str]
    """Names of data sets that hold something else."""
    unsuitable: dict[str, DataError]
    """Why data sets that may hold images cannot be read, by their names."""


def names(path: Path) -> Found:
    """Return the names of the images that a name stands for, and of data sets that hold none.

    The name is that of a data set, or of a group: then of all data sets below it. DataError where there is no image, or
    where it is not clear which axis of the data set that is named is which.
    """
    place = _of(path)
    found: list[str] = []
    others: list[str] = []
    unsuitable: dict[str, DataError] = {}
    with _LOCK, _named(path):
        node = _node(_OPENED.reopen(place.file), place)
        if isinstance(node, h5py.Dataset):
            found += _images(node, place)
        else:
            for inside, below in _data_sets(node, place.inside):
                within = Place(place.file, inside, place.axes, None)
                if below.ndim in (2, 3, 4) and below.dtype.kind in "uif" and min(below.shape) > 0:
                    try:
                        found += _images(below, within)
                    except DataError as error:
                        unsuitable[within.name] = error
                else:
                    others.append(within.name)
    if not found and not unsuitable:
        raise DataError(f"{path}: holds no image ({len(others)} other data sets)")
    return Found(found, others, unsuitable)


def read(path: Path, max_pixels: int) -> Array:
    """Read an image as (H, W, C) of uint8, uint16 or float32; DataError where it is damaged, too large, or missing."""
    place = _of(path)
    with _LOCK, _named(path):
        node = _node(_OPENED.reopen(place.file), place)
        if not isinstance(node, h5py.Dataset):
            raise DataError(f"{path}: is a group of data sets, not an image")
        axes = _axes(node, place)
        size = dict(zip(axes, node.shape, strict=True))
        check_size(Header("HDF5", size["H"], size["W"], (), 0), 0, max_pixels, path)
        index = place.index or 0
        if index >= size.get("N", 1) or (size.get("N", 1) > 1 and place.index is None):
            raise DataError(f"{path}: there are {size.get('N', 1)} images, numbered from 0")
        _check_written(node, axes, index)
        part: Any = node[tuple(index if axis == "N" else slice(None) for axis in axes)]
    left = axes.replace("N", "")
    pixels = np.transpose(part, [left.index(axis) for axis in "HWC" if axis in left])
    pixels = np.ascontiguousarray(pixels if "C" in left else pixels[..., None])
    wanted = np.dtype(np.float32) if pixels.dtype.kind == "f" else pixels.dtype.newbyteorder("=")
    pixels = pixels.astype(wanted, copy=False)
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise DataError(f"{path}: holds values that are not finite numbers")
    return pixels


def contents(path: Path) -> list[str]:
    """Return names of the data sets of a file with their shapes and types, for messages; at most five."""
    with _LOCK, _named(path):
        store = _OPENED.reopen(path)
        return [f"{path.name}:{inside} ({_by(node)})" for inside, node in itertools.islice(_data_sets(store, "/"), 5)]


def _of(path: Path) -> Place:
    place = split(path)
    if place is None:
        raise DataError(f"{path}: names no data set of an HDF5 file, such as photos.h5:/hr")
    return place


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Make a DataError that names the image of what HDF5 raises, which is of many kinds for damaged files."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise DataError(f"{path}: memory is too short to read it", MORE_MEMORY) from None
        reason = os_reason(error) if isinstance(error, OSError) else str(error)
        raise DataError(f"{path}: cannot be read; {shortened(reason)}") from None


def _node(store: h5py.File, place: Place) -> Any:
    """Return the data set or group of a place; DataError where the file has none there, or it lies elsewhere."""
    node: Any = store
    for part in place.inside.strip("/").split("/"):
        if not part:
            continue
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            known = [f"{place.file.name}:{inside}" for inside, _ in itertools.islice(_data_sets(store, "/"), 5)]
            raise DataError(f"{place.path}: the file has no such data set", f"it has {', '.join(known) or 'none'}")
        if not isinstance(link, h5py.HardLink):
            raise DataError(f"{place.path}: is a link, which may lead to another file", "name the data set itself")
        node = node[part]
    return node


def _data_sets(group: h5py.Group, inside: str) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the data sets below a group with their paths, in order of name; links are passed over."""
    found: list[str] = []
    group.visit(found.append)  # every object once, and only by hard links
    for name in sorted(found):
        node = group[name]
        if isinstance(node, h5py.Dataset) and node.shape is not None:
            yield f"{inside.rstrip('/')}/{name}", node


def _images(node: h5py.Dataset, place: Place) -> list[str]:
    """Return the names of the images of a data set."""
    axes = _axes(node, place)
    count = node.shape[axes.index("N")] if "N" in axes else 1
    if count < 1 or count > MOST_IMAGES:
        raise DataError(f"{place.path}: declares {count} images; 1 to {MOST_IMAGES} can be read")
    if "N" not in axes or place.index is not None:
        return [place.name]
    return [Place(place.file, place.inside, place.axes, index).name for index in range(count)]


def _axes(node: h5py.Dataset, place: Place) -> str:
    """Return the letters of the axes of a data set; DataError where it holds no images, or where that is not clear."""
    if node.external or node.is_virtual:
        raise DataError(f"{place.path}: has its numbers in another file")
    if node.dtype.newbyteorder("=") not in (np.uint8, np.uint16, np.float32, np.float64):
        raise DataError(f"{place.path}: pixels of type {node.dtype}; 8 and 16 bit and float can be used")
    if not node.shape or min(node.shape) < 1:
        raise DataError(f"{place.path}: holds no image, but {_by(node)}")
    way = f"say which axis is which, e.g. {place.file.name}:{place.inside}:{'NHW' if node.ndim == 3 else 'NCHW'}"
    if place.axes:
        if not _fit(place.axes, node.ndim):
            raise DataError(f"{place.path}: the axes {place.axes} are not those of {_by(node)}", way)
        return place.axes
    stated = node.attrs.get("axes")
    stated = stated.decode("ascii", "replace") if isinstance(stated, bytes) else stated
    if isinstance(stated, str) and _fit(stated.upper().translate(OTHER_LETTERS), node.ndim):
        return stated.upper().translate(OTHER_LETTERS)
    possible = _by_sizes(node.shape)
    if len(possible) != 1:
        either = f"it may be {' or '.join(possible)}" if possible else "none of its axes is one of 1 or 3 channels"
        raise DataError(f"{place.path}: {_by(node)}: {either}", way)
    return possible[0]


def _fit(axes: str, count: int) -> bool:
    """Tell whether letters name so many axes of images."""
    return len(axes) == count and len(set(axes)) == count and {"H", "W"} <= set(axes) <= set("NCHW")


def _by_sizes(shape: tuple[int, ...]) -> list[str]:
    """Return what the axes may be by their sizes."""
    if len(shape) == 2:
        return ["HW"]
    if len(shape) == 4:
        return [axes for axes, at in (("NHWC", 3), ("NCHW", 1)) if shape[at] in CHANNELS]
    if len(shape) != 3:
        return []
    if shape[0] == 1 and shape[2] not in CHANNELS:
        return ["NHW"]  # or CHW, which is the same image
    of_channels = [axes for axes, at in (("HWC", 2), ("CHW", 0)) if shape[at] in CHANNELS]
    return ["NHW", *of_channels] if "CHW" in of_channels else of_channels or ["NHW"]


def _check_written(node: h5py.Dataset, axes: str, index: int) -> None:
    """Raise ValueError where a part of an image was never written, so that HDF5 fills in zeros, or is a trap."""
    if node.chunks is None:
        if node.id.get_storage_size() < math.prod(node.shape) * node.dtype.itemsize:
            raise ValueError("it was never written")
        return
    check = hdf5.chunk_check(node, node.name)
    steps = [
        [index // chunk * chunk] if axis == "N" else range(0, length, chunk)
        for axis, length, chunk in zip(axes, node.shape, node.chunks, strict=True)
    ]
    for corner in itertools.product(*steps):
        chunk = node.id.get_chunk_info_by_coord(corner)
        if chunk.byte_offset is None:
            raise ValueError("a part of it was never written")
        if (node.name, chunk.byte_offset) not in _OPENED.checked:
            check(chunk)
            _OPENED.checked.add((node.name, chunk.byte_offset))


def _by(node: h5py.Dataset) -> str:
    return f"{'×'.join(map(str, node.shape)) or 'one value'} {node.dtype}"
