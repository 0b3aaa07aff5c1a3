"""The fixed Gaussians of the adaptive blurring layer, compared with scipy's bivariate normal."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from torch import Tensor

from degsynth.nets.adaptive_blur import AdaptiveBlur
from degsynth.ops.gaussian_cells import ACROSS, ANGLES, LAYER_VARIANCE, WIDER, window_side
from degsynth.ops.kernels import centroid, gaussian, second_moment, similarity


def table(factor: float, size: int = 16, group: int = 1) -> Tensor:
    return AdaptiveBlur(1, group, size, 2).table(torch.tensor([factor], dtype=torch.float64))[0].double()


@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("factor", [0.1, 0.25, 0.5, 1.0, 1.7, 3.0, 3.6])
def test_taps_are_the_integrals_over_their_cells(factor: float, size: int) -> None:
    """Algorithm 1, with the cumulative distribution at the corners of the cells; y points down."""
    edges = (np.arange(size + 1) - size / 2) / 2
    x, y = np.meshgrid(edges, edges)
    for kernel, angle in zip(table(factor, size), ANGLES, strict=True):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        turn = np.array([[c, s], [-s, c]])  # counter-clockwise on a screen whose y points down
        normal = multivariate_normal([0, 0], factor * turn @ np.diag([1, ACROSS]) @ turn.T)
        below = normal.cdf(np.stack([x, y], -1))
        taps = below[1:, 1:] - below[:-1, 1:] - below[1:, :-1] + below[:-1, :-1]
        assert np.abs(kernel.numpy() - taps / taps.sum()).max() < 1e-4


@given(st.floats(0.01, 10.0), st.sampled_from([16, 17]))
def test_sum_centre_and_symmetry(factor: float, size: int) -> None:
    kernels = table(factor, size)
    assert torch.allclose(kernels.sum((1, 2)), torch.ones(4, dtype=torch.float64), atol=1e-6)
    assert bool((kernels >= 0).all())
    for kernel in kernels:
        assert centroid(kernel) == pytest.approx((0, 0), abs=1e-6)
        assert torch.allclose(kernel, kernel.flip(0, 1), atol=1e-7)
    along, up, down, across = kernels
    assert torch.allclose(along, across.T, atol=1e-7)
    assert torch.allclose(up, down.flip(1), atol=1e-7)


def test_orientation_is_that_of_the_other_kernels() -> None:
    for kernel, angle in zip(table(0.5), ANGLES, strict=True):
        same = gaussian(16, 2 * math.sqrt(0.5 * ACROSS), 2 * math.sqrt(0.5), math.radians(angle))
        assert similarity(kernel, same) > 0.995


def test_a_unit_of_factor_adds_the_documented_variance() -> None:
    """It adds 2.6 px², mean of both axes, where the window cuts nothing off; a pixel's own 1/12 does not change."""
    low, high = (sum(sum(second_moment(k)) / 2 for k in table(f)) / 4 for f in (0.2, 0.6))
    assert (high - low) / 0.4 == pytest.approx(LAYER_VARIANCE, rel=0.01)
    assert pytest.approx(2.6) == LAYER_VARIANCE


def test_group_two_also_has_wider_ones() -> None:
    assert torch.allclose(table(0.5, group=2), torch.cat([table(0.5), table(WIDER * 0.5)]), atol=1e-7)


def test_a_factor_for_each_item() -> None:
    layer = AdaptiveBlur(1, 1, 16, 2)
    both = layer.table(torch.tensor([0.3, 2.0]))
    assert torch.equal(both[1], layer.table(torch.tensor([2.0]))[0])


def test_windows_suit_the_phase() -> None:
    assert [window_side(scale) for scale in (1, 2, 3, 4)] == [17, 16, 17, 16]
