"""The folder of a data set as the only place that is written: no name and no link leads out of it."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from degsynth.errors import ConfigError
from degsynth.files import name_parts

PARTIAL = ".partial"
"""Folder in which files are made before they are moved into place."""
LOCK = f"{PARTIAL}/lock"
"""File that is locked by the run that writes the data set."""
NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
FOLDER: int = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
FILE: int = NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Links are not followed, and a FIFO is refused instead of waited for."""
HAS_DIR_FD = (
    bool(NOFOLLOW) and {os.open, os.mkdir, os.unlink, os.rename, os.link, os.symlink, os.stat} <= os.supports_dir_fd
)
"""Whether a file can be named relative to an open folder, so that nobody can exchange a folder in between."""
MODES = {
    "rb": os.O_RDONLY,
    "ab": os.O_WRONLY | os.O_APPEND | os.O_CREAT,
    "w+b": os.O_RDWR | os.O_CREAT | os.O_EXCL,
    "r+b": os.O_RDWR | os.O_CREAT,
}
"""Flags of ways to open a file: read, append, make a new one, and open or make one without emptying it."""


class Root:
    """A folder below which files are written, linked, moved and removed, by POSIX names relative to it.

    On systems that can, every folder on the way is opened relative to the one before and never through a link;
    elsewhere every folder is checked first. ``path`` itself may be a link: the user named it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, name: str, mode: Literal["rb", "ab", "w+b", "r+b"]) -> BinaryIO:
        """Open a regular file; OSError where it is something else or a link."""
        with self._parent(name, make=mode != "rb") as (last, folder):
            descriptor = os.open(last, MODES[mode] | FILE, 0o666, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
        # With an opener, unlike with fdopen, the file knows its name; tifffile asks for that.
        return open(self.path / name, mode, opener=lambda path, flags: descriptor)

    def stat(self, name: str) -> os.stat_result:
        """Return the status of a file or of a link, which is not followed."""
        with self._parent(name) as (last, folder):
            return os.stat(last, dir_fd=folder, follow_symlinks=False)

    def make_folder(self, name: str) -> None:
        """Make a folder with its parents, where it is missing."""
        with self._parent(f"{name}/x", make=True):
            pass

    def partial(self, suffix: str = "") -> str:
        """Return a name in ``.partial`` that no file has."""
        return f"{PARTIAL}/{uuid.uuid4().hex}{suffix}"

    def write(self, name: str, text: str) -> None:
        """Write a text file in one move; OSError where that fails, with nothing left behind."""
        partial = self.partial()
        try:
            with self.open(partial, "w+b") as file:
                file.write(text.encode("utf-8"))
            self.move(partial, name)
        except BaseException:
            self.remove(partial)
            raise

    def move(self, name: str, target: str) -> None:
        """Move a file to the place of another, which is replaced."""
        with self._parent(name) as (old, source), self._parent(target, make=True) as (new, folder):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(new, dir_fd=folder, follow_symlinks=False)
                # rename() does nothing where both names are links to one file
                if os.path.samestat(status, os.stat(old, dir_fd=source, follow_symlinks=False)):
                    os.unlink(new, dir_fd=folder)
            os.replace(old, new, src_dir_fd=source, dst_dir_fd=folder)

    def link(self, path: Path, name: str) -> None:
        """Make a hard link to a file of any place."""
        with self._parent(name, make=True) as (last, folder):
            os.link(path, last, dst_dir_fd=folder)

    def symlink(self, path: Path, name: str) -> None:
        """Make a symbolic link to a file of any place."""
        with self._parent(name, make=True) as (last, folder):
            os.symlink(path, last, dir_fd=folder)

    def remove(self, name: str) -> None:
        """Remove a file or a link; nothing happens where there is none."""
        with contextlib.suppress(FileNotFoundError), self._parent(name) as (last, folder):
            os.unlink(last, dir_fd=folder)

    def remove_tree(self, name: str) -> None:
        """Remove a folder with all that is in it, as far as that can be done; links are removed, not followed."""
        with contextlib.suppress(OSError), self._parent(name) as (last, folder):
            shutil.rmtree(last, ignore_errors=True, dir_fd=folder)

    def remove_empty_folders(self, name: str) -> None:
        """Remove the folder and the folders in it that hold nothing."""
        for place, _, _ in os.walk(self.path / name, topdown=False):
            below = Path(place).relative_to(self.path).as_posix()
            with contextlib.suppress(OSError), self._parent(below) as (last, folder):
                os.rmdir(last, dir_fd=folder)

    def files(self, *folders: str) -> list[str]:
        """Return the sorted names of all files and links below folders; links are not followed."""
        found = (path for folder in folders for path in (self.path / folder).rglob("*"))
        held = (path for path in found if path.is_symlink() or not path.is_dir())
        return sorted(path.relative_to(self.path).as_posix() for path in held)

    def refuse_links(self, *names: str) -> None:
        """Raise ConfigError where one of the names, or a folder below one, is a link."""
        for name in names:
            self._refuse(name)
            for place, folders, _ in os.walk(self.path / name):
                for folder in folders:
                    self._refuse((Path(place) / folder).relative_to(self.path).as_posix())

    def _refuse(self, name: str) -> None:
        if (self.path / name).is_symlink():
            raise ConfigError(
                f"OUT {self.path}: its {name} is a link, so files would be written where it points", "remove it"
            )

    @contextlib.contextmanager
    def _parent(self, name: str, make: bool = False) -> Iterator[tuple[str, int | None]]:
        """Yield the last part of a name and the descriptor of its folder, which is made where that is asked for."""
        *folders, last = name_parts(name)
        if not HAS_DIR_FD:
            for count in range(1, len(folders) + 1):
                self._refuse("/".join(folders[:count]))
            place = self.path.joinpath(*folders)
            if make:
                place.mkdir(parents=True, exist_ok=True)
            yield str(place / last), None
            return
        descriptor = os.open(self.path, FOLDER)
        try:
            for count, folder in enumerate(folders, 1):
                try:
                    below = self._open_folder(folder, descriptor, make)
                except OSError as error:
                    if error.errno in (errno.ELOOP, errno.ENOTDIR):
                        self._refuse("/".join(folders[:count]))
                    raise
                os.close(descriptor)
                descriptor = below
            yield last, descriptor
        finally:
            os.close(descriptor)

    @staticmethod
    def _open_folder(name: str, parent: int, make: bool) -> int:
        try:
            return os.open(name, FOLDER | NOFOLLOW, dir_fd=parent)
        except FileNotFoundError:
            if not make:
                raise
        with contextlib.suppress(FileExistsError):  # another worker has made it
            os.mkdir(name, dir_fd=parent)
        return os.open(name, FOLDER | NOFOLLOW, dir_fd=parent)
