"""Georeferences: a place on the earth is the same by the HR image and by its LR image."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degsynth.data.georeference import (
    KEYS,
    METADATA,
    PIXEL_SCALE,
    TIE_POINTS,
    TRANSFORMATION,
    Tag,
    decimated,
    nodata,
    read,
)

AREA = Tag(KEYS, 3, 8, (1, 1, 0, 1, 1025, 0, 1, 1))
POINT = Tag(KEYS, 3, 8, (1, 1, 0, 1, 1025, 0, 1, 2))
SCALE = Tag(PIXEL_SCALE, 12, 3, (10.0, 5.0, 0.0))
TIE = Tag(TIE_POINTS, 12, 6, (3.0, 2.0, 0.0, 500000.0, 4600000.0, 7.0))
MATRIX = Tag(
    TRANSFORMATION, 12, 16, (3.0, 1.0, 0.0, 70.0, 0.5, -4.0, 0.0, 80.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
)


def place(tags: tuple[Tag, ...], column: float, row: float) -> tuple[float, float]:
    """Return where raster coordinates lie, by a matrix or by a tie point and the pixel scale."""
    values = {tag.code: tag.value for tag in tags}
    if TRANSFORMATION in values:
        m = values[TRANSFORMATION]
        return m[0] * column + m[1] * row + m[3], m[4] * column + m[5] * row + m[7]
    i, j, _, x, y, _ = values[TIE_POINTS]
    return x + (column - i) * values[PIXEL_SCALE][0], y - (row - j) * values[PIXEL_SCALE][1]


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("tags", [(SCALE, TIE), (MATRIX,)], ids=["tie point", "matrix"])
@given(column=st.integers(0, 500), row=st.integers(0, 500))
def test_the_corner_of_an_lr_pixel_is_that_of_its_block(
    tags: tuple[Tag, ...], scale: int, column: int, row: int
) -> None:
    found = place(decimated((AREA, *tags), scale), column, row)
    assert found == pytest.approx(place(tags, scale * column, scale * row))


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("tags", [(SCALE, TIE), (MATRIX,)], ids=["tie point", "matrix"])
@given(column=st.integers(0, 500), row=st.integers(0, 500))
def test_the_middle_of_an_lr_pixel_is_that_of_its_block(
    tags: tuple[Tag, ...], scale: int, column: int, row: int
) -> None:
    middle = (scale - 1) / 2
    found = place(decimated((POINT, *tags), scale), column, row)
    assert found == pytest.approx(place(tags, scale * column + middle, scale * row + middle))


def test_other_tags_stay() -> None:
    assert decimated((POINT, Tag(42113, 2, 5, "-9999")), 4) == (POINT, Tag(42113, 2, 5, "-9999"))


def test_statistics_of_the_hr_file_are_no_matter_of_the_lr_file() -> None:
    text = (
        '<GDALMetadata>\n  <Item name="STATISTICS_MEAN" sample="0">12.5</Item>\n'
        '  <Item name="SCALE" sample="0" role="scale">0.1</Item>\n</GDALMetadata>\n'
    )
    (tag,) = read({METADATA: FileTag(METADATA, 2, len(text), text)})
    assert "STATISTICS" not in tag.value
    assert 'role="scale">0.1<' in tag.value


@pytest.mark.parametrize(("text", "value"), [("-9999", -9999.0), ("0 ", 0.0), ("nan?", None), ("", None)])
def test_nodata(text: str, value: float | None) -> None:
    assert nodata({42113: FileTag(42113, 2, len(text), text)}) == value


def test_no_nodata() -> None:
    assert nodata({}) is None


class FileTag:
    """A tag as tifffile has it."""

    def __init__(self, code: int, dtype: int, count: int, value: Any) -> None:
        self.code, self.dtype, self.count, self.value = code, dtype, count, value
