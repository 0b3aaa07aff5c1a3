"""Noise that follows level and contrast: what is put into images is what is measured in them, and what is drawn."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from degsynth.model.residual import Residual
from degsynth.ops.edge_noise import across_taps, directions, edge_planes, tap_powers
from degsynth.ops.grain import REACH
from degsynth.ops.grain_measurement import filter_taps
from degsynth.ops.resample import luma
from degsynth.ops.residual_measurement import ASSUMED_NEIGHBOURS, Measured, assumed, measure
from degsynth.ops.residual_noise import (
    CONTRASTS,
    EDGE_KNOTS,
    LARGEST_CONTRAST,
    LEVELS,
    NOISE_HALO,
    SMALLEST_CONTRAST,
    SURROUNDINGS,
    SURROUNDINGS_REACH,
    ResidualNoise,
    contrast_knots,
    contrast_of,
    local_contrast,
    no_share,
    share_at,
    sigma_at,
    structure,
    table_position,
)


def enlarged(planes: Tensor, side: int, mode: str) -> Tensor:
    """Enlarge planes (1, 1, h, w) to a side."""
    return torch.nn.functional.interpolate(planes, size=[side, side], mode=mode)


def pictures(count: int, side: int = 320) -> list[Tensor]:
    """Return images (3, side, side) of which some parts are flat and others full of detail, at all levels."""
    images = []
    for seed in range(count):
        rng = torch.Generator().manual_seed(seed)
        octaves = [torch.rand(1, 1, side // n, side // n, generator=rng) - 0.5 for n in (1, 2, 4, 8)]
        detail = torch.stack([enlarged(planes, side, "bilinear") for planes in octaves]).sum(0)
        amount = enlarged(torch.rand(1, 1, 5, 5, generator=rng), side, "bicubic").clamp(min=0.0)
        level = enlarged(torch.rand(1, 1, 3, 3, generator=rng), side, "bilinear")
        picture = 0.15 + 0.7 * level + 0.12 * amount.square() * detail
        images.append(picture[0].clamp(0.05, 0.95).expand(3, -1, -1))
    return images


def strokes(count: int, side: int = 320) -> list[Tensor]:
    """Return images (3, side, side) of soft lines in all directions and of all contrasts."""
    images = []
    place = torch.arange(side) - side / 2
    for seed in range(count):
        rng = torch.Generator().manual_seed(seed)
        picture = torch.full((side, side), 0.5)
        for _ in range(60):
            angle, offset, width, height = torch.rand(4, generator=rng).tolist()
            across = math.cos(math.pi * angle) * place[:, None] + math.sin(math.pi * angle) * place[None, :]
            picture = picture + 0.3 * (height - 0.5) * torch.tanh((across - side * (offset - 0.5)) / (1 + 3 * width))
        images.append(picture.clamp(0.05, 0.95).expand(3, -1, -1))
    return images


def line_correlation(taps: Tensor) -> Tensor:
    """Return the correlation at distances 0, 1, … of white noise that taps filter, from its definition."""
    return torch.stack([(taps[: len(taps) - lag] * taps[lag:]).sum() for lag in range(len(taps))])


def known_noise(channels: int = 3, reach: int = 2) -> ResidualNoise:
    """Return noise whose σ rises with the contrast and falls with the level, and whose neighbours correlate."""
    level, contrast = torch.linspace(0, 1, LEVELS).double(), torch.linspace(0, 1, CONTRASTS).double()
    sigma = (1.0 + 5.0 * contrast[None, :] ** 2) * (1.3 - 0.6 * level[:, None]) / 255
    offset = torch.arange(-REACH, REACH + 1).double()
    correlation = torch.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / reach)
    mixing = torch.eye(channels).double() + 0.3
    mixing = mixing / luma(mixing[:, None, :])[0, 0].norm()
    return ResidualNoise(sigma, filter_taps(correlation), mixing)


def edge_noise() -> ResidualNoise:
    """Return such noise, of which a part runs along edges."""
    share = torch.tensor([0.2, 0.6, 0.9, 0.9, 0.9], dtype=torch.float64)
    across = across_taps(torch.tensor([1.0, 0.2, -0.1, -0.1, -0.2], dtype=torch.float64))
    return dataclasses.replace(known_noise(), share=share, across=across, tint=torch.tensor([1.2, 1.0, 0.5]).double())


def noisy(noise: ResidualNoise, images: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return the images with a draw of the noise, and without it."""
    module = Residual(noise)
    pairs = []
    for seed, lr in enumerate(images):
        size = module.planes(len(lr)), *lr.shape[1:]
        white = torch.randn(1, *size, generator=torch.Generator().manual_seed(100 + seed))
        pairs.append((lr + module(lr[None], white)[0], lr))
    return pairs


