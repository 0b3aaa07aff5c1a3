"""Journals that others have made, or that a crash has cut short."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

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


GOOD = [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    "changed",
    [
        {"kernel": [[1.0]]},
        {"kernel": GOOD[:2]},
        {"kernel": [GOOD[0], GOOD[1], [0.0]]},
        {"kernel": [GOOD[0], GOOD[1], [0.0, 0.0, math.inf]]},
        {"kernel": [GOOD[0], GOOD[1], [0.0, 0.0, math.nan]]},
        {"kernel": [GOOD[0], GOOD[1], [0.0, 0.0, 3.0]]},
        {"kernel": []},
        {"place": (0, 0, 0, 10**30)},
        {"image": "a\0"},
    ],
)
def test_estimates_that_no_run_writes_are_made_again(changed: dict[str, Any], tmp_path: Path) -> None:
    path, options = tmp_path / "pool.h5.part", {"seed": 1, "kernel_size": 3}
    good = WindowEstimate("a.png", 0, (0, 0, 9, 9), GOOD)
    journal = Journal(path, options, resume=False)
    journal.add(good)
    journal.add(replace(good, rank=1, **changed))
    assert Journal(path, options, resume=True).in_order() == [good]


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
