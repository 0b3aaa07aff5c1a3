"""Noise that was added to photographs is measured."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from degsynth.ops.low_pass import low_pass
from degsynth.ops.noise_level import luma_variance, matrix_sqrt, noise_covariance, noise_excess


def noisy(photographs: list[Tensor], covariance: Tensor) -> list[Tensor]:
    rng = torch.Generator().manual_seed(0)
    root = matrix_sqrt(covariance).float()
    return [
        ((shot + torch.einsum("ab,bhw->ahw", root, torch.randn(shot.shape, generator=rng))) * 255).round() / 255
        for shot in photographs
    ]


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0])
def test_white_noise_is_measured(photographs: list[Tensor], sigma: float) -> None:
    measured = noise_covariance(noisy(photographs, (sigma / 255) ** 2 * torch.eye(3, dtype=torch.float64)))
    for channel in range(3):
        assert 255 * math.sqrt(float(measured[channel, channel])) == pytest.approx(sigma, rel=0.12)
    assert float((measured / measured[0, 0] - torch.eye(3)).abs().max()) < 0.25


def test_noise_that_channels_share_is_measured(photographs: list[Tensor]) -> None:
    expected = (6 / 255) ** 2 * (0.4 * torch.eye(3, dtype=torch.float64) + 0.6)
    measured = noise_covariance(noisy(photographs, expected))
    assert torch.allclose(measured, expected, atol=0.15 * float(expected[0, 0]))
    assert luma_variance(measured) == pytest.approx(luma_variance(expected), rel=0.2)


def test_clean_photographs_have_none(photographs: list[Tensor]) -> None:
    assert not bool(noise_covariance(photographs).any())


def test_gray_and_tiny_images() -> None:
    rng = torch.Generator().manual_seed(1)
    measured = noise_covariance([0.5 + 4 / 255 * torch.randn(1, 240, 240, generator=rng)])
    assert 255 * math.sqrt(float(measured)) == pytest.approx(4, rel=0.1)
    assert luma_variance(measured) == float(measured)
    assert not bool(noise_covariance([torch.rand(3, 9, 9)]).any())


def test_noise_that_blurred_hr_brings_along_is_subtracted() -> None:
    """The mean of 2×2 px leaves a quarter of the variance; where that is more than LR has, nothing is left."""
    one, mean = torch.eye(3, dtype=torch.float64) / 255**2, torch.full((2, 2), 0.25, dtype=torch.float64)
    assert torch.allclose(noise_excess(9 * one, 16 * one, mean), 5 * one)
    assert not bool(noise_excess(9 * one, 40 * one, mean).any())


def test_clipped_blocks_are_not_used() -> None:
    rng = torch.Generator().manual_seed(2)
    image = 0.5 + 5 / 255 * torch.randn(3, 480, 480, generator=rng)
    image[:, :400] = 1.0  # overexposed: no noise is left there
    measured = noise_covariance([image.clamp(0, 1)])
    assert 255 * math.sqrt(float(measured[0, 0])) == pytest.approx(5, rel=0.15)


@pytest.mark.parametrize("kind", ["box", "gaussian"])
def test_low_frequencies_of_hr_and_lr_agree_for_any_blur_of_a_ramp(kind: str) -> None:
    """A linear image is not changed by a centred kernel, so neither may its low frequencies be."""
    ramp = torch.linspace(0, 1, 64)[None, :].expand(64, 64)[None, None]
    lr = torch.nn.functional.avg_pool2d(ramp, 2)
    small, large = low_pass(lr, kind, 8), low_pass(ramp, kind, 16)  # type: ignore[arg-type]
    assert torch.allclose(small, large, atol=1e-6)


def test_gaussian_low_pass_equals_the_slow_reference() -> None:
    image = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    at = torch.arange(8) - 3.5
    weights = torch.exp(-0.5 * (at / 2) ** 2)
    window = torch.outer(weights, weights) / weights.sum() ** 2
    means = low_pass(image, "gaussian", 8)
    for row in range(2):
        for column in range(3):
            part = image[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert torch.allclose(means[:, :, row, column], (part * window).sum((2, 3)), atol=1e-6)
