"""Scores of super-resolved images, against formulas written out and slow twins."""

from __future__ import annotations

import math

import numpy as np
import pytest

from degsynth.errors import DataError
from degsynth.sr.scores import score, shifted_psnr, studio_luma


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random pixels (H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4 + 2, width // 4 + 2, 3))
    return np.kron(coarse, np.ones((4, 4, 1)))[:height, :width].astype(np.uint8)


def test_studio_luma_is_that_of_matlab() -> None:
    """Known answers of rgb2ycbcr: black 16, white 235, red 81, green 145, blue 41."""
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert studio_luma(colours).tolist() == [[16, 235, 81, 145, 41]]


def test_studio_range_reads_higher_by_the_ratio_of_the_ranges() -> None:
    truth = picture(80, 90)
    image = np.clip(truth.astype(int) + np.random.default_rng(1).integers(-12, 13, truth.shape), 0, 255).astype(
        np.uint8
    )
    figures = score(image, truth)
    assert figures["psnr_studio_y"] - figures["psnr_y"] == pytest.approx(20 * math.log10(255 / 219), abs=0.05)


def test_the_figures_are_those_of_their_formulas() -> None:
    truth, image = picture(70, 60), picture(70, 60, 1)
    inside = slice(16, -16), slice(16, -16)
    difference = (image.astype(float) - truth)[inside]
    figures = score(image, truth)
    assert figures["psnr_rgb"] == pytest.approx(-10 * math.log10((difference**2).mean() / 255**2), abs=1e-6)
    luma = difference @ [0.299, 0.587, 0.114]
    assert figures["psnr_y"] == pytest.approx(-10 * math.log10((luma**2).mean() / 255**2), abs=1e-6)


def slow_shifted_psnr(image: np.ndarray, truth: np.ndarray, shift: int) -> float:
    """All shifts, one after another."""
    height, width = image.shape[:2]
    inner = image[shift : height - shift, shift : width - shift].astype(float)
    errors = [
        ((truth[y : y + inner.shape[0], x : x + inner.shape[1]] - inner) ** 2).mean()
        for y in range(2 * shift + 1)
        for x in range(2 * shift + 1)
    ]
    return -10 * math.log10(min(errors) / 255**2)


@pytest.mark.parametrize("moved", [(0, 0), (2, -3), (-1, 3)])
def test_the_shift_tolerant_psnr_against_a_slow_twin(moved: tuple[int, int]) -> None:
    truth = picture(60, 70)
    noise = np.random.default_rng(2).integers(-3, 4, truth.shape)
    image = np.clip(np.roll(truth, moved, (0, 1)).astype(int) + noise, 0, 255).astype(np.uint8)
    assert shifted_psnr(image, truth, 3) == pytest.approx(slow_shifted_psnr(image, truth, 3), abs=1e-6)
    if moved != (0, 0):
        assert shifted_psnr(image, truth, 3) > score(image, truth, 8, 3)["psnr_rgb"] + 5


def test_small_images_are_refused() -> None:
    with pytest.raises(DataError, match="lower `border` or `shift`"):
        score(picture(40, 80), picture(40, 80), border=16)
