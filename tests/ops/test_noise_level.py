"""The noise of photographs, known because it was put there."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from degsynth.ops.low_pass import low_pass
from degsynth.ops.noise_level import luma_variance, noise_covariance, square_root


def noisy(photographs: list[Tensor], covariance: Tensor) -> list[Tensor]:
    dice = torch.Generator().manual_seed(0)
    root = square_root(covariance).float()
    return [
        ((shot + torch.einsum("ab,bhw->ahw", root, torch.randn(shot.shape, generator=dice))) * 255).round() / 255
        for shot in photographs
    ]


@pytest.mark.parametrize("sigma", [2.0, 5.0, 12.0])
def test_white_noise_is_found(photographs: list[Tensor], sigma: float) -> None:
    found = noise_covariance(noisy(photographs, (sigma / 255) ** 2 * torch.eye(3, dtype=torch.float64)))
    for channel in range(3):
        assert 255 * math.sqrt(float(found[channel, channel])) == pytest.approx(sigma, rel=0.12)
    assert float((found / found[0, 0] - torch.eye(3)).abs().max()) < 0.25


def test_noise_that_channels_share_is_found(photographs: list[Tensor]) -> None:
    wanted = (6 / 255) ** 2 * (0.4 * torch.eye(3, dtype=torch.float64) + 0.6)
    found = noise_covariance(noisy(photographs, wanted))
    assert torch.allclose(found, wanted, atol=0.15 * float(wanted[0, 0]))
    assert luma_variance(found) == pytest.approx(luma_variance(wanted), rel=0.2)


def test_clean_photographs_have_none(photographs: list[Tensor]) -> None:
    assert not bool(noise_covariance(photographs).any())


def test_gray_and_tiny_images() -> None:
    dice = torch.Generator().manual_seed(1)
    found = noise_covariance([0.5 + 4 / 255 * torch.randn(1, 240, 240, generator=dice)])
    assert 255 * math.sqrt(float(found)) == pytest.approx(4, rel=0.1)
    assert luma_variance(found) == float(found)
    assert not bool(noise_covariance([torch.rand(3, 9, 9)]).any())


def test_what_is_clipped_tells_nothing() -> None:
    dice = torch.Generator().manual_seed(2)
    image = 0.5 + 5 / 255 * torch.randn(3, 480, 480, generator=dice)
    image[:, :400] = 1.0  # blown out: no noise is left there
    found = noise_covariance([image.clamp(0, 1)])
    assert 255 * math.sqrt(float(found[0, 0])) == pytest.approx(5, rel=0.15)


@pytest.mark.parametrize("kind", ["box", "gaussian"])
def test_low_frequencies_of_hr_and_lr_agree_for_any_blur_of_a_ramp(kind: str) -> None:
    """A linear picture is not changed by a centred kernel, so its low frequencies must not be either."""
    ramp = torch.linspace(0, 1, 64)[None, :].expand(64, 64)[None, None]
    lr = torch.nn.functional.avg_pool2d(ramp, 2)
    small, large = low_pass(lr, kind, 8), low_pass(ramp, kind, 16)  # type: ignore[arg-type]
    assert torch.allclose(small, large, atol=1e-6)


def test_gaussian_low_pass_is_its_slow_twin() -> None:
    image = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    at = torch.arange(8) - 3.5
    weights = torch.exp(-0.5 * (at / 2) ** 2)
    window = torch.outer(weights, weights) / weights.sum() ** 2
    made = low_pass(image, "gaussian", 8)
    for row in range(2):
        for column in range(3):
            part = image[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            assert torch.allclose(made[:, :, row, column], (part * window).sum((2, 3)), atol=1e-6)
