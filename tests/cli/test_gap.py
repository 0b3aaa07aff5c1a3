"""``degsynth gap`` on the command line: table, JSON, picture, and errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import Tensor

from degsynth.data import images
from tests.conftest import Run, save_png

QUICK = ("--steps", "2", "--width", "4", "--splits", "3")


@pytest.fixture(scope="module")
def folders(photographs: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Eight parts of the photographs in each of two folders."""
    root = tmp_path_factory.mktemp("gap")
    for index in range(16):
        y, x = 80 * (index // 8), 80 * (index // 4 % 2)
        save_png(root / "ab"[index % 2] / f"{index}.png", photographs[index % 4][:, y : y + 80, x : x + 80])
    return root / "a", root / "b"


def test_table_and_picture(cli: Run, folders: tuple[Path, Path], tmp_path: Path) -> None:
    picture = tmp_path / "gap.png"
    code, stdout, stderr = cli("gap", *folders, "-o", picture, *QUICK)
    assert code == 0, stderr
    assert "synthetic is" in stdout.splitlines()[1]
    assert [line for line in stdout.splitlines() if line.startswith("patches told apart, %")]
    assert "tell them apart" in stdout.splitlines()[-1]
    assert "picture of the gap" in stderr
    assert images.read(picture).width == 1300


def test_json(cli: Run, folders: tuple[Path, Path]) -> None:
    code, stdout, _ = cli("gap", *folders, "--json", *QUICK)
    assert code == 0
    record = json.loads(stdout)
    assert record["images"] == {"synthetic": 8, "real": 8}
    assert 0 <= record["two_sample"]["low"] <= record["two_sample"]["accuracy"] <= record["two_sample"]["high"] <= 1
    assert len(record["curves"]["frequency"]) == len(record["curves"]["real"]["spectrum"])
    assert cli("gap", *folders, "--json", *QUICK)[1] == stdout


def test_errors_are_one_line_and_leave_nothing(cli: Run, folders: tuple[Path, Path], tmp_path: Path) -> None:
    picture = tmp_path / "gap.png"
    for arguments, said in (
        ((folders[0], tmp_path / "none"), "none: no such folder"),
        ((folders[0], tmp_path), "holds no image"),
        ((*folders, "--data-range", "5:1"), "--data-range 5:1"),
    ):
        code, stdout, stderr = cli("gap", *arguments, "-o", picture, *QUICK)
        assert (code, stdout) == (2, "")
        assert said in stderr
        assert len(stderr.strip().splitlines()) == 1
        assert not picture.exists()
    code, _, stderr = cli("gap", *folders, "-o", tmp_path / "no/gap.png", *QUICK)
    assert code == 2
    assert "there is no folder" in stderr
