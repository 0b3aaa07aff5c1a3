"""How JPEG files are compressed: their tables of quantisation and the subsampling of their colours.

Each 8×8 block of a plane is transformed by a discrete cosine transform (DCT), and each coefficient is divided by the
entry of a table and rounded. Luma has one table, both planes of chroma another. Chroma is mostly kept at half the size.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal, NamedTuple

from pydantic import Field
from torch import Tensor

BLOCK = 8
"""Side of a block, px."""
Step = Annotated[int, Field(ge=1, le=255)]
Table = Annotated[tuple[Step, ...], Field(min_length=64, max_length=64)]
"""Steps of the coefficients of a block, row by row; the first belongs to the mean."""
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
"""Size of the planes of chroma: that of luma; half as wide; half as wide and half as high."""
LOWEST_QUALITY, HIGHEST_QUALITY = 1, 100
"""Qualities of libjpeg, between which all steps change."""

USUAL_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
"""Table of luma in Annex K of the standard (ITU-T T.81, Table K.1), which libjpeg has at quality 50."""
USUAL_CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 32),
)
"""Table of chroma there (Table K.2)."""


class Compression(NamedTuple):
    """How one JPEG file is compressed."""

    luma: Table
    chroma: Table | None = None
    """None for gray files."""
    subsampling: Subsampling = "4:4:4"

    def quality(self) -> int:
        """Return the quality of libjpeg whose table of luma is nearest, by the sum of the absolute differences."""
        distances = {
            quality: sum(abs(a - b) for a, b in zip(self.luma, at_quality(quality).luma, strict=True))
            for quality in range(LOWEST_QUALITY, HIGHEST_QUALITY + 1)
        }
        return min(distances, key=lambda quality: (distances[quality], -quality))

    def __str__(self) -> str:
        """Return the quality and the subsampling in words."""
        return f"quality {self.quality()}" + (f", {self.subsampling}" if self.chroma else "")


class Stored(NamedTuple):
    """How an image lies in a JPEG file."""

    compression: Compression
    orientation: int = 1
    """That of EXIF, from 1 to 8: how the samples are turned before they are used. 1: they are used as they are."""

    def samples_of(self, image: Tensor) -> Tensor:
        """Return the samples (C, H, W) that the file has of an image (C, H, W): it is turned back.

        The blocks of samples begin at their upper left corner. Orientations 5 to 8 transpose the samples; some then
        flip rows or columns. That is undone here in the reverse order.
        """
        flipped = [axis for axis, which in ((-2, (3, 4, 7, 8)), (-1, (2, 3, 6, 7))) if self.orientation in which]
        image = image.flip(flipped) if flipped else image
        return image.transpose(-1, -2) if self.orientation >= 5 else image


@cache
def at_quality(quality: int) -> Compression:
    """Return what libjpeg does to RGB at a quality from 1 to 100: the usual tables, scaled, and 4:2:0."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality

    def scaled(table: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(min(255, max(1, (step * percent + 50) // 100)) for step in table)

    return Compression(scaled(USUAL_LUMA), scaled(USUAL_CHROMA), "4:2:0")
