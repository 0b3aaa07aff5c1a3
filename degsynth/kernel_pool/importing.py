"""Kernels from other programs' files: ``.mat`` (v5, and v7.3, which is HDF5), ``.npy``, ``.npz``, ``.h5``, images.

An array of two dimensions is a kernel, one of three a stack of kernels. Kernels lie on the HR grid and are correlated
with the image (`degsynth.ops.blur`). A kernel that was written for convolution must be turned by 180° (``turn``),
unless it is symmetric.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from degsynth import hdf5
from degsynth.data import images, listing
from degsynth.errors import ConfigError, DataError, DegsynthError, os_reason, shortened
from degsynth.files import read_bounded
from degsynth.kernel_pool import foreign
from degsynth.model import pool_file
from degsynth.model.pool_file import LARGEST_KERNEL, Origin, Pool, widened
from degsynth.ops.kernels import centroid
from degsynth.ops.resample import luma
from degsynth.ops.subpixel import centred, suited

PICTURES = listing.SUFFIXES
ARRAYS = {".mat", ".npy", ".npz", ".h5", ".hdf5"}
LEAST = 3
"""Side of the smallest array that is taken for a kernel."""
MOVED = 0.01
"""A kernel whose centroid was farther from the middle than this (HR px) is reported as centred."""


@dataclass(frozen=True)
class Imported:
    """A pool of imported kernels."""

    pool: Pool
    notes: list[str]
    """Lines for the user: how many kernels were changed, and in which way."""


def find(source: Path) -> list[Path]:
    """List the files that may hold kernels: ``source`` itself, or those in the folder, sorted. DataError for none."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    suffixes = ARRAYS | set(PICTURES)
    paths = sorted(
        path
        for path in source.rglob("*")
        if path.is_file()
        and path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
    )
    if not paths:
        kinds = " ".join(sorted(suffix[1:] for suffix in suffixes))
        raise DataError(f"{source} holds no kernel; they are read from {kinds} files")
    return paths


def read(source: Path, size: int | None = None, scale: int | None = None, turn: bool = False) -> Imported:
    """Read all kernels of a file or folder, centred and of sum 1, into windows of odd ``size`` (None: of the largest).

    Kernels of a pool keep their source and flag. Raises DataError, which names the first kernel that is empty, not
    finite or of sum 0; ConfigError for an impossible size or scale.
    """
    if size is not None and not (3 <= size <= LARGEST_KERNEL and size % 2 == 1):
        raise ConfigError(f"`size={size}`: give an odd number from 3 to {LARGEST_KERNEL}")
    if scale is not None and not 1 <= scale <= pool_file.LARGEST_SCALE:
        raise ConfigError(f"`scale={scale}`: give 1 to {pool_file.LARGEST_SCALE}")
    changes, kernels, origins, largest = Counter[str](), list[Tensor](), list[Origin](), 1
    for path in find(source):
        name = path.name if source.is_file() else path.relative_to(source).as_posix()
        if pool_file.is_pool(path):
            pool = pool_file.read(path)
            kernels += [_normalised(kernel.flip(0, 1) if turn else kernel, changes) for kernel in pool.kernels]
            origins += pool.origins
            largest = max(largest, kernels[-1].shape[0])
            pool_file.check_amount(len(kernels), size or largest, source)
            if pool.scale is not None and scale not in (None, pool.scale):
                raise DataError(f"{path} is a pool of scale {pool.scale}, not {scale}; import pools of one scale only")
            scale = scale or pool.scale
            continue
        for place, array in _arrays(path):
            kernel = _checked(array, f"{path}{place}")
            kernels.append(_normalised(kernel.flip(0, 1) if turn else kernel, changes))
            if not place.isprintable():
                raise DataError(f"{path} has a variable whose name cannot be printed ({place!a})", "it is damaged")
            origins.append(Origin("imported", name + place))
            largest = max(largest, kernels[-1].shape[0])
            # Looked at on the way: numbers may take less room in their files than here.
            pool_file.check_amount(len(kernels), size or largest, source)
    together = torch.cat([_fitted(kernel, size or largest, changes)[None] for kernel in kernels])
    pool = Pool(together, origins, scale, {"imported": str(source)})
    return Imported(pool, [f"{count} of {len(kernels)} kernels {change}" for change, count in changes.items()])


