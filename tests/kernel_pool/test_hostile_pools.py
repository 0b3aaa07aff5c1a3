"""Pools and other programs' kernels that are damaged or made to do harm: one line, and no memory is taken for them."""

from __future__ import annotations

import io
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from degsynth import hdf5
from degsynth.errors import DegsynthError
from degsynth.kernel_pool import foreign, importing
from degsynth.model import pool_file
from degsynth.ops.kernels import gaussian
from tests.kernel_pool.test_pool_file import small

KERNEL = gaussian(9, 1.1, 2.0, 0.5).numpy()
NESTED = "[" * 100_000 + "]" * 100_000


def one_line(read: Callable[[], Any], name: str) -> str:
    """Return the line with which a file is refused; it names the file."""
    with pytest.raises(DegsynthError, match=name) as caught:
        read()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    return message


def outcome(read: Callable[[], Any]) -> str:
    """Return the line with which a file is refused; empty where it is read."""
    try:
        read()
    except DegsynthError as error:
        return str(error)
    return ""


def changed(path: Path, change: Callable[[h5py.File], object]) -> Path:
    pool_file.write(small(), path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replaced(file: h5py.File, name: str, **new: Any) -> None:
    del file[name]
    file.create_dataset(name, **new)


def linked(file: h5py.File, name: str, link: Any) -> None:
    del file[name]
    file[name] = link


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 9, 9), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "kernels", (3, 9, 9))
    del file["kernels"]
    file.create_virtual_dataset("kernels", layout)


def bomb(file: h5py.File, packed: bytes = zlib.compress(bytes(10**6))) -> None:
    replaced(file, "kernels", shape=(3, 9, 9), dtype="f8", chunks=(3, 9, 9), compression="gzip")
    file["kernels"].id.write_direct_chunk((0, 0, 0), packed)


TEXT = h5py.string_dtype()
POOLS: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "scale inf": (lambda file: file.attrs.__setitem__("scale", np.inf), "scale inf"),
    "scale nan": (lambda file: file.attrs.__setitem__("scale", np.nan), "scale nan"),
    "scale large": (lambda file: file.attrs.modify("scale", 10**9), "scale 1000000000"),
    "scale negative": (lambda file: file.attrs.modify("scale", -2), "scale -2"),
    "scale text": (lambda file: file.attrs.__setitem__("scale", "2"), "scale is no number"),
    "scale array": (lambda file: file.attrs.__setitem__("scale", [2, 2]), "single value"),
    "made_by list": (lambda file: file.attrs.__setitem__("made_by", "[1]"), "made_by"),
    "made_by text": (lambda file: file.attrs.__setitem__("made_by", "{"), "cannot be read"),
    "made_by number": (lambda file: file.attrs.__setitem__("made_by", 3), "made_by"),
    "made_by nested": (lambda file: file.attrs.__setitem__("made_by", NESTED[:20_000]), "cannot be read"),
    "made_by missing": (lambda file: file.attrs.__delitem__("made_by"), "cannot be read"),
    "self link": (lambda file: linked(file, "kernels", h5py.SoftLink("/kernels")), "link"),
    "soft link": (lambda file: linked(file, "patch", h5py.SoftLink("/kernels")), "link"),
    "external link": (lambda file: linked(file, "kernels", h5py.ExternalLink("x.h5", "/kernels")), "link"),
    "group": (lambda file: linked(file, "kernels", file["/"]), "no data set"),
    "external storage": (
        lambda file: replaced(
            file, "kernels", shape=(3, 9, 9), dtype="f8", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
        ),
        "another file",
    ),
    "virtual": (virtual, "another file"),
    "huge": (
        lambda file: replaced(file, "kernels", shape=(3, 100001, 100001), dtype="f8", chunks=(1, 9, 9)),
        "declares",
    ),
    "sparse": (
        lambda file: replaced(file, "kernels", shape=(9999, 31, 31), dtype="f8", chunks=(1, 31, 31)),
        "declares",
    ),
    "wide": (lambda file: replaced(file, "kernels", data=np.full((1, 301, 301), 1 / 301**2)), "taps"),
    "texts": (lambda file: replaced(file, "kernels", data=["a", "b", "c"], dtype=TEXT), "no numbers"),
    "complex": (lambda file: replaced(file, "kernels", data=np.ones((3, 9, 9), complex)), "no numbers"),
    "scalar": (lambda file: replaced(file, "kernels", data=1.0), "shape"),
    "empty": (lambda file: replaced(file, "kernels", data=h5py.Empty("f8")), "empty"),
    "patch flat": (lambda file: replaced(file, "patch", data=np.zeros(3, np.int64)), "patch"),
    "patch inf": (lambda file: replaced(file, "patch", data=np.full((3, 4), np.inf)), "patch"),
    "source number": (lambda file: replaced(file, "source", data=np.zeros(3)), "no texts"),
    "source unknown": (lambda file: replaced(file, "source", data=["a\x1b[2J"] * 3, dtype=TEXT), "none of"),
    "source many": (lambda file: replaced(file, "source", data=["estimated"] * 4, dtype=TEXT), "origins"),
    "flag long": (lambda file: replaced(file, "flag", data=["a" * 10**6] * 3, dtype=TEXT), "a text of 1000000 bytes"),
    "flag pieces": (lambda file: replaced(file, "flag", data=["a"] * 3, dtype=TEXT, chunks=(1,)), "one piece"),
    "chunk bomb": (lambda file: bomb(file), "unpacks to more"),
    "chunk large": (lambda file: bomb(file, b"x" * 10**5), "a chunk of 100000 bytes"),
    "chunk huge": (
        lambda file: replaced(
            file, "kernels", shape=(3, 9, 9), maxshape=(None,) * 3, dtype="f8", chunks=(1, 9999, 9999)
        ),
        "has chunks",
    ),
    "filter": (lambda file: replaced(file, "kernels", data=np.ones((3, 9, 9)), scaleoffset=2), "not read"),
}


