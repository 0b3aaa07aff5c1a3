"""Kernels moved by fractions of a pixel: the centroid moves, and nothing else changes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import lagrange as polynomial

from degsynth.ops.kernels import centroid, gaussian, second_moment, similarity
from degsynth.ops.subpixel import centred, lagrange, moved, suited, suited_size, whole_pixels


@given(st.floats(0, 1), st.integers(0, 7))
def test_lagrange_weights_interpolate_polynomials(fraction: float, degree: int) -> None:
    """The slow computation is scipy's polynomial through the eight points."""
    at = np.arange(-3, 5)
    values = (at / 4.0) ** degree
    expected = polynomial(at, values)(fraction)
    assert float(lagrange(fraction).numpy() @ values) == pytest.approx(expected, abs=1e-9)


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_a_move_moves_the_centroid_and_widens_nothing(down: float, right: float) -> None:
    kernel = gaussian(31, 1.3, 1.8, 0.5)
    result = moved(kernel, down, right)
    assert centroid(result) == pytest.approx((down, right), abs=1e-4)
    assert second_moment(result) == pytest.approx(second_moment(kernel), abs=1e-4)
    assert torch.allclose(result, gaussian(31, 1.3, 1.8, 0.5, (down, right)), atol=1e-3)


@given(st.integers(0, 10_000), st.sampled_from([5, 9, 25]), st.floats(0.05, 0.9))
def test_centring_anything(seed: int, size: int, share: float) -> None:
    """Kernels of few or many taps, anywhere, are centred and have no negative taps."""
    rng = torch.Generator().manual_seed(seed)
    kernel = torch.rand(size, size, generator=rng, dtype=torch.float64)
    kernel = kernel * (torch.rand(size, size, generator=rng) < share)
    kernel[int(torch.randint(size, (1,), generator=rng)), size // 2] += 0.1
    result = centred(kernel)
    assert float(result.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(result.min()) >= 0.0
    assert max(map(abs, centroid(result))) < 1e-6


def test_centring_keeps_the_shape() -> None:
    for kernel in (gaussian(25, 0.8, 1.7, 0.3, (0.4, -2.3)), gaussian(25, 2.0, 2.0, 0.0, (5.5, 1.0))):
        result = centred(kernel)
        assert similarity(result, kernel) > 0.95  # less than 1, because it is sampled at other positions
        assert second_moment(result) == pytest.approx(second_moment(kernel), rel=0.02)
    point = torch.zeros(7, 7, dtype=torch.float64)
    point[6, 0] = 2.0
    assert float(centred(point)[3, 3]) == 1.0
    line = torch.eye(9, dtype=torch.float64)
    assert torch.allclose(centred(line), line / 9)


def test_negative_taps_stay() -> None:
    kernel = 1.5 * gaussian(25, 1.0, 1.0, 0.0, (0.3, 0.0)) - 0.5 * gaussian(25, 2.0, 2.0, 0.0, (0.3, 0.0))
    result = centred(kernel)
    assert float(result.min()) < -1e-3
    assert centroid(result) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_whole_pixels_do_not_interpolate() -> None:
    kernel = torch.zeros(9, 9, dtype=torch.float64)
    kernel[0, 1], kernel[1, 1] = 0.75, 0.25
    result = whole_pixels(kernel)
    assert sorted(result[result > 0].tolist()) == [0.25, 0.75]
    assert max(map(abs, centroid(result))) <= 0.5


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_suited_to_a_scale(scale: int) -> None:
    shapes = ((0.9, 1.6, 0.7), (2.2, 2.2, 0.0))
    kernels = torch.stack([gaussian(25, *shape) for shape in shapes])
    result = suited(kernels, scale)
    assert result.shape[-1] == suited_size(25, scale)
    assert (result.shape[-1] - scale) % 2 == 0
    for kernel, before, shape in zip(result, kernels, shapes, strict=True):
        assert float(kernel.sum()) == pytest.approx(1.0, abs=1e-12)
        assert centroid(kernel) == pytest.approx((0.0, 0.0), abs=1e-12)
        assert second_moment(kernel) == pytest.approx(second_moment(before), rel=1e-6)
        assert torch.allclose(kernel, gaussian(result.shape[-1], *shape), atol=2e-3)


@given(st.floats(0.0, 0.25))
def test_half_a_pixel_passes_waves_of_four_px(frequency: float) -> None:
    waves = torch.exp(2j * math.pi * frequency * (torch.arange(8, dtype=torch.float64) - 3.5))
    assert float((lagrange(0.5) * waves).sum().abs()) > 0.97
