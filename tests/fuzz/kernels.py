"""Files of kernels: small sound ones that degsynth and other programs write, and ones made by hand to do harm."""

from __future__ import annotations

import functools
import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import scipy.io

SHAPES = (
    (100_001, 100_001), (2**31 - 1, 2**31 - 1), (2**63 - 1, 2**63 - 1), (3, 100_001, 100_001), (10**9,), (),
    (1,) * 40, (0, 9), (9, 0, 9), (-1, 9), (9999, 31, 31), (301, 301), (1, 1), (1, 20_000),
)  # fmt: skip
"""Shapes of arrays that files declare."""
TYPES = ("<f8", ">f4", "<f2", "|O", "<U999999999", "|S5", "<c16", "|b1", "<i8", "|V9", "<M8[s]", "nonsense")
"""Types of NumPy that files declare."""

Array = np.ndarray[Any, Any]


def _kernels(count: int, side: int) -> Array:
    """Return Gaussians (count, side, side) of several widths, each of sum 1."""
    at = np.arange(side) - (side - 1) / 2
    profiles = np.exp(-0.5 * (at / np.linspace(0.8, 2.0, count)[:, None]) ** 2)
    kernels = profiles[:, :, None] * profiles[:, None, :]
    return np.asarray(kernels / kernels.sum((1, 2), keepdims=True))


def _mat(variables: dict[str, Any], packed: bool) -> bytes:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=packed)
    return b"MATLAB 5.0 MAT-file".ljust(116) + buffer.getvalue()[116:]  # the header has the time of day


def _npz(arrays: dict[str, Array], packed: bool) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _hdf5(arrays: dict[str, Array], **how: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **how)
    return buffer.getvalue()


@functools.cache
def sound_mat() -> list[tuple[str, bytes]]:
    """Small sound MATLAB files: plain, packed, of cells, and version 7.3, which is HDF5."""
    cells = np.empty(2, object)
    cells[:] = list(_kernels(2, 9))
    plain = [_mat({"Kernel": _kernels(3, 9)}, packed) for packed in (False, True)]
    files = [*plain, _mat({"k": cells, "n": 3}, True), _hdf5({"Kernel": _kernels(3, 9).T})]
    return [(".mat", content) for content in files]


@functools.cache
def sound_npy() -> list[tuple[str, bytes]]:
    """Small sound files of NumPy, ``.npy`` and ``.npz``."""
    kernels = _kernels(3, 9)
    single = [_npy(kernels[0]), _npy(kernels.astype(">f4")), _npy(np.asfortranarray(kernels[1]).astype("f2"))]
    several = [_npz({"a": kernels[0], "b": kernels}, packed) for packed in (False, True)]
    return [*((".npy", content) for content in single), *((".npz", content) for content in several)]


def sound_hdf5() -> list[tuple[str, bytes]]:
    """Small sound HDF5 files of other programs: plain, and in packed chunks."""
    plain = _hdf5({"kernel": _kernels(3, 9), "other": np.zeros((9, 9))})
    return [(".h5", plain), (".h5", _hdf5({"k": _kernels(2, 12)}, chunks=(1, 12, 12), compression="gzip"))]


# --- files that declare something else than they hold ---------------------------------------------------------------


def npy_header(rng: random.Random) -> tuple[str, bytes]:
    """Return a NumPy file, alone or in an archive, that declares an absurd shape or type, and holds little or much."""
    buffer = io.BytesIO()
    shape = rng.choice((rng.choice(SHAPES), (9, 9)))
    head = {"descr": rng.choice(TYPES), "fortran_order": rng.choice((True, False, 3)), "shape": shape}
    if rng.random() < 0.1:
        del head[rng.choice(list(head))]
    if rng.random() < 0.1:
        head["shape"] = rng.choice(("(" * 90 + ")" * 90, "[9, 9]", "9", "None"))
    text = repr(head).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    length = rng.choice((len(text), len(text), 0xFFFF, 0))
    buffer.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + text + bytes(rng.choice((0, 648, 10**5))))
    return (".npy", buffer.getvalue()) if rng.random() < 0.6 else (".npz", _archive(buffer.getvalue(), rng))


