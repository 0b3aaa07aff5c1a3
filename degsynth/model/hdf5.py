"""HDF5 files of strangers: what a data set declares is checked before it is read.

HDF5 can point at other files (external links, external storage, virtual data sets), and can declare arrays of any
size without holding a byte of them. None of that belongs in a kernel pool.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import h5py
import numpy as np

LARGEST_FILE = 2**29
"""Largest file that is read, bytes."""
LARGEST_ARRAY = 2**29
"""Largest array that is read, bytes."""
LARGEST_RATIO = 1000
"""Largest ratio of an array to what the file holds of it. The compression of HDF5 files reaches it only where all
numbers are alike."""
SMALL_ARRAY = 2**22
"""Arrays of at most so many bytes may be compressed as much as they like."""
LONGEST_TEXT = 2**12
"""Longest text in a list of texts."""


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


def numbers(group: h5py.Group, name: str) -> np.ndarray:
    """Read a data set of real numbers; ValueError for anything else."""
    node = dataset(group, name)
    if node.dtype.kind not in "fiub":
        raise ValueError(f"{name} has no numbers, but {node.dtype}")
    return np.asarray(node)


def texts(group: h5py.Group, name: str, count: int) -> list[str]:
    """Read a data set of ``count`` texts; ValueError for anything else.

    Texts are read one by one: a few thousand may point at the same long one.
    """
    node = dataset(group, name)
    if node.shape != (count,):
        raise ValueError(f"{name} has the shape {list(node.shape)}, not [{count}]")
    if h5py.check_string_dtype(node.dtype) is None:
        raise ValueError(f"{name} has no texts, but {node.dtype}")
    return list(_texts(node, name))


def _texts(node: h5py.Dataset, name: str) -> Iterator[str]:
    text = node.asstr()
    for start in range(0, len(node), 16):
        for value in text[start : start + 16]:
            if len(value) > LONGEST_TEXT:
                raise ValueError(f"{name} has a text of {len(value)} characters, more than {LONGEST_TEXT}")
            yield value


def attribute(group: h5py.Group, name: str) -> object:
    """Return a single value among the attributes; ValueError for an array, KeyError for none."""
    declared = group.attrs.get_id(name)
    if declared.shape != ():
        raise ValueError(f"attribute {name} is no single value")
    return group.attrs[name]
