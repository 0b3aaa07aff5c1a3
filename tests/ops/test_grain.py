"""Noise that follows the level: noise that was added to photographs is measured, and measured noise is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth.methods.shared.measured_noise import is_noise
from degsynth.ops.grain import (
    KNOTS,
    RANK,
    REACH,
    Grain,
    at_levels,
    combined,
    compact,
    filtered_noise,
    grain,
    separable,
)
from degsynth.ops.grain_measurement import filter_taps, measure, unprojected
from degsynth.ops.noise import block_field

LEVELS = torch.tensor([40.0, 120.0, 200.0], dtype=torch.float64) / 255


def strength(level: Tensor) -> Tensor:
    return torch.sqrt((3 / 255) ** 2 + 0.0012 * level)


def binomial() -> Tensor:
    row = torch.tensor([1.0, 2.0, 1.0])
    return torch.outer(row, row) / 6


def noisy(photographs: list[Tensor], taps: Tensor, seed: int = 0) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    images = []
    for shot in photographs:
        soft = torch.nn.functional.avg_pool2d(shot[None], 3)[0]
        white = torch.randn(1, *soft.shape, generator=rng)
        images.append(
            ((soft + strength(soft) * filtered_noise(white, separable(taps))[0]).clamp(0, 1) * 255).round() / 255
        )
    return images


@pytest.mark.parametrize(("taps", "lag"), [(torch.ones(1, 1), 0.0), (binomial(), 2 / 3)])
def test_added_noise_is_measured(photographs: list[Tensor], taps: Tensor, lag: float) -> None:
    measured = measure(noisy(photographs, taps))
    assert measured is not None
    sigma = at_levels(measured.sigma, LEVELS.expand(1, 3, 1, -1))[0, :, 0].mean(0)
    assert bool(((sigma / strength(LEVELS) - 1).abs() < 0.2).all())
    beside = float(measured.correlation[REACH, REACH + 1] + measured.correlation[REACH + 1, REACH]) / 2
    assert beside == pytest.approx(lag, abs=0.12)
    assert float((measured.mixing @ measured.mixing.T - torch.eye(3)).abs().max()) < 0.2
    assert measured.disagreement() < 0.35


def test_measured_noise_is_drawn() -> None:
    """On flat images the statistics of the noise are known."""
    curve = torch.linspace(4, 9, KNOTS, dtype=torch.float64)[None].expand(3, -1) / 255
    taps = torch.nn.functional.pad(binomial(), [REACH - 1] * 4)
    mixing = torch.linalg.cholesky(0.5 * torch.eye(3) + 0.5)
    for level, sigma in ((0.1, 4.5), (0.9, 8.5)):
        flat = torch.full((1, 3, 400, 400), level)
        noise = grain(flat, block_field(1, 0, 0, 400, 400, 3), curve.float(), separable(taps), mixing)
        assert float(noise.std()) == pytest.approx(sigma / 255, rel=0.02)
    flat = torch.full((1, 3, 400, 400), 0.5)
    noise = grain(flat, block_field(1, 0, 0, 400, 400, 3), curve.float(), separable(taps), mixing)[0]
    assert noise.std((1, 2)).tolist() == pytest.approx([6.5 / 255] * 3, rel=0.02)
    rows = noise.flatten(1)
    assert float((torch.corrcoef(rows) - mixing @ mixing.T).abs().max()) < 0.03
    assert float((noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean()) == pytest.approx(2 / 3, abs=0.03)
    assert float(noise.mean().abs()) < 0.5 / 255


def test_noise_is_as_strong_at_the_border() -> None:
    taps = torch.nn.functional.pad(binomial(), [REACH - 1] * 4)
    white = torch.randn(4000, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    noise = filtered_noise(white, separable(taps))
    assert float((noise.std((0, 1)) - 1).abs().max()) < 0.05
    assert filtered_noise(torch.ones(1, 1, 1, 1), separable(taps)).item() == pytest.approx(1)


@pytest.mark.parametrize("size", [(3, 4), (9, 20), (30, 11)])
def test_filtered_noise_is_what_a_convolution_makes(size: tuple[int, int]) -> None:
    """The obvious way: convolve with the taps, and divide by the root of the power of those that lie inside."""
    taps = combined(torch.randn(2, RANK, 2 * REACH + 1, generator=torch.Generator().manual_seed(1)).double())
    white = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(2)).double()
    planes = white.reshape(-1, 1, *size)
    inside = torch.nn.functional.conv2d(torch.ones_like(planes), taps.square()[None, None], padding=REACH)
    expected = torch.nn.functional.conv2d(planes, taps[None, None], padding=REACH) / inside.sqrt()
    assert torch.allclose(filtered_noise(white, separable(taps)), expected.reshape(white.shape), atol=1e-9)


def test_factors_that_are_0_are_left_out() -> None:
    white = torch.randn(1, 3, 12, 15, generator=torch.Generator().manual_seed(2)).double()
    factors = separable(torch.nn.functional.pad(binomial().double(), [REACH - 1] * 4))
    assert factors.shape == (2, RANK, 2 * REACH + 1)
    assert compact(factors).shape == (2, 1, 3), "binomial taps are one column times one row, 3 px long"
    assert torch.allclose(filtered_noise(white, compact(factors)), filtered_noise(white, factors), atol=1e-12)
    alone = torch.zeros(2 * REACH + 1, 2 * REACH + 1, dtype=torch.float64)
    alone[REACH, REACH] = 1.0
    assert compact(separable(alone)).shape == (2, 1, 1)
    assert torch.equal(filtered_noise(white, compact(separable(alone))), white)


@pytest.mark.parametrize("neighbours", [0.1, 0.5, 0.8])
def test_taps_are_no_longer_than_they_need_to_be(neighbours: float) -> None:
    offset = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    taps = filter_taps(neighbours ** torch.hypot(offset[:, None], offset[None, :]))
    assert float(taps.norm()) == pytest.approx(1.0)
    beside = float((taps[:, 1:] * taps[:, :-1]).sum())
    assert beside == pytest.approx(neighbours, abs=0.05)
    rank, side = compact(separable(taps)).shape[1:]
    assert rank <= 2
    assert side <= {0.1: 3, 0.5: 5, 0.8: 9}[neighbours]


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_curve_is_interpolated_between_its_knots(channels: int) -> None:
    rng = torch.Generator().manual_seed(1)
    curve, levels = torch.rand(channels, KNOTS, generator=rng), torch.rand(2, channels, 5, 4, generator=rng)
    levels[0, :, 0] = torch.tensor([-1.0, 0.0, 1.0, 2.0])
    knots = np.linspace(0, 1, KNOTS)
    for channel in range(channels):
        expected = np.interp(levels[:, channel].numpy(), knots, curve[channel].numpy())
        assert at_levels(curve, levels)[:, channel].numpy() == pytest.approx(expected, abs=1e-5)


def test_a_window_has_the_noise_of_the_whole() -> None:
    taps = torch.nn.functional.pad(binomial(), [REACH - 1] * 4)
    curve, mixing = torch.full((1, KNOTS), 0.02), torch.ones(1, 1)
    lr = torch.rand(1, 1, 40, 50, generator=torch.Generator().manual_seed(0))
    whole = grain(lr, block_field(3, 0, 0, 40, 50, 1), curve, separable(taps), mixing)
    part = grain(lr[..., 6:30, 8:40], block_field(3, 6, 8, 24, 32, 1), curve, separable(taps), mixing)
    inner = slice(REACH, -REACH)
    assert torch.allclose(part[..., inner, inner], whole[..., 6:30, 8:40][..., inner, inner], atol=1e-7)


def test_texture_is_not_taken_for_noise(photographs: list[Tensor]) -> None:
    """Photographs that were scaled down have hardly any noise."""
    measured = measure([torch.nn.functional.avg_pool2d(shot[None], 3)[0] for shot in photographs])
    assert measured is None or not is_noise(measured)


def test_the_correlation_is_that_before_the_planes_were_removed() -> None:
    """The slow reference: project the covariance of blocks of known correlation, and average it lag by lag."""
    from degsynth.ops.grain_measurement import BLOCK, plane_projection

    place = torch.arange(BLOCK, dtype=torch.float64)
    apart = (place[:, None] - place).abs()
    axis = 0.6**apart * (apart <= REACH)
    true = torch.einsum("ij,kl->ikjl", axis, axis).reshape(BLOCK**2, BLOCK**2)
    projected = plane_projection() @ true @ plane_projection()
    lags = torch.zeros(2 * REACH + 1, 2 * REACH + 1, dtype=torch.float64)
    for y in range(-REACH, REACH + 1):
        for x in range(-REACH, REACH + 1):
            pairs = [
                projected[r * BLOCK + c, (r + y) * BLOCK + c + x]
                for r in range(max(0, -y), min(BLOCK, BLOCK - y))
                for c in range(max(0, -x), min(BLOCK, BLOCK - x))
            ]
            lags[REACH + y, REACH + x] = torch.stack(pairs).mean()
    correlation, kept, freedom = unprojected(lags / lags[REACH, REACH])
    assert float((correlation - axis[: 2 * REACH + 1, REACH].outer(axis[: 2 * REACH + 1, REACH])).abs().max()) < 1e-9
    assert kept == pytest.approx(float(projected.trace()) / (BLOCK**2 - 3))
    assert freedom == pytest.approx(float(projected.trace() ** 2 / projected.square().sum()))


def test_images_that_are_too_small_give_no_measurement() -> None:
    assert measure([torch.rand(3, 10, 40)]) is None
    assert measure([torch.rand(1, 30, 30)]) is None


def test_a_share_of_another_noise_is_subtracted() -> None:
    measured = torch.tensor([[0, 0.2, 0.02], [0, 0.8, 0.03]], dtype=torch.float64)
    noise = Grain(torch.full((1, KNOTS), 0.05), torch.zeros(9, 9), torch.eye(1), torch.zeros(9, 9), measured)
    other = Grain(torch.full((1, KNOTS), 0.04), torch.zeros(9, 9), torch.eye(1), torch.zeros(9, 9), measured)
    left = noise.minus(other, 0.25)
    assert float(left.sigma[0, 3]) == pytest.approx((0.05**2 - 0.02**2) ** 0.5)
    assert not bool(noise.silenced().sigma.any())
