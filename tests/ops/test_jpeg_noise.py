"""Noise that is compressed away is measured as it was before; truth: noise of known strength that is put in."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from degsynth.data.compression import saved
from degsynth.ops import grain_measurement
from degsynth.ops.compression import Compression, Subsampling, at_quality
from degsynth.ops.grain import REACH, filtered_noise, separable
from degsynth.ops.grain_measurement import filter_taps
from degsynth.ops.jpeg_noise import measure
from degsynth.ops.resample import area


@pytest.fixture(scope="module")
def clean(photographs: list[Tensor]) -> list[Tensor]:
    """Four photographs, without the noise of their own."""
    return [area(shot[None], 2)[0] for shot in photographs]


def noisy(clean: list[Tensor], sigma: float, adjacent: float = 0.0, between: float = 0.0) -> list[Tensor]:
    """Add noise of σ (of 255) that correlates between adjacent pixels and between channels."""
    offset = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    taps = filter_taps(max(adjacent, 1e-6) ** torch.hypot(offset[:, None], offset))
    root = torch.linalg.cholesky((1 - between) * torch.eye(3) + between)
    rng = torch.Generator().manual_seed(0)
    made = []
    for image in clean:
        white = torch.einsum("ab,bhw->ahw", root, torch.randn(image.shape, generator=rng))
        made.append((image + sigma / 255 * filtered_noise(white[None], separable(taps).float())[0]).clamp(0, 1))
    return made


@pytest.mark.parametrize(
    ("sigma", "quality", "subsampling"),
    [(4.0, 75, "4:2:0"), (4.0, 95, "4:2:0"), (8.0, 85, "4:2:2"), (4.0, 85, "4:4:4")],
)
def test_sigma_is_that_before_compression(
    sigma: float, quality: int, subsampling: Subsampling, clean: list[Tensor]
) -> None:
    how = at_quality(quality)._replace(subsampling=subsampling)
    measured = measure([saved(image, how) for image in noisy(clean, sigma)], [how] * len(clean), 1 / 255)
    assert measured is not None
    assert 255 * measured.median_sigma() == pytest.approx(sigma, rel=0.2)
    assert float(measured.correlation[REACH, REACH + 1]) < 0.2
    root = measured.covariance().diagonal().sqrt()
    assert 255 * root == pytest.approx(sigma, rel=0.2)


@pytest.mark.parametrize(("adjacent", "between"), [(0.3, 0.7), (0.4, 0.0)])
def test_neighbours_and_channels_correlate(adjacent: float, between: float, clean: list[Tensor]) -> None:
    how, images = at_quality(90), noisy(clean, 6.0, adjacent, between)
    measured = measure([saved(image, how) for image in images], [how] * len(clean), 1 / 255)
    plain = grain_measurement.measure(images)
    assert measured is not None
    assert plain is not None
    assert 255 * measured.median_sigma() == pytest.approx(6.0, rel=0.2)
    beside = REACH, REACH + 1
    assert float(measured.correlation[beside]) == pytest.approx(float(plain.correlation[beside]), abs=0.2)
    mixed = measured.mixing @ measured.mixing.T
    assert mixed.diagonal().tolist() == pytest.approx([1.0] * 3)
    assert float(mixed[0, 1]) == pytest.approx(between, abs=0.2)


def test_gray(clean: list[Tensor]) -> None:
    how = Compression(at_quality(80).luma)
    images = [saved(image[:1], how) for image in noisy(clean, 5.0)]
    measured = measure(images, [how] * len(clean), 1 / 255)
    assert measured is not None
    assert measured.mixing.tolist() == [[1.0]]
    assert 255 * measured.median_sigma() == pytest.approx(5.0, rel=0.2)


def test_images_of_several_qualities(clean: list[Tensor]) -> None:
    ways = [at_quality(quality) for quality in (75, 95, 75, 85)]
    images = [saved(image, how) for image, how in zip(noisy(clean, 4.0), ways, strict=True)]
    measured = measure(images, ways, 1 / 255)
    assert measured is not None
    assert 255 * measured.median_sigma() == pytest.approx(4.0, rel=0.2)


def test_noise_follows_the_level() -> None:
    """In this ramp, noise is twice as strong in the light as in the dark."""
    ramp = torch.linspace(0.15, 0.9, 512).expand(1, 256, 512)
    how = Compression(at_quality(85).luma)
    rng = torch.Generator().manual_seed(1)
    images = [saved(ramp + (2 + 4 * ramp) / 255 * torch.randn(ramp.shape, generator=rng), how) for _ in range(3)]
    measured = measure(images, [how] * 3, 1 / 255)
    assert measured is not None
    levels = torch.tensor([0.25, 0.5, 0.8])
    found = measured.sigma_at(torch.stack([torch.zeros(3), levels, torch.zeros(3)], 1))
    assert (255 * found).tolist() == pytest.approx((2 + 4 * levels).tolist(), rel=0.1)


def test_too_little_to_measure() -> None:
    how = at_quality(85)
    assert measure([torch.rand(3, 40, 40)], [how], 1 / 255) is None
    assert measure([torch.rand(3, 9, 9)], [how], 1 / 255) is None


def test_the_powers_are_those_of_drawn_noise() -> None:
    """The variance of each coefficient of noise, and of noise at half the size, is what is counted in many blocks."""
    from degsynth.ops.jpeg_noise import _powers, _transformed

    (plane,) = noisy([torch.full((3, 1600, 1600), 0.5)], 1.0, adjacent=0.6)
    values = 255 * (plane[0].double() - 0.5)
    for box in ((1, 1), (2, 2), (1, 2)):
        averaged = torch.nn.functional.avg_pool2d(values[None, None], box)[0, 0]
        height, width = (length // 8 * 8 for length in averaged.shape)
        counted = _transformed(averaged[:height, :width]).square().mean(0)
        expected = _powers(0.6, box)
        assert float((counted / expected).log().abs().max()) < 6 * math.sqrt(2 / (height * width / 64))