def measured_twice(noise: ResidualNoise, images: list[Tensor]) -> tuple[Measured, Measured]:
    """Measure noise that is put into images, and then what is drawn of what was measured."""
    first = measure(noisy(noise, images), 0.0)
    assert first is not None
    again = measure(noisy(first.noise, images), 0.0)
    assert again is not None
    return first, again


def test_the_noise_that_is_put_in_is_measured() -> None:
    noise = known_noise()
    measured = measure(noisy(noise, pictures(6)), level_step=0.0)
    assert measured is not None
    known = measured.pixels > 3_000
    assert int(known.sum()) > 25, "the pictures have many levels and contrasts"
    assert torch.allclose(measured.noise.sigma[known], noise.sigma[known], rtol=0.12)
    put_in = noise.mixing @ noise.mixing.T
    assert torch.allclose(measured.noise.mixing @ measured.noise.mixing.T, put_in, atol=0.08)
    taps = torch.nn.functional.conv2d(noise.taps[None, None], noise.taps[None, None], padding=2 * REACH)[0, 0]
    lags = slice(REACH, 3 * REACH + 1)
    assert torch.allclose(measured.correlation, taps[lags, lags], atol=0.06)
    assert measured.tails == pytest.approx(3.0, abs=0.15), "normal numbers were put in"


def test_noise_along_edges_that_is_put_in_is_measured() -> None:
    noise = edge_noise()
    measured = measure(noisy(noise, strokes(8)), level_step=0.0)
    assert measured is not None
    assert torch.allclose(measured.noise.share[2:4], noise.share[2:4], atol=0.12)
    assert torch.allclose(line_correlation(measured.noise.across)[:5], line_correlation(noise.across)[:5], atol=0.12)


def test_the_rest_of_noise_along_edges_is_as_white_as_it_was_put_in() -> None:
    white = torch.zeros(2 * REACH + 1, 2 * REACH + 1, dtype=torch.float64)
    white[REACH, REACH] = 1.0
    measured = measure(noisy(dataclasses.replace(edge_noise(), taps=white), strokes(8)), level_step=0.0)
    assert measured is not None
    taps = measured.noise.taps
    assert float((taps[:, 1:] * taps[:, :-1]).sum()) == pytest.approx(0.0, abs=0.06)
    assert measured.lag_1() > 0.2, "as a whole it is not white"


def test_isotropic_noise_is_not_taken_for_noise_along_edges() -> None:
    measured = measure(noisy(known_noise(), strokes(8)), level_step=0.0)
    assert measured is not None
    assert float(measured.noise.share.max()) < 0.12


def test_drawn_noise_along_edges_is_like_the_measured_one() -> None:
    first, again = measured_twice(edge_noise(), strokes(6))
    assert again.sigma == pytest.approx(first.sigma, rel=0.05)
    assert again.lag_1() == pytest.approx(first.lag_1(), abs=0.05)
    assert torch.allclose(again.noise.share[2:4], first.noise.share[2:4], atol=0.12)
    assert torch.allclose(again.channels, first.channels, atol=0.1), "with the channels of both parts"


def test_drawn_noise_is_like_the_measured_one() -> None:
    first, again = measured_twice(known_noise(), pictures(6))
    assert again.sigma == pytest.approx(first.sigma, rel=0.03)
    assert again.lag_1() == pytest.approx(first.lag_1(), abs=0.03)
    assert again.fine_share == pytest.approx(first.fine_share, abs=0.01)


