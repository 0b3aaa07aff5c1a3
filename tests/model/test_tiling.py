from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degsynth.model.tiling import Tiling, fitting, square

SIDES, SCALES, HALOS, POOLINGS = st.integers(1, 90), st.integers(1, 4), st.integers(0, 40), st.integers(1, 4)


def check(tiling: Tiling, height: int, width: int, scale: int, halo: int, multiple_of: int) -> int:
    """Tiles cover the plane once and windows reach far enough; gives the most HR px that a window has."""
    written = np.zeros((height, width), int)
    largest = 0
    for rows in tiling.bands(height):
        for columns in tiling.tiles(width):
            written[rows.start : rows.stop, columns.start : columns.stop] += 1
            largest = max(
                largest,
                scale**2 * (rows.window_stop - rows.window_start) * (columns.window_stop - columns.window_start),
            )
            for span, length in ((rows, height), (columns, width)):
                assert 0 <= span.window_start <= span.start < span.stop <= span.window_stop <= length
                assert span.window_start * scale % multiple_of == 0
                assert span.window_start == 0 or (span.start - span.window_start) * scale >= halo
                assert span.window_stop == length or (span.window_stop - span.stop) * scale >= halo
                assert span.window_stop == length or span.window_stop * scale % multiple_of == 0
                window = np.arange(span.window_start, span.window_stop)
                assert list(window[span.core]) == list(range(span.start, span.stop))
    assert (written == 1).all()
    return largest


@given(SIDES, SIDES, st.integers(1, 50), SCALES, HALOS, POOLINGS)
def test_tiles_cover_once_and_windows_reach_far_enough(
    height: int, width: int, tile: int, scale: int, halo: int, pooling: int
) -> None:
    multiple_of = scale * pooling
    check(square(tile, scale, halo, multiple_of), height, width, scale, halo, multiple_of)


@given(st.integers(1, 200), st.integers(1, 300), st.integers(1, 200_000), SCALES, HALOS, POOLINGS)
def test_tiles_that_fit(height: int, width: int, pixels: int, scale: int, halo: int, pooling: int) -> None:
    """No window is larger than asked for, unless the halo of a single step already is."""
    multiple_of = scale * pooling
    tiling = fitting(height, width, pixels, scale, halo, multiple_of)
    largest = check(tiling, height, width, scale, halo, multiple_of)
    least = (pooling + 2 * (-(-halo // scale) + pooling - 1)) * scale
    assert largest <= max(pixels, least**2)


def test_strips_where_there_is_memory_and_squares_where_there_is_not() -> None:
    wide = fitting(5000, 5000, 10_000_000, 4, 8, 4)
    assert (wide.rows, wide.columns) == (32, 5000)
    assert fitting(256, 256, 10_000_000, 4, 8, 4).rows == 128, "short strips are not worth the call"
    narrow = fitting(5000, 5000, 1_000_000, 4, 40, 4)
    assert narrow.rows == 160
    assert narrow.rows < narrow.columns < 5000
    tight = fitting(5000, 5000, 100_000, 4, 40, 4)
    assert tight.rows == tight.columns < 64


def test_a_tile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(square(0, 2, 0, 2).bands(4))
