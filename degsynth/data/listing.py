"""Which files of a folder are images, by their names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from degsynth.data import heif
from degsynth.data.images import TIFF_SUFFIXES
from degsynth.errors import DataError, can_be_shown

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"} | TIFF_SUFFIXES | heif.SUFFIXES
"""Endings of file names, in any case, that are taken for images."""
VIDEO_SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm"}
TO_FRAMES = "take frames from it, e.g. one a second: ffmpeg -i clip.mp4 -vf fps=1 frames/clip_%05d.png"
"""The way out for videos. It need not be every frame, since neighbours are much alike."""


def find(folder: Path) -> tuple[list[str], list[str]]:
    """List the image files below ``folder``, and everything else there, as sorted POSIX paths relative to it.

    Everything else: files with other endings, names that may steer a terminal, linked folders, which are not followed.
    Hidden files and folders are in neither list. ``folder`` may be one image file. DataError where it is missing or
    holds no image.
    """
    if folder.is_file():
        refuse_video(folder)
        return [folder.name], []
    if not folder.is_dir():
        if folder.exists():
            raise DataError(f"{folder}: is neither a folder nor a regular file")
        raise DataError(f"{folder}: no such folder or image")
    return sort_out(folder, folder, folder.rglob("*"))


def refuse_video(path: Path) -> None:
    """Raise DataError where a file has the name of a video."""
    if videos([path.name]):
        raise DataError(f"{path}: is a video, which is not read", TO_FRAMES)


def videos(names: Iterable[str]) -> list[str]:
    """Return the names of videos among those of files."""
    return [name for name in names if Path(name).suffix.lower() in VIDEO_SUFFIXES]


def sort_out(asked: Path, folder: Path, paths: Iterable[Path]) -> tuple[list[str], list[str]]:
    """Sort paths below ``folder`` into images and everything else, as `find` does.

    DataError, which names what was ``asked`` for, where no image is among them.
    """
    images: list[str] = []
    others: list[str] = []
    for path in paths:
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or (path.is_dir() and not path.is_symlink()):
            continue
        name = relative.as_posix()
        usable = path.suffix.lower() in SUFFIXES and not path.is_dir() and can_be_shown(name)
        (images if usable else others).append(name if can_be_shown(name) else ascii(name))
    if not images:
        kinds = " ".join(sorted(suffix[1:] for suffix in SUFFIXES))
        hint = TO_FRAMES if videos(others) else ""
        raise DataError(f"{asked} holds no image ({len(others)} other files; images are {kinds})", hint)
    return sorted(images), sorted(others)
