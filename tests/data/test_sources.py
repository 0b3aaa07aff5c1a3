"""The files of a run: of a folder, single, or of a list."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest

from degsynth.data import listing, opening
from degsynth.data.sources import Sources, root_of
from degsynth.errors import ConfigError, DataError
from tests.conftest import save_png
from tests.data.formats import PHOTO


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


def test_what_is_passed_over_is_named_for_what_it_is(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "anim.gif").touch()
    (folder / "clip.mp4").touch()
    name = os.fsdecode(b"caf\xe9.png")
    (folder / name).write_bytes((folder / "a.png").read_bytes())
    assert sorted(Sources.of(folder).passed_over()) == [
        r"files with names that cannot be shown are left out (1), e.g. 'caf\udce9.png'; rename them",
        "files without the name of an image are left out (2), e.g. anim.gif",
        "linked folders are not followed (1), e.g. linked; give them as HR themselves",
        f"videos are left out (1), e.g. clip.mp4; {listing.TO_FRAMES}",
    ]
    listed = Sources.of_list([str(path) for path in (folder / "a.png", folder / "sub", folder / name)])
    assert [text.split(" (1)")[0] for text in listed.passed_over()] == [
        "files with names that cannot be shown are left out",
        "folders in a list are left out",
    ]


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
    with pytest.raises(DataError, match=r"notes\.txt: has no ending of an image \(bmp heic heif jpeg"):
        Sources.of(folder / "notes.txt")


@pytest.mark.parametrize("name", ["clip.mp4", "clip.MOV", "clip.mkv"])
def test_a_video_is_refused_with_the_way_to_frames(name: str, folder: Path) -> None:
    (folder / "films").mkdir()
    (folder / "films" / name).touch()
    for read in (Sources.of, listing.find):
        with pytest.raises(DataError, match=r"is a video, which is not read; take frames .*ffmpeg -i"):
            read(folder / "films" / name)
        with pytest.raises(DataError, match=r"films holds no image \(1 other files.*ffmpeg -i"):
            read(folder / "films")


def test_folders_of_a_fit_with_videos(folder: Path) -> None:
    (folder / "clip.mp4").touch()
    for number, side in enumerate(("HR", "LR")):
        save_png(folder.parent / f"pairs/{side}/a.png", PHOTO[:: number + 1, :: number + 1])
    (folder.parent / "pairs/LR/clip.avi").touch()
    warnings: list[str] = []
    options = opening.PairOptions(scale=2, skip_bad=True)
    with contextlib.suppress(DataError):
        opening.open_for_fit(
            folder.parent / "pairs/HR", folder.parent / "pairs/LR", options, on_warning=warnings.append
        )
    assert [warning for warning in warnings if "videos in" in warning and "(1), e.g. clip.avi; take frames" in warning]


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
