from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from degsynth.files import read_bounded, write_atomic


def test_no_more_memory_than_the_file_has_bytes(tmp_path: Path) -> None:
    """Whatever it might have: the bound is 2 GiB for some files."""
    (tmp_path / "small").write_bytes(b"x" * 1000)
    tracemalloc.start()
    content = read_bounded(tmp_path / "small", 2**31)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert content == b"x" * 1000
    assert peak < 2**20


def test_a_file_at_the_bound_and_one_above(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    assert len(read_bounded(tmp_path / "file", 1000)) == 1000
    with pytest.raises(OSError, match="more than 999 bytes"):
        read_bounded(tmp_path / "file", 999)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the temporary one beside it, which stays in no case."""
    (tmp_path / "log").write_text("before")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, os.strerror(28), str(self), None, str(target))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(tmp_path / "log", "after")
    assert caught.value.filename == str(tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert (tmp_path / "log").read_text() == "before"
