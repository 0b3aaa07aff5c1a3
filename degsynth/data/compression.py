"""How JPEG files are compressed, read from their markers, and the same done to an image in memory."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from degsynth.data import exif, images
from degsynth.data.carried import Carried
from degsynth.data.jpeg import COLOURS, Markers, read_markers
from degsynth.data.regular import open_regular
from degsynth.errors import DataError
from degsynth.ops.compression import BLOCK, Compression, Stored, Subsampling, at_quality
from degsynth.ops.noise import uniform

LARGEST_STEP = 255
"""Larger steps, which hardly any file has, are taken for this one: files that everybody reads have none."""
MOST_DENSITY = 2**16 - 1
"""Largest number of pixels an inch that a file can state."""
LARGEST_SIDE = 65500
"""Most pixels a side of what libjpeg writes."""


def _along_diagonals(place: int) -> tuple[int, int]:
    """Return the sort key of a place, row by row: its diagonal, and its place there, which are walked to and fro."""
    row, column = divmod(place, BLOCK)
    return row + column, row if (row + column) % 2 else column


ZIGZAG = tuple(sorted(range(BLOCK * BLOCK), key=_along_diagonals))
"""Places (row by row) of the entries of a table in the order in which files have them."""


def read_file(path: Path) -> Stored | None:
    """Read how an image is stored; None where it is no JPEG, or one of other colours than gray and YCbCr."""
    with open_regular(path) as file:
        if file.read(2) != b"\xff\xd8":
            return None
        file.seek(0)
        markers = read_markers(file.read(), path)
    compression = compression_of(markers)
    return None if compression is None else Stored(compression, exif.orientation(markers.exif, markers.xmp))


def read_files(paths: Sequence[Path]) -> list[Stored | None]:
    """Read how images are stored; files that cannot be read count as no JPEG."""
    found: list[Stored | None] = []
    for path in paths:
        try:
            found.append(read_file(path))
        except (DataError, OSError):
            found.append(None)
    return found


def compression_of(markers: Markers) -> Compression | None:
    """Return what the markers of a file say of its compression; None where they do not say it, or of CMYK."""
    tables = [_by_rows(markers.tables.get(number)) for _, _, number in markers.planes]
    if len(tables) not in (1, 3) or None in tables or len(tables) != markers.components:
        return None
    luma = tables[0]
    assert luma is not None
    if len(tables) == 1:
        return Compression(luma)
    across, down = (max(1, markers.planes[0][axis]) // max(1, markers.planes[1][axis]) for axis in (0, 1))
    subsampling: Subsampling = "4:4:4" if across * down == 1 else "4:2:2" if (across, down) == (2, 1) else "4:2:0"
    return Compression(luma, tables[1], subsampling)


def _by_rows(table: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return a table row by row; None where it is missing, or holds steps of 0."""
    if table is None or min(table) < 1:
        return None
    steps = dict(zip(ZIGZAG, table, strict=True))
    return tuple(min(LARGEST_STEP, steps[place]) for place in range(BLOCK * BLOCK))


def compressed(pixels: NDArray[np.uint8], compression: Compression) -> NDArray[Any]:
    """Return pixels (H, W, C), gray or RGB, uint8, as they are read back from a JPEG file; DataError as of `encode`."""
    decoded: NDArray[Any] = simplejpeg.decode_jpeg(encode(pixels, compression), COLOURS[pixels.shape[2]])
    return decoded


def encode(pixels: NDArray[np.uint8], compression: Compression, carried: Carried | None = None) -> bytes:
    """Return the bytes of a JPEG file of pixels (H, W, C), gray or RGB, uint8, with colour profile and resolution.

    It is written by libjpeg, with the standard's Huffman codes, which do not matter for the pixels. DataError where the
    image is larger than such a file may be.
    """
    height, width, channels = pixels.shape
    if max(height, width) > LARGEST_SIDE:
        raise DataError(
            f"LR of {width}×{height} px is more than a JPEG holds: {LARGEST_SIDE} px a side", "leave it out"
        )
    luma, chroma, subsampling = compression
    # Of a gray file, colours get the table of luma: there is no better guess.
    tables = [list(luma), list(chroma or luma)] if channels == 3 else [list(luma)]
    buffer = io.BytesIO()
    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    more: dict[str, Any] = {}
    if carried is not None and carried.icc:
        more["icc_profile"] = carried.icc
    if carried is not None and carried.density is not None and carried.density.unit != "none":
        inches = 2.54 if carried.density.unit == "centimetre" else 1.0
        across, down, _ = carried.density
        more["dpi"] = tuple(min(MOST_DENSITY, round(inches * value)) for value in (across, down))
    image.save(buffer, "JPEG", qtables=tables, subsampling=subsampling if channels == 3 else 0, **more)
    return buffer.getvalue()


def saved(image: Tensor, compression: Compression) -> Tensor:
    """Return an image (C, h, w) in [0, 1], gray or RGB, as it is read back from a JPEG file, in [0, 1]."""
    return images.to_tensor(compressed(images.quantise(image, np.dtype(np.uint8)), compression))


@dataclass(frozen=True)
class JpegStage:
    """Compression as the last stage of making LR images: each gets one of several, drawn by a seed."""

    choices: tuple[Compression, ...]
    shares: tuple[int, ...]
    """How frequent each of them is."""

    @staticmethod
    def of(counts: Iterable[tuple[Compression, int]]) -> JpegStage | None:
        """Return compression in these ways, each as frequent as its number says; None where there are none."""
        known = list(counts)
        return JpegStage(tuple(how for how, _ in known), tuple(number for _, number in known)) if known else None

    @staticmethod
    def at_qualities(low: int, high: int) -> JpegStage:
        """Return compression of a quality of libjpeg from ``low`` to ``high``, all of them equally frequent."""
        qualities = range(low, high + 1)
        return JpegStage(tuple(at_quality(quality) for quality in qualities), (1,) * len(qualities))

    def draw(self, seed: int) -> Compression:
        """Return the compression of one image."""
        place, ends = uniform(seed, 0.0, float(sum(self.shares))), itertools.accumulate(self.shares)
        return next(how for how, end in zip(self.choices, ends, strict=True) if place < end)
