"""Hidden colours: what nobody sees is replaced by what is seen around it, and what is seen stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth.ops.alpha import filled, pyramid_reach


def picture(seed: int, height: int = 24, width: int = 31) -> tuple[Tensor, Tensor]:
    """Return colours, and an alpha of which a half is opaque, a quarter transparent, and the rest in between."""
    rng = torch.Generator().manual_seed(seed)
    alpha = (2.0 * torch.rand(1, height, width, generator=rng) - 0.5).clamp(0.0, 1.0)
    return torch.rand(3, height, width, generator=rng), alpha


def slow_fill(colours: np.ndarray, alpha: np.ndarray, reach: int) -> np.ndarray:
    """Fill one pixel after the other, from the definition."""
    result = colours.copy()
    for y in range(alpha.shape[1]):
        for x in range(alpha.shape[2]):
            if alpha[0, y, x] >= 1:
                continue
            total, weights = np.zeros(3), 0.0
            for row in range(max(0, y - reach), min(alpha.shape[1], y + reach + 1)):
                for column in range(max(0, x - reach), min(alpha.shape[2], x + reach + 1)):
                    weight = (reach + 1 - abs(row - y)) * (reach + 1 - abs(column - x)) * alpha[0, row, column]
                    total, weights = total + weight * colours[:, row, column], weights + weight
            if weights > 0:
                result[:, y, x] = alpha[0, y, x] * colours[:, y, x] + (1 - alpha[0, y, x]) * total / weights
    return result


@pytest.mark.parametrize("reach", [1, 3, 7])
def test_it_is_the_formula(reach: int) -> None:
    colours, alpha = picture(1, 12, 15)
    expected = slow_fill(colours.double().numpy(), alpha.double().numpy(), reach)
    assert np.allclose(filled(colours.double(), alpha.double(), reach).numpy(), expected, atol=1e-9)


def test_opaque_pixels_keep_every_bit() -> None:
    colours, alpha = picture(2)
    opaque = (alpha >= 1)[0]
    assert torch.equal(filled(colours, alpha, 7)[:, opaque], colours[:, opaque])


def test_what_is_hidden_has_no_influence() -> None:
    colours, alpha = picture(3)
    hidden = (alpha <= 0)[0]
    other = torch.where(hidden, 1 - colours, colours)
    assert torch.equal(filled(colours, alpha, 7), filled(other, alpha, 7))


def test_one_colour_stays_one_colour() -> None:
    _, alpha = picture(4)
    seen = torch.where(alpha > 0, 0.3, 0.9).expand(3, -1, -1)
    assert torch.allclose(filled(seen, alpha, 7), torch.tensor(0.3), atol=1e-6)


def test_where_nothing_is_seen_nothing_changes() -> None:
    colours, alpha = picture(5)
    assert torch.equal(filled(colours, torch.zeros_like(alpha), 3), colours)


def test_premultiplied_colours_give_the_same() -> None:
    colours, alpha = picture(6)
    assert torch.allclose(filled(colours * alpha, alpha, 7, premultiplied=True), filled(colours, alpha, 7), atol=1e-6)


def test_a_window_is_filled_as_the_whole_is() -> None:
    colours, alpha = picture(7, 60, 70)
    whole, part = filled(colours, alpha, 7), filled(colours[:, 3:50, 5:60], alpha[:, 3:50, 5:60], 7)
    assert torch.equal(part[:, 7:-7, 7:-7], whole[:, 10:43, 12:53])


def test_a_reach_is_one_less_than_a_power_of_two() -> None:
    assert [pyramid_reach(reach) for reach in (0, 1, 2, 3, 4, 12, 15, 16)] == [1, 1, 3, 3, 7, 15, 15, 31]
