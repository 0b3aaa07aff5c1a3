"""The pool file (``*.h5``): kernels on the HR grid, and where each comes from.

::

    kernels (N, K, K) float64   sum 1, centroid in the middle, K odd
    source  (N,)                estimated | generated | analytic | imported
    image   (N,)                whose photograph, or which file, it was estimated or read from
    patch   (N, 4)              y, x, height, width of the window in that photograph, px; −1: there is none
    flag    (N,)                why it is no kernel to be trusted, empty where it is
    attributes                  grid = "hr", scale (0: any), degsynth, and the options that made it, as JSON
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
from degsynth.errors import DataError
from degsynth.files import write_atomic
from degsynth.model.checkpoint import POOL_SUFFIXES

SOURCES = ("estimated", "generated", "analytic", "imported")
NOWHERE = (-1, -1, -1, -1)
OFF = 1e-6
"""So far from 1 may the sum of a kernel be that is read."""


@dataclass(frozen=True)
class Origin:
    """Where a kernel comes from."""

    source: str
    image: str = ""
    patch: tuple[int, int, int, int] = NOWHERE
    """y, x, height, width, px of that image."""
    flag: str = ""
    """Why it should not be used; empty: it may be."""


@dataclass(frozen=True)
class Pool:
    """Kernels (N, K, K) float64, and their origins."""

    kernels: Tensor
    origins: Sequence[Origin]
    scale: int | None = None
    """Of the photographs that they were estimated from: the HR grid is so much finer. None: they suit any scale."""
    made_by: dict[str, Any] = field(default_factory=dict)
    """Options that made it."""

    def __len__(self) -> int:
        return len(self.origins)

    def usable(self) -> list[int]:
        """Numbers of the kernels without a flag."""
        return [number for number, origin in enumerate(self.origins) if not origin.flag]

    def subset(self, numbers: Sequence[int]) -> Pool:
        """Some of them."""
        return Pool(self.kernels[list(numbers)], [self.origins[n] for n in numbers], self.scale, self.made_by)

    def counts(self) -> dict[str, int]:
        """How many kernels there are of every source, and with every flag."""
        return dict(Counter(f"flagged: {origin.flag}" if origin.flag else origin.source for origin in self.origins))


def joined(first: Pool, second: Pool) -> Pool:
    """Both, one after another, in windows of the larger size; DataError where they are of different scales."""
    if first.scale and second.scale and first.scale != second.scale:
        raise DataError(
            f"kernels of scale {first.scale} and of scale {second.scale} lie on different grids; make them at one scale"
        )
    size = max(first.kernels.shape[-1], second.kernels.shape[-1])
    kernels = torch.cat([widened(pool.kernels, size) for pool in (first, second)])
    made_by = {"first": first.made_by, "second": second.made_by}
    return Pool(kernels, [*first.origins, *second.origins], first.scale or second.scale, made_by)


def widened(kernels: Tensor, size: int) -> Tensor:
    """Kernels (N, K, K) in windows of an odd size, K odd and no larger."""
    gap = (size - kernels.shape[-1]) // 2
    return torch.nn.functional.pad(kernels, (gap, gap, gap, gap))


def write(pool: Pool, path: Path) -> None:
    """Write the file in one move; OSError where that fails."""
    buffer, text = io.BytesIO(), h5py.string_dtype()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("kernels", data=pool.kernels.numpy(), compression="gzip", shuffle=True)
        for name in ("source", "image", "flag"):
            file.create_dataset(name, data=[getattr(origin, name) for origin in pool.origins], dtype=text)
        places = np.array([origin.patch for origin in pool.origins], np.int64).reshape(-1, 4)
        file.create_dataset("patch", data=places)
        file.attrs["grid"] = "hr"
        file.attrs["scale"] = pool.scale or 0
        file.attrs["degsynth"] = degsynth.__version__
        file.attrs["made_by"] = json.dumps(pool.made_by, ensure_ascii=False)
    write_atomic(path, buffer.getvalue())


def is_pool(path: Path) -> bool:
    """Whether a file is one of ours, sound or not."""
    if path.suffix.lower() not in POOL_SUFFIXES:
        return False
    try:
        with h5py.File(path, "r") as file:
            return "kernels" in file and "grid" in file.attrs
    except OSError:
        return False


def read(path: Path) -> Pool:
    """Read a pool; DataError names the file, what is wrong with it and the way out."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"kernel pool {path}: {error.strerror or error}") from None
    if path.suffix.lower() not in POOL_SUFFIXES:
        raise DataError(f"{path} is no kernel pool: their names end in .h5")
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            if "kernels" not in file or "grid" not in file.attrs:
                raise DataError(
                    f"{path} is HDF5, but no kernel pool of degsynth; 'degsynth kernel-pool import {path} -o pool.h5' "
                    "makes one of kernels in other files"
                )
            kernels = torch.from_numpy(np.asarray(file["kernels"], np.float64))
            texts = {name: file[name].asstr()[:] for name in ("source", "image", "flag")}
            places = np.asarray(file["patch"], np.int64)
            scale = int(file.attrs["scale"]) or None
            if scale is not None and scale < 1:
                raise ValueError(f"scale {scale}")
            made_by = json.loads(file.attrs["made_by"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"kernel pool {path} cannot be read ({str(error).splitlines()[0][:100]}); make it anew"
        ) from None
    _check(kernels, path)
    if not len(kernels) == len(places) == len(texts["source"]) == len(texts["image"]) == len(texts["flag"]):
        raise DataError(f"kernel pool {path} has {len(kernels)} kernels, but not as many origins; make it anew")
    origins = [
        Origin(source, image, (int(place[0]), int(place[1]), int(place[2]), int(place[3])), flag)
        for source, image, place, flag in zip(
            texts["source"], texts["image"], places, texts["flag"], strict=True
        )
    ]  # fmt: skip
    return Pool(kernels, origins, scale, made_by)


def _check(kernels: Tensor, path: Path) -> None:
    if kernels.ndim != 3 or kernels.shape[1] != kernels.shape[2] or kernels.shape[1] % 2 == 0:
        raise DataError(f"kernel pool {path}: kernels of shape {list(kernels.shape)}; (N, K, K) with odd K are needed")
    if len(kernels) == 0:
        raise DataError(f"kernel pool {path} is empty; make it anew")
    sums = kernels.sum((1, 2))
    bad = ~((sums - 1).abs() <= OFF)  # NaN is bad, too
    if bool(bad.any()):
        number = int(bad.double().argmax())
        raise DataError(f"kernel pool {path}: kernel {number} has the sum {float(sums[number]):g}, not 1; make it anew")


def digest(path: Path) -> str:
    """SHA-256 of the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
