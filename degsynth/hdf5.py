"""HDF5 files of strangers: what a data set declares is checked before it is read.

HDF5 can point at other files (external links, external storage, virtual data sets), and can declare arrays of any
size without holding a byte of them. None of that belongs in a kernel pool
or in a set of images.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

LARGEST_FILE = 2**30
"""Largest file that is read, bytes."""
LARGEST_ARRAY = 2**29
"""Largest array that is read or written, bytes: 70 000 kernels of 31×31 taps."""
NUMBER = 8
"""Bytes of a number once it is read (float64), whatever it has in the file."""
LARGEST_RATIO = 1000
"""Largest ratio of an array to what the file holds of it. The compression of HDF5 files reaches it only where all
numbers are alike."""
SMALL_ARRAY = 2**22
"""Arrays of at most so many bytes may be compressed as much as they like."""
LONGEST_TEXT = 2**12
"""Longest text in a list of texts, bytes."""
ALL_TEXTS = 2**26
"""Bytes of all texts in a list together. Many may point at the same long one."""
LONGEST_RECORD = 2**20
"""Longest text in an attribute, bytes."""
POINTER = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
"""What a data set of texts of any length holds in their place."""
HEAP_HEAD = 16
"""Bytes before the objects of a heap of texts, and before each object."""
ATTRIBUTE_HEAD = 9
"""Largest number of bytes before the name of an attribute."""
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
    if max(size, math.prod(node.shape) * NUMBER) > LARGEST_ARRAY:
        raise ValueError(f"{name} declares {math.prod(node.shape)} values of {node.dtype}, which is too large")
    if size > SMALL_ARRAY and size > LARGEST_RATIO * stored:
        raise ValueError(f"{name} declares {size} bytes, but holds {stored}")
    if node.chunks is not None:
        node.id.chunk_iter(chunk_check(node, name))


def chunk_check(node: h5py.Dataset, name: str) -> Callable[[Any], None]:
    """Return the function that raises ValueError where a chunk unpacks to more than a chunk: HDF5 unpacks it all.

    ValueError at once where chunks are compressed in another way than `FILTERS`, or larger than `LARGEST_ARRAY`.
    """
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

    return check


def numbers(group: h5py.Group, name: str) -> np.ndarray:
    """Read a data set of real numbers; ValueError for anything else."""
    node = dataset(group, name)
    if node.dtype.kind not in "fiub":
        raise ValueError(f"{name} has no numbers, but {node.dtype}")
    return np.asarray(node)


def texts(group: h5py.Group, name: str, count: int, content: bytes) -> list[str]:
    """Read a data set of ``count`` texts; ValueError for anything else. ``content``: the whole file.

    Texts of any length are taken from the file without HDF5, which allocates what a text declares for its length before
    it looks for the text, and does not end where the heap that holds the texts is damaged.
    """
    node = dataset(group, name)
    if node.shape != (count,):
        raise ValueError(f"{name} has the shape {list(node.shape)}, not [{count}]")
    kind = h5py.check_string_dtype(node.dtype)
    if kind is None:
        raise ValueError(f"{name} has no texts, but {node.dtype}")
    if kind.length is not None:
        return list(node.asstr()[:])
    start = node.id.get_offset()
    if start is None or start + count * POINTER.itemsize > len(content):
        raise ValueError(f"{name} does not lie in one piece")
    pointers = np.frombuffer(content, POINTER, count, start)
    if (longest := int(pointers["length"].max(initial=0))) > LONGEST_TEXT:
        raise ValueError(f"{name} has a text of {longest} bytes, more than {LONGEST_TEXT}")
    if (together := int(pointers["length"].sum(dtype=np.int64))) > ALL_TEXTS:
        raise ValueError(f"{name} has texts of {together} bytes together, more than {ALL_TEXTS}")
    return _pointed_at(group, pointers, content)


def _pointed_at(group: h5py.Group, pointers: np.ndarray, content: bytes) -> list[str]:
    """Return the texts that pointers stand for; ValueError where there is none. A length of 0 is the empty text."""
    if group.file.userblock_size:
        raise ValueError("it has a user block, which is not read")
    heaps: dict[int, dict[int, bytes]] = {}
    found = []
    for length, address, index in pointers.tolist():
        if length and address not in heaps:
            heaps[address] = _heap(content, address)
        text = heaps[address].get(index, b"") if length else b""
        if len(text) < length:
            raise ValueError("a text is not where it should be")
        found.append(text[:length].rstrip(b"\0").decode("utf-8"))
    return found


def _heap(content: bytes, address: int) -> dict[int, bytes]:
    """Return what a heap of texts ("global heap collection") at an address holds, by the numbers of its objects."""
    if content[address : address + 5] != b"GCOL\1":
        raise ValueError("its texts are not where they should be")
    (size,) = struct.unpack_from("<8xQ", content, address)
    at, end = address + HEAP_HEAD, address + size
    if end > len(content):
        raise ValueError("its texts are declared larger than the file")
    objects: dict[int, bytes] = {}
    while at + HEAP_HEAD <= end:
        index, length = struct.unpack_from("<H6xQ", content, at)
        at += HEAP_HEAD
        if index == 0:  # the rest is free
            break
        if length > end - at:
            raise ValueError("a text is declared larger than the heap that it lies in")
        objects[index] = content[at : at + length]
        at += -(-length // 8) * 8
    return objects


def number_attribute(group: h5py.Group, name: str) -> float:
    """Return a number among the attributes; ValueError for anything else, KeyError for none."""
    if _single(group, name).kind not in "fiu":
        raise ValueError(f"attribute {name} is no number")
    return float(group.attrs[name])


def text_attribute(group: h5py.Group, name: str, content: bytes) -> str:
    """Return a text among the attributes; ValueError for anything else, KeyError for none. ``content``: the whole file.

    As in `texts`, it is taken from the file without HDF5.
    """
    kind = h5py.check_string_dtype(_single(group, name))
    if kind is None:
        raise ValueError(f"attribute {name} is no text")
    if kind.length is not None:
        value = group.attrs[name]
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    place = _place(name, content)
    pointer = np.frombuffer(content[place : place + POINTER.itemsize], POINTER, 1)
    if (length := int(pointer["length"][0])) > LONGEST_RECORD:
        raise ValueError(f"attribute {name} has {length} bytes, more than {LONGEST_RECORD}")
    return _pointed_at(group, pointer, content)[0]


def _single(group: h5py.Group, name: str) -> np.dtype:
    """Return the type of an attribute; ValueError for an array."""
    declared = group.attrs.get_id(name)
    if declared.shape != ():
        raise ValueError(f"attribute {name} is no single value")
    kind: np.dtype = declared.dtype
    return kind


def _place(name: str, content: bytes) -> int:
    """Return where the file has the value of an attribute; ValueError where that is not plain.

    An attribute is its version, the lengths of its name, type and shape, these three, and the value. Version 1 fills up
    each of the three to a multiple of 8 bytes; version 3 has a byte more before the name.
    """
    key = name.encode() + b"\0"
    at = content.find(key)
    if at < ATTRIBUTE_HEAD or content.find(key, at + 1) >= 0:
        raise ValueError(f"attribute {name} is not where it should be")
    for version, start, fill in ((1, at - 8, 8), (2, at - 8, 1), (3, at - ATTRIBUTE_HEAD, 1)):
        head, of_name, of_type, of_shape = struct.unpack_from("<BxHHH", content, start)
        if (head, of_name) == (version, len(key)):
            parts: tuple[int, ...] = (of_name, of_type, of_shape)
            return at + sum(-(-length // fill) * fill for length in parts)
    raise ValueError(f"attribute {name} is stored in a way that is not read")
