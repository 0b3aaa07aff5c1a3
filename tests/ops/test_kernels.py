from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import centroid, composed, gaussian, gaussian_shape, gaussian_sigma, similarity
from degsynth.ops.resample import bicubic


def test_gaussian_is_the_bivariate_normal() -> None:
    """Rotation by +30° counter-clockwise on screen: rows run downwards, so the long axis points up to the right."""
    kernel = gaussian(41, sigma_y=1.5, sigma_x=3.0, angle=math.pi / 6)
    turn = np.array([[math.cos(math.pi / 6), -math.sin(math.pi / 6)], [math.sin(math.pi / 6), math.cos(math.pi / 6)]])
    covariance = turn @ np.diag([9.0, 2.25]) @ turn.T  # of (x to the right, y upwards)
    at = np.arange(41) - 20
    x, y = np.meshgrid(at, -at)
    density = multivariate_normal([0, 0], covariance).pdf(np.stack([x, y], -1))
    assert np.allclose(kernel.numpy(), density / density.sum(), atol=1e-12)


@given(st.floats(-1, 1), st.floats(-1, 1), st.sampled_from([14, 15]))
def test_centroid_finds_the_shift(y: float, x: float, size: int) -> None:
    assert centroid(gaussian(size, 1.2, 1.2, shift=(y, x))) == pytest.approx((y, x), abs=2e-3)


@given(st.floats(0.75, 2.5), st.floats(0.75, 2.5))  # narrower ones alias when sampled at the taps
def test_gaussian_sigma_finds_the_width(sigma_y: float, sigma_x: float) -> None:
    assert gaussian_sigma(gaussian(25, sigma_y, sigma_x)) == pytest.approx((sigma_y, sigma_x), rel=0.01)


def test_a_sharpening_kernel_has_no_width() -> None:
    kernel = torch.zeros(5, 5, dtype=torch.float64)
    kernel[2, 1:4] = torch.tensor([-0.5, 2.0, -0.5])
    assert gaussian_sigma(kernel)[1] is None


def test_similarity_ignores_shift_and_size_only() -> None:
    a = gaussian(15, 1.0, 2.0)
    assert similarity(a, gaussian(21, 1.0, 2.0)) == pytest.approx(1.0, abs=1e-6)
    moved = torch.zeros(21, 21, dtype=torch.float64)
    moved[5:20, 1:16] = 3.0 * a
    assert similarity(a, moved) == pytest.approx(1.0, abs=1e-12)
    assert similarity(a, gaussian(15, 2.0, 1.0)) < 0.95


def test_bicubic_is_antialiased_catmull_rom() -> None:
    """The impulse response is the cubic with a = −0.5, stretched by the scale and sampled at the centred phase."""

    def cubic(t: float) -> float:
        t = abs(t)
        if t < 1:
            return 1.5 * t**3 - 2.5 * t**2 + 1
        return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0

    for scale in (2, 3):
        row = torch.zeros(1, 1, 1, 20 * scale)
        response = []
        for at in range(20 * scale):
            row.zero_()
            row[..., at] = 0.5
            response.append(float((bicubic(row.expand(1, 1, scale, -1) + 0.25, scale) - 0.25)[0, 0, 0, 10]))
        expected = [0.5 / scale * cubic((at - (10 * scale + (scale - 1) / 2)) / scale) for at in range(20 * scale)]
        assert response == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("scale", [2, 3])
def test_composed_blurs_twice_at_once(scale: int) -> None:
    size = 6 if scale % 2 == 0 else 7
    first, second = gaussian(size, 0.8, 1.1, 0.4), gaussian(size, 1.2, 0.7, 1.0)
    hr = torch.rand(1, 1, 40 * scale**2, 36 * scale**2, generator=torch.Generator().manual_seed(0))
    twice = blur_decimate(blur_decimate(hr, first[None].float(), scale), second[None].float(), scale)
    once = composed(first, second, scale)
    assert once.shape[0] == scale * (size - 1) + size
    composite = blur_decimate(hr, once[None].float(), scale**2)
    assert torch.allclose(composite[..., 3:-3, 3:-3], twice[..., 3:-3, 3:-3], atol=1e-6)


def test_gaussian_shape_of_sharpening_is_smaller_than_of_its_blur() -> None:
    sharpened = 1.6 * gaussian(20, 1.2, 1.2) - 0.6 * gaussian(20, 2.4, 2.4)
    assert gaussian_shape(sharpened)[0] < 1.2
    assert gaussian_shape(gaussian(20, 1.2, 1.2))[0] == pytest.approx(1.2, rel=0.01)


def test_a_kernel_that_stops_nothing_has_a_shape() -> None:
    """A point, and a kernel that is nearly a point, pass all frequencies."""
    point, line = torch.zeros(21, 21, dtype=torch.float64), torch.zeros(21, 21, dtype=torch.float64)
    point[10, 10] = 1
    line[10, 9:12] = torch.tensor([0.01, 0.98, 0.01])
    assert gaussian_shape(point)[:2] == pytest.approx((0, 0), abs=1e-6)
    along, across, angle = gaussian_shape(line)
    assert 0.5 * math.sqrt(0.02) < along <= math.sqrt(0.02)
    assert across < along / 2
    assert math.sin(angle) == pytest.approx(0, abs=1e-3)
