from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from degsynth.data.alignment import measure_alignment
from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian
from degsynth.ops.resample import luma


def warped(hr: Tensor, high: float = 1.0, wide: float = 1.0, turn: float = 0.0) -> Tensor:
    """Return hr (1, H, W) zoomed about its middle, and then turned by an angle in degrees, clockwise."""
    angle = np.deg2rad(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.diag([1 / high, 1 / wide]) @ rotation
    middle = (np.array(hr.shape[1:]) - 1) / 2
    moved = scipy.ndimage.affine_transform(hr[0].double().numpy(), matrix, middle - matrix @ middle, mode="reflect")
    return torch.from_numpy(moved).float()[None]


def degraded(hr: Tensor, scale: int, noise: float = 2.0) -> Tensor:
    """Return a blurred LR (1, h, w) of hr with another level and with noise of σ ``noise``, on the 0–255 scale."""
    size = 8 if scale % 2 == 0 else 9
    lr = 0.8 * blur_decimate(hr[None], gaussian(size, 0.5 * scale, 0.5 * scale)[None].float(), scale)[0] + 0.05
    return lr + noise / 255 * torch.randn(lr.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize(
    ("high", "wide", "turn"),
    [(1.02, 1.02, 0.0), (0.99, 0.99, 0.0), (1.0, 1.0, 1.0), (1.0, 1.0, -0.5), (1.03, 1.0, 0.0), (1.05, 1.05, 2.0)],
)
def test_zoom_and_rotation_are_measured(
    high: float, wide: float, turn: float, scale: int, photographs: list[Tensor]
) -> None:
    for shot in photographs[:2]:
        hr = luma(shot)[:, :200, :200]
        lr = degraded(warped(hr, high, wide, turn), scale)
        found = measure_alignment(hr, lr, scale)
        assert found.zoom == pytest.approx((high - 1, wide - 1), abs=0.003)
        assert found.turn == pytest.approx(turn, abs=0.15)
        assert found.shift == pytest.approx((0.0, 0.0), abs=0.1)
        assert found.correlation > 0.9
        expected = np.hypot(np.hypot(high - 1, wide - 1), np.sqrt(2) * np.deg2rad(turn)) * lr.shape[1] / np.sqrt(12)
        assert found.displacement(*lr.shape[1:]) == pytest.approx(expected, rel=0.1, abs=0.05)


@pytest.mark.parametrize("noise", [0.0, 5.0, 25.0])
@pytest.mark.parametrize("shift", [(0, 0), (3, -4)])
def test_a_shift_is_no_warp(shift: tuple[int, int], noise: float, photographs: list[Tensor]) -> None:
    """Nor is noise, or blur: they leave as much unexplained by a warp as by a shift."""
    for shot in photographs:
        y, x = 10 + 2 * shift[0], 10 + 2 * shift[1]
        lr = degraded(luma(shot)[:, y : y + 200, x : x + 200], 2, noise)
        found = measure_alignment(luma(shot)[:, 10:210, 10:210], lr, 2)
        assert found.warp == ((0.0, 0.0), (0.0, 0.0))
        assert found.shift == pytest.approx(shift, abs=0.05 + noise / 60)
        assert found.displacement(500, 500) == 0


def test_an_image_cropped_elsewhere_is_shifted_and_zoomed(photographs: list[Tensor]) -> None:
    """LR shows 192 of 200 px from (4, 6), enlarged to 200."""
    hr = luma(photographs[0])[:, :200, :200]
    part = torch.nn.functional.interpolate(hr[None, :, 4:196, 6:198], (200, 200), mode="bicubic", antialias=True)[0]
    found = measure_alignment(hr, degraded(part, 2), 2)
    assert found.zoom == pytest.approx((200 / 192 - 1,) * 2, abs=0.003)
    assert found.shift == pytest.approx((0.0, 1.0), abs=0.1)


def test_small_and_flat_images_have_no_alignment() -> None:
    hr = torch.rand(1, 30, 60, generator=torch.Generator().manual_seed(0))
    assert measure_alignment(hr, hr[:, ::2, ::2], 2).shift == (0.0, 0.0)
    flat = measure_alignment(torch.full((1, 64, 64), 0.5), hr[:, :, :32].repeat(1, 2, 1)[:, :32], 2)
    assert abs(flat.correlation) < 0.1
