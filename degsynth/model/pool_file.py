"""The pool file (``*.h5``): kernels on the HR grid, and where each comes from.

::

    kernels (N, K, K) float64   sum 1, centroid in the middle, K odd
    source  (N,)                estimated | generated | analytic | imported
    image   (N,)                the photograph that it was estimated from, or the file that it was read from
    patch   (N, 4)              y, x, height, width of the window in that photograph, px; −1: there is none
    flag    (N,)                why the kernel should not be used; empty where it may be
    attributes                  grid = "hr", scale (0: any), degsynth, and the options that made the pool, as JSON
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

import degsynth
from degsynth import hdf5
from degsynth.errors import DataError, DegsynthError, os_reason, shortened
from degsynth.files import is_pool_name, read_bounded, write_atomic

SOURCES = ("estimated", "generated", "analytic", "imported")
Rectangle = tuple[int, int, int, int]
"""A part of an image: y, x, height, width, px."""
NO_RECTANGLE = (-1, -1, -1, -1)
"""Stands for the window of a kernel that was not estimated from a window."""
LARGEST_SCALE = 16
"""Largest scale that a pool is made for, or applied at."""
LARGEST_KERNEL = 201
"""Largest number of taps that a side of a kernel has."""
SUM_TOLERANCE = 1e-6
"""The sum of a kernel in a file may differ from 1 by this much."""
MOST_KERNELS = 10**5
"""Largest number of kernels in a pool."""


@dataclass(frozen=True)
class Origin:
    """Where a kernel comes from."""

    source: str
    """One of `SOURCES`."""
    image: str = ""
    """The photograph or file; empty for kernels that come from none."""
    patch: Rectangle = NO_RECTANGLE
    """The window of that photograph."""
    flag: str = ""
    """Why the kernel should not be used; empty where it may be."""


@dataclass(frozen=True)
class Pool:
    """Kernels (N, K, K) float64 and their origins."""

    kernels: Tensor
    origins: Sequence[Origin]
    scale: int | None = None
    """Scale of the photographs that they were estimated from: the HR grid is finer by this factor. None: any scale."""
    made_by: dict[str, Any] = field(default_factory=dict)
    """The options that the pool was made with."""

    def __len__(self) -> int:
        return len(self.origins)

    def usable(self) -> list[int]:
        """List the numbers of the kernels without a flag."""
        return [number for number, origin in enumerate(self.origins) if not origin.flag]

    def subset(self, numbers: Sequence[int]) -> Pool:
        """Return a pool of the kernels with these numbers."""
        return Pool(self.kernels[list(numbers)], [self.origins[n] for n in numbers], self.scale, self.made_by)

    def counts(self) -> dict[str, int]:
        """Count the usable kernels of every source, and the flagged kernels with every flag."""
        return dict(Counter(f"flagged: {origin.flag}" if origin.flag else origin.source for origin in self.origins))


def joined(first: Pool, second: Pool) -> Pool:
    """Return the kernels of both pools, one after the other, in windows of the larger size.

    DataError where the pools are of different scales.
    """
    if first.scale and second.scale and first.scale != second.scale:
        raise DataError(
            f"kernels of scale {first.scale} and of scale {second.scale} lie on different grids",
            "estimate both at the same scale",
        )
    size = max(first.kernels.shape[-1], second.kernels.shape[-1])
    kernels = torch.cat([widened(pool.kernels, size) for pool in (first, second)])
    made_by = {"first": first.made_by, "second": second.made_by}
    return Pool(kernels, [*first.origins, *second.origins], first.scale or second.scale, made_by)


def widened(kernels: Tensor, size: int) -> Tensor:
    """Pad kernels (N, K, K) with zeros to an odd ``size``; K is odd and no larger."""
    gap = (size - kernels.shape[-1]) // 2
    return torch.nn.functional.pad(kernels, (gap, gap, gap, gap))


def write(pool: Pool, path: Path) -> None:
    """Write a pool file in one move; OSError where that fails, DataError where it could not be read again."""
    check_amount(len(pool), pool.kernels.shape[-1], path)
    _check(pool.kernels, path)
    _check_texts(pool, path)
    buffer, text = io.BytesIO(), h5py.string_dtype()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("kernels", data=pool.kernels.numpy(), compression="gzip", shuffle=True)
        for name in ("source", "image", "flag"):
            file.create_dataset(name, data=[getattr(origin, name) for origin in pool.origins], dtype=text)
        patches = np.array([origin.patch for origin in pool.origins], np.int64).reshape(-1, 4)
        file.create_dataset("patch", data=patches)
        file.attrs["grid"] = "hr"
        file.attrs["scale"] = pool.scale or 0
        file.attrs["degsynth"] = degsynth.__version__
        file.attrs["made_by"] = _made_by(pool)
    write_atomic(path, buffer.getvalue())


def check_amount(count: int, size: int, name: str | Path) -> None:
    """Raise DataError, which begins with a name, where a pool of so many kernels of ``size`` taps a side is too large.

    What is refused here could not be read again.
    """
    if count > MOST_KERNELS:
        raise DataError(f"{name}: {count} kernels are more than {MOST_KERNELS}", "make several pools")
    if hdf5.NUMBER * count * size**2 > hdf5.LARGEST_ARRAY:
        raise DataError(
            f"{name}: {count} kernels of {size}×{size} taps take more than {hdf5.LARGEST_ARRAY} bytes",
            "make fewer, or smaller ones",
        )


def _made_by(pool: Pool) -> str:
    return json.dumps(pool.made_by, ensure_ascii=False)


def _check_texts(pool: Pool, path: Path) -> None:
    """Raise DataError where a name of an image, or the options that the pool was made with, are too long to be read."""
    names = [text.encode() for origin in pool.origins for text in (origin.image, origin.flag)]
    longest = max(map(len, names), default=0)
    if longest > hdf5.LONGEST_TEXT or sum(map(len, names)) > hdf5.ALL_TEXTS:
        raise DataError(
            f"{path}: the names of its images have up to {longest} bytes, and {sum(map(len, names))} together; a pool "
            f"has names of at most {hdf5.LONGEST_TEXT} and {hdf5.ALL_TEXTS}",
            "shorten the names of files and folders",
        )
    if len(_made_by(pool).encode()) > hdf5.LONGEST_RECORD:
        raise DataError(f"{path}: the options that it was made with are too long", "join fewer pools")


def is_pool(path: Path) -> bool:
    """Tell whether a file was written by `write`; it may be damaged."""
    if not is_pool_name(path) or not path.is_file():
        return False
    try:
        with h5py.File(path, "r") as file:
            return file.get("kernels", getlink=True) is not None and "grid" in file.attrs
    except (OSError, KeyError, ValueError, RuntimeError):
        return False


def read(path: Path) -> Pool:
    """Read a pool file; DataError names the file, what is wrong with it and the way out."""
    try:
        content = read_bounded(path, hdf5.LARGEST_FILE)
    except OSError as error:
        raise DataError(f"kernel pool {path}: {os_reason(error)}") from None
    if not is_pool_name(path):
        raise DataError(f"{path} is no kernel pool: the names of pools end in .h5")
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            if file.get("kernels", getlink=True) is None or "grid" not in file.attrs:
                raise DataError(
                    f"{path} is HDF5, but no kernel pool of degsynth; 'degsynth kernel-pool import {path} -o pool.h5' "
                    "makes a pool of the kernels in other programs' files"
                )
            return _parsed(file, content, path)
    except DegsynthError:
        raise
    except Exception as error:  # HDF5 raises many kinds of errors where a file is damaged
        raise DataError(f"kernel pool {path} cannot be read ({shortened(str(error))}); make it anew") from None


def _parsed(file: h5py.File, content: bytes, path: Path) -> Pool:
    """Read the contents of an open file. DataError for kernels that are none, ValueError for other contents."""
    if len(shape := hdf5.dataset(file, "kernels").shape) == 3:
        check_amount(shape[0], max(shape[1:]), f"kernel pool {path}")
    kernels = torch.from_numpy(np.asarray(hdf5.numbers(file, "kernels"), np.float64))
    _check(kernels, path)
    patches = hdf5.numbers(file, "patch")
    lengths = {hdf5.dataset(file, name).shape[:1] for name in ("source", "image", "flag", "patch")}
    if lengths != {(len(kernels),)}:
        raise DataError(f"kernel pool {path} has {len(kernels)} kernels, but not as many origins; make it anew")
    if patches.shape != (len(kernels), 4) or patches.dtype.kind not in "iu":
        raise ValueError(f"patch has the shape {list(patches.shape)}, not [{len(kernels)}, 4]")
    sources, images, flags = (hdf5.texts(file, name, len(kernels), content) for name in ("source", "image", "flag"))
    if unknown := set(sources) - set(SOURCES):
        raise ValueError(f"source {min(unknown)[:40]!r} is none of {', '.join(SOURCES)}")
    made_by = json.loads(hdf5.text_attribute(file, "made_by", content))
    if not isinstance(made_by, dict):
        raise ValueError("made_by is no JSON object")
    origins = [
        Origin(source, image, (int(patch[0]), int(patch[1]), int(patch[2]), int(patch[3])), flag)
        for source, image, patch, flag in zip(sources, images, patches, flags, strict=True)
    ]
    return Pool(kernels, origins, _scale(hdf5.number_attribute(file, "scale")), made_by)


def _scale(value: float) -> int | None:
    """Return the scale that a file states; None for 0, which stands for any. ValueError for what is no scale."""
    if value not in range(LARGEST_SCALE + 1):
        raise ValueError(f"scale {value:.10g} is none of 1 to {LARGEST_SCALE}")
    return int(value) or None


def _check(kernels: Tensor, path: Path) -> None:
    """Raise DataError where kernels are not (N, K, K) with odd K, where there are none, or where a sum is not 1."""
    if kernels.ndim != 3 or kernels.shape[1] != kernels.shape[2] or kernels.shape[1] % 2 == 0:
        raise DataError(f"kernel pool {path}: kernels of shape {list(kernels.shape)}; (N, K, K) with odd K are needed")
    if len(kernels) == 0:
        raise DataError(f"kernel pool {path} is empty; make it anew")
    if kernels.shape[1] > LARGEST_KERNEL:
        raise DataError(f"kernel pool {path}: kernels of {kernels.shape[1]} taps a side; at most {LARGEST_KERNEL}")
    sums = kernels.sum((1, 2))
    bad = ~((sums - 1).abs() <= SUM_TOLERANCE)  # a sum of NaN is bad, too
    if bool(bad.any()):
        number = int(bad.double().argmax())
        raise DataError(f"kernel pool {path}: kernel {number} has the sum {float(sums[number]):g}, not 1; make it anew")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
