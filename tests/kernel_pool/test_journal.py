"""Journals that others have made, or that a crash has cut short."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from degsynth.errors import ConfigError
from degsynth.kernel_pool.journal import Journal, WindowEstimate


@pytest.mark.parametrize("content", ["nonsense", "[" * 100_000, "[]", "7", "null", "\0" * 20])
def test_what_is_no_journal(content: str, tmp_path: Path) -> None:
    (tmp_path / "pool.h5.part").write_text(content)
    with pytest.raises(ConfigError, match="is not the journal"):
        Journal(tmp_path / "pool.h5.part", {}, resume=True)
    assert (tmp_path / "pool.h5.part").read_text() == content


@pytest.mark.parametrize("tail", ["nonsense", "[" * 100_000, '{"image": "a', "{}", "\0" * 20])
def test_lines_that_are_no_estimate_are_done_again(tail: str, tmp_path: Path) -> None:
    path = tmp_path / "pool.h5.part"
    Journal(path, {"seed": 1}, resume=False).add(WindowEstimate("a.png", -1, (0, 0, 0, 0), None, "flat"))
    with path.open("a") as file:
        file.write(tail)
    assert list(Journal(path, {"seed": 1}, resume=True).estimates) == [("a.png", -1)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
@pytest.mark.parametrize("resume", [False, True])
def test_a_fifo_is_not_waited_for(resume: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pool.h5.part")
    with pytest.raises(ConfigError, match="is not a file; remove it"):
        Journal(tmp_path / "pool.h5.part", {}, resume)


def test_a_link_is_replaced_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text('{"seed": 1}\n')
    (tmp_path / "pool.h5.part").symlink_to(tmp_path / "victim")
    journal = Journal(tmp_path / "pool.h5.part", {"seed": 1}, resume=True)
    journal.add(WindowEstimate("a.png", -1, (0, 0, 0, 0), None, "flat"))
    assert (tmp_path / "victim").read_text() == '{"seed": 1}\n'
