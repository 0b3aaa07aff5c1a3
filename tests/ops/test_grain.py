"""Noise that follows the level: what was put into photographs is what is measured, and what is measured is drawn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from degsynth.methods.pdm.estimate import told
from degsynth.ops.grain import KNOTS, REACH, Grain, at_levels, grain, measure, tied, unprojected
from degsynth.ops.noise import block_field

LEVELS = torch.tensor([40.0, 120.0, 200.0], dtype=torch.float64) / 255


def strength(level: Tensor) -> Tensor:
    return torch.sqrt((3 / 255) ** 2 + 0.0012 * level)


def binomial() -> Tensor:
    row = torch.tensor([1.0, 2.0, 1.0])
    return torch.outer(row, row) / 6


def photographed(photographs: list[Tensor], taps: Tensor, seed: int = 0) -> list[Tensor]:
    dice = torch.Generator().manual_seed(seed)
    found = []
    for shot in photographs:
        soft = torch.nn.functional.avg_pool2d(shot[None], 3)[0]
        white = torch.randn(1, *soft.shape, generator=dice)
        found.append(((soft + strength(soft) * tied(white, taps)[0]).clamp(0, 1) * 255).round() / 255)
    return found


@pytest.mark.parametrize(("taps", "lag"), [(torch.ones(1, 1), 0.0), (binomial(), 2 / 3)])
def test_what_was_put_in_is_measured(photographs: list[Tensor], taps: Tensor, lag: float) -> None:
    found = measure(photographed(photographs, taps))
    assert found is not None
    sigma = at_levels(found.sigma, LEVELS.expand(1, 3, 1, -1))[0, :, 0].mean(0)
    assert bool(((sigma / strength(LEVELS) - 1).abs() < 0.2).all())
    beside = float(found.correlation[REACH, REACH + 1] + found.correlation[REACH + 1, REACH]) / 2
    assert beside == pytest.approx(lag, abs=0.12)
    assert float((found.mixing @ found.mixing.T - torch.eye(3)).abs().max()) < 0.2
    assert found.disagreement() < 0.35


def test_what_is_measured_is_drawn() -> None:
    """On flat images the measurement is known to the last digit that statistics allow."""
    curve = torch.linspace(4, 9, KNOTS, dtype=torch.float64)[None].expand(3, -1) / 255
    taps = torch.nn.functional.pad(binomial(), [REACH - 1] * 4)
    mixing = torch.linalg.cholesky(0.5 * torch.eye(3) + 0.5)
    for level, sigma in ((0.1, 4.5), (0.9, 8.5)):
        flat = torch.full((1, 3, 200, 200), level)
        made = grain(flat, block_field(1, 0, 0, 200, 200, 3), curve.float(), taps, mixing)
        assert float(made.std()) == pytest.approx(sigma / 255, rel=0.02)
    flat = torch.full((1, 3, 200, 200), 0.5)
    made = grain(flat, block_field(1, 0, 0, 200, 200, 3), curve.float(), taps, mixing)[0]
    assert made.std((1, 2)).tolist() == pytest.approx([6.5 / 255] * 3, rel=0.02)
    rows = made.flatten(1)
    assert float((torch.corrcoef(rows) - mixing @ mixing.T).abs().max()) < 0.03
    assert float((made[..., 1:] * made[..., :-1]).mean() / made.square().mean()) == pytest.approx(2 / 3, abs=0.03)
    assert float(made.mean().abs()) < 0.5 / 255


def test_noise_is_as_strong_at_the_rim() -> None:
    taps = torch.nn.functional.pad(binomial(), [REACH - 1] * 4)
    made = torch.cat([tied(block_field(seed, 0, 0, 6, 6, 3), taps) for seed in range(4000)])
    assert float((made.std((0, 1)) - 1).abs().max()) < 0.05
    assert tied(torch.ones(1, 1, 1, 1), taps).item() == pytest.approx(1)


def test_a_window_has_the_noise_of_the_whole() -> None:
    taps = torch.nn.functional.pad(binomial(), [REACH - 1] * 4)
    curve, mixing = torch.full((1, KNOTS), 0.02), torch.ones(1, 1)
    lr = torch.rand(1, 1, 40, 50, generator=torch.Generator().manual_seed(0))
    whole = grain(lr, block_field(3, 0, 0, 40, 50, 1), curve, taps, mixing)
    part = grain(lr[..., 6:30, 8:40], block_field(3, 6, 8, 24, 32, 1), curve, taps, mixing)
    inner = slice(REACH, -REACH)
    assert torch.allclose(part[..., inner, inner], whole[..., 6:30, 8:40][..., inner, inner], atol=1e-7)


def test_texture_is_not_taken_for_noise(photographs: list[Tensor]) -> None:
    """Photographs scaled down have hardly any noise: their flat places agree on none."""
    found = measure([torch.nn.functional.avg_pool2d(shot[None], 3)[0] for shot in photographs])
    assert found is None or not told(found)


def test_lags_are_those_before_the_planes_were_taken_away() -> None:
    """The slow twin: covariance of blocks of known correlation, projected, and its lags counted pixel by pixel."""
    from degsynth.ops.grain import BLOCK, plane_free

    side = torch.arange(BLOCK, dtype=torch.float64)
    apart = (side[:, None] - side).abs()
    one = 0.6**apart * (apart <= REACH)
    true = torch.einsum("ij,kl->ikjl", one, one).reshape(BLOCK**2, BLOCK**2)
    left = plane_free() @ true @ plane_free()
    lags = torch.zeros(2 * REACH + 1, 2 * REACH + 1, dtype=torch.float64)
    for y in range(-REACH, REACH + 1):
        for x in range(-REACH, REACH + 1):
            pairs = [
                left[r * BLOCK + c, (r + y) * BLOCK + c + x]
                for r in range(max(0, -y), min(BLOCK, BLOCK - y))
                for c in range(max(0, -x), min(BLOCK, BLOCK - x))
            ]
            lags[REACH + y, REACH + x] = torch.stack(pairs).mean()
    found, kept, freedom = unprojected(lags / lags[REACH, REACH])
    assert float((found - one[: 2 * REACH + 1, REACH].outer(one[: 2 * REACH + 1, REACH])).abs().max()) < 1e-9
    assert kept == pytest.approx(float(left.trace()) / (BLOCK**2 - 3))
    assert freedom == pytest.approx(float(left.trace() ** 2 / left.square().sum()))


def test_too_small_images_say_nothing() -> None:
    assert measure([torch.rand(3, 10, 40)]) is None
    assert measure([torch.rand(1, 30, 30)]) is None


def test_less_of_another() -> None:
    seen = torch.tensor([[0, 0.2, 0.02], [0, 0.8, 0.03]], dtype=torch.float64)
    one = Grain(torch.full((1, KNOTS), 0.05), torch.zeros(9, 9), torch.eye(1), torch.zeros(9, 9), seen)
    other = Grain(torch.full((1, KNOTS), 0.04), torch.zeros(9, 9), torch.eye(1), torch.zeros(9, 9), seen)
    left = one.without(other, 0.25)
    assert float(left.sigma[0, 3]) == pytest.approx((0.05**2 - 0.02**2) ** 0.5)
    assert not bool(one.none().sigma.any())
