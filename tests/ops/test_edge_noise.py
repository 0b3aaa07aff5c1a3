"""Noise along edges: its planes have the directions, the correlation and the variance that they are said to have."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from degsynth.ops.edge_noise import (
    ACROSS_REACH,
    DIRECTIONS,
    EDGE_HALO,
    EDGES,
    STRIDES,
    WHITE_PLANES,
    across_taps,
    along_edges,
    along_taps,
    directions,
    double_angle,
    edge_correlation,
    edge_planes,
    tap_powers,
)
from degsynth.ops.residual_noise import structure

SHARP = torch.tensor([1.0, 0.3, -0.1, -0.1, -0.2], dtype=torch.float64)
"""A correlation across edges like those of photographs."""


def white(height: int, width: int, count: int = 1, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, WHITE_PLANES, height, width, generator=rng, dtype=torch.float64)


def planes(noise: Tensor, across: Tensor) -> Tensor:
    return edge_planes(noise, across, tap_powers(across))


def slow_planes(noise: Tensor, across: Tensor) -> Tensor:
    """Draw one pixel after the other, from the definition: first to the side, then along the edge, inside the image."""
    along, height, width = along_taps(), *noise.shape[2:]
    result = torch.zeros(1, DIRECTIONS, height, width, dtype=torch.float64)

    def inside(row: int, column: int) -> bool:
        return 0 <= row < height and 0 <= column < width

    for number, (down, right) in enumerate(EDGES):
        straight = down * right == 0
        places = [
            (down * step, right * step) if straight else (down * ((step + 1) // 2), right * (step // 2))
            for step in range(len(along))
        ]
        first_row, first_column = min(row for row, _ in places), min(column for _, column in places)
        rows, columns = max(row for row, _ in places) - first_row, max(column for _, column in places) - first_column
        middle = first_row + (rows + 1) // 2, first_column + (columns + 1) // 2
        for y in range(height):
            for x in range(width):
                total, power = 0.0, 0.0
                for side in range(-ACROSS_REACH, ACROSS_REACH + 1):
                    for step, (row, column) in enumerate(places):
                        place = y + side * right + row - middle[0], x - side * down + column - middle[1]
                        if inside(*place):
                            tap = float(along[step] * across[side + ACROSS_REACH])
                            total += tap * float(noise[0, number // 2, place[0], place[1]])
                            power += tap**2
                result[0, number, y, x] = total / math.sqrt(power)
    return result


def test_noise_along_an_edge_correlates_as_a_gaussian_makes_it() -> None:
    taps = along_taps()
    place = torch.arange(len(taps), dtype=torch.float64) - sum(STRIDES) / 2
    assert float((taps * place).sum()) == pytest.approx(0, abs=1e-12)
    assert float((taps * place**2).sum() / taps.sum()) == pytest.approx(3.2**2, rel=0.01)
    for distance in range(1, len(taps)):
        correlation = float((taps[distance:] * taps[:-distance]).sum())
        assert correlation == pytest.approx(math.exp(-(distance**2) / (4 * 3.2**2)), abs=0.04)


@pytest.mark.parametrize("size", [(9, 13), (3, 20)])
def test_planes_are_what_their_definition_says(size: tuple[int, int]) -> None:
    noise, across = white(*size), across_taps(SHARP)
    assert torch.allclose(planes(noise, across), slow_planes(noise, across), atol=1e-9)


def test_noise_is_as_strong_at_the_border() -> None:
    drawn = planes(white(8, 8, 4000), across_taps(SHARP))
    assert float((drawn.std(0) - 1).abs().max()) < 0.06


def test_planes_have_the_correlation_that_is_computed() -> None:
    drawn = planes(white(400, 400), across_taps(SHARP))[0]
    expected = edge_correlation(across_taps(SHARP), 4)
    for number in range(DIRECTIONS):
        for down, right in [(0, 1), (1, 0), (1, 1), (-1, 1), (4, 0), (0, 4), (3, 3), (-3, 3)]:
            first = drawn[number, max(0, -down) : 400 - max(0, down), : 400 - right]
            second = drawn[number, max(0, down) : 400 + min(0, down), right:]
            measured = float((first * second).mean())
            assert measured == pytest.approx(float(expected[number, 4 + down, 4 + right]), abs=0.03)


def test_pixels_are_alike_along_an_edge_and_not_across() -> None:
    lags = edge_correlation(across_taps(SHARP), 4)
    assert float(lags[0, 8, 4]) > 0.6, "four px down, where the slope goes to the right"
    assert float(lags[0, 4, 8]) == pytest.approx(-0.2, abs=0.02)
    assert torch.allclose(lags[1], lags[0].T, atol=1e-9), "columns and rows change places"
    assert torch.allclose(lags[3], lags[2].flip(1), atol=1e-9), "a mirror changes one diagonal into the other"
    assert float(lags[3, 7, 7]) > 0.35, "three px along the diagonal ↘"
    assert float(lags[3, 4, 5]) > 0.3, "neighbours of a diagonal are not left out"


def test_taps_across_have_the_correlation_that_is_asked_for() -> None:
    taps = across_taps(SHARP)
    products = torch.nn.functional.conv1d(taps[None, None], taps[None, None], padding=2 * ACROSS_REACH)[0, 0]
    assert torch.allclose(products[2 * ACROSS_REACH :][: ACROSS_REACH + 1], SHARP, atol=0.03)


@pytest.mark.parametrize(("down", "right", "plane"), [(0, 1, 0), (1, 0, 1), (1, 1, 2), (1, -1, 3)])
def test_a_ramp_gets_one_plane_alone(down: int, right: int, plane: int) -> None:
    place = torch.arange(40, dtype=torch.float64) / 100
    ramp = (down * place[:, None] + right * place[None, :])[None, None]
    found = directions(structure(ramp))[0, :, 12:-12, 12:-12]
    expected = torch.zeros_like(found)
    expected[plane] = 1.0
    assert torch.allclose(found, expected, atol=1e-3)  # the root of what rounding leaves is 1e-8 to the power of 1/2
    edge = EDGES[plane]
    assert edge[0] * down + edge[1] * right == 0, "the edge is at right angles to the slope"


@settings(max_examples=30, deadline=None)
@given(angle=st.floats(0, math.pi), seed=st.integers(0, 99))
def test_squares_of_amplitudes_add_up_to_the_coherence(angle: float, seed: int) -> None:
    place = torch.arange(24, dtype=torch.float64)
    ramp = 0.02 * (math.sin(angle) * place[:, None] + math.cos(angle) * place[None, :])
    lr = (ramp + 0.05 * torch.rand(24, 24, generator=torch.Generator().manual_seed(seed)).double())[None, None]
    found = directions(structure(lr))
    across, down, diagonal = structure(lr)[0]
    eigenvalues = torch.linalg.eigvalsh(torch.stack([across, diagonal, diagonal, down], -1).view(24, 24, 2, 2))
    coherence = (eigenvalues[..., 1] - eigenvalues[..., 0]) / eigenvalues.sum(-1)
    assert torch.allclose(found.square().sum(1)[0], coherence, atol=1e-6)
    assert int((found > 0).sum(1).max()) <= 2, "at most the two nearest directions"


def test_a_pixel_gets_the_planes_of_its_directions() -> None:
    rng = torch.Generator().manual_seed(1)
    tensor = structure(torch.rand(1, 1, 16, 16, generator=rng, dtype=torch.float64))
    noise = torch.randn(1, DIRECTIONS, 16, 16, generator=rng, dtype=torch.float64)
    expected = (directions(tensor) * noise).sum(1, keepdim=True)
    assert torch.allclose(along_edges(double_angle(tensor), noise), expected, atol=1e-12)


def test_flat_has_no_direction() -> None:
    assert float(directions(structure(torch.full((1, 1, 20, 20), 0.5, dtype=torch.float64))).abs().max()) == 0.0


def test_a_window_has_the_planes_of_the_whole() -> None:
    noise, across = white(60, 50).float(), across_taps(SHARP).float()
    whole, part = planes(noise, across), planes(noise[..., 5:45, 7:43], across)
    inner = slice(EDGE_HALO, -EDGE_HALO)
    assert torch.equal(part[..., inner, inner], whole[..., 5:45, 7:43][..., inner, inner])