@pytest.mark.parametrize("channels", [1, 3])
def test_assumed_noise_is_proportional_to_the_contrast(channels: int) -> None:
    noise = assumed(0.25, channels)
    knots = contrast_knots()
    assert torch.allclose(noise.sigma, (0.25 * (knots - knots[0])).expand(LEVELS, -1))
    drawn = measure(noisy(noise, [image[:channels] for image in pictures(6)]), 0.0)
    assert drawn is not None
    known = (drawn.pixels > 3_000) & (noise.sigma > 1 / 255)
    assert torch.allclose(drawn.noise.sigma[known], noise.sigma[known], rtol=0.2)
    taps = drawn.noise.taps
    assert float((taps[:, 1:] * taps[:, :-1]).sum()) == pytest.approx(ASSUMED_NEIGHBOURS, abs=0.06)
    assert drawn.lag_1() > ASSUMED_NEIGHBOURS, "along edges neighbours are alike"
    flat, module = torch.full((1, channels, 64, 64), 0.5), Residual(noise)
    assert float(module(flat, torch.randn(1, module.planes(channels), 64, 64)).abs().max()) == 0.0


def test_slow_differences_of_level_are_no_noise() -> None:
    ramp = torch.linspace(-0.02, 0.02, 320).expand(3, 320, 320)
    measured = measure([(lr + noise + ramp, lr) for lr, noise in _silent(pictures(4))], 0.0)
    assert measured is not None
    assert measured.sigma < 0.6 / 255
    assert measured.slow_sigma > 2.0 / 255


