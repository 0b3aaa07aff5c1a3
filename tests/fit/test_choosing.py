"""Patterns of a fit reach its images, whatever kind these are of."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from degsynth.config import Events
from degsynth.errors import ConfigError
from degsynth.fit.options import FitOptions
from degsynth.fit.sources.pairs import Pairs
from degsynth.fit.sources.photos import Photos
from degsynth.fit.sources.unpaired import Folders
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from tests.conftest import save_png

KERNEL = gaussian(8, 1.0, 1.3)[None].float()


@pytest.fixture
def folder(tmp_path: Path, photographs: list[Tensor]) -> Path:
    """Folders HR and LR of pairs; one of LR lies in a folder ``old``."""
    for number, shot in enumerate(photographs[:4]):
        hr = shot[:, :160, :160]
        name = f"{'old/' if number == 0 else ''}{number}.png"
        save_png(tmp_path / f"HR/{name}", hr)
        save_png(tmp_path / f"LR/{name}", blur_decimate(hr[None], KERNEL, 2)[0])
    return tmp_path


def options(folder: Path, method: str, **values: object) -> FitOptions:
    hr = None if method == "kmsr" else str(folder / "HR")
    return FitOptions(method=method, hr=hr, lr=str(folder / "LR"), scale=2, **values)  # type: ignore[arg-type]


def test_pairs(folder: Path) -> None:
    source = Pairs(options(folder, "linear", exclude=("old",)), Events(), False)
    assert [pair.name for pair in source.pairs.pairs] == ["1", "2", "3"]
    assert "2 images left out by `include` and `exclude`" in source.notes


def test_two_folders(folder: Path) -> None:
    source = Folders(options(folder, "spectral", include=("[0-3].png",), exclude=("old",)), Events())
    assert (source.hr.names, source.lr.names) == (["1.png", "2.png", "3.png"],) * 2
    assert "2 images left out by `include` and `exclude`" in source.notes


def test_photographs(folder: Path) -> None:
    source = Photos(options(folder, "kmsr", exclude=("old", "3.*")), Events())
    whole = Photos(options(folder, "kmsr"), Events())
    assert source.photographs is not None
    assert source.photographs.names == ("1.png", "2.png")
    assert "2 images left out by `include` and `exclude`" in source.notes
    assert whole.fingerprint() != source.fingerprint()
    assert not any("left out" in note for note in whole.notes)
    with pytest.raises(ConfigError, match="`exclude=5`: no image"):
        Photos(options(folder, "kmsr", exclude=("5",)), Events())
