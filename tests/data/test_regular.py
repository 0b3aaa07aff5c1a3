"""Regular files only: what is named like an image but is none is not opened."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from degsynth.data import exif, images
from degsynth.errors import DataError
from tests.data.formats import PHOTO, by_pillow, saved


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(here)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def self_link(path: Path) -> None:
    path.symlink_to(path.name)


def nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (pipe, "named pipe"),
        (bound_socket, "a socket"),
        (device, "a device"),
        (folder, "a folder"),
        (self_link, "symbolic links"),
        (nowhere, "No such file"),
    ],
)
def test_only_regular_files_are_opened(
    make: Callable[[Path], None], words: str, suffix: str, linked: bool, tmp_path: Path
) -> None:
    make(tmp_path / f"x{suffix}")
    path = tmp_path / f"x{suffix}"
    if linked:
        path = tmp_path / f"link{suffix}"
        path.symlink_to(tmp_path / f"x{suffix}")
    with pytest.raises(DataError, match=words) as caught:
        images.read(path)
    assert str(path) in str(caught.value)
    assert exif.camera(path) == ("", 0)


def test_links_to_regular_files_are_followed_and_null_bytes_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved(PHOTO, "PNG"))
    (tmp_path / "b.png").symlink_to("a.png")
    assert np.array_equal(images.read(tmp_path / "b.png").pixels, by_pillow(saved(PHOTO, "PNG")))
    with pytest.raises(DataError, match="no name"):
        images.read(tmp_path / "a\0.png")
