"""Maps between two photographs: derivatives, inverses, and the same map in other terms."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from degsynth.align.lens_map import POWERS, Box, LensMap, between_full, jacobian, overlap, transformed

small = st.floats(-1.0, 1.0)
HOMOGRAPHY = np.array([[2.0, -0.1, 30.0], [0.08, 2.1, -20.0], [2e-5, -3e-5, 1.0]])
BOX = Box(10, 310, 20, 420)


def maps() -> st.SearchStrategy[LensMap]:
    def made(values: list[float]) -> LensMap:
        return LensMap.of(HOMOGRAPHY, BOX).with_step(np.array(values).reshape(2, len(POWERS)))

    return st.lists(small, min_size=2 * len(POWERS), max_size=2 * len(POWERS)).map(made)


@given(maps(), st.floats(0, 400), st.floats(0, 300))
def test_the_inverse_leads_back(mapping: LensMap, x: float, y: float) -> None:
    point = np.array([[x, y]])
    assert np.allclose(mapping.inverse(mapping(point), 40), point, atol=1e-6)


@given(maps())
def test_around_another_box_it_is_the_same_map(mapping: LensMap) -> None:
    other = mapping.around(Box(50, 120, 200, 260))
    points = BOX.points()[::997]
    assert np.allclose(other(points), mapping(points), atol=1e-6)


@given(maps(), st.integers(1, 4))
def test_between_larger_photographs_pixels_have_the_same_centres(mapping: LensMap, by: int) -> None:
    points = BOX.points()[::997]

    def larger(small_points: np.ndarray) -> np.ndarray:
        return by * small_points + (by - 1) / 2

    assert np.allclose(mapping.enlarged(by)(larger(points)), larger(mapping(points)), atol=1e-6)


def test_derivatives_are_differences() -> None:
    at, step = np.array([120.0, 80.0]), 1e-4
    sides = transformed(HOMOGRAPHY, at + step * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]))
    expected = np.stack([sides[0] - sides[1], sides[2] - sides[3]], 1) / (2 * step)
    assert np.allclose(jacobian(HOMOGRAPHY, at), expected, atol=1e-6)


def test_a_homography_between_reduced_photographs() -> None:
    whole = between_full(between_full(HOMOGRAPHY, 1 / 3, 1 / 2), 3, 2)
    assert np.allclose(whole, HOMOGRAPHY / HOMOGRAPHY[2, 2])


def test_points_of_a_finer_grid_have_the_mean_of_their_pixel() -> None:
    box = Box(3, 5, 7, 10)
    fine = box.points(4).reshape(8, 12, 2)
    coarse = box.points().reshape(2, 3, 2)
    assert np.allclose(fine.reshape(2, 4, 3, 4, 2).mean((1, 3)), coarse)
    assert coarse[0, 0].tolist() == [7.0, 3.0]


def test_the_overlap_is_where_the_telephoto_lies() -> None:
    shift = np.array([[1.0, 0.0, -5.0], [0.0, 1.0, -7.0], [0.0, 0.0, 1.0]])
    assert overlap(shift, (100, 100), (20, 30)) == Box(7, 27, 5, 35)
    assert overlap(shift, (15, 100), (20, 30)) == Box(7, 15, 5, 35)
    assert overlap(shift, (5, 100), (20, 30)) is None
