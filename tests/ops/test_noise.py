from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from degsynth.ops.noise import block_field, block_seed, uniform

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


def test_uniform_stays_inside_and_spreads() -> None:
    values = [uniform(seed, 2.0, 6.0) for seed in range(400)]
    assert all(2 <= v < 6 for v in values)
    assert abs(sum(values) / 400 - 4.0) < 0.25
    assert uniform(1, 3.0, 3.0) == 3.0


def _script() -> object:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(block_seed)


SCRIPTED = _script()