def _archive(member: bytes, rng: random.Random) -> bytes:
    """Put an array file in an archive, which may be packed, and may hold a second member or a bomb."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        archive.writestr(zipfile.ZipInfo(rng.choice(("k.npy", "../k.npy", "/k.npy", "k", "x" * 5000))), member)
        if rng.random() < 0.3:
            packed = zipfile.ZipInfo("bomb.npy")
            packed.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(packed, member + bytes(rng.choice((10**6, 10**8))))
    return buffer.getvalue()


def not_finite(rng: random.Random) -> Array:
    """Return a kernel or kernels with values that none has: NaN, infinity, giants, only zeros, or negative ones."""
    kernels = _kernels(3, rng.choice((3, 9, 12)))
    value = rng.choice((np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, 0.0, -1.0))
    if rng.random() < 0.5:
        kernels[rng.randrange(3)] = value
    else:
        kernels[1, rng.randrange(3), 1] = value
    return rng.choice((kernels, kernels[1]))


def mat_sizes(rng: random.Random) -> tuple[str, bytes]:
    """Return a MATLAB file whose variable declares other sizes, types or lengths; plain or packed."""
    content = bytearray(sound_mat()[0][1])
    place = rng.choice((128, 132, 136, 144, 152, 156, 160, 164, 168, 180, 184))  # tags, class, sizes, name, data
    limits = (0, 1, 3, 9, 100_001, 2**31 - 1, 2**31, 2**32 - 1)
    struct.pack_into("<I", content, place, rng.choice(limits))
    if rng.random() < 0.5:
        return ".mat", bytes(content)
    packed = zlib.compress(bytes(content[128:]) + bytes(rng.choice((0, 0, 10**8))))
    return ".mat", bytes(content[:128]) + struct.pack("<II", 15, rng.choice((len(packed), 2**31 - 1))) + packed


def hdf5_sizes(rng: random.Random) -> tuple[str, bytes]:
    """Return an HDF5 file with a sparse or giant array, a link in a circle or outside, or bytes of another file."""
    buffer = io.BytesIO()
    kind = rng.choice(("sparse", "sparse", "soft", "external", "storage", "loop", "type", "many"))
    with h5py.File(buffer, "w") as file:
        if kind == "sparse":
            shape = (3, *rng.choice(((100_001, 100_001), (301, 301), (20_000, 20_000), (31, 31))))
            chunks = rng.choice(((1, 9, 9), (1, 31, 31)))
            file.create_dataset("kernels", shape, rng.choice(("f8", "u1")), chunks=chunks, compression="gzip")
        elif kind == "soft":
            file["kernels"] = h5py.SoftLink(rng.choice(("/kernels", "/nowhere", "/")))
        elif kind == "external":
            file["kernels"] = h5py.ExternalLink(rng.choice(("HR/a.png", "/etc/hostname")), "/kernels")
        elif kind == "storage":
            external = [(rng.choice(("/etc/passwd", "victim/precious.png")), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("kernels", (3, 9, 9), "u1", external=external)
        elif kind == "loop":
            file["kernels/self"] = file["/"]
        elif kind == "type":
            file["kernels"] = rng.choice((np.ones((3, 9, 9), complex), np.full((3, 3), b"x"), np.ones((3, 3, 3, 3))))
        else:
            for number in range(300):
                file.create_dataset(f"k{number}", (200, 200), "f8", chunks=(10, 10), compression="gzip")
    return rng.choice((".h5", ".mat")), buffer.getvalue()


def pool_changed(pool: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Return a pool of degsynth of which an attribute or an array has another value, type or size."""
    buffer = io.BytesIO(pool)
    with h5py.File(buffer, "r+") as file:
        if rng.random() < 0.5:
            name = rng.choice([*file.attrs, "scale"])
            values = (np.inf, np.nan, -2, 10**9, 0, "2", [2, 2], "[1]", "{", "[" * 20_000, b"\xff", h5py.Empty("f8"))
            file.attrs[name] = rng.choice(values)
        else:
            name = rng.choice(list(file))
            old = file[name]
            if not isinstance(old, h5py.Dataset):
                return ".h5", pool
            shape = old.shape
            del file[name]
            values = (np.nan, np.inf, 0.0, 1e308, -1.0)
            if rng.random() < 0.5:
                file[name] = np.full(shape, rng.choice(values))
            else:
                file.create_dataset(name, (10**5, *shape[1:]), "f8", chunks=(1, *shape[1:]), compression="gzip")
    return ".h5", buffer.getvalue()


def _of_npy(rng: random.Random) -> tuple[str, bytes]:
    array = not_finite(rng)
    return (".npy", _npy(array)) if rng.random() < 0.5 else (".npz", _npz({"k": array}, True))


Crafted = dict[str, Callable[[random.Random], tuple[str, bytes]]]
CRAFTED_NPY: Crafted = {"declared sizes": npy_header, "not finite": _of_npy}
CRAFTED_MAT: Crafted = {
    "declared sizes": mat_sizes,
    "not finite": lambda rng: (".mat", _mat({"k": not_finite(rng)}, rng.random() < 0.5)),
}
CRAFTED_HDF5: Crafted = {
    "declared sizes": hdf5_sizes,
    "not finite": lambda rng: (".h5", _hdf5({"k": not_finite(rng)})),
}
