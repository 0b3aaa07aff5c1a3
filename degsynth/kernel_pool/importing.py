"""Kernels from other programs' files: ``.mat`` (v5, and v7.3, which is HDF5), ``.npy``, ``.npz``, ``.h5``, images.

An array of two dimensions is a kernel, one of three a stack of them. Kernels lie on the HR grid, and are correlated
with the image (`ops.blur`): what is written for convolution must be turned by half a turn (``turn``), unless it is
symmetric.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import torch
from torch import Tensor

from degsynth.data import images
from degsynth.errors import ConfigError, DataError, DegsynthError
from degsynth.model import pool_file
from degsynth.model.pool_file import Origin, Pool, widened
from degsynth.ops.kernels import centroid
from degsynth.ops.resample import luma
from degsynth.ops.subpixel import centred, suited

PICTURES = images.SUFFIXES
ARRAYS = {".mat", ".npy", ".npz", ".h5", ".hdf5"}
LEAST = 3
"""Side of the smallest array that is taken for a kernel."""
LARGEST = 201
"""Side of the largest array that is taken for a kernel."""
MOVED = 0.01
"""A kernel farther from the middle than this is said to have been centred, HR px."""


@dataclass(frozen=True)
class Imported:
    """A pool, and what was done to make it one."""

    pool: Pool
    notes: list[str]


def find(source: Path) -> list[Path]:
    """Files that may hold kernels: one, or those of a folder, sorted. DataError where there is none."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    known = ARRAYS | set(PICTURES)
    found = sorted(
        path
        for path in source.rglob("*")
        if path.is_file()
        and path.suffix.lower() in known
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
    )
    if not found:
        raise DataError(f"{source} holds no kernel; they are read from {' '.join(sorted(k[1:] for k in known))} files")
    return found


def read(source: Path, size: int | None = None, scale: int | None = None, turn: bool = False) -> Imported:
    """All kernels of a file or folder, centred, of sum 1, in one window of odd size (None: of the largest).

    Kernels of a pool keep their source and flag. DataError names the first kernel that is empty, not finite, or of sum
    0, ConfigError a size or scale that cannot be.
    """
    if size is not None and (size < 3 or size % 2 == 0):
        raise ConfigError(f"--kernel-size {size}: give an odd number from 3 on")
    if scale is not None and scale < 1:
        raise ConfigError(f"--scale {scale}: give 1 or more")
    done, kernels, origins = Counter[str](), list[Tensor](), list[Origin]()
    for path in find(source):
        name = path.name if source.is_file() else path.relative_to(source).as_posix()
        if pool_file.is_pool(path):
            pool = pool_file.read(path)
            kernels += [_normalised(kernel.flip(0, 1) if turn else kernel, done) for kernel in pool.kernels]
            origins += pool.origins
            if pool.scale is not None and scale not in (None, pool.scale):
                raise DataError(f"{path} is a pool of scale {pool.scale}, not {scale}; import those of one scale only")
            scale = scale or pool.scale
            continue
        for where, array in _arrays(path):
            kernel = _checked(array, f"{path}{where}")
            kernels.append(_normalised(kernel.flip(0, 1) if turn else kernel, done))
            origins.append(Origin("imported", name + where))
    largest = max(kernel.shape[0] for kernel in kernels)
    wanted = size or largest
    together = torch.cat([_fitted(kernel, wanted, done)[None] for kernel in kernels])
    pool = Pool(together, origins, scale, {"imported": str(source)})
    return Imported(pool, [f"{count} of {len(kernels)} kernels {what}" for what, count in done.items()])


