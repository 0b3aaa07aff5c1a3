"""The files that a run is about: those of a folder, a single one, or those of a list."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from degsynth.data import globs, hdf5_names, images
from degsynth.data.patterns import Pattern
from degsynth.errors import ConfigError, DataError


@dataclass(frozen=True)
class Sources:
    """Image files, by their names relative to a folder."""

    root: Path
    names: tuple[str, ...]
    """POSIX paths relative to the root; random numbers of an image follow from its name."""
    others: tuple[str, ...]
    """Files that are passed over, as they have no ending of an image."""
    listed: bool = False
    """Whether these are some files alone, and not all that the folder holds."""
    left_out: int = 0
    """Number of images that `chosen` left out."""

    @classmethod
    def of(cls, path: Path) -> Sources:
        """Return the images below a folder, a single one, or those of a pattern or of an HDF5 file.

        See `degsynth.data.globs` and `degsynth.data.hdf5_images`. DataError where there is none.
        """
        if (place := hdf5_names.split(path)) is not None:
            from degsynth.data import hdf5_images  # reads HDF5, which other sources need not wait for

            names, others = hdf5_images.names(path)
            return cls(place.file.parent, tuple(names), tuple(others), listed=True)
        pattern = globs.split(path)
        if pattern is not None:
            names, others = images.sort_out(path, pattern.root, globs.found(pattern, path))
            return cls(pattern.root, tuple(names), tuple(others), listed=True)
        if path.is_file() and path.suffix.lower() in hdf5_names.SUFFIXES:
            from degsynth.data import hdf5_images

            known = ", ".join(hdf5_images.contents(path)) or "none"
            raise DataError(f"{path}: is an HDF5 file", f"name one of its data sets or groups: {known}")
        if path.is_file() and path.suffix.lower() not in images.SUFFIXES:
            images.refuse_video(path)
            kinds = " ".join(sorted(suffix[1:] for suffix in images.SUFFIXES))
            raise DataError(f"{path}: has no ending of an image ({kinds})")
        names, others = images.find(path)
        single = not path.is_dir()
        return cls(path.parent if single else path, tuple(names), tuple(others), listed=single)

    @classmethod
    def of_list(cls, paths: Iterable[str]) -> Sources:
        """Return the files of a list of paths, in the order of their names; DataError where it has no image.

        The root is the deepest folder that holds all of them, so their names, and what follows from these, are those of
        a run over that folder. A path that is listed twice counts once. Whether the files exist is found out when they
        are opened.
        """
        whole = sorted({os.path.abspath(path) for path in paths if path})  # noqa: PTH100 - links are not followed
        usable = [path for path in whole if Path(path).suffix.lower() in images.SUFFIXES and path.isprintable()]
        others = [path if path.isprintable() else ascii(path) for path in whole if path not in set(usable)]
        if not usable:
            raise DataError(
                f"the list of HR images names no image ({len(others)} other paths)", "give one path in each line"
            )
        root = Path(os.path.commonpath([os.path.dirname(path) for path in usable]))  # noqa: PTH120
        names = tuple(sorted(Path(path).relative_to(root).as_posix() for path in usable))
        return cls(root, names, tuple(others), listed=True)

    def chosen(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Sources:
        """Return the files that fit one of the patterns ``include``, where there is one, and none of ``exclude``.

        `degsynth.data.patterns.Pattern` says how a pattern fits a name. Files that are passed over may be excluded,
        too. ConfigError where a pattern fits nothing, or where no image is left.
        """
        wanted, unwanted = [Pattern(text) for text in include], [Pattern(text) for text in exclude]
        for option, patterns, names in (
            ("include", wanted, self.names),
            ("exclude", unwanted, (*self.names, *self.others)),
        ):
            for pattern in patterns:
                if not any(pattern.fits(name) for name in names):
                    raise ConfigError(
                        f"`{option}={pattern.text}`: no image in {self.root} has such a name",
                        "patterns are for paths relative to that folder, such as '*.png' or 'portraits/**'",
                    )
        kept = tuple(name for name in self.names if not wanted or any(pattern.fits(name) for pattern in wanted))
        kept = tuple(name for name in kept if not any(pattern.fits(name) for pattern in unwanted))
        if not kept:
            raise ConfigError(f"no image of {self.root} is left by `include` and `exclude`", "give fewer of them")
        others = tuple(name for name in self.others if not any(pattern.fits(name) for pattern in unwanted))
        return replace(self, names=kept, others=others, left_out=self.left_out + len(self.names) - len(kept))

    def check_apart(self, out: Path) -> None:
        """Raise ConfigError where a folder that is to be written holds HR images, or lies in a folder that is read."""
        if out.suffix.lower() in images.SUFFIXES and not out.is_dir():
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
    path, pattern = hdf5_names.file_of(path), globs.split(path)
    if not (path if pattern is None else pattern.root).exists():
        raise ConfigError(f"`hr={path}`: no such folder or image")
    if pattern is not None:
        return pattern.root
    return path if path.is_dir() else path.parent
