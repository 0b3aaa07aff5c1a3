"""``--include``, ``--exclude`` and patterns in quotes of commands that learn."""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from degsynth.ops.kernels import gaussian
from tests.conftest import Run

SMALL = ("--method", "linear", "--set", "kernel_size=8")


@pytest.fixture
def folders(pair_folders: Callable[..., tuple[Path, Path]]) -> tuple[Path, Path]:
    hr, lr = pair_folders(gaussian(8, 1.0, 1.3), 2, side=120)
    for side in (hr, lr):
        (side / "old").mkdir()
        for path in sorted(side.glob("*.png"))[:2]:
            shutil.move(path, side / "old" / path.name)
    return hr, lr


@pytest.mark.slow
def test_a_fit_takes_what_is_chosen_and_resumes_with_it(folders: tuple[Path, Path], cli: Run, tmp_path: Path) -> None:
    hr, lr = folders
    run = tmp_path / "run"
    code, _, said = cli("fit", *SMALL, "--hr", hr, "--lr", lr, "--exclude", "old", "--out", run)
    assert code == 0, said
    assert "4 images left out by --include and --exclude" in said
    pairs = json.loads((run / "fit.json").read_text())["pairs"]
    assert sorted(pairs["fitted"] + pairs["held_out"]) == sorted(path.stem for path in hr.glob("*.png"))
    table = tomllib.loads((run / "config.toml").read_text())["fit"]
    assert (table["exclude"], "include" in table) == (["old"], False)
    code, _, said = cli("fit", "--resume", "--out", run)
    assert code == 0, said
    code, _, said = cli("fit", "--resume", "--out", run, "--exclude", "none")
    assert code == 2, said
    code, _, said = cli("fit", "--config", run / "config.toml", "--out", tmp_path / "again")
    again = json.loads((tmp_path / "again/fit.json").read_text())["pairs"]
    assert again["fitted"] == pairs["fitted"]


@pytest.mark.slow
def test_a_fit_takes_patterns_in_quotes(folders: tuple[Path, Path], cli: Run, tmp_path: Path) -> None:
    hr, lr = folders
    run = tmp_path / "run"
    code, _, said = cli("fit", *SMALL, "--hr", hr / "*.png", "--lr", lr / "**/*.png", "--out", run)
    assert code == 0, said
    assert "files without a partner are left out (2)" in said
    table = tomllib.loads((run / "config.toml").read_text())["fit"]
    assert (table["hr"], table["lr"]) == (f"{hr}/*.png", f"{lr}/**/*.png")
    code, _, said = cli("fit", *SMALL, "--hr", tmp_path / "HR/*.tif", "--lr", lr, "--out", tmp_path / "b")
    assert (code, "as a pattern it fits nothing" in said.replace("\n", " ")) == (2, True)
    code, _, said = cli("fit", *SMALL, "--hr", tmp_path / "**/*.png", "--lr", lr, "--out", tmp_path / "b")
    assert (code, "lies inside" in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pairs", "pairs.csv", "--include", "a"), "choose among images of folders, not of --pairs pairs.csv"),
        (("--method", "kmsr", "--lr", "pool.h5", "--exclude", "a"), "not of a kernel pool (--lr pool.h5)"),
    ],
)
def test_patterns_are_for_folders(arguments: tuple[str, ...], words: str, cli: Run, tmp_path: Path) -> None:
    given = arguments if "--method" in arguments else (*SMALL, *arguments)
    code, _, said = cli("fit", *given, "--out", tmp_path / "run")
    assert (code, words in " ".join(said.split())) == (2, True), said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_kernels_are_estimated_from_what_is_chosen(folders: tuple[Path, Path], cli: Run, tmp_path: Path) -> None:
    from degsynth.model import pool_file

    quick = ("--scale", "1", "--set", "patches=1", "--set", "kernel_size=17", "--set", "least_texture=0")
    chosen = ("--include", "old", "--exclude", "*0.png")
    code, _, said = cli("kernel-pool", "estimate", folders[0], "-o", tmp_path / "a.h5", *quick, *chosen)
    assert code == 0, said
    assert "photographs left out by --include and --exclude" in said
    images = {origin.image for origin in pool_file.read(tmp_path / "a.h5").origins}
    assert images
    assert all(name.startswith("old/") for name in images)
    code, _, said = cli("kernel-pool", "estimate", folders[0] / "old/*.png", "-o", tmp_path / "b.h5", *quick)
    assert code == 0, said
    assert len({origin.image for origin in pool_file.read(tmp_path / "b.h5").origins}) == 2
