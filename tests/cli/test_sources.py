"""What goes into a run: patterns, and where files are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from degsynth.apply.manifest import Manifest
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


def test_a_pattern_that_fits_nothing_is_an_error(folder: Path, cli: Run) -> None:
    code, _, said = cli("apply", folder / "model.pt", folder / "HR", folder / "out", "--exclude", "tumbs")
    assert code == 2
    assert "--exclude tumbs: no image in" in said
    assert not (folder / "out").exists()
