"""What goes into a run: patterns, and where files are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer

from degsynth.apply.manifest import Manifest
from degsynth.cli import home
from tests.conftest import Run, save_png
from tests.data.formats import PHOTO
from tests.doubles import stochastic


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    stochastic(tmp_path / "model.pt", 2)
    for number, name in enumerate(("a.png", "sub/b.png", "sub/thumbs/b.png")):
        save_png(tmp_path / "HR" / name, np.roll(PHOTO[:16, :20], 5 * number, 1))
    return tmp_path


def test_images_are_chosen_by_patterns(folder: Path, cli: Run) -> None:
    whole = cli("apply", folder / "model.pt", folder / "HR", folder / "whole")
    code, _, said = cli(
        "apply", folder / "model.pt", folder / "HR", folder / "out", "--include", "sub/**", "--exclude", "thumbs"
    )
    assert (whole[0], code) == (0, 0)
    assert "1 LR images, 0 failed; 2 HR images left out by --include and --exclude" in said
    assert "left out" not in whole[2]
    (row,) = Manifest(folder / "out").read()
    assert row.source == "sub/b.png"
    assert row.lr_sha256 in {other.lr_sha256 for other in Manifest(folder / "whole").read()}


def test_evaluate_scores_chosen_pairs(folder: Path, cli: Run) -> None:
    """Those that `apply` made from what the patterns choose."""
    for name in ("a", "b", "c"):
        save_png(folder / "test/HR" / f"{name}.png", np.roll(PHOTO[:96, :96], ord(name), 1))
    assert cli("apply", folder / "model.pt", folder / "test/HR", folder / "set", "--noise", "none")[0] == 0
    sides = "--hr", folder / "test/HR", "--lr", folder / "set/lr", "--json"
    code, stdout, said = cli("evaluate", folder / "model.pt", *sides, "--exclude", "b*", "--exclude", "c.png")
    assert code == 0, said
    assert [image["name"] for image in json.loads(stdout)["images"]] == ["a"]
    code, _, said = cli("evaluate", folder / "model.pt", "--pairs", folder / "pairs.csv", "--include", "a*")
    assert code == 2
    assert "choose among images of folders, not of --pairs" in said


def test_a_pattern_that_fits_nothing_is_an_error(folder: Path, cli: Run) -> None:
    code, _, said = cli("apply", folder / "model.pt", folder / "HR", folder / "out", "--exclude", "tumbs")
    assert code == 2
    assert "--exclude tumbs: no image in" in said
    assert not (folder / "out").exists()


def test_the_home_folder_and_patterns(folder: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    code, _, said = cli("apply", "~/model.pt", "~/HR/**/b*.png", "~/out")
    assert code == 0, said
    assert [row.source for row in Manifest(folder / "out").read()] == ["sub/b.png", "sub/thumbs/b.png"]
    assert cli("apply", "~/model.pt", "~/HR/*.tif", "~/out2")[0] == 2
    code, stdout, said = cli("verify", "--hr=~/HR/**/b*.png", "~/out")
    assert (code, stdout) == (0, ""), said


def test_the_home_folder_in_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    known = {
        "~/a": "/home/me/a",
        "~": "~",
        "a~/b": "a~/b",
        "~nobody-of-this-name/a": "~nobody-of-this-name/a",
    }
    assert {text: home.expanded(text) for text in known} == known
    assert home.expanded([Path("~"), "~/a", 3]) == [Path("/home/me"), "/home/me/a", 3]
    assert home.expanded(Path("~nobody-of-this-name/a")) == Path("~nobody-of-this-name/a")
    assert (home.expanded(Path("a/~/b")), home.expanded(None)) == (Path("a/~/b"), None)


def test_every_command_knows_the_home_folder() -> None:
    from degsynth.cli.app import app

    def callbacks(program: typer.Typer) -> list[object]:
        inner = [found for group in program.registered_groups for found in callbacks(group.typer_instance)]  # type: ignore[arg-type]
        return [command.callback for command in program.registered_commands] + inner

    found = callbacks(app)
    assert len(found) > 15
    assert all(getattr(callback, "__qualname__", "").endswith("command") for callback in found)
    assert all(hasattr(callback, "__wrapped__") for callback in found)


def test_videos_in_a_folder_are_named(folder: Path, cli: Run) -> None:
    (folder / "HR/sub/clip.webm").touch()
    code, _, said = cli("apply", folder / "model.pt", folder / "HR", folder / "out", "--limit", "1")
    assert code == 0
    assert "warning: videos are left out (1), e.g. sub/clip.webm; take frames from it" in said.replace("\n", " ")
