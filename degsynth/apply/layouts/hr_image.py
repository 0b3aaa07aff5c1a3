"""An HR image of a run: which pixels LR images are made of, and how it goes into ``hr/``.

The file itself goes there where it can. Otherwise it is written anew, as a file of the same kind, because a set of JPEG
files with a few PNG files in it is one that some trainers read only in part.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degsynth.data import images
from degsynth.data.compression import LARGEST_SIDE, compressed
from degsynth.data.hdf5_names import split
from degsynth.data.regular import open_regular
from degsynth.model.degradation import lr_size
from degsynth.ops.compression import HIGHEST_QUALITY, at_quality

FINEST = at_quality(HIGHEST_QUALITY)._replace(subsampling="4:4:4")
"""How JPEG files of HR images are written: by steps of 1, and chroma as large as luma."""
LARGEST_WEBP = 16383
"""Most pixels a side of a WebP file."""
JPEG_SUFFIXES = (".jpg", ".jpeg")
WRITTEN_SUFFIXES = (*JPEG_SUFFIXES, ".webp", ".bmp", ".png", ".tif")
"""Endings of HR files that are written, in small letters."""


@dataclass(frozen=True)
class HrImage:
    """An HR image that was opened."""

    picture: images.Picture
    """What LR images are made of: exactly what the file in ``hr/`` holds, beside rows and columns that are cropped."""
    path: Path
    size: tuple[int, int]
    """Height and width of the source."""
    kept: bool
    """Whether the file itself, as a whole, can serve as HR."""
    suffix: str
    """Ending of HR files that are written anew."""
    converted_from: str
    """Name of the ICC profile from which it was converted to sRGB; empty where it was not."""
    before: images.Image | None = None
    """The image before it was compressed as the JPEG file that is written, where it is."""

    @classmethod
    def of(
        cls, picture: images.Picture, path: Path, scale: int, alone: bool, cut: bool, converted_from: str
    ) -> HrImage:
        """Return the HR image of a file.

        ``alone``: it is the only one of its file. ``cut``: parts of it are written, which are lossless whatever the
        file is. DataError where it is smaller than one LR pixel.
        """
        height, width = (scale * side for side in lr_size(picture.height, picture.width, scale))
        size = picture.height, picture.width
        kept = alone and not cut and not picture.remade and size == (height, width)
        suffix = lossless_suffix(path, picture) if cut or kept else _suffix(path, picture)
        hr = cls(picture, path, size, kept, suffix, converted_from)
        if suffix.lower() not in JPEG_SUFFIXES:
            return hr
        before = picture.window(0, height, 0, width)
        read_back = images.Image(compressed(before.pixels, FINEST), None, True, picture.meaning)
        return cls(read_back, path, size, kept, suffix, converted_from, before)


def lossless_suffix(path: Path, picture: images.Picture) -> str:
    """Return the ending of a lossless file of an image: TIFF for one of a TIFF, and for what PNG cannot hold."""
    in_png = picture.dtype != np.float32 and not picture.meaning.others
    return ".png" if in_png and not images.is_tiff(path) else ".tif"


def _suffix(path: Path, picture: images.Picture) -> str:
    """Return the ending of an HR file that is written anew: that of its source where such a file can hold it."""
    longest = max(picture.height, picture.width)
    suffix = path.suffix.lower()
    same_kind = {
        **dict.fromkeys(JPEG_SUFFIXES, not picture.has_alpha and longest <= LARGEST_SIDE),
        ".webp": picture.channels == 3 and longest <= LARGEST_WEBP,
        ".bmp": picture.channels == 3 and not picture.has_alpha,
    }
    plain = picture.dtype == np.uint8 and not picture.meaning.others and split(path) is None
    held = plain and same_kind.get(suffix) and (suffix not in JPEG_SUFFIXES or _is_jpeg(path))
    return path.suffix if held else lossless_suffix(path, picture)


def _is_jpeg(path: Path) -> bool:
    """Tell whether a file is a JPEG, and not another one with its ending, which would lose by becoming one."""
    with open_regular(path) as file:
        return file.read(2) == b"\xff\xd8"