def _arrays(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every kernel in a file, with its place in it: arrays called so, where there are any, or else all of them."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            found: Mapping[str, Any] = {"": np.load(path, allow_pickle=False)}
        elif suffix == ".npz":
            with np.load(path) as archive:
                found = {f":{name}": archive[name] for name in archive.files}
        elif suffix in (".h5", ".hdf5") or (suffix == ".mat" and h5py.is_hdf5(path)):
            found = _of_hdf5(path)
        elif suffix == ".mat":
            found = _of_cells(scipy.io.loadmat(path))
        elif suffix in PICTURES:
            found = {"": luma(images.to_tensor(images.read(path).pixels))[0].numpy()}
        else:
            raise DataError(f"{path}: kernels are not read from {suffix or 'such'} files")
    except DegsynthError:
        raise
    except Exception as error:  # every library has its own
        raise DataError(f"{path} cannot be read as kernels ({type(error).__name__}); is it a {suffix} file?") from None
    usable = {where: np.asarray(value) for where, value in found.items() if _may_be_kernels(value)}
    if called := {where: value for where, value in usable.items() if "kernel" in where.lower()}:
        usable = called
    if not usable:
        raise DataError(f"{path} holds no kernel: no array of {LEAST}×{LEAST} numbers at least, and no stack of such")
    for where, value in usable.items():
        if value.ndim == 2:
            yield where, value
            continue
        # A stack: (N, K, K), or MATLAB's (K, K, N).
        stack = value if value.shape[1] == value.shape[2] else np.moveaxis(value, 2, 0)
        if len(stack) == 0:
            raise DataError(f"kernel {path}{where} is empty")
        for number, one in enumerate(stack):
            yield f"{where}[{number}]", one


def _of_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Data sets of a file; MATLAB writes its arrays column by column."""
    found: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        matlab = path.suffix.lower() == ".mat"

        def visit(name: str, node: object) -> None:
            if isinstance(node, h5py.Dataset) and node.ndim in (2, 3) and not name.startswith("#"):
                array = np.asarray(node)
                found[f":{name}"] = array.T if matlab else array

        file.visititems(visit)
    return found


def _of_cells(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Variables of a MATLAB file; what is in a cell array one by one."""
    found: dict[str, np.ndarray] = {}
    for name, value in variables.items():
        if isinstance(value, np.ndarray) and value.dtype == object:
            found |= {f":{name}{{{number}}}": np.asarray(cell) for number, cell in enumerate(value.ravel(order="F"), 1)}
        elif not name.startswith("__"):
            found[f":{name}"] = np.asarray(value)
    return found


def _may_be_kernels(value: object) -> bool:
    """Numbers, as a kernel or a stack of them; empty ones are refused later, by name."""
    array = np.asarray(value)
    sides = sorted(array.shape)[-2:]
    return array.dtype.kind in "fiub" and array.ndim in (2, 3) and (array.size == 0 or sides[0] >= LEAST)


def _checked(array: np.ndarray, name: str) -> Tensor:
    if array.size == 0:
        raise DataError(f"kernel {name} is empty")
    if max(array.shape) > LARGEST:
        raise DataError(f"kernel {name} has {array.shape[0]}×{array.shape[1]} taps; more than {LARGEST} are no kernel")
    kernel = torch.from_numpy(np.array(array, np.float64))
    if not bool(torch.isfinite(kernel).all()):
        raise DataError(f"kernel {name} has values that are not finite; leave it out")
    total = float(kernel.sum())
    if total <= 1e-9 * float(kernel.abs().sum()):
        raise DataError(f"kernel {name} sums to {total:g}, so that it cannot be brought to 1; leave it out")
    return kernel / total


def _normalised(kernel: Tensor, done: Counter[str]) -> Tensor:
    """Square, of odd size, centred."""
    if bool((kernel < 0).any()):
        done["have negative taps, which are kept"] += 1
    height, width = kernel.shape
    if height != width:
        done["were not square: zeros are put about them"] += 1
    side = max(height, width)
    if (height - width) % 2 != 0:  # one even, one odd: no middle in common
        padded = torch.zeros(side + 1, side + 1, dtype=torch.float64)
        padded[:height, :width] = kernel
        kernel = padded
    else:
        down, right = (side - height) // 2, (side - width) // 2
        kernel = torch.nn.functional.pad(kernel, (right, right, down, down))
    if kernel.shape[0] % 2 == 0:
        done["had an even size: moved by half a pixel either way, by interpolation"] += 1
        proper = bool((kernel >= 0).all())
        kernel = suited(kernel[None], 1)[0]
        kernel = kernel.clamp(min=0.0) if proper else kernel
    y, x = centroid(kernel)
    if max(abs(y), abs(x)) > MOVED:
        done["were centred"] += 1
    return centred(kernel)


def _fitted(kernel: Tensor, size: int, done: Counter[str]) -> Tensor:
    """In a window of ``size``; what is cut off is told of."""
    if kernel.shape[0] <= size:
        return widened(kernel[None], size)[0]
    cut = (kernel.shape[0] - size) // 2
    inner = kernel[cut:-cut, cut:-cut]
    if abs(float(inner.sum()) - 1) > 1e-3:
        done[f"were cut to {size} taps a side, which took more than 0.1 % of them"] += 1
    return centred(inner / inner.sum())
