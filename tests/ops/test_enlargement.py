"""The blur of an enlargement, taken off estimated kernels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.enlargement import _on_the_simplex, without_enlargement
from degsynth.ops.kernels import centroid, gaussian
from degsynth.ops.subpixel import suited

SIZE = 31


def enlarged(kernel: Tensor, scale: int) -> Tensor:
    """Return the mean, over all phases, of a point that was blurred by a kernel, decimated and enlarged by torch."""
    side, taps = 40, suited(kernel[None], scale)[None]
    total = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    reach, middle = SIZE // 2, side // 2 * scale
    edge = (taps.shape[-1] - scale) // 2
    for y in range(scale):
        for x in range(scale):
            point = torch.zeros(1, 1, side * scale, side * scale, dtype=torch.float64)
            point[0, 0, middle + y, middle + x] = 1.0
            lr = F.conv2d(F.pad(point, (edge,) * 4), taps, stride=scale)
            size = [length * scale for length in lr.shape[2:]]
            large = F.interpolate(lr, size, mode="bicubic", antialias=True) if scale > 1 else lr
            total += large[0, 0, middle + y - reach :, middle + x - reach :][:SIZE, :SIZE] / scale**2
    return total.flip(0, 1)


def transfer(kernel: Tensor) -> Tensor:
    """Return the absolute transfer function at the frequencies 0, 1/SIZE, … along both axes."""
    return torch.fft.rfft2(kernel).abs()


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(0.4, 0.4, 0.0), (0.7, 0.45, 0.5), (1.1, 1.1, 0.0)])
def test_the_kernel_of_the_camera_comes_out(scale: int, shape: tuple[float, float, float]) -> None:
    """Of photographs that torch enlarged, up to Nyquist's frequency of the LR; widths are in LR px."""
    kernel = gaussian(SIZE, scale * shape[0], scale * shape[1], shape[2])
    seen = enlarged(kernel, scale)
    found = without_enlargement(seen[None], scale)[0]
    count = SIZE // (2 * scale) + 1
    off, off_before = ((transfer(k) - transfer(kernel)).abs()[:count, :count].max() for k in (found, seen))
    assert float(off) < 0.1
    assert scale == 1 or float(off) < float(off_before) / 2


@pytest.mark.parametrize("scale", [2, 3])
def test_results_are_kernels(scale: int) -> None:
    """Also of what no enlargement can have made: a point, a stroke, and noise."""
    point, stroke = torch.zeros(2, 25, 25, dtype=torch.float64)
    point[12, 12], stroke[12, 6:19] = 1.0, 1 / 13
    noise = torch.rand(25, 25, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kernels = without_enlargement(torch.stack([point, stroke, noise / noise.sum()]), scale)
    assert bool((kernels >= 0).all())
    assert torch.allclose(kernels.sum((1, 2)), torch.ones(3, dtype=torch.float64))
    for kernel in kernels[:2]:
        assert max(map(abs, centroid(kernel))) < 1e-6
    each = torch.cat([without_enlargement(kernel[None], scale) for kernel in (point, stroke)])
    assert torch.allclose(kernels[:2], each, atol=1e-12)


def test_the_projection_is_the_nearest_kernel() -> None:
    """No other kernel is nearer: the slow twin tries many."""
    rng = torch.Generator().manual_seed(0)
    taps = 0.3 * torch.randn(1, 3, 3, dtype=torch.float64, generator=rng)
    nearest = _on_the_simplex(taps)
    assert float(nearest.sum()) == pytest.approx(1.0)
    others = torch.rand(20_000, 3, 3, dtype=torch.float64, generator=rng).log().neg()
    others /= others.sum((1, 2), keepdim=True)
    others = torch.cat([others, nearest + 0.05 * (others - nearest)])
    distance = (others - taps).square().sum((1, 2))
    assert float(distance.min()) >= float((nearest - taps).square().sum()) - 1e-12
