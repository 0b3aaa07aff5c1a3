"""Arrays of NumPy and MATLAB files, whose declared sizes are checked before anything of that size is allocated.

All functions raise an exception of some kind where a file is damaged: every library has its own.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.io

from degsynth.hdf5 import LARGEST_ARRAY

COMPRESSED = 15
"""Type of a data element of a MATLAB file (version 5) that is compressed (miCOMPRESSED)."""
MATRIX = 14
"""Type of a data element that consists of others (miMATRIX)."""
KINDS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13, MATRIX, COMPRESSED, 16, 17, 18})
"""Types of data elements that there are."""
UINT32 = 6
"""Type of a data element of whole numbers without a sign (miUINT32), as which flags are stored."""
UINT32_LENGTH = 4
IS_COMPLEX = 0x800
"""Flag of an array that has imaginary parts."""
PARTS = {4: 4, 5: 6, **dict.fromkeys(range(6, 16), 4)}
"""Number of data elements of a real array by its class: 4 characters, 5 sparse, 6 to 15 numbers."""
TAG = 8
"""Bytes of the tag before a data element; elements begin at multiples of it, compressed ones excepted."""
DEEPEST = 32
"""Deepest nesting of cells and structures that is read."""
V5_HEADER = 128
"""Length of the header of a MATLAB file of version 5, bytes."""
BYTES_PER_ELEMENT = 16
"""Bytes of the largest number, complex128; a cell takes fewer."""


def npy(content: bytes) -> np.ndarray:
    """Read a ``.npy`` file. Arrays of objects are refused: reading them would run code."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise ValueError("it has objects, not numbers")
    declared, held = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if min(shape, default=1) < 0 or declared > held:
        raise ValueError(f"it declares {declared} bytes of numbers, but holds {held}")
    file.seek(0)
    return np.asarray(np.load(file, allow_pickle=False))


def npz(content: bytes) -> dict[str, np.ndarray]:
    """Read the arrays of a ``.npz`` file by name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        declared = sum(entry.file_size for entry in entries)
        if declared > LARGEST_ARRAY:
            raise ValueError(f"it declares {declared} bytes, more than {LARGEST_ARRAY}")
        arrays = [entry for entry in entries if entry.filename.endswith(".npy")]
        return {entry.filename.removesuffix(".npy"): npy(archive.read(entry)) for entry in arrays}


def mat(content: bytes) -> Mapping[str, Any]:
    """Read the variables of a MATLAB file of version 4 or 5."""
    if len(content) >= V5_HEADER and content[126:128] in (b"IM", b"MI"):
        _Elements("<" if content[126:128] == b"IM" else ">").check(content[V5_HEADER:])
    total = 0
    for name, shape, _ in scipy.io.whosmat(io.BytesIO(content)):
        total += math.prod(shape) * BYTES_PER_ELEMENT
        if min(shape, default=0) < 0 or total > LARGEST_ARRAY:
            raise ValueError(f"{name} declares the size {list(shape)}, which is too large")
    variables: Mapping[str, Any] = scipy.io.loadmat(io.BytesIO(content))
    return variables


class _Elements:
    """A walk through the data elements of a MATLAB file, version 5: their types, lengths, and what they unpack to.

    SciPy takes a type for the index of a table without looking at its bounds, which ends the process.
    """

    def __init__(self, order: str) -> None:
        self._order = order
        self._left = LARGEST_ARRAY

    def check(self, content: bytes, depth: int = 0) -> list[tuple[int, bytes]]:
        """Return types and contents of elements, one after the other; ValueError where they are not as they must be."""
        if depth > DEEPEST:
            raise ValueError(f"its cells are nested deeper than {DEEPEST}")
        at, elements = 0, []
        while at < len(content):
            if len(content) - at < TAG:
                raise ValueError("an element is cut short")
            kind, length = struct.unpack_from(f"{self._order}II", content, at)
            start, longest = at + TAG, len(content) - at - TAG
            if kind >> 16:  # a small element has its length, type and contents in the place of a tag
                kind, length, start, longest = kind & 0xFFFF, kind >> 16, at + TAG // 2, TAG // 2
            if kind not in KINDS or length > longest:
                raise ValueError(f"an element has the type {kind} and {length} bytes, which cannot be")
            at = start + length + (0 if kind == COMPRESSED else -(start + length - at) % TAG)
            inner = content[start : start + length]
            elements.append((kind, inner))
            if kind == COMPRESSED:
                self.check(self._unpacked(inner), depth + 1)
            if kind == MATRIX:
                self._check_matrix(self.check(inner, depth + 1))
        return elements

    def _check_matrix(self, elements: list[tuple[int, bytes]]) -> None:
        """Raise ValueError where an array of numbers or characters has more or fewer parts than its flags say."""
        if not elements:  # an empty cell
            return
        kind, flags = elements[0]
        if kind != UINT32 or len(flags) != 2 * UINT32_LENGTH:
            raise ValueError("an array has no flags")
        (word,) = struct.unpack_from(f"{self._order}I", flags)
        expected = PARTS.get(word & 0xFF)
        if expected is None:  # cells, structures and the like, whose parts SciPy checks
            return
        parts = [kind for kind, _ in elements]
        if len(parts) != expected + bool(word & IS_COMPLEX) or MATRIX in parts or COMPRESSED in parts:
            raise ValueError(f"an array has {len(parts)} parts, which are not those of its kind")

    def _unpacked(self, packed: bytes) -> bytes:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(packed, self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"its compressed variables hold more than {LARGEST_ARRAY} bytes")
        return content
