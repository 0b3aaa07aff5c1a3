"""Names of images that share a file with others: ``photos.h5:/hr[17]`` in HDF5, ``stack.tif[3]`` in TIFF.

`apply` calls the images of a TIFF by the name of the file and a number of their own. Everything else, where an image is
a path, calls them by such names.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from degsynth.data import hdf5_names

PAGE = re.compile(r"(?P<file>.+\.tiff?)\[(?P<number>[0-9]{1,9})\]", re.IGNORECASE | re.DOTALL)


class Page(NamedTuple):
    """An image of a TIFF that may hold several."""

    file: Path
    number: int
    """Counted from 0."""

    @property
    def path(self) -> Path:
        """The name with the folder of the file."""
        return self.file.with_name(f"{self.file.name}[{self.number}]")


def page_of(path: Path) -> Page | None:
    """Take the name of a page of a TIFF apart, without reading the file; None where it is none."""
    match = PAGE.fullmatch(str(path)) if path.name.endswith("]") else None
    if match is None or hdf5_names.split(path) is not None:
        return None
    return Page(Path(match["file"]), int(match["number"]))


def file_of(path: Path) -> Path:
    """Return the file that holds an image: the path itself, unless it names one of several images."""
    if (page := page_of(path)) is not None:
        return page.file
    place = hdf5_names.split(path)
    return path if place is None else place.file


def set_of(path: Path) -> Path:
    """Return the TIFF, or the data set of an HDF5 file, that an image is one of several of; else the path itself."""
    if (page := page_of(path)) is not None:
        return page.file
    place = hdf5_names.split(path)
    return path if place is None else replace(place, index=None).path


def as_file_name(source: str) -> str:
    """Return the POSIX path that an image would have as a file: ``photos/hr_p0017.h5`` for ``photos.h5:/hr[17]``.

    That of ``stack.tif[3]`` is ``stack_p0003.tif``; other names are returned as they are.
    """
    if (page := page_of(Path(source))) is not None:
        return page.file.with_name(f"{page.file.stem}_p{page.number:04}{page.file.suffix}").as_posix()
    place = hdf5_names.split(Path(source))
    if place is None:
        return source
    number = "" if place.index is None else f"_p{place.index:04}"
    folder = PurePosixPath(place.file.with_suffix("").as_posix())
    return f"{folder}/{place.inside.strip('/')}{number}{place.file.suffix}"


def within(source: str, asked: Path) -> str:
    """Return the path that an image would have as a file below the stack or the data sets that were asked for.

    ``p0017.h5`` for ``photos.h5:/hr[17]``, asked for as ``photos.h5:/hr``; ``a.h5`` for ``photos.h5:/hr/a``;
    ``p0003.tif`` for ``stack.tif[3]``, asked for as ``stack.tif``. Of a folder, names are what they are.
    """
    page, place, above = page_of(Path(source)), hdf5_names.split(Path(source)), hdf5_names.split(asked)
    if page is not None and page.file.as_posix() == asked.name:
        return f"p{page.number:04}{page.file.suffix}"
    if place is None or above is None:
        return source
    inside = place.inside.strip("/").removeprefix(above.inside.strip("/")).strip("/")
    number = "" if place.index is None else f"p{place.index:04}"
    return "_".join(filter(None, (inside, number))) + place.file.suffix
