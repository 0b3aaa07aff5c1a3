"""Where commands find pairs: in two folders, in two files, or in a table."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from degsynth.ops.kernels import gaussian
from tests.conftest import Run

Folders = Callable[..., tuple[Path, Path]]
SMALL = ("--method", "linear", "--set", "kernel_size=8", "--device", "cpu")


@pytest.fixture
def folders(pair_folders: Folders) -> tuple[Path, Path]:
    return pair_folders(gaussian(8, 1.0, 1.3), 2, side=120)


@pytest.fixture
def table(folders: tuple[Path, Path], tmp_path: Path) -> Path:
    """A table of the pairs, whose names say nothing of who belongs to whom."""
    hr, lr = folders
    lines = ["hr,lr"]
    for number, path in enumerate(sorted(hr.iterdir())):
        (lr / path.name).rename(lr / f"other{number}.png")
        lines.append(f"{path.relative_to(tmp_path)},{lr / f'other{number}.png'}")
    file = tmp_path / "pairs.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.slow
def test_fit_and_evaluate_take_a_table(table: Path, cli: Run, tmp_path: Path) -> None:
    """The run is scored by the same table, by two files, and by folders where some files have no partner."""
    run, hr, lr = tmp_path / "run", tmp_path / "HR", tmp_path / "LR"
    code, _, stderr = cli("fit", *SMALL, "--pairs", table, "--out", run)
    assert code == 0, stderr
    record = json.loads((run / "fit.json").read_text())
    names = sorted(path.stem for path in hr.iterdir())
    assert sorted(record["pairs"]["fitted"] + record["pairs"]["held_out"]) == names
    assert record["held_out"]["mean"]["model"]["psnr_y"] > 40
    options = tomllib.loads((run / "config.toml").read_text())["fit"]
    assert options["pairs"] == str(table)
    assert not options.keys() & {"hr", "lr"}

    def scored(*where: str | Path) -> tuple[list[str], str]:
        code, stdout, stderr = cli("evaluate", run, *where, "--json")
        assert code == 0, stderr
        return [image["name"] for image in json.loads(stdout)["images"]], stderr

    assert scored("--pairs", table)[0] == names
    assert scored("--hr", hr / f"{names[0]}.png", "--lr", lr / "other0.png")[0] == names[:1]
    (lr / "other0.png").rename(lr / f"{names[0]}_LR.png")
    found, stderr = scored("--hr", hr, "--lr", lr)
    assert found == names[:1]
    assert "files without a partner are left out (6): " in stderr
    assert f"{hr}/{names[1]}.png, {hr}/{names[2]}.png, {hr}/{names[3]}.png and 3 more" in stderr.replace("\n", "")


def test_a_table_or_two_folders(table: Path, folders: tuple[Path, Path], cli: Run, tmp_path: Path) -> None:
    fit, (hr, lr) = ("fit", *SMALL, "--out", tmp_path / "run"), folders
    code, _, stderr = cli(*fit, "--pairs", table, "--hr", hr)
    assert (code, stderr.count("\n")) == (2, 1)
    assert "lists both sides of all pairs; leave --hr and --lr out" in stderr
    code, _, stderr = cli(*fit, "--hr", hr)
    assert code == 2
    assert "--lr, or --pairs, is missing" in stderr
    code, _, stderr = cli("fit", "--method", "pdm", "--scale", 2, "--pairs", table, "--out", tmp_path / "run")
    assert code == 2
    assert "method pdm does not learn from pairs; give --lr" in stderr
    table.write_text("HR/gone.png,LR/gone.png\n")
    code, _, stderr = cli(*fit, "--pairs", table)
    assert (code, stderr.count("\n")) == (2, 1)
    assert f"--pairs {table}, line 1: {tmp_path}/HR/gone.png: no such file" in stderr
    assert not (tmp_path / "run").exists()
    assert lr.is_dir()


def test_a_folder_that_is_given_twice(folders: tuple[Path, Path], cli: Run, tmp_path: Path) -> None:
    for side in (folders[0], folders[0] / "../HR"):
        code, _, stderr = cli("fit", *SMALL, "--hr", folders[0], "--lr", side, "--out", tmp_path / "run")
        assert (code, stderr.count("\n")) == (2, 1)
        assert "is given as HR and as LR" in stderr
    assert not (tmp_path / "run").exists()


def test_one_pair_is_too_few(folders: tuple[Path, Path], cli: Run, tmp_path: Path) -> None:
    hr, lr = (sorted(folder.iterdir())[0] for folder in folders)
    code, _, stderr = cli("fit", *SMALL, "--hr", hr, "--lr", lr, "--out", tmp_path / "run")
    assert (code, stderr.count("\n")) == (2, 1)
    assert "1 pair is too few" in stderr