@pytest.mark.parametrize("case", POOLS)
def test_a_pool_of_nonsense_is_one_line(case: str, tmp_path: Path) -> None:
    change, what = POOLS[case]
    path = changed(tmp_path / "p.h5", change)
    assert what in one_line(lambda: pool_file.read(path), r"p\.h5")
    one_line(lambda: importing.read(path), r"p\.h5")


@pytest.mark.parametrize("seed", range(30))
def test_a_flipped_bit_in_a_pool_is_one_line_or_a_pool(seed: int, tmp_path: Path) -> None:
    """HDF5 has no checksums, so a pool with other numbers in it may be read; but nothing else may happen."""
    pool_file.write(small(), tmp_path / "p.h5")
    content, rng = bytearray((tmp_path / "p.h5").read_bytes()), random.Random(seed)
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    (tmp_path / "p.h5").write_bytes(content)
    assert outcome(lambda: pool_file.read(tmp_path / "p.h5")).isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_no_pool(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.h5")
    assert not pool_file.is_pool(tmp_path / "p.h5")
    one_line(lambda: pool_file.read(tmp_path / "p.h5"), "is a named pipe; only regular files")


# --- files of NumPy -------------------------------------------------------------------------------------------------


def header(shape: str, dtype: str = "<f8") -> bytes:
    """Return a ``.npy`` file that declares a shape and holds nothing."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


NPY = {
    "huge": header("(100001, 100001)"),
    "overflow": header("(9223372036854775807, 9223372036854775807)"),
    "negative": header("(-1, 9)"),
    "objects": header("(9, 9)", "|O"),
    "nested": header("(" * 90 + ")" * 90),
    "text": header("(9, 9)", "<U999999999"),
    "no shape": header("'a'"),
    "cut": header("(9, 9)")[:30],
    "empty": b"",
    "magic": b"\x93NUMPY",
}


@pytest.mark.parametrize("case", NPY)
def test_an_array_file_of_nonsense_is_one_line(case: str, tmp_path: Path) -> None:
    (tmp_path / "k.npy").write_bytes(NPY[case])
    one_line(lambda: importing.read(tmp_path / "k.npy"), r"k\.npy")
    np.savez(tmp_path / "k.npz", good=KERNEL)
    with zipfile.ZipFile(tmp_path / "k.npz", "a") as archive:
        archive.writestr("bad.npy", NPY[case])
    one_line(lambda: importing.read(tmp_path / "k.npz"), r"k\.npz")


def test_an_archive_of_arrays_that_is_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "k.npz", kernel=np.zeros((200, 60, 60)))
    monkeypatch.setattr(foreign, "LARGEST_ARRAY", 10**6)
    monkeypatch.setattr(foreign, "npy", lambda _: pytest.fail("it is unpacked"))
    assert "declares" in one_line(lambda: importing.read(tmp_path / "k.npz"), r"k\.npz")


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    class Program:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "made"),)

    np.save(tmp_path / "k.npy", np.array([Program()], object), allow_pickle=True)
    np.savez(tmp_path / "k.npz", kernel=np.array([Program()], object))
    for name in ("k.npy", "k.npz"):
        one_line(lambda name=name: importing.read(tmp_path / name), name)
    assert not (tmp_path / "made").exists()


# --- files of MATLAB ------------------------------------------------------------------------------------------------


def matrix(shape: tuple[int, ...], content: bytes = b"") -> bytes:
    """Return a variable ``k`` of a MATLAB file, version 5, of this declared shape."""
    flags = struct.pack("<IIII", 6, 8, 6, 0)
    sizes = struct.pack(f"<II{len(shape)}i", 5, 4 * len(shape), *shape) + bytes(-4 * len(shape) % 8)
    name = struct.pack("<HH4s", 1, 1, b"k")
    data = struct.pack("<II", 9, len(content)) + content
    return struct.pack("<II", 14, len(flags + sizes + name + data)) + flags + sizes + name + data


def matlab(element: bytes, packed: bool = False) -> bytes:
    head = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    squeezed = zlib.compress(element)
    return head + (struct.pack("<II", 15, len(squeezed)) + squeezed if packed else element)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(100001, 100001), (2**31 - 1, 2**31 - 1), (-1, 9), (9, 9), (3,) * 40])
def test_a_matlab_file_of_nonsense_is_one_line(shape: tuple[int, ...], packed: bool, tmp_path: Path) -> None:
    (tmp_path / "k.mat").write_bytes(matlab(matrix(shape), packed))
    one_line(lambda: importing.read(tmp_path / "k.mat"), r"k\.mat")


def test_a_matlab_file_of_another_size(tmp_path: Path) -> None:
    (tmp_path / "k.mat").write_bytes(matlab(matrix((9, 9), KERNEL.T.tobytes()), True))
    assert importing.read(tmp_path / "k.mat").pool.kernels.shape == (1, 9, 9)
    with (tmp_path / "v4.mat").open("wb") as file:
        file.write(struct.pack("<iiiii", 0, 100001, 100001, 0, 2) + b"k\0")
    one_line(lambda: importing.read(tmp_path / "v4.mat"), r"v4\.mat")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (struct.pack("<II", 9, 648), struct.pack("<II", 41, 648)),  # no such type: an index beyond SciPy's table
        (struct.pack("<II", 9, 648), struct.pack("<II", 10, 648)),  # a type that is reserved
        (struct.pack("<II", 9, 648), struct.pack("<II", 14, 648)),
        (struct.pack("<II", 9, 648), struct.pack("<II", 9, 2**31)),
        (struct.pack("<III", 6, 8, 6), struct.pack("<III", 6, 8, 0x806)),  # complex, but without an imaginary part
        (struct.pack("<III", 6, 8, 6), struct.pack("<III", 6, 8, 5)),  # sparse, but without indices
        (struct.pack("<III", 6, 8, 6), struct.pack("<III", 6, 7, 6)),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_elements_that_end_the_process_in_scipy(old: bytes, new: bytes, packed: bool, tmp_path: Path) -> None:
    element = matrix((9, 9), KERNEL.T.tobytes())
    assert element.count(old) == 1
    # Another variable follows: SciPy would take its beginning for the missing part.
    (tmp_path / "k.mat").write_bytes(matlab(element.replace(old, new), packed) + element)
    one_line(lambda: importing.read(tmp_path / "k.mat"), r"k\.mat")


def test_many_small_kernels_beside_a_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are padded to the size of the largest, so the sizes of the files do not bound the memory."""
    np.savez(tmp_path / "k.npz", a=np.ones((50, 3, 3)), b=np.ones((41, 41)))
    monkeypatch.setattr(hdf5, "LARGEST_ARRAY", 10**5)
    assert "make fewer" in one_line(lambda: importing.read(tmp_path / "k.npz"), r"k\.npz")


@pytest.mark.parametrize(
    "options", [{}, {"shuffle": True}, {"fletcher32": True}, {"shuffle": True, "fletcher32": True}]
)
@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
@pytest.mark.parametrize("random", [False, True])
def test_every_usual_way_to_store_kernels_is_read(
    options: dict[str, bool], compression: str | None, random: bool, tmp_path: Path
) -> None:
    """Compressed or not, and where compression does not pay and HDF5 leaves chunks as they are."""
    kernels = np.random.default_rng(0).integers(1, 255, (3, 9, 9), np.uint8) if random else np.ones((3, 9, 9), np.uint8)
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file.create_dataset("kernels", data=kernels, compression=compression, chunks=(1, 9, 9), **options)
    assert len(importing.read(tmp_path / "k.h5").pool) == 3


def test_a_matlab_file_that_is_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = np.empty(3, object)
    cells[:] = [np.zeros((60, 60)) for _ in range(3)]
    scipy.io.savemat(tmp_path / "k.mat", {"k": cells}, do_compression=True)
    monkeypatch.setattr(foreign, "LARGEST_ARRAY", 10**4)
    monkeypatch.setattr(scipy.io, "loadmat", lambda _: pytest.fail("it is unpacked"))
    assert "hold more" in one_line(lambda: importing.read(tmp_path / "k.mat"), r"k\.mat")


def test_hdf5_files_of_other_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links are not followed, and sizes are checked, in files that are no pools."""
    with h5py.File(tmp_path / "k.h5", "w") as file:
        file["kernel"] = KERNEL
        file["loop"] = h5py.SoftLink("/loop")
        file["self/group"] = file["/"]
        file["elsewhere"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/kernel")
    assert len(importing.read(tmp_path / "k.h5").pool) == 1
    for suffix in (".h5", ".mat"):
        with h5py.File(tmp_path / f"huge{suffix}", "w") as file:
            file.create_dataset("kernel", (3, 100001, 100001), "f8", chunks=(1, 9, 9))
        assert "declares" in one_line(lambda suffix=suffix: importing.read(tmp_path / f"huge{suffix}"), "huge")
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file.create_dataset("kernel", (3, 3), "u1", external=[("/etc/passwd", 0, 9)])
    assert "another file" in one_line(lambda: importing.read(tmp_path / "outside.h5"), "outside")
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for number in range(4):
            file[f"k{number}"] = np.random.default_rng(number).random((20, 20))
    monkeypatch.setattr(hdf5, "LARGEST_ARRAY", 5000)
    assert "together" in one_line(lambda: importing.read(tmp_path / "many.h5"), "many")


@pytest.mark.parametrize("suffix", ["npy", "npz", "mat", "h5"])
@pytest.mark.parametrize("seed", range(15))
def test_a_flipped_bit_in_a_kernel_file(suffix: str, seed: int, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    if suffix == "npy":
        np.save(buffer, KERNEL)
    elif suffix == "npz":
        np.savez(buffer, k=KERNEL)
    elif suffix == "mat":
        scipy.io.savemat(buffer, {"k": KERNEL}, do_compression=bool(seed % 2))
    else:
        with h5py.File(buffer, "w") as file:
            file["k"] = KERNEL
    content, rng = bytearray(buffer.getvalue()), random.Random(seed)
    content[rng.randrange(min(len(content), 512))] ^= 1 << rng.randrange(8)
    (tmp_path / f"k.{suffix}").write_bytes(content)
    assert outcome(lambda: importing.read(tmp_path / f"k.{suffix}")).isprintable()
