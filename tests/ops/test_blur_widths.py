"""Widths of blur: matrices follow their definition, known blurs are read from photographs, and are deconvolved."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from degsynth.ops.blur import blur_decimate
from degsynth.ops.blur_widths import (
    CELLS,
    Blurs,
    Reader,
    ReadingErrors,
    Readings,
    covariances,
    crops,
    deconvolved,
    gaussians,
    matrix_sqrts,
)
from degsynth.ops.kernels import gaussian, gaussian_shape

NUMBER = st.floats(-1.5, 1.5)


@given(a=NUMBER, b=NUMBER, c=NUMBER)
def test_covariance_is_the_exponential(a: float, b: float, c: float) -> None:
    shape = torch.tensor([[a, b, c]], dtype=torch.float64)
    expected = torch.matrix_exp(torch.tensor([[a + b, c], [c, a - b]], dtype=torch.float64))
    assert torch.allclose(covariances(shape)[0], expected, rtol=1e-9)
    root = matrix_sqrts(shape)[0]
    assert torch.allclose(root @ root, expected, rtol=1e-9)


def test_a_shape_is_the_gaussian_that_its_axes_and_angle_say() -> None:
    """The kernel of a shape (a, b, c) with its longer axis at an angle is the Gaussian of `ops.kernels`."""
    along, across, angle = 2.4, 1.0, math.radians(35)
    apart = math.log(along / across)
    shape = torch.tensor(
        [[math.log(along * across), -apart * math.cos(2 * angle), -apart * math.sin(2 * angle)]], dtype=torch.float64
    )
    kernel = gaussians(shape, 20)[0]
    assert torch.allclose(kernel, gaussian(20, across, along, angle), atol=1e-12)
    assert gaussian_shape(kernel)[2] == pytest.approx(angle, abs=0.01)


def readings(values: Tensor, scatter: float) -> Readings:
    grid = torch.linspace(-1, 3, CELLS, dtype=torch.float64)
    shapes = torch.stack([values, torch.zeros_like(values), torch.zeros_like(values)], 1)
    return Readings(shapes, ReadingErrors(grid, grid.clone(), torch.full_like(grid, scatter), 0.01))


def test_deconvolution_takes_the_scatter_of_reading_away() -> None:
    rng = torch.Generator().manual_seed(0)
    error = 0.3 * torch.randn(40, generator=rng, dtype=torch.float64)
    one = deconvolved(readings(0.7 + error, 0.3))
    assert float((one.weight * one.width).sum()) == pytest.approx(0.7, abs=0.15)
    drawn = one.shapes(torch.randn(2000, 4, generator=rng))[:, 0]
    assert float(drawn.std()) < 0.1 < float(error.std())
    truth = torch.where(torch.arange(40) % 2 == 0, -0.4, 1.6).double()
    two = deconvolved(readings(truth + error, 0.3)).shapes(torch.randn(2000, 4, generator=rng))[:, 0]
    assert float((two < 0.6).double().mean()) == pytest.approx(0.5, abs=0.1)
    assert float(((two > 0.2) & (two < 1.0)).double().mean()) < 0.05
    assert float(two.std()) == pytest.approx(1.0, rel=0.1)


def test_draws_rise_with_the_first_number_and_follow_the_weights() -> None:
    blurs = Blurs(
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        torch.tensor([0.25, 0.75], dtype=torch.float64),
        torch.tensor([[0.1, 0.0], [0.0, 0.2]], dtype=torch.float64),
        torch.zeros(2, 2, 2, dtype=torch.float64),
        0.9,
    )
    assert blurs.at_limit() == 0.75
    z = torch.linspace(-3, 3, 101)[:, None].repeat(1, 3)
    shapes = blurs.shapes(z)
    assert bool((shapes[:, 0].diff() >= 0).all())
    many = blurs.shapes(torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)))
    assert float((many[:, 0] == 0).double().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.allclose(blurs.mean(), torch.tensor([0.75, 0.025, 0.15], dtype=torch.float64))


def test_parts_of_few_images_middles_of_many() -> None:
    big = torch.zeros(3, 700, 600)
    assert [(number, tuple(part.shape)) for number, part in crops([big], 2)] == [(n, (3, 256, 256)) for n in range(4)]
    assert [number for number, _ in crops([big] * 2, 2)] == [0] * 4 + [1] * 4
    assert [tuple(part.shape[1:]) for _, part in crops([big] * 8, 3)] == [(510, 510)] * 8
    assert len(list(crops([torch.zeros(1, 64, 64)] * 60, 2))) == 48
    assert not list(crops([torch.zeros(1, 60, 500)], 2))


def test_readings_rise_with_the_blur(photographs: list[Tensor]) -> None:
    """The regression is learnt on two photographs and applied to two others."""

    def rounded(lr: Tensor, rng: torch.Generator) -> Tensor:
        return (255 * lr).round() / 255

    reader = Reader(photographs[:2], 2, 20, rounded)
    widths = []
    for sigma in (0.8, 1.5, 2.6):
        kernel = gaussian(20, sigma, sigma)[None].float()
        read = reader.read([blur_decimate(shot[None], kernel, 2)[0] for shot in photographs[2:]])
        widths.append(float(torch.exp(read.shapes[:, 0] / 2).mean()))
    assert widths[0] < widths[1] < widths[2]
    assert widths[1] == pytest.approx(1.5, rel=0.35)


def test_images_without_a_window_are_refused() -> None:
    with pytest.raises(ValueError, match="no HR image is at least 64 px"):
        Reader([torch.zeros(3, 40, 400)], 2, 20, lambda lr, rng: lr)
