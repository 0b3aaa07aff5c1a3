"""HDF5 files of strangers: what a data set declares is checked before it is read.

HDF5 can point at other files (external links, external storage, virtual data sets), and can declare arrays of any
size without holding a byte of them. None of that belongs in a kernel pool.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import h5py
import numpy as np

LARGEST_FILE = 2**30
"""Largest file that is read, bytes."""
LARGEST_ARRAY = 2**29
"""Largest array that is read or written, bytes: 70 000 kernels of 31×31 taps."""
LARGEST_RATIO = 1000
"""Largest ratio of an array to what the file holds of it. The compression of HDF5 files reaches it only where all
numbers are alike."""
SMALL_ARRAY = 2**22
"""Arrays of at most so many bytes may be compressed as much as they like."""
LONGEST_TEXT = 2**12
"""Longest text in a list of texts, bytes."""
POINTER = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
"""What a data set of texts of any length holds in their place."""
FILTERS = frozenset({h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF})
"""Filters of data sets that are read."""
SMALL_CHUNK = 2**12
"""Bytes that a chunk may have beyond its declared length, whatever its length."""
CHECKSUM_LENGTH = 4
"""Bytes that the filter Fletcher32 adds to a chunk."""


def dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """Return a direct member of a group that is a data set, lies in this file, and is no larger than it may be.

    ValueError otherwise, KeyError where there is no such member.
    """
    if not isinstance(group.get(name, getlink=True), (h5py.HardLink, type(None))):
        raise ValueError(f"{name} is a link, which may lead to another file")
    node = group[name]
    if not isinstance(node, h5py.Dataset):
        raise ValueError(f"{name} is no data set")
    check_storage(node, name)
    return node


def check_storage(node: h5py.Dataset, name: str) -> None:
    """Raise ValueError where a data set lies in another file, or declares more than it may."""
    if node.external or node.is_virtual:
        raise ValueError(f"{name} has its numbers in another file")
    if node.shape is None:
        raise ValueError(f"{name} is empty")
    size = math.prod(node.shape) * node.dtype.itemsize
    stored = node.id.get_storage_size()
    if size > LARGEST_ARRAY:
        raise ValueError(f"{name} declares {size} bytes, more than {LARGEST_ARRAY}")
    if size > SMALL_ARRAY and size > LARGEST_RATIO * stored:
        raise ValueError(f"{name} declares {size} bytes, but holds {stored}")
    if node.chunks is not None:
        _check_chunks(node, name)


def _check_chunks(node: h5py.Dataset, name: str) -> None:
    """Raise ValueError where a compressed chunk unpacks to more than a chunk: HDF5 unpacks it whatever it holds."""
    properties = node.id.get_create_plist()
    filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    if not FILTERS.issuperset(filters):
        raise ValueError(f"{name} is compressed in a way that is not read")
    length = math.prod(node.chunks) * node.dtype.itemsize
    if length > LARGEST_ARRAY:
        raise ValueError(f"{name} has chunks of {length} bytes, more than {LARGEST_ARRAY}")

    def check(chunk: Any) -> None:
        if chunk.size > length + length // 100 + SMALL_CHUNK:  # what cannot be compressed grows a little
            raise ValueError(f"{name} has a chunk of {chunk.size} bytes for {length}")
        if h5py.h5z.FILTER_DEFLATE in filters:
            skipped, packed = node.id.read_direct_chunk(chunk.chunk_offset)
            if skipped >> filters.index(h5py.h5z.FILTER_DEFLATE) & 1:  # it would have grown
                return
            unpacked = zlib.decompressobj().decompress(packed, length + CHECKSUM_LENGTH + 1)
            if len(unpacked) > length + CHECKSUM_LENGTH:
                raise ValueError(f"{name} has a chunk that unpacks to more than {length} bytes")

    node.id.chunk_iter(check)


def numbers(group: h5py.Group, name: str) -> np.ndarray:
    """Read a data set of real numbers; ValueError for anything else."""
    node = dataset(group, name)
    if node.dtype.kind not in "fiub":
        raise ValueError(f"{name} has no numbers, but {node.dtype}")
    return np.asarray(node)


def texts(group: h5py.Group, name: str, count: int, content: bytes) -> list[str]:
    """Read a data set of ``count`` texts; ValueError for anything else. ``content``: the whole file.

    HDF5 allocates what a text declares for its length before it looks for the text.
    """
    node = dataset(group, name)
    if node.shape != (count,):
        raise ValueError(f"{name} has the shape {list(node.shape)}, not [{count}]")
    kind = h5py.check_string_dtype(node.dtype)
    if kind is None:
        raise ValueError(f"{name} has no texts, but {node.dtype}")
    if kind.length is None:
        start = node.id.get_offset()
        if start is None or start + count * POINTER.itemsize > len(content):
            raise ValueError(f"{name} does not lie in one piece")
        longest = int(np.frombuffer(content, POINTER, count, start)["length"].max(initial=0))
        if longest > LONGEST_TEXT:
            raise ValueError(f"{name} has a text of {longest} bytes, more than {LONGEST_TEXT}")
    return list(node.asstr()[:])


def attribute(group: h5py.Group, name: str) -> object:
    """Return a single value among the attributes; ValueError for an array, KeyError for none."""
    declared = group.attrs.get_id(name)
    if declared.shape != ():
        raise ValueError(f"attribute {name} is no single value")
    return group.attrs[name]
