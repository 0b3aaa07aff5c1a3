"""Spectra of images, and how they determine the blur between two sets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth.ops.blur import blur_decimate
from degsynth.ops.kernels import gaussian, gaussian_shape
from degsynth.ops.spectra import SIDE, Bins, Spectra, fold, parts, power


def scene(seed: int, side: int, contrast: float = 1.0) -> Tensor:
    """Return a random picture (side, side) whose power falls with frequency as that of photographs does."""
    rng = np.random.default_rng(seed)
    at = np.fft.fftfreq(side)
    radius = np.hypot(at[:, None], at[None, :])
    radius[0, 0] = 1
    waves = np.fft.fft2(rng.standard_normal((side, side))) / radius ** rng.uniform(0.9, 1.1)
    waves[0, 0] = 0
    picture = np.fft.ifft2(waves).real
    return torch.tensor(0.5 + 0.1 * contrast * rng.uniform(0.7, 1.3) * picture / picture.std(), dtype=torch.float32)


def degraded(image: Tensor, kernel: Tensor, scale: int) -> Tensor:
    return blur_decimate(image[None, None], kernel[None].float(), scale)[0, 0]


def test_power_of_white_noise_is_its_variance() -> None:
    noise = 0.02 * torch.randn(600, 600, generator=torch.Generator().manual_seed(0))
    assert float(power(noise, 32)[3:14, 3:14].mean()) == pytest.approx(0.02**2, rel=0.02)


def test_a_wave_beyond_the_nyquist_frequency_is_found_where_decimation_puts_it() -> None:
    x = torch.arange(256, dtype=torch.float64)
    wave = torch.cos(2 * math.pi * 0.40625 * x).expand(256, 256)  # 26 / 64 cycles per px
    hr, lr = power(wave, 64), power(wave[:, ::2], 32)
    folded = fold(hr, 2)
    assert int(hr[0, :33].argmax()) == 26
    assert int(lr[0, :17].argmax()) == int(folded[0, :17].argmax()) == 6  # 64 − 2·26 = 12 of 64, that is 6 of 32


def test_bins_hold_what_lies_in_their_ring_and_sector() -> None:
    bins = Bins(SIDE)
    at = torch.fft.fftfreq(SIDE, dtype=torch.float64)
    radius = torch.hypot(at[:, None], at[None, :])
    rings = bins(radius) * SIDE
    assert rings.min() >= 1.5
    assert rings.max() <= SIDE / 2 + 0.5
    # The slow computation takes one bin at a time.
    spectrum = torch.rand(SIDE, SIDE, dtype=torch.float64)
    for number in (0, 17, bins.count - 1):
        assert float(bins(spectrum)[number]) == pytest.approx(float(spectrum[bins.index == number].mean()))
    assert torch.allclose(bins(spectrum), bins(spectrum.roll(1, 0).roll(-1, 0)))


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_spectrum_of_a_kernel_is_that_of_blurred_images(scale: int) -> None:
    """Folding and transfer function are compared with images that are blurred and decimated."""
    scenes = [scene(seed, 96 * scale) for seed in range(12)]
    kernel = gaussian(10 * scale if scale % 2 == 0 else 10 * scale + 1 - (scale + 1) % 2, 0.4 * scale, 0.7 * scale, 0.5)
    blurred = [degraded(image, kernel, scale) for image in scenes]
    spectra = Spectra(scenes, blurred, scale)
    ratio = spectra.of_kernel(kernel) / spectra.of_images(blurred)
    # Windows of 32 px smear spectra a little differently before and after a blur.
    assert float(ratio.log().abs().mean()) < 0.12
    assert float(ratio.log().mean().abs()) < 0.05


def test_distance_is_about_one_for_other_scenes_and_more_for_another_blur() -> None:
    kernel, distances, wrong = gaussian(12, 1.0, 1.0), [], []
    for trial in range(8):
        hr = [scene(100 * trial + number, 192) for number in range(10)]
        lr = [degraded(scene(100 * trial + 50 + number, 192), kernel, 2) for number in range(10)]
        spectra = Spectra(hr, lr, 2)
        for kernels, result in ((kernel, distances), (gaussian(12, 1.4, 1.4), wrong)):
            result.append(spectra.distance(float(spectra.misfit(spectra.of_kernel(kernels), 0.0))))
    assert 0.7 < float(np.mean(distances)) < 1.4
    assert min(wrong) > 1.5 * float(np.mean(distances))


def test_noise_of_the_lr_images_is_the_floor() -> None:
    """With the true variance as floor the misfit is that of other scenes; the floor that fits best does as well."""
    kernel, rng = gaussian(12, 1.0, 1.0), torch.Generator().manual_seed(0)
    lr = [degraded(scene(50 + number, 192), kernel, 2) for number in range(10)]
    noisy = [image + 0.02 * torch.randn(image.shape, generator=rng) for image in lr]
    spectra = Spectra([scene(number, 192) for number in range(10)], noisy, 2)
    spectrum = spectra.of_kernel(kernel)
    without, with_floor = (spectra.distance(float(spectra.misfit(spectrum, floor))) for floor in (0.0, 0.02**2))
    assert with_floor < 1.4
    assert without > 2 * with_floor
    assert spectra.least_distance(spectrum) < 1.1 * with_floor


@pytest.mark.parametrize(
    ("counts", "pattern"), [((10, 10), "windows"), ((30, 5), "windows"), ((10, 10), "grille")], ids=str
)
def test_one_facade_is_no_blur(counts: tuple[int, int], pattern: str) -> None:
    """A row of windows fills one bin of one image, a grille one direction at all frequencies; both are content."""
    kernel, x = gaussian(12, 1.0, 1.0), torch.arange(192.0)
    windows = 0.3 * torch.cos(2 * math.pi * 6 / 64 * x)
    grille = 0.3 * (torch.randn(192, generator=torch.Generator().manual_seed(0)) > 1.5)
    scenes = [scene(50 + number, 192) for number in range(counts[1])]
    scenes[0] = scenes[0] + (windows if pattern == "windows" else grille)
    lr = [degraded(image, kernel, 2) for image in scenes]
    spectra = Spectra([scene(number, 192) for number in range(counts[0])], lr, 2)
    assert spectra.distance(float(spectra.misfit(spectra.of_kernel(kernel), 0.0))) < 1.3


def test_same_images_give_the_same_bits() -> None:
    """A fit that is repeated must end in the same bytes."""
    hr, lr = [scene(number, 96) for number in range(4)], [scene(50 + number, 64) for number in range(4)]
    result = [Spectra([image.clone() for image in hr], [image.clone() for image in lr], 1) for _ in range(12)]
    assert all(torch.equal(spectra.precision, result[0].precision) for spectra in result)
    shapes = {gaussian_shape(gaussian(20, 1.0, 1.6, 0.4)) for _ in range(12)}
    assert len(shapes) == 1


def test_contrast_and_exposure_are_content() -> None:
    """All LR images have half the contrast: this is far beyond the usual scatter, and is reported as contrast."""
    hr = [scene(number, 192) for number in range(10)]
    lr = [degraded(scene(50 + number, 192, contrast=0.5), gaussian(12, 1.0, 1.0), 2) for number in range(10)]
    spectra = Spectra(hr, lr, 2)
    content = spectra.content(spectra.of_kernel(gaussian(12, 1.0, 1.0)), 0.0)
    assert int(content.abs().argmax()) == 0
    assert float(content[0]) < -3


def test_parts_cover_an_image_and_are_not_larger_than_asked() -> None:
    image = torch.arange(70 * 130.0).view(70, 130)
    result = parts(image, 50)
    assert max(max(part.shape) for part in result) <= 50
    assert sum(part.numel() for part in result) == image.numel()
    assert parts(image, 200)[0].shape == image.shape


def test_two_large_images_are_looked_at_in_parts() -> None:
    large = [scene(1, 1200), scene(2, 1100)]
    spectra = Spectra(large, [scene(3, 600)], 2)
    assert spectra.counts == (18, 9)


def test_flat_and_small_sets_are_refused() -> None:
    good = [scene(1, 96), scene(2, 96)]
    with pytest.raises(ValueError, match="flat"):
        Spectra(good, [torch.full((64, 64), 0.5)], 2)
    with pytest.raises(ValueError, match="no LR image is at least 32×32"):
        Spectra(good, [torch.rand(20, 64)], 2)
    with pytest.raises(ValueError, match="two images are too few"):
        Spectra(good[:1], [scene(3, 64)], 2)
