"""The images of a TIFF file: its full pages, or the planes of an ImageJ stack that are stored behind a single page.

Overviews, masks and thumbnails (``NewSubfileType``) are no images of their own. ImageJ writes a stack of more than
4 GiB as one page; the description says how many planes follow its pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import tifffile

from degsynth.data import stacks
from degsynth.errors import DataError

LESSER = 1 | 4
"""Bits of ``NewSubfileType`` of pages that are no images of their own: a reduced image, and a mask."""
MOST_PAGES = 10_000
"""A file with more pages is refused before they are read."""


class Place(NamedTuple):
    """Where an image of a file is."""

    page: tifffile.TiffPage
    plane: int
    """Number of the plane behind the pixels of the page; 0 is the page itself."""
    said: stacks.Plane = stacks.NOTHING
    """What ImageJ or OME say of it."""


def places(file: BinaryIO, path: Path) -> list[Place]:
    """Return where the images of a file are; there is at least one. DataError where the file has none, or too many.

    Raises what tifffile raises where the file is damaged.
    """
    if file.seek(0, 2) == 0:
        raise DataError(f"{path}: the file is empty (0 bytes)")
    size = file.tell()
    file.seek(0)
    document = tifffile.TiffFile(file)
    count = len(document.pages)
    if count > MOST_PAGES:
        raise DataError(f"{path}: a TIFF of {count} pages, more than {MOST_PAGES}", "split it")
    pages = [cast(tifffile.TiffPage, document.pages[index]) for index in range(count)]
    _check_end(document, pages)
    full = [page for page in pages if not page.subfiletype & LESSER]
    if count == 1 and (planes := _planes(document, pages[0], size, path)) > 1:
        said = stacks.by_page(document, planes, path.name)
        return [Place(pages[0], plane, said.get(plane, stacks.NOTHING)) for plane in range(planes)]
    if not full and pages[0].subifds:  # raw files of cameras have a small picture in front
        raise DataError(
            f"{path}: a TIFF whose page is a small picture of another one below it, as in raw files",
            "develop it, and save it as a TIFF of one page",
        )
    if not full and count > 1:
        raise DataError(
            f"{path}: a TIFF of {count} pages, all of them overviews or masks",
            "save the page that is meant as a file of its own",
        )
    said = stacks.by_page(document, count, path.name)
    return [Place(page, 0, said.get(int(page.index), stacks.NOTHING)) for page in full or pages]


def _check_end(document: tifffile.TiffFile, pages: Sequence[tifffile.TiffPage]) -> None:
    """Raise ValueError where the last page names a further one: tifffile stops without a word where it finds none.

    One that goes back to an earlier page, in a circle, is the end.
    """
    kind, file, last = document.tiff, document.filehandle, pages[-1]
    file.seek(last.offset)
    (tags,) = struct.unpack(kind.tagnoformat, file.read(kind.tagnosize))
    file.seek(last.offset + kind.tagnosize + tags * kind.tagsize)
    (following,) = struct.unpack(kind.offsetformat, file.read(kind.offsetsize))
    if following and following not in {page.offset for page in pages}:
        raise ValueError("a page that should follow is missing")


def _planes(document: tifffile.TiffFile, page: tifffile.TiffPage, size: int, path: Path) -> int:
    """Return how many planes lie one behind the other from the pixels of a single page on.

    A description that has been copied to an image of one plane means nothing. DataError where there are more planes
    than one, and fewer than it says.
    """
    metadata = document.imagej_metadata or {}
    planes = metadata.get("images", 1)
    if not document.is_imagej or not isinstance(planes, int) or planes < 2 or not page.is_contiguous:
        return 1
    whole = (size - page.dataoffsets[0]) // max(1, page.nbytes)
    if 2 <= whole < planes:
        raise DataError(f"{path}: a stack of {planes} planes that ends after {whole} of them; it is truncated")
    return planes if whole >= planes else 1
