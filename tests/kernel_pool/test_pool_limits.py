"""What a pool file may declare: lengths and amounts are compared with limits before anything of that size is made."""

from __future__ import annotations

import resource
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from degsynth import hdf5
from degsynth.errors import ConfigError, DataError
from degsynth.kernel_pool import analytic, importing
from degsynth.model import pool_file
from degsynth.model.pool_file import Pool
from tests.conftest import Run
from tests.kernel_pool.test_hostile_pools import one_line, outcome, replaced
from tests.kernel_pool.test_pool_file import small

MIB = 2**20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    pool_file.write(small(), tmp_path / "p.h5")
    return tmp_path / "p.h5"


def edited(path: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def peak() -> int:
    """Return the largest memory that this process has had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def pointer_of(content: bytearray, text: bytes, name: str) -> int:
    """Return where the value of an attribute that holds a text is: the length of the text comes first."""
    return content.index(struct.pack("<I", len(text)), content.index(name.encode() + b"\0"))


@pytest.mark.parametrize("bit", [20, 27, 30, 31])
def test_the_length_of_a_text_is_not_believed(bit: int, path: Path) -> None:
    """HDF5 allocates 2 GiB for one flipped bit, then finds that there is no such text."""
    before = peak()
    edited(path, lambda c: struct.pack_into("<I", c, pointer_of(c, b'{"seed": 3}', "made_by"), 11 ^ (1 << bit)))
    assert "attribute made_by has" in one_line(lambda: pool_file.read(path), r"p\.h5")
    assert peak() < before + 300 * MIB


def heap(content: bytearray) -> int:
    return content.index(b"GCOL")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: struct.pack_into("<Q", c, heap(c) + 24, 0),  # HDF5 goes round for ever
        lambda c: struct.pack_into("<Q", c, heap(c) + 24, 2**64 - 16),
        lambda c: struct.pack_into("<Q", c, heap(c) + 8, 2**63),
        lambda c: struct.pack_into("<H", c, heap(c) + 16, 99),
        lambda c: struct.pack_into("<4s", c, heap(c), b"GCOM"),
        lambda c: struct.pack_into("<B", c, c.index(b"estimated"), 0xFF),  # no UTF-8
        lambda c: c.__delitem__(slice(heap(c) + 40, None)),
    ],
)
def test_a_damaged_heap_of_texts_is_one_line(change: Callable[[bytearray], object], path: Path) -> None:
    edited(path, change)
    one_line(lambda: pool_file.read(path), r"p\.h5")


def test_each_bit_of_the_heap_and_of_the_texts_place(path: Path) -> None:
    """No bit of them makes the reading endless, or makes texts of other lengths than the file declares."""
    content = path.read_bytes()
    start = content.index(b"GCOL")
    for bit in range(0, 8 * 160, 11):
        edited(path, lambda c, bit=bit: c.__setitem__(start + bit // 8, c[start + bit // 8] ^ (1 << bit % 8)))
        assert outcome(lambda: pool_file.read(path)).isprintable()
        path.write_bytes(content)


def test_many_texts_may_not_be_the_same_long_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "ALL_TEXTS", 20)
    assert "bytes together" in one_line(lambda: pool_file.read(path), r"p\.h5")


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_pools_that_other_versions_of_hdf5_write(version: str, path: Path, tmp_path: Path) -> None:
    with h5py.File(path) as old, h5py.File(tmp_path / "new.h5", "w", libver=version) as new:
        for name in old:
            new.create_dataset(name, data=old[name][:], dtype=old[name].dtype)
        for name in old.attrs:
            new.attrs[name] = old.attrs[name]
    first, second = pool_file.read(path), pool_file.read(tmp_path / "new.h5")
    assert (first.origins, first.made_by, first.scale) == (second.origins, second.made_by, second.scale)
    assert torch.equal(first.kernels, second.kernels)


def test_texts_of_one_length_and_no_user_block(path: Path, tmp_path: Path) -> None:
    with h5py.File(path, "r+") as file:
        replaced(file, "flag", data=np.array(["", "odd", ""], "S5"))
        file.attrs["made_by"] = np.bytes_('{"seed": 4}')
    pool = pool_file.read(path)
    assert ([origin.flag for origin in pool.origins], pool.made_by) == (["", "odd", ""], {"seed": 4})
    (tmp_path / "block.h5").write_bytes(bytes(512) + path.read_bytes())
    one_line(lambda: pool_file.read(tmp_path / "block.h5"), r"block\.h5")


def test_numbers_that_take_more_room_here_than_in_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with h5py.File(path, "r+") as file:
        replaced(file, "kernels", data=np.ones((3, 9, 9), np.uint8), compression="gzip")
    monkeypatch.setattr(hdf5, "LARGEST_ARRAY", 1000)  # 243 bytes there, 1944 as float64
    assert "too large" in one_line(lambda: pool_file.read(path), r"p\.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["grid"]
    assert "too large" in one_line(lambda: importing.read(path), r"p\.h5")


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pool = tmp_path / "p.h5", small()
    long = [replace(origin, image="a" * 5000) for origin in pool.origins]
    for bad, what in (
        (Pool(pool.kernels * 2, pool.origins), "the sum 2, not 1"),
        (Pool(pool.kernels * float("nan"), pool.origins), "the sum nan"),
        (Pool(pool.kernels, long), "up to 5000 bytes.*shorten"),
        (Pool(pool.kernels, pool.origins, 2, {"a": "b" * MIB}), "too long; join fewer"),
    ):
        with pytest.raises(DataError, match=what):
            pool_file.write(bad, path)
    monkeypatch.setattr(pool_file, "MOST_KERNELS", 2)
    with pytest.raises(DataError, match="3 kernels are more than 2; make several"):
        pool_file.write(pool, path)
    monkeypatch.setattr(pool_file, "MOST_KERNELS", 3)
    monkeypatch.setattr(hdf5, "LARGEST_ARRAY", 8 * 3 * 81 - 1)
    with pytest.raises(DataError, match=r"3 kernels of 9×9 taps take more.*make fewer"):
        pool_file.write(pool, path)
    assert list(tmp_path.iterdir()) == []


def test_a_pool_with_too_many_kernels_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_file, "MOST_KERNELS", 2)
    assert "more than 2" in one_line(lambda: pool_file.read(path), r"p\.h5")
    assert "more than 2" in one_line(lambda: importing.read(path), r"p\.h5")


@pytest.mark.parametrize("arguments", [["-n", "10000000000"], ["-n", "0"], ["-n", "90000", "--kernel-size", "201"]])
def test_kernels_that_would_not_fit_are_not_made(arguments: list[str], cli: Run, tmp_path: Path) -> None:
    before = peak()
    code, _, err = cli("kernel-pool", "generate", "--gaussian", "1:2", "-o", tmp_path / "k.h5", *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert "give" in err or "make fewer" in err
    assert peak() < before + 300 * MIB
    with pytest.raises(ConfigError, match="odd number from 3 to 201"):
        analytic.gaussians(1.0, 2.0, False, 2, 100_001, 0)
