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
    ALONG_REACH,
    DIRECTIONS,
    EDGE_HALO,
    EDGES,
    across_taps,
    along_taps,
    directions,
    edge_correlation,
    edge_planes,
)
from degsynth.ops.residual_noise import structure, surroundings

SHARP = torch.tensor([1.0, 0.3, -0.1, -0.1, -0.2], dtype=torch.float64)
"""A correlation across edges like those of photographs."""


def white(height: int, width: int, count: int = 1, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, DIRECTIONS, height, width, generator=rng, dtype=torch.float64)


def amplitudes(lr: Tensor) -> Tensor:
    tensor = structure(lr, surroundings().double())
    return directions(tensor[:, :1], tensor[:, 1:2], tensor[:, 2:])


def slow_planes(noise: Tensor, across: Tensor) -> Tensor:
    """Draw one pixel after the other, from the definition: first to the side, then along the edge, inside the image."""
    along, result = along_taps(), torch.zeros_like(noise)

    def inside(row: int, column: int) -> bool:
        return 0 <= row < noise.shape[2] and 0 <= column < noise.shape[3]

    for number, (down, right) in enumerate(EDGES):
        for y in range(noise.shape[2]):
            for x in range(noise.shape[3]):
                total, power = 0.0, 0.0
                for side in range(-ACROSS_REACH, ACROSS_REACH + 1):
                    beside = y + side * right, x - side * down
                    if not inside(*beside):
                        continue
                    for step in range(-ALONG_REACH, ALONG_REACH + 1):
                        straight = down * right == 0
                        row = beside[0] + down * (step if straight else math.floor(step / 2))
                        column = beside[1] + right * (step if straight else math.ceil(step / 2))
                        if inside(row, column):
                            tap = float(along[step + ALONG_REACH] * across[side + ACROSS_REACH])
                            total += tap * float(noise[0, number, row, column])
                            power += tap**2
                result[0, number, y, x] = total / math.sqrt(power)
    return result


@pytest.mark.parametrize("size", [(9, 13), (3, 20)])
def test_planes_are_what_their_definition_says(size: tuple[int, int]) -> None:
    noise, across = white(*size), across_taps(SHARP)
    assert torch.allclose(edge_planes(noise, along_taps(), across), slow_planes(noise, across), atol=1e-9)


def test_noise_is_as_strong_at_the_border() -> None:
    planes = edge_planes(white(8, 8, 4000), along_taps(), across_taps(SHARP))
    assert float((planes.std(0) - 1).abs().max()) < 0.06


def test_planes_have_the_correlation_that_is_computed() -> None:
    planes = edge_planes(white(400, 400), along_taps(), across_taps(SHARP))[0]
    expected = edge_correlation(across_taps(SHARP), 4)
    for number in range(DIRECTIONS):
        for down, right in [(0, 1), (1, 0), (1, 1), (-1, 1), (4, 0), (0, 4), (3, 3), (-3, 3)]:
            first = planes[number, max(0, -down) : 400 - max(0, down), : 400 - right]
            second = planes[number, max(0, down) : 400 + min(0, down), right:]
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
    found = amplitudes(ramp)[0, :, 12:-12, 12:-12]
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
    found = amplitudes(lr)
    across, down, diagonal = structure(lr, surroundings().double())[0]
    eigenvalues = torch.linalg.eigvalsh(torch.stack([across, diagonal, diagonal, down], -1).view(24, 24, 2, 2))
    coherence = (eigenvalues[..., 1] - eigenvalues[..., 0]) / eigenvalues.sum(-1)
    assert torch.allclose(found.square().sum(1)[0], coherence, atol=1e-6)
    assert int((found > 0).sum(1).max()) <= 2, "at most the two nearest directions"


def test_flat_has_no_direction() -> None:
    assert float(amplitudes(torch.full((1, 1, 20, 20), 0.5, dtype=torch.float64)).abs().max()) == 0.0


def test_a_window_has_the_planes_of_the_whole() -> None:
    noise, across = white(60, 50).float(), across_taps(SHARP).float()
    whole = edge_planes(noise, along_taps().float(), across)
    part = edge_planes(noise[..., 5:45, 7:43], along_taps().float(), across)
    inner = slice(EDGE_HALO, -EDGE_HALO)
    assert torch.equal(part[..., inner, inner], whole[..., 5:45, 7:43][..., inner, inner])
