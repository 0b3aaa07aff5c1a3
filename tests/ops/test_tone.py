"""The curve between levels and light: formulas, its inverse, and its measurement in pairs that were made with one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from degsynth.ops.tone import inverse_table, is_rising, powers, slope, to_levels, to_light
from degsynth.ops.tone_measurement import measure

CAMERA = (-0.1, -1.0, 0.4)
"""A curve like that of the cameras of City100."""
LEVELS = torch.linspace(0, 1, 101, dtype=torch.float64)


def naive(x: float, coefficients: tuple[float, ...]) -> float:
    """g(x) as it is written in the module's first lines."""
    return x + x * (1 - x) * sum(c * x**power for power, c in enumerate(coefficients))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1, 1), max_size=4).map(tuple), st.floats(0, 1))
def test_the_polynomial_is_the_formula(coefficients: tuple[float, ...], x: float) -> None:
    value = to_light(torch.tensor([x], dtype=torch.float64), powers(coefficients))
    assert float(value) == pytest.approx(naive(x, coefficients), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-0.8, 0.8), min_size=1, max_size=4).map(tuple))
def test_levels_come_back_from_light(coefficients: tuple[float, ...]) -> None:
    factors = powers(coefficients)
    if not is_rising(factors):
        assert float(slope(torch.linspace(0, 1, 1001, dtype=torch.float64), factors).min()) < 0.11
        return
    x = torch.rand(1000, generator=torch.Generator().manual_seed(1))
    back = to_levels(to_light(x, factors), inverse_table(factors).float())
    assert float((back - x).abs().max()) < 5e-6
    ends = torch.tensor([0.0, 1.0])
    assert torch.allclose(to_levels(ends, inverse_table(factors).float()), ends, atol=1e-7)


def test_light_beyond_black_and_white_goes_on_straight() -> None:
    factors = powers(CAMERA)
    table = inverse_table(factors)
    beyond = to_levels(torch.tensor([-0.02, 1.02], dtype=torch.float64), table)
    ends = slope(torch.tensor([0.0, 1.0], dtype=torch.float64), factors)
    assert beyond.tolist() == pytest.approx([-0.02 / float(ends[0]), 1 + 0.02 / float(ends[1])], abs=1e-5)


def test_the_bits_do_not_depend_on_the_window() -> None:
    image = torch.rand(1, 3, 157, 211, generator=torch.Generator().manual_seed(2))
    factors, table = powers(CAMERA), inverse_table(powers(CAMERA)).float()
    whole = to_light(image, factors, block=1000)
    assert torch.equal(to_light(image[:, :, 13:90, 7:100], factors), whole[:, :, 13:90, 7:100])
    assert torch.equal(to_levels(image[:, :, 13:90, 7:100], table), to_levels(image, table)[:, :, 13:90, 7:100])


def pairs(photographs: list[Tensor], coefficients: tuple[float, ...], scale: int) -> list[tuple[Tensor, Tensor]]:
    """Pairs of 8-bit files whose LR was blurred in light and is noisy."""
    factors = powers(coefficients)
    kernel = gaussian(14 + scale % 2, 1.8, 1.4, 0.5)[None].float()
    made = []
    for number, hr in enumerate(photographs):
        light = blur_decimate(to_light(hr, factors)[None], kernel, scale)[0]
        noise = torch.randn(light.shape, generator=torch.Generator().manual_seed(number)) / 255
        lr = to_levels(light, inverse_table(factors).float()) + noise
        made.append((hr, ((255 * lr).round() / 255).clamp(0, 1)))
    return made


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("coefficients", [CAMERA, (0.5, 0.0, 0.3)])
def test_a_known_curve_comes_out(scale: int, coefficients: tuple[float, ...], photographs: list[Tensor]) -> None:
    rng = torch.Generator().manual_seed(3)
    known = pairs(photographs, coefficients, scale)
    found = measure(known, len(known), scale, 14 + scale % 2, rng)
    apart = to_light(LEVELS, powers(found)) - to_light(LEVELS, powers(coefficients))
    assert float(apart.abs().max()) < 0.015


@pytest.mark.parametrize("scale", [1, 2])
def test_levels_that_were_blurred_have_no_curve(scale: int, photographs: list[Tensor]) -> None:
    known = pairs(photographs, (), scale)
    assert measure(known, len(known), scale, 14 + scale % 2, torch.Generator().manual_seed(3)) == ()


@pytest.mark.parametrize("count", range(5))
def test_light_is_the_polynomial(count: int) -> None:
    levels, factors = torch.linspace(-0.1, 1.1, 7), powers([-0.3, -0.25, 0.2, 0.1][:count])
    expected = sum(factor * levels ** (place + 1) for place, factor in enumerate(factors))
    torch.testing.assert_close(to_light(levels, factors), expected)


def test_few_pixels_have_no_curve(photographs: list[Tensor]) -> None:
    small = [(hr[:, :64, :64], lr[:, :32, :32]) for hr, lr in pairs(photographs, CAMERA, 2)]
    assert measure(small, len(small), 2, 14, torch.Generator().manual_seed(3)) == ()