def _arrays(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every kernel of a file after its place in the file.

    Where some arrays have "kernel" in their name, the others are left out.
    """
    try:
        arrays = _contents(path)
    except DegsynthError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read as kernels ({shortened(os_reason(error))})") from None
    except Exception as error:  # every library raises its own kinds of errors
        reason = shortened(str(error)) or type(error).__name__
        raise DataError(f"{path} cannot be read as kernels ({reason}); is it a {path.suffix.lower()} file?") from None
    usable = {place: np.asarray(value) for place, value in arrays.items() if _may_be_kernels(value)}
    if named := {place: value for place, value in usable.items() if "kernel" in place.lower()}:
        usable = named
    if not usable:
        raise DataError(f"{path} holds no kernel: no array of at least {LEAST}×{LEAST} numbers, and no stack of such")
    for place, value in usable.items():
        if value.ndim == 2:
            yield place, value
            continue
        # A stack is (N, K, K), or (K, K, N) as MATLAB has it.
        stack = value if value.shape[1] == value.shape[2] else np.moveaxis(value, 2, 0)
        if len(stack) == 0:
            raise DataError(f"kernel {path}{place} is empty")
        for number, kernel in enumerate(stack):
            yield f"{place}[{number}]", kernel


def _contents(path: Path) -> Mapping[str, Any]:
    """Read all arrays of a file, by their place in it; the sizes that it declares are checked first."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return {"": foreign.npy(read_bounded(path, hdf5.LARGEST_FILE))}
    if suffix == ".npz":
        return {f":{name}": array for name, array in foreign.npz(read_bounded(path, hdf5.LARGEST_FILE)).items()}
    if suffix in (".h5", ".hdf5") or (suffix == ".mat" and h5py.is_hdf5(path)):
        return _of_hdf5(path)
    if suffix == ".mat":
        return _of_variables(foreign.mat(read_bounded(path, hdf5.LARGEST_FILE)))
    if suffix in PICTURES:
        return {"": luma(images.to_tensor(images.read(path).pixels))[0].numpy()}
    raise DataError(f"{path}: kernels are not read from {suffix or 'such'} files")


def _of_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Read the data sets of an HDF5 file; those of MATLAB are transposed, since it writes arrays column by column.

    Links are not followed.
    """
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        matlab = path.suffix.lower() == ".mat"

        def visit(name: str, node: object) -> None:
            if not isinstance(node, h5py.Dataset) or node.ndim not in (2, 3) or name.startswith("#"):
                return
            if node.dtype.kind not in "fiub":
                return
            hdf5.check_storage(node, name)
            if sum(array.nbytes for array in arrays.values()) > hdf5.LARGEST_ARRAY:
                raise ValueError(f"its arrays have more than {hdf5.LARGEST_ARRAY} bytes together")
            array = np.asarray(node)
            arrays[f":{name}"] = array.T if matlab else array

        file.visititems(visit)
    return arrays


def _of_variables(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays among the variables of a MATLAB file; each cell of a cell array is an array of its own."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in variables.items():
        if isinstance(value, np.ndarray) and value.dtype == object:
            cells = enumerate(value.ravel(order="F"), 1)
            arrays |= {f":{name}{{{number}}}": np.asarray(cell) for number, cell in cells}
        elif not name.startswith("__"):
            arrays[f":{name}"] = np.asarray(value)
    return arrays


def _may_be_kernels(value: object) -> bool:
    """Tell whether a value has the type and shape of a kernel or of a stack of kernels.

    Empty arrays count as such: they are refused later, with their name.
    """
    array = np.asarray(value)
    sides = sorted(array.shape)[-2:]
    return array.dtype.kind in "fiub" and array.ndim in (2, 3) and (array.size == 0 or sides[0] >= LEAST)


def _checked(array: np.ndarray, name: str) -> Tensor:
    """Return an array as a kernel of sum 1; DataError where that cannot be."""
    if array.size == 0:
        raise DataError(f"kernel {name} is empty")
    if max(array.shape) > LARGEST_KERNEL:
        raise DataError(
            f"kernel {name} has {array.shape[0]}×{array.shape[1]} taps; more than {LARGEST_KERNEL} are no kernel"
        )
    kernel = torch.from_numpy(np.array(array, np.float64))
    if not bool(torch.isfinite(kernel).all()):
        raise DataError(f"kernel {name} has values that are not finite; leave it out")
    total = float(kernel.sum())
    if total <= 1e-9 * float(kernel.abs().sum()):
        raise DataError(f"kernel {name} sums to {total:g}, so it cannot be scaled to the sum 1; leave it out")
    return kernel / total


def _normalised(kernel: Tensor, changes: Counter[str]) -> Tensor:
    """Return a kernel made square, of odd size, and centred; ``changes`` counts what was done to how many kernels."""
    if bool((kernel < 0).any()):
        changes["have negative taps, which are kept"] += 1
    height, width = kernel.shape
    if height != width:
        changes["were not square: they are padded with zeros"] += 1
    side = max(height, width)
    if (height - width) % 2 != 0:  # one side is even, the other odd: they have no middle in common
        padded = torch.zeros(side + 1, side + 1, dtype=torch.float64)
        padded[:height, :width] = kernel
        kernel = padded
    else:
        down, right = (side - height) // 2, (side - width) // 2
        kernel = torch.nn.functional.pad(kernel, (right, right, down, down))
    if kernel.shape[0] % 2 == 0:
        changes["had an even size: they are moved by half a pixel in both directions, by interpolation"] += 1
        nonnegative = bool((kernel >= 0).all())
        kernel = suited(kernel[None], 1)[0]
        kernel = kernel.clamp(min=0.0) if nonnegative else kernel
    y, x = centroid(kernel)
    if max(abs(y), abs(x)) > MOVED:
        changes["were centred"] += 1
    return centred(kernel)


def _fitted(kernel: Tensor, size: int, changes: Counter[str]) -> Tensor:
    """Return a kernel in a window of ``size``; where more than 0.1 % of it is cut off, ``changes`` counts it."""
    if kernel.shape[0] <= size:
        return widened(kernel[None], size)[0]
    cut = (kernel.shape[0] - size) // 2
    inner = kernel[cut:-cut, cut:-cut]
    if abs(float(inner.sum()) - 1) > 1e-3:
        changes[f"were cut to {size} taps a side, which removed more than 0.1 % of them"] += 1
    return centred(inner / inner.sum())
