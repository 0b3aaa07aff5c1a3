"""Patterns for the folders of a fit: in place of a folder, and beside one, to include and exclude."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from torch import Tensor

from degsynth.data import globs
from degsynth.data.matching import match
from degsynth.data.opening import FolderOptions, PairOptions, open_folders, open_for_fit
from degsynth.data.sources import Choice, Sources
from degsynth.errors import ConfigError, DataError
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from tests.conftest import save_png

KERNEL = gaussian(8, 1.0, 1.3)[None].float()


@pytest.fixture
def shots(tmp_path: Path, photographs: list[Tensor]) -> Path:
    """One folder with HR, LR and thumbnails of LR of four scenes."""
    for number, shot in enumerate(photographs[:4]):
        hr = shot[:, :160, :160]
        save_png(tmp_path / f"shots/{number}_HR.png", hr)
        save_png(tmp_path / f"shots/{number}_LR.png", blur_decimate(hr[None], KERNEL, 2)[0])
        shutil.copy(tmp_path / f"shots/{number}_LR.png", tmp_path / f"shots/{number}_LR_thumb.png")
    return tmp_path / "shots"


def test_patterns_stand_for_both_sides_of_pairs(shots: Path) -> None:
    found = match(shots / "*_HR.png", shots / "*_LR.png")
    assert [pair.name for pair in found.pairs] == ["0", "1", "2", "3"]
    assert (found.pairs[0].hr, found.pairs[0].lr) == (shots / "0_HR.png", shots / "0_LR.png")
    assert found[1:] == ([], 0)
    with pytest.raises(DataError, match=r"no file of .*1_HR\.png .1_HR\.png, …. has the stem of one in .*2_LR"):
        match(shots / "1_HR.png", shots / "[2]_LR*")
    some = match(shots / "*_HR.png", shots / "*_LR.png", choice=Choice(exclude=("0_LR*", "3_*")))
    assert ([pair.name for pair in some.pairs], some.unmatched, some.left_out) == (
        ["1", "2"],
        [str(shots / "0_HR.png")],
        3,
    )


def test_files_of_pairs_are_chosen_in_folders(shots: Path) -> None:
    choice = Choice(("[012]*",), ("*_thumb.png",))
    pairs, _ = open_for_fit(shots, shots, PairOptions(choice=choice))
    assert ([pair.name for pair in pairs.pairs], pairs.left_out) == (["0", "1", "2"], 12)
    with pytest.raises(ConfigError, match=r"`exclude=\*\.jpg`: no image in .*shots has such a name"):
        open_for_fit(shots, shots, PairOptions(choice=Choice(exclude=("*.jpg",))))


def test_unpaired_sides_may_be_patterns_in_one_folder(shots: Path) -> None:
    hr, lr, _, notes = open_folders(shots / "*_HR.png", shots / "*_LR.png", FolderOptions(2))
    assert (hr.names, [lr.path(index) for index in range(2)]) == (
        [f"{number}_HR.png" for number in range(4)],
        [shots / "0_LR.png", shots / "1_LR.png"],
    )
    assert not any("left out" in note for note in notes)
    choice = Choice(exclude=("0*",))
    hr, lr, _, notes = open_folders(shots / "*_HR.png", shots / "*_LR.png", FolderOptions(2, choice=choice))
    assert (len(hr), len(lr), notes[0]) == (3, 3, "2 images left out by `include` and `exclude`")
    with pytest.raises(ConfigError, match=r"0_HR\.png is an HR image and an LR image \(4 in all\)"):
        open_folders(shots / "*_HR.png", shots, FolderOptions(2))
    with pytest.raises(ConfigError, match=r"is in .*, or is the same folder"):
        open_folders(shots, shots, FolderOptions(2))


def test_an_unpaired_folder_in_the_other_can_be_left_out(shots: Path) -> None:
    (shots / "LR").mkdir()
    for path in sorted(shots.glob("*_LR*.png")):
        path.rename(shots / "LR" / path.name)
    hr, lr, _, _ = open_folders(shots, shots / "LR", FolderOptions(2, choice=Choice(exclude=("LR", "*_thumb.png"))))
    assert (len(hr), len(lr)) == (4, 4)


def test_a_run_may_not_lie_where_a_pattern_searches(tmp_path: Path) -> None:
    assert globs.searched(tmp_path / "**/*.png", tmp_path / "run")
    assert not globs.searched(tmp_path / "*.png", tmp_path / "run")
    assert globs.searched(tmp_path, tmp_path / "run")
    assert not globs.searched(tmp_path / "HR", tmp_path / "run")


def test_a_file_of_any_ending_is_left_to_its_decoder(tmp_path: Path) -> None:
    (tmp_path / "photo.dat").touch()
    assert Sources.of_files(tmp_path / "photo.dat").paths() == [tmp_path / "photo.dat"]
