from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from degsynth.data import images as files
from degsynth.data import matching, pair_check, pairs
from degsynth.errors import DataError
from degsynth.evaluation.effective_kernel import effective_kernel
from degsynth.evaluation.metrics import psnr, score, ssim
from degsynth.evaluation.paired import evaluate
from degsynth.model.degradation import Degradation, Noise
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian, similarity
from degsynth.ops.resample import luma
from tests.conftest import save_png
from tests.doubles import linear_double, stochastic


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.nn.functional.avg_pool2d(torch.rand(3, 90, 78, generator=generator), 3, 1, 1)
    return (truth + 0.05 * torch.randn(truth.shape, generator=generator)).clamp(0, 1), truth


def test_against_scikit_image(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, truth = images
    figures = score(image, truth, border=8)
    a, b = (luma(t)[0, 8:-8, 8:-8].numpy().astype(np.float64) for t in (image, truth))
    assert figures["psnr_y"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-4)
    assert figures["l1_y"] == pytest.approx(np.abs(a - b).mean(), abs=1e-7)
    assert figures["l1_rgb"] == pytest.approx(float((image - truth)[:, 8:-8, 8:-8].abs().mean()), abs=1e-7)
    # Both skimage and torchmetrics leave out half a window at the border.
    expected = structural_similarity(
        b, a, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, win_size=11
    )
    assert ssim(luma(image)[:, 8:-8, 8:-8], luma(truth)[:, 8:-8, 8:-8]) == pytest.approx(expected, abs=5e-3)


def test_equal_images(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert psnr(images[1], images[1]) == 100.0
    assert ssim(images[1], images[1]) == pytest.approx(1.0, abs=1e-6)


def test_the_border_is_left_out(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    image, truth = images
    spoilt = image.clone()
    spoilt[:, :8] = spoilt[:, -8:] = 0
    spoilt[:, :, :8] = spoilt[:, :, -8:] = 0
    assert score(spoilt, truth, 8) == score(image, truth, 8)
    assert score(spoilt, truth, 7)["psnr_y"] < score(image, truth, 7)["psnr_y"]


def test_images_that_are_too_small_to_score_are_refused() -> None:
    with pytest.raises(DataError, match="lower `border`"):
        score(torch.rand(1, 26, 40), torch.rand(1, 26, 40), border=8)


def test_the_true_model_scores_at_the_rounding_floor(tmp_path: Path, photographs: list[torch.Tensor]) -> None:
    """The LR was made by the model itself in 8 bits, so the only error is rounding: 20·log10(255·√12) = 58.9 dB."""
    model = linear_double(tmp_path / "m.pt", 2)
    for number, shot in enumerate(photographs):
        hr = 0.8 * shot[:, :240, :240] + 0.1
        save_png(tmp_path / f"HR/{number}.png", hr, np.uint16)
        lr = model.degrader.degrade(hr[None], 0)[0].mul(255).round().div(255)
        save_png(tmp_path / f"LR/{number}.png", lr, np.uint16)
    scored = pairs.PairSet(pair_check.check(matching.match(tmp_path / "HR", tmp_path / "LR")[0]).pairs, 2, 3)
    result = evaluate(Degradation(model), scored)
    assert result["mean"]["model"]["psnr_rgb"] == pytest.approx(20 * math.log10(255 * math.sqrt(12)), abs=0.2)
    assert result["mean"]["model"]["psnr_rgb"] == pytest.approx(
        np.mean([row["model"]["psnr_rgb"] for row in result["images"]])
    )
    noisy = stochastic(tmp_path / "n.pt", 2)
    with_noise, without = (
        evaluate(Degradation(noisy), scored),
        evaluate(Degradation(noisy, Noise(learned=False)), scored),
    )
    assert with_noise["mean"]["model"]["psnr_y"] < without["mean"]["model"]["psnr_y"]
    assert with_noise == evaluate(Degradation(noisy), scored)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lr_is_scored_as_it_would_be_written(dtype: type, tmp_path: Path, photographs: list[torch.Tensor]) -> None:
    """The real LR was made by the model itself: once rounded in the same way, there is no difference at all."""
    model = linear_double(tmp_path / "m.pt", 2)
    hr = files.to_tensor(files.quantise(photographs[0][:, :120, :120], np.dtype(dtype)))
    save_png(tmp_path / "HR/a.png", hr, dtype)
    save_png(tmp_path / "LR/a.png", model.degrader.degrade(hr[None], 0)[0], dtype)
    scored = pairs.PairSet(pair_check.check(matching.match(tmp_path / "HR", tmp_path / "LR")[0]).pairs, 2, 3)
    # Without rounding it would be a quarter of a level: 1e-3 in 8 bits, 4e-6 in 16.
    assert evaluate(Degradation(model), scored)["mean"]["model"]["l1_rgb"] < 1e-6


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_the_effective_kernel_is_the_kernel(scale: int, tmp_path: Path) -> None:
    truth = gaussian({1: 13, 2: 12, 3: 13, 4: 16}[scale], 1.1, 1.7, 0.5, (0.2, -0.1))
    kernel = effective_kernel(linear_double(tmp_path / "m.pt", scale, shift=(0.2, -0.1), gain=0.9)).kernel
    assert kernel.shape == truth.shape
    assert float((kernel - truth).abs().max()) < 1e-4
    assert similarity(kernel, truth) > 0.99999


def test_bicubic_is_not_the_truth(photographs: list[torch.Tensor]) -> None:
    """A strong blur is far from bicubic LR, which fits are compared with."""
    from degsynth.ops.resample import bicubic

    hr = photographs[0][None]
    lr = blur_decimate(hr, gaussian(20, 2.0, 2.0)[None].float(), 2)
    assert psnr(bicubic(hr, 2), lr) < 30
