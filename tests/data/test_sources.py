"""The files of a run: of a folder, single, or of a list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from degsynth.data.sources import Sources, root_of
from degsynth.errors import ConfigError, DataError
from tests.conftest import save_png


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "sub/b.png", "sub/deep/c.png"):
        save_png(tmp_path / "HR" / name, np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "HR/notes.txt").touch()
    return tmp_path / "HR"


def test_a_list_of_all_files_is_the_folder(folder: Path) -> None:
    whole, listed = Sources.of(folder), Sources.of_list([str(path) for path in sorted(folder.rglob("*.*"))])
    assert (listed.root, listed.names) == (whole.root, whole.names)
    assert [Path(name).name for name in listed.others] == list(whole.others) == ["notes.txt"]


def test_names_are_relative_to_the_deepest_common_folder(folder: Path) -> None:
    listed = Sources.of_list([str(folder / "sub/deep/c.png"), str(folder / "sub/b.png")])
    assert (listed.root, listed.names) == (folder / "sub", ("b.png", "deep/c.png"))


def test_paths_may_be_relative_and_come_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    listed = Sources.of_list(["a.png", "./a.png", "sub/../a.png", "", str(folder / "a.png")])
    assert (listed.root, listed.names) == (folder, ("a.png",))


def test_a_list_without_images(folder: Path) -> None:
    with pytest.raises(DataError, match=r"names no image \(1 other paths\)"):
        Sources.of_list([str(folder / "notes.txt")])


def test_out_must_not_hold_hr_images(folder: Path) -> None:
    listed = Sources.of_list([str(folder / "sub/b.png")])
    listed.check_apart(folder / "out")  # beside the files of a list there is room
    with pytest.raises(ConfigError, match=r"holds b\.png, one of the HR images"):
        listed.check_apart(folder / "sub")
    for out in (folder / "out", folder, folder.parent):
        with pytest.raises(ConfigError, match="lie inside each other"):
            Sources.of(folder).check_apart(out)


def test_a_single_image_is_a_list_of_one(folder: Path) -> None:
    single = Sources.of(folder / "a.png")
    assert (single.root, single.names) == (folder, ("a.png",))
    single.check_apart(folder / "out")


def test_a_file_that_is_no_image(folder: Path) -> None:
    (folder / "clip.mp4").touch()
    with pytest.raises(DataError, match=r"clip\.mp4: has no ending of an image \(bmp jpeg"):
        Sources.of(folder / "clip.mp4")


def test_out_with_the_name_of_an_image(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"lr\.png has the name of an image"):
        Sources.of(folder / "a.png").check_apart(folder.parent / "out/lr.png")


@pytest.mark.parametrize(
    ("pattern", "root", "names", "others"),
    [
        ("**/*.png", "", ("a.png", "sub/b.png", "sub/deep/c.png"), ()),
        ("*", "", ("a.png", "sub/b.png", "sub/deep/c.png"), ("notes.txt",)),
        ("s*", "", ("sub/b.png", "sub/deep/c.png"), ()),  # a folder stands for what is in it
        ("sub/[a-c].png", "sub", ("b.png",), ()),
        ("**", "", ("a.png", "sub/b.png", "sub/deep/c.png"), ("notes.txt",)),
        ("sub/*/*", "sub", ("deep/c.png",), ()),
    ],
)
def test_a_pattern_is_expanded(
    pattern: str, root: str, names: tuple[str, ...], others: tuple[str, ...], folder: Path
) -> None:
    save_png(folder / ".hidden/d.png", np.zeros((4, 4, 3), np.uint8))
    sources = Sources.of(folder / pattern)
    assert (sources.root, sources.names, sources.listed) == (folder / root, names, True)
    assert set(others) == set(sources.others)
    assert root_of(folder / pattern) == folder / root


def test_a_pattern_relative_to_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert Sources.of(Path("*.png")).names == ("a.png",)


def test_a_name_with_wildcards_that_exists_is_that_file(folder: Path) -> None:
    save_png(folder / "[a].png", np.zeros((4, 4, 3), np.uint8))
    assert Sources.of(folder / "[a].png").names == ("[a].png",)
    save_png(folder / "[b]/x.png", np.zeros((4, 4, 3), np.uint8))
    assert Sources.of(folder / "[b]").names == ("x.png",)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("*.tif", r"\*\.tif: there is no such file or folder, and as a pattern it fits nothing in .*HR"),
        ("nowhere/*.png", "fits nothing in .*nowhere"),
        ("*.txt", r"\*\.txt holds no image \(1 other files"),
    ],
)
def test_a_pattern_that_fits_no_image(pattern: str, words: str, folder: Path) -> None:
    with pytest.raises(DataError, match=words):
        Sources.of(folder / pattern)


def test_linked_folders_are_not_searched_for_a_pattern(folder: Path) -> None:
    (folder / "sub/up").symlink_to(folder)
    assert Sources.of(folder / "**/*.png").names == ("a.png", "sub/b.png", "sub/deep/c.png")
