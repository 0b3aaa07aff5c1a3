"""Windows from which a kernel can be estimated."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from degsynth.ops.resample import luma
from degsynth.ops.texture import best_windows, least_gradient, passes_eq6


def test_edges_in_one_direction_do_not_count() -> None:
    """Of a flat, a striped and a checked picture only the last has gradients in all directions."""
    at = torch.arange(64)
    stripes = (at // 8 % 2).float().expand(64, 64)
    checks = ((at[:, None] // 8 + at // 8) % 2).float()
    flat = torch.full((64, 64), 0.5)
    values = [float(least_gradient(part, (40, 40), 40)[0, 0]) for part in (flat, stripes, stripes.T, checks)]
    assert values[:3] == pytest.approx([0, 0, 0], abs=1e-4)
    assert values[3] > 0.05


def test_the_tensor_is_that_of_the_gradients(photographs: list[Tensor]) -> None:
    """The slow computation takes the eigenvalues of the mean tensor of a window."""
    gray = luma(photographs[0])[0, :60, :60]
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    wide = torch.nn.functional.pad(gray[None], (2, 2, 2, 2), mode="replicate")[0]
    smooth = wide.unfold(0, 5, 1).unfold(1, 5, 1).mul(torch.outer(row, row)).sum((2, 3))
    down, across = torch.gradient(smooth)
    down[[0, -1]], across[:, [0, -1]] = 0.0, 0.0
    part = slice(10, 40)
    y, x = down[part, part].flatten(), across[part, part].flatten()
    tensor = torch.stack([torch.stack([y @ y, y @ x]), torch.stack([y @ x, x @ x])]) / len(y)
    expected = float(torch.linalg.eigvalsh(tensor)[0]) ** 0.5
    assert float(least_gradient(gray, (30, 30), 10)[1, 1]) == pytest.approx(expected, rel=1e-3)


def test_best_windows_are_apart_and_best_first(photographs: list[Tensor]) -> None:
    gray = luma(photographs[1])[0]
    side, step = (96, 96), 16
    result = best_windows(gray, side, 5, 0.0)
    assert len(result) == 5
    scores = least_gradient(gray, side, step)
    ranks = [float(scores[y // step, x // step]) for y, x in result]
    assert ranks == sorted(ranks, reverse=True)
    assert ranks[0] == float(scores.max())
    for number, (y, x) in enumerate(result):
        assert all(abs(y - v) >= 48 or abs(x - u) >= 48 for v, u in result[:number])
    assert best_windows(torch.full((200, 200), 0.3), side, 5, 0.001) == []


@given(st.integers(0, 10_000), st.floats(0.01, 0.9), st.floats(1, 8))
def test_eq6_rejects_nothing(seed: int, alpha: float, power: float) -> None:
    """As printed, the equation rejects next to nothing: even windows of two values pass, whose variance is largest."""
    rng = torch.Generator().manual_seed(seed)
    window = torch.rand(12, 12, generator=rng) ** power
    for part in (window, (window > 0.5).float()):
        if float(part.mean()) >= 1.01 * alpha:
            assert passes_eq6(part, alpha)
    dark = torch.zeros(40, 40)
    dark[0, 0] = 1.0  # the mean is 1/1600: only windows that are nearly black fail
    assert not passes_eq6(dark, 0.003)
