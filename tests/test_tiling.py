from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degsynth.tiling import grid


@given(
    st.integers(1, 90), st.integers(1, 90), st.integers(1, 50), st.integers(1, 4), st.integers(0, 40), st.integers(1, 4)
)
def test_tiles_cover_once_and_windows_reach_far_enough(
    height: int, width: int, tile: int, scale: int, halo: int, pooling: int
) -> None:
    multiple_of = scale * pooling
    written = np.zeros((height, width), int)
    for part in grid(height, width, tile, scale, halo, multiple_of):
        written[part.rows.start : part.rows.stop, part.columns.start : part.columns.stop] += 1
        for span, length in ((part.rows, height), (part.columns, width)):
            assert 0 <= span.window_start <= span.start < span.stop <= span.window_stop <= length
            assert span.window_start * scale % multiple_of == 0
            assert span.window_start == 0 or (span.start - span.window_start) * scale >= halo
            assert span.window_stop == length or (span.window_stop - span.stop) * scale >= halo
            assert span.window_stop == length or span.window_stop * scale % multiple_of == 0
            window = np.arange(span.window_start, span.window_stop)
            assert list(window[span.core]) == list(range(span.start, span.stop))
    assert (written == 1).all()


def test_a_tile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(grid(4, 4, 0, 2, 0, 2))
