from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from degsynth.ops.noise import block_field, block_seed, normals, rotation, uniform

WHOLE = block_field(5, 0, 0, 600, 560, 2)


@given(st.integers(0, 599), st.integers(0, 559), st.data())
def test_any_window_is_a_part_of_the_whole(y: int, x: int, data: st.DataObject) -> None:
    height, width = data.draw(st.integers(0, 600 - y)), data.draw(st.integers(0, 560 - x))
    window = block_field(5, y, x, height, width, 2)
    assert window.shape == (1, 2, height, width)
    assert torch.equal(window, WHOLE[:, :, y : y + height, x : x + width])


def test_the_field_is_white_and_standard_normal() -> None:
    flat = WHOLE.flatten()
    n = flat.numel()
    assert abs(float(flat.mean())) < 5 / n**0.5
    assert abs(float(flat.var()) - 1) < 5 * (2 / n) ** 0.5
    for a, b in (
        (WHOLE[..., :-1], WHOLE[..., 1:]),
        (WHOLE[:, :, :-256], WHOLE[:, :, 256:]),
        (WHOLE[..., :-256], WHOLE[..., 256:]),
        (WHOLE[:, 0], WHOLE[:, 1]),
    ):
        assert abs(float((a * b).mean())) < 5 / a.numel() ** 0.5


def test_other_seeds_give_other_numbers() -> None:
    other = block_field(6, 0, 0, 300, 300, 2)
    correlation = (other * WHOLE[:, :, :300, :300]).mean()
    assert abs(float(correlation)) < 5 / other.numel() ** 0.5


def test_no_channels_is_an_empty_field() -> None:
    assert block_field(1, 0, 0, 10, 20, 0).shape == (1, 0, 10, 20)


@given(st.integers(0, 2**63 - 1), st.integers(0, 1000), st.integers(0, 1000))
def test_block_seed_scripts_to_the_same_63_bits(seed: int, row: int, column: int) -> None:
    """Python's integers grow, TorchScript's wrap around: both must give the same seed."""
    assert 0 <= block_seed(seed, row, column) < 2**63
    assert block_seed(seed, row, column) == SCRIPTED(seed, row, column)


def test_block_seeds_do_not_collide() -> None:
    seeds = {block_seed(s, r, c) for s in range(20) for r in range(40) for c in range(40)}
    assert len(seeds) == 20 * 40 * 40


def test_rotations_are_orthogonal_and_differ() -> None:
    seen = set()
    for bits in (*range(64), *(2**place for place in range(31)), 2**31 - 1):
        matrix = rotation(bits)
        assert torch.equal(matrix @ matrix.T, torch.eye(16)), "exact: no entry is rounded"
        seen.add(matrix.numpy().tobytes())
    assert len(seen) == 64 + 25 + 1


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(0, 2**32 - 1))
def test_every_bit_of_a_seed_matters(one: int, other: int, low: int) -> None:
    """torch alone would give the same numbers for all seeds that agree in their lower 32 bits."""
    first, second = (normals((high << 32) + low, 20) for high in (one, other))
    assert torch.equal(first, second) == (one == other)


def test_seeds_with_equal_lower_halves_have_independent_numbers() -> None:
    first, second = (normals((high << 32) + 7, 160_000) for high in (123_456_789, 987_654_321))
    assert abs(float((first * second).mean())) < 0.2  # the trace of a random rotation is about 1 of 16
    for values in (first, second):
        assert abs(float(values.mean())) < 5 / 400
        assert abs(float(values.var()) - 1) < 5 * (2 / 160_000) ** 0.5
        kurtosis = float((values**4).mean())
        assert abs(kurtosis - 3) < 5 * (96 / 160_000) ** 0.5


@given(st.integers(0, 2**63 - 1), st.integers(0, 70))
def test_fewer_numbers_are_the_first_ones(seed: int, count: int) -> None:
    assert torch.equal(normals(seed, count), normals(seed, 200)[:count])


@given(st.integers(0, 2**63 - 1))
def test_normals_script_to_the_same_numbers(seed: int) -> None:
    assert torch.equal(SCRIPTED_NORMALS(seed, 33), normals(seed, 33))


def test_uniform_stays_inside_and_spreads() -> None:
    values = [uniform(seed, 2.0, 6.0) for seed in range(400)]
    assert all(2 <= v < 6 for v in values)
    assert abs(sum(values) / 400 - 4.0) < 0.25
    assert uniform(1, 3.0, 3.0) == 3.0


def _script(function: Callable[..., Any]) -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(function)


SCRIPTED, SCRIPTED_NORMALS = _script(block_seed), _script(normals)
