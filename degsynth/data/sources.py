"""The files that a run is about: those of a folder, a single one, or those of a list."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from degsynth.data import globs, hdf5_names, images, listing
from degsynth.data.members import Page, file_of, page_of, set_of
from degsynth.data.patterns import Pattern
from degsynth.errors import ConfigError, DataError, can_be_shown


class Choice(NamedTuple):
    """Patterns that choose among images (`degsynth.data.patterns.Pattern` says how a pattern fits a name)."""

    include: tuple[str, ...] = ()
    """An image must fit one of these, where there are any."""
    exclude: tuple[str, ...] = ()
    """It must fit none of these."""


ALL = Choice()
LINKED = "linked folders are not followed"
FOLDERS = "folders in a list are left out"
UNSHOWN = "files with names that cannot be shown are left out"
FILMS = "videos are left out"
UNNAMED = "files without the name of an image are left out"
"""What is said of the kinds of things that are passed over."""


@dataclass(frozen=True)
class Sources:
    """Image files, by their names relative to a folder."""

    root: Path
    names: tuple[str, ...]
    """POSIX paths relative to the root; random numbers of an image follow from its name."""
    others: tuple[str, ...]
    """What is passed over: files without the ending of an image, names that cannot be shown (escaped), linked folders.
    """
    listed: bool = False
    """Whether these are some files alone, and not all that the folder holds."""
    left_out: int = 0
    """Number of images that `chosen` left out."""

    unsuitable: Mapping[str, DataError] = field(default_factory=dict)
    """Those of the names that stand for data sets which cannot be read as images, with the reason."""

    @classmethod
    def of(cls, path: Path, choice: Choice = ALL) -> Sources:
        """Return the images below a folder, a single one, or those of a pattern or of an HDF5 file, that are chosen.

        See `degsynth.data.globs` and `degsynth.data.hdf5_images`. DataError where there is none, or where a data set
        that is not left out cannot be read; ConfigError as for `chosen`.
        """
        if hdf5_names.split(path) is None and globs.split(path) is None:
            _check_ending(path)
        return cls.found(path).chosen(choice).checked()

    @classmethod
    def found(cls, path: Path) -> Sources:
        """Return the images of a path, also those of a TIFF by its number, before any of them is chosen or checked.

        A single file may have any ending, but that of HDF5.
        """
        if (place := hdf5_names.split(path)) is not None:
            return _of_hdf5(path, place)
        page = page_of(path)
        if page is not None and page.file.is_file():
            return cls(path.parent, (path.name,), (), listed=True)
        if path.suffix.lower() in hdf5_names.SUFFIXES:
            _check_ending(path)
        return cls.of_files(path)

    @classmethod
    def of_files(cls, path: Path) -> Sources:
        """Return the image files below a folder, a single one, whatever its ending, or those of a pattern.

        DataError where there is none.
        """
        pattern = globs.split(path)
        if pattern is not None:
            names, others = listing.sort_out(path, pattern.root, globs.found(pattern, path))
            return cls(pattern.root, tuple(names), tuple(others), listed=True)
        names, others = listing.find(path)
        single = not path.is_dir()
        return cls(path.parent if single else path, tuple(names), tuple(others), listed=single)

    @classmethod
    def of_images(cls, path: Path, choice: Choice = ALL) -> Sources:
        """Return the images of a path that are chosen, each of several in a TIFF by a name of its own (`members`).

        DataError and ConfigError as for `of`.
        """
        return cls.found(path).chosen(choice).by_image()

    @classmethod
    def of_list(cls, paths: Iterable[str]) -> Sources:
        """Return the files of a list of paths, in the order of their names; DataError where it has no image.

        The root is the deepest folder that holds all of them, so their names, and what follows from these, are those of
        a run over that folder. A path that is listed twice counts once. Whether the files exist is found out when they
        are opened.
        """
        whole = sorted({os.path.abspath(path) for path in paths if path})  # noqa: PTH100 - links are not followed
        usable = [path for path in whole if Path(path).suffix.lower() in listing.SUFFIXES and can_be_shown(path)]
        others = [path if can_be_shown(path) else ascii(path) for path in whole if path not in set(usable)]
        if not usable:
            raise DataError(
                f"the list of HR images names no image ({len(others)} other paths)", "give one path in each line"
            )
        root = Path(os.path.commonpath([os.path.dirname(path) for path in usable]))  # noqa: PTH120
        names = tuple(sorted(Path(path).relative_to(root).as_posix() for path in usable))
        return cls(root, names, tuple(others), listed=True)

    def chosen(self, choice: Choice) -> Sources:
        """Return the files that are chosen; ConfigError as for `choose`."""
        return choose([self], choice)[0]

    def checked(self) -> Sources:
        """Return the same; DataError where a data set of it cannot be read as images."""
        for name in self.names:
            if (error := self.unsuitable.get(name)) is not None:
                raise DataError(
                    error.message, f"{error.hint or 'mend it'}, or leave it out: `exclude={name.rpartition('/')[2]}`"
                )
        return self

    def by_image(self) -> Sources:
        """Return the same, `checked`, with a name for each image of a TIFF that holds several."""
        self.checked()
        names: list[str] = []
        for name in self.names:
            count = images.count(self.root / name)
            names += [name] if count == 1 else [Page(Path(name), number).path.as_posix() for number in range(count)]
        return replace(self, names=tuple(names))

    def paths(self) -> list[Path]:
        """Return the paths of the images, in the order of their names."""
        return [self.root / name for name in self.names]

    def passed_over(self) -> list[str]:
        """Return a sentence for each kind of what is passed over: how many there are, the first one and the way out."""
        kinds: dict[str, list[str]] = {}
        for name in self.others:
            kinds.setdefault(self._kind(name), []).append(name)
        hints = dict.fromkeys((LINKED, FOLDERS), "; give them as HR themselves")
        hints |= {UNSHOWN: "; rename them", FILMS: f"; {listing.TO_FRAMES}"}
        return [f"{kind} ({len(names)}), e.g. {names[0]}{hints.get(kind, '')}" for kind, names in kinds.items()]

    def _kind(self, name: str) -> str:
        """Return what is said of something that is passed over; a name that cannot be shown is an escaped one here."""
        path = self.root / name
        if path.is_dir():
            return LINKED if path.is_symlink() else FOLDERS
        if not os.path.lexists(path) and path.suffix.strip("'\"").lower() in listing.SUFFIXES:
            return UNSHOWN
        return FILMS if listing.videos([name]) else UNNAMED

    def check_apart(self, out: Path) -> None:
        """Raise ConfigError where a folder that is to be written holds HR images, or lies in a folder that is read."""
        if out.suffix.lower() in listing.SUFFIXES and not out.is_dir():
            raise ConfigError(
                f"OUT {out} has the name of an image; give a folder, in which HR and LR images are written"
            )
        target, root = out.resolve(), self.root.resolve()
        if self.listed:
            held = next((name for name in self.names if (root / name).is_relative_to(target)), None)
            if held is not None:
                raise ConfigError(f"OUT {out} holds {held}, one of the HR images; give OUT a folder of its own")
        elif target.is_relative_to(root) or root.is_relative_to(target):
            raise ConfigError(f"OUT {out} and HR {self.root} lie inside each other; give OUT a folder of its own")


def root_of(path: Path) -> Path:
    """Return the folder that the names of the images of ``path`` are relative to: the root of `Sources.of`.

    ConfigError where it is missing.
    """
    path, pattern = file_of(path), globs.split(path)
    if not (path if pattern is None else pattern.root).exists():
        raise ConfigError(f"`hr={path}`: no such folder or image")
    if pattern is not None:
        return pattern.root
    return path if path.is_dir() else path.parent


def choose(sides: Sequence[Sources], choice: Choice) -> list[Sources]:
    """Return the files of each of several sets that fit one of the patterns to include and none of those to exclude.

    A pattern holds for all sets, and must fit an image in one of them. Files that are passed over may be excluded, too.
    ConfigError where a pattern fits nothing, or where no image of a set is left.
    """
    wanted, unwanted = ([Pattern(text) for text in texts] for texts in choice)
    roots = " or ".join(dict.fromkeys(str(side.root) for side in sides))
    for option, patterns in (("include", wanted), ("exclude", unwanted)):
        names = [name for side in sides for name in (*side.names, *(side.others if option == "exclude" else ()))]
        for pattern in patterns:
            if not any(_fits(pattern, name) for name in names):
                raise ConfigError(
                    f"`{option}={pattern.text}`: no image in {roots} has such a name",
                    "patterns are for paths relative to that folder, such as '*.png' or 'portraits/**'",
                )
    return [_chosen(side, wanted, unwanted) for side in sides]


def _chosen(side: Sources, wanted: Sequence[Pattern], unwanted: Sequence[Pattern]) -> Sources:
    kept = tuple(
        name
        for name in side.names
        if (not wanted or any(_fits(pattern, name) for pattern in wanted))
        and not any(_fits(pattern, name) for pattern in unwanted)
    )
    if not kept:
        raise ConfigError(f"no image of {side.root} is left by `include` and `exclude`", "give fewer of them")
    others = tuple(name for name in side.others if not any(_fits(pattern, name) for pattern in unwanted))
    return replace(side, names=kept, others=others, left_out=side.left_out + len(side.names) - len(kept))


def _fits(pattern: Pattern, name: str) -> bool:
    """Tell whether a pattern fits an image; one that fits a TIFF, or a data set of an HDF5 file, fits all of it."""
    return pattern.fits(name) or pattern.fits(set_of(Path(name)).as_posix())


def _of_hdf5(path: Path, place: hdf5_names.Place) -> Sources:
    """Return the images of an HDF5 file, and its data sets that cannot be read as such."""
    from degsynth.data import hdf5_images  # reads HDF5, which other sources need not wait for

    found = hdf5_images.names(path)
    names = (*found.images, *found.unsuitable)
    return Sources(place.file.parent, names, tuple(found.others), listed=True, unsuitable=found.unsuitable)


def _check_ending(path: Path) -> None:
    """Raise DataError where a single file has no ending of an image."""
    if not path.is_file():
        return
    if path.suffix.lower() in hdf5_names.SUFFIXES:
        from degsynth.data import hdf5_images

        known = ", ".join(hdf5_images.contents(path)) or "none"
        raise DataError(f"{path}: is an HDF5 file", f"name one of its data sets or groups: {known}")
    if path.suffix.lower() not in listing.SUFFIXES:
        listing.refuse_video(path)
        kinds = " ".join(sorted(suffix[1:] for suffix in listing.SUFFIXES))
        raise DataError(f"{path}: has no ending of an image ({kinds})")