def _silent(images: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return [(lr, 1e-3 * torch.randn(lr.shape, generator=torch.Generator().manual_seed(1))) for lr in images]


@pytest.mark.parametrize(("step", "strength"), [(1 / 255, 1.0), (1 / 255, 0.4), (2 / 255, 1.0)])
def test_rounding_is_not_counted_as_noise(step: float, strength: float) -> None:
    """Real LR is rounded, and so will be what is drawn: σ is what was there before."""
    noise = dataclasses.replace(known_noise(), sigma=strength * known_noise().sigma)
    rounded = [(torch.round(real / step) * step, lr) for real, lr in noisy(noise, pictures(6))]
    measured = measure(rounded, step)
    assert measured is not None
    known = measured.pixels > 3_000
    assert torch.allclose(measured.noise.sigma[known], noise.sigma[known], rtol=0.15)


def test_where_both_are_cut_off_there_is_no_noise() -> None:
    """The sky is white in the real LR, and beyond white in the predicted one."""
    pairs = []
    for real, lr in noisy(known_noise(), pictures(4)):
        real, lr = real.clone(), lr.clone()
        real[:, :100], lr[:, :100] = 1.0, 1.1
        pairs.append((real, lr))
    measured = measure(pairs, 0.0)
    assert measured is not None
    assert float(measured.noise.sigma[-1, 0]) < 0.4 / 255
    assert float(measured.noise.sigma[4, 0]) > 0.8 / 255


def test_nothing_is_left_out() -> None:
    (image,) = pictures(1)
    assert measure([(image, image)], 0.0) is None
    assert measure([(torch.full((1, 99, 99), 0.5),) * 2], 0.0) is None


@pytest.mark.parametrize("side", [17, 18, 20, 21])
def test_images_that_are_hardly_wider_than_their_borders(side: int) -> None:
    images = [image[:, :, :side] for image in pictures(6)]
    measured = measure(noisy(known_noise(), [*images, *pictures(1)]), 0.0)
    assert measured is not None
    assert bool(measured.correlation.isfinite().all())


def test_too_little_to_measure() -> None:
    small = torch.rand(3, 20, 20)
    assert measure([(small, small)], 0.0) is None
    assert measure([], 0.0) is None


@pytest.mark.parametrize("fitted", [1, 3])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_luma_of_the_noise_is_the_same_in_any_number_of_channels(fitted: int, channels: int) -> None:
    noise = known_noise(fitted)
    flat = torch.full((1, channels, 256, 256), 0.5)
    module = Residual(noise)
    planes = module.planes(channels)
    assert planes == (channels if channels == fitted else 1), "no plane for noise along edges that is not there"
    white = torch.randn(1, planes, 256, 256, generator=torch.Generator().manual_seed(5))
    drawn = module(flat, white)
    sigma = float(noise.sigma[(LEVELS - 1) // 2, 0])
    assert float(luma(drawn).std()) == pytest.approx(sigma, rel=0.05)
    assert abs(float(drawn.mean())) < sigma / 20


def test_without_noise_no_random_numbers_are_asked_for() -> None:
    assert [Residual().planes(channels) for channels in (1, 3, 4)] == [0, 0, 0]


# --- the parts, beside their slow twins -------------------------------------------------------------------------


def slow_contrast(plane: np.ndarray) -> np.ndarray:
    """Compute the contrast of one pixel after the other, from its definition."""
    height, width = plane.shape

    def at(y: int, x: int) -> float:
        return float(plane[min(max(y, 0), height - 1), min(max(x, 0), width - 1)])

    slope = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            across, down = (at(y, x + 1) - at(y, x - 1)) / 2, (at(y + 1, x) - at(y - 1, x)) / 2
            slope[y, x] = across**2 + down**2
    weights = np.ones(1)
    for stride in SURROUNDINGS:
        weights = np.convolve(weights, [0.5, *[0.0] * (stride - 1), 0.5])
    distance = np.arange(len(weights)) - SURROUNDINGS_REACH
    assert (weights * distance**2).sum() == pytest.approx(4.0), "the average is as wide as a Gaussian of σ 2"
    result = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            total = 0.0
            for a, down_weight in zip(distance, weights, strict=True):
                for b, across_weight in zip(distance, weights, strict=True):
                    row, column = min(max(y + a, 0), height - 1), min(max(x + b, 0), width - 1)
                    total += down_weight * across_weight * slope[row, column]
            result[y, x] = math.sqrt(total)
    return result


def test_contrast_is_what_its_definition_says() -> None:
    plane = torch.rand(1, 1, 9, 14, generator=torch.Generator().manual_seed(3)).double()
    contrast = local_contrast(plane)
    assert np.allclose(contrast[0, 0].numpy(), slow_contrast(plane[0, 0].numpy()), atol=1e-9)


def test_a_ramp_has_the_contrast_of_its_slope() -> None:
    ramp = 0.01 * torch.arange(64.0).expand(1, 1, 64, 64)
    contrast = local_contrast(ramp)
    assert torch.allclose(contrast[:, :, :, 8:-8], torch.tensor(0.01), atol=1e-5)


def test_the_table_is_interpolated_between_its_knots() -> None:
    table = torch.rand(LEVELS, CONTRASTS, generator=torch.Generator().manual_seed(1)).double()
    for level, part in ((0.0, 0.0), (1.0, 1.0), (0.3, 0.77), (0.5, 0.25)):
        ends = SMALLEST_CONTRAST**0.25, LARGEST_CONTRAST**0.25
        contrast = (ends[0] + part * (ends[1] - ends[0])) ** 4
        row, column = table_position(torch.tensor([level]).double(), torch.tensor([contrast]).double())
        assert float(row) == pytest.approx(8 * level)
        assert float(column) == pytest.approx(12 * part, abs=1e-6)
        y, x = min(int(row), LEVELS - 2), min(int(column), CONTRASTS - 2)
        down, right = float(row) - y, float(column) - x
        corners = table[y : y + 2, x : x + 2]
        weights = torch.tensor([[(1 - down) * (1 - right), (1 - down) * right], [down * (1 - right), down * right]])
        assert float(sigma_at(table, row, column)) == pytest.approx(float((corners * weights).sum()), abs=1e-6)


@pytest.mark.parametrize("noise", [known_noise(), edge_noise()], ids=["isotropic", "edges"])
def test_noise_hardly_changes_where_the_lr_hardly_changes(noise: ResidualNoise) -> None:
    """An LR has other roundings in other tiles. Half of this one is flat, where rounding would be all of the slope."""
    rng = torch.Generator().manual_seed(1)
    lr = 0.2 + 0.6 * torch.rand(1, 3, 96, 96, generator=rng)
    lr[..., 48:] = 0.5
    module = Residual(noise)
    white = torch.randn(1, module.planes(3), 96, 96, generator=rng)
    apart = module(lr + 1e-7 * torch.randn(lr.shape, generator=rng), white) - module(lr, white)
    assert float(apart.abs().max()) < 1e-6


def test_beyond_the_knots_the_outermost_ones_hold() -> None:
    row, column = table_position(torch.tensor([-1.0, 2.0]), torch.tensor([0.0, 5.0]))
    assert row.tolist() == [0.0, LEVELS - 1]
    assert column.tolist() == pytest.approx([0.0, CONTRASTS - 1])


def test_a_share_of_0_has_a_root() -> None:
    """Before the fourth knot, the sum of the ramps in float32 would end at -3e-8 for this share."""
    share = torch.tensor([0.6076244115829468, 0.5558772683143616, 0.04464330896735191, 0.0, 0.05395388975739479])
    place = torch.linspace(0, CONTRASTS - 1, 49)[None, None, None]
    assert float(share_at(share, place).min()) >= 0.0
    ramp = (0.002 * torch.arange(96.0) ** 1.3).clamp(max=1.0).expand(1, 3, 64, 96)
    module = Residual(dataclasses.replace(edge_noise(), share=share.double()))
    drawn = module(ramp, torch.randn(1, 5, 64, 96, generator=torch.Generator().manual_seed(1)))
    assert bool(drawn.isfinite().all())


@pytest.mark.parametrize("noise", [known_noise(), edge_noise()], ids=["isotropic", "edges"])
def test_a_pixel_depends_on_no_more_than_the_halo(noise: ResidualNoise) -> None:
    module = Residual(noise)
    lr = torch.rand(1, 3, 48, 40, generator=torch.Generator().manual_seed(1))
    white = torch.randn(1, module.planes(3), 48, 40, generator=torch.Generator().manual_seed(2))
    whole = module(lr, white)
    window = slice(12 - NOISE_HALO, 30 + NOISE_HALO), slice(10 - NOISE_HALO, 28 + NOISE_HALO)
    part = module(lr[..., window[0], window[1]], white[..., window[0], window[1]])
    inner = part[..., NOISE_HALO:-NOISE_HALO, NOISE_HALO:-NOISE_HALO]
    assert torch.equal(inner, whole[..., 12:30, 10:28])


def test_it_is_the_formula() -> None:
    noise = edge_noise()
    lr = torch.rand(1, 3, 21, 17, generator=torch.Generator().manual_seed(1)).double()
    white = torch.randn(1, 5, 21, 17, generator=torch.Generator().manual_seed(2)).double()
    drawn = Residual(noise).double()(lr, white)
    isotropic = Residual(dataclasses.replace(noise, share=no_share())).double()(lr, white[:, :3])
    y, x = 10, 8
    near = white[0, :3, y - REACH : y + REACH + 1, x - REACH : x + REACH + 1]
    grain = noise.mixing @ (near * noise.taps).sum((1, 2))
    tensor = structure(luma(lr))
    row, column = table_position(luma(lr)[0, 0, y, x], contrast_of(tensor)[0, 0, y, x])
    sigma = sigma_at(noise.sigma, row, column)
    assert torch.allclose(isotropic[0, :, y, x], sigma * grain, atol=1e-6)
    knot = min(int(column / 3), EDGE_KNOTS - 2)
    share = noise.share[knot] + (float(column) / 3 - knot) * (noise.share[knot + 1] - noise.share[knot])
    amplitude = directions(tensor)[0, :, y, x]
    along = (amplitude * edge_planes(white[:, 3:], noise.across, tap_powers(noise.across))[0, :, y, x]).sum()
    rest = (1 - share * amplitude.square().sum()).sqrt()
    assert torch.allclose(drawn[0, :, y, x], sigma * (rest * grain + share.sqrt() * along * noise.tint), atol=1e-6)
