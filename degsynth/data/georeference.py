"""Where on the earth the pixels of a GeoTIFF lie, and where the pixels of its LR image do.

Raster coordinates (I, J) count columns and rows. Where pixels are areas, the first one reaches from 0 to 1; where they
are points, it lies at 0. LR pixel i covers the HR pixels s·i … s·i + s − 1, so::

    areas:   I  =  s · i                     points:   I  =  s · i + (s − 1)/2

A tie point says that raster coordinates (I, J, K) are the place (X, Y, Z), with a pixel scale beside it or with further
tie points; a transformation matrix says it for all pixels at once (GeoTIFF 1.1, 7.3 and B.6).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

PIXEL_SCALE, TIE_POINTS, TRANSFORMATION = 33550, 33922, 34264
KEYS, NUMBERS, TEXTS, METADATA, NODATA = 34735, 34736, 34737, 42112, 42113
CARRIED = (PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, KEYS, NUMBERS, TEXTS, METADATA, NODATA)
"""Codes of the tags that are carried."""
RASTER_TYPE, POINT = 1025, 2
"""The key that says whether pixels are areas or points, and its value for points."""
STATISTICS = re.compile(r'\s*<Item name="STATISTICS_[^>]*>[^<]*</Item>')
"""Entries of GDAL's metadata that hold for the pixels of one file alone. Others, as gain and offset, are carried."""


class Tag(NamedTuple):
    """A tag of a TIFF file."""

    code: int
    dtype: int
    """TIFF's code of the type."""
    length: int
    """Number of values; 0: as many as there are."""
    value: Any
    """A number, a tuple of numbers, or a text."""


def read(tags: Mapping[int, Any]) -> tuple[Tag, ...]:
    """Return the tags of a page, by their codes, that say where its pixels lie; each has dtype, count and value."""
    found = (tags.get(code) for code in CARRIED)
    result = [Tag(tag.code, int(tag.dtype), tag.count, tag.value) for tag in found if tag is not None]
    return tuple(map(_without_statistics, result))


def nodata(tags: Mapping[int, Any]) -> float | None:
    """Return the value of pixels of which nothing is known, as GDAL writes it; None where there is none."""
    tag = tags.get(NODATA)
    try:
        return None if tag is None else float(str(tag.value).strip(" \0"))
    except ValueError:
        return None


def _without_statistics(tag: Tag) -> Tag:
    if tag.code != METADATA or not isinstance(tag.value, str):
        return tag
    text = STATISTICS.sub("", tag.value)
    return tag._replace(value=text, length=0)


def decimated(tags: Sequence[Tag], scale: float) -> tuple[Tag, ...]:
    """Return the tags of an LR image from those of its HR image."""
    offset = 0.5 * (scale - 1) if _are_points(tags) else 0.0
    result = []
    for tag in tags:
        values = tag.value
        if tag.code == PIXEL_SCALE and len(values) == 3:
            values = (values[0] * scale, values[1] * scale, values[2])
        elif tag.code == TIE_POINTS and len(values) % 6 == 0:
            points = (values[at : at + 6] for at in range(0, len(values), 6))
            values = tuple(_flat(((i - offset) / scale, (j - offset) / scale, *rest) for i, j, *rest in points))
        elif tag.code == TRANSFORMATION and len(values) == 16:
            rows = (values[at : at + 4] for at in range(0, 16, 4))
            values = tuple(_flat((a * scale, b * scale, c, d + (a + b) * offset) for a, b, c, d in rows))
        result.append(tag._replace(value=values))
    return tuple(result)


def cropped(tags: Sequence[Tag], top: int, left: int) -> tuple[Tag, ...]:
    """Return the tags of a part of an image that begins at a row and a column, px."""
    result = []
    for tag in tags:
        values = tag.value
        if tag.code == TIE_POINTS and len(values) % 6 == 0:
            points = (values[at : at + 6] for at in range(0, len(values), 6))
            values = tuple(_flat((i - left, j - top, *rest) for i, j, *rest in points))
        elif tag.code == TRANSFORMATION and len(values) == 16:
            rows = (values[at : at + 4] for at in range(0, 16, 4))
            values = tuple(_flat((a, b, c, d + a * left + b * top) for a, b, c, d in rows))
        result.append(tag._replace(value=values))
    return tuple(result)


def _are_points(tags: Sequence[Tag]) -> bool:
    """Whether pixels are points and not areas."""
    keys = next((tag.value for tag in tags if tag.code == KEYS), ())
    entries = (keys[at : at + 4] for at in range(4, len(keys), 4)) if isinstance(keys, tuple) else ()
    return any(len(entry) == 4 and entry[0] == RASTER_TYPE and entry[3] == POINT for entry in entries)


def _flat(rows: Iterable[Iterable[float]]) -> Iterable[float]:
    return (value for row in rows for value in row)
