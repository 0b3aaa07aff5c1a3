"""Blind estimation: every fast step is compared with a slow, obvious one, and known kernels are recovered."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, signal
from skimage.filters import threshold_otsu
from torch import Tensor

from degsynth.ops import dark_channel, latent_image
from degsynth.ops.dark_channel import Settings, estimate, level_sizes, window_size
from degsynth.ops.kernel_from_edges import cleaned, differences, first_threshold, normal_equations, solve, strong
from degsynth.ops.kernels import centroid, gaussian, gaussian_shape, similarity
from degsynth.ops.resample import luma


def sharp(photographs: list[Tensor], which: int = 1, side: int = 232) -> Tensor:
    """Return a part (side, side) of a photograph that is sharp because it was reduced by means of 2×2 px."""
    gray = F.avg_pool2d(luma(photographs[which])[None], 2)[0, 0]
    return gray[:side, :side]


def stroke() -> Tensor:
    """Return a bent, soft stroke, as of camera shake; it is asymmetric, so that its mirror image differs from it."""
    kernel = torch.zeros(11, 11, dtype=torch.float64)
    for y, x in ((1, 2), (2, 3), (3, 4), (4, 5), (5, 5), (6, 6), (6, 7), (6, 8), (7, 9)):
        kernel[y, x] = 1.0
    kernel[1, 2] = 3.0
    soft = F.conv2d(kernel[None, None], gaussian(3, 0.6, 0.6)[None, None], padding=1)[0, 0]
    return soft / soft.sum()


def correlated(image: Tensor, kernel: Tensor) -> Tensor:
    """Return an image blurred as `ops.blur` does it, rounded to 8 bits, without the border."""
    computed = F.conv2d(image[None, None], kernel[None, None].float())[0, 0]
    return (computed.clamp(0, 1) * 255).round() / 255


@pytest.mark.parametrize(
    ("kernel", "least"), [(gaussian(13, 1.6, 1.6), 0.95), (gaussian(17, 1.2, 2.4, 0.6), 0.93), (stroke(), 0.75)]
)
def test_the_kernel_put_in_comes_out(photographs: list[Tensor], kernel: Tensor, least: float) -> None:
    """The estimate has the width of the kernel, and is more similar to it than to its mirror image."""
    result = estimate(correlated(sharp(photographs), kernel), Settings(dark_weight=0.0))
    assert result.shape == (25, 25)
    assert float(result.sum()) == pytest.approx(1.0, abs=1e-12)
    assert float(result.min()) >= 0.0
    assert max(map(abs, centroid(result))) <= 0.51
    alike = similarity(result, kernel)
    assert alike > least
    if not torch.allclose(kernel, kernel.flip(0, 1)):
        assert similarity(result, kernel.flip(0, 1)) < alike - 0.1
    else:
        for seen, expected in zip(gaussian_shape(result)[:2], gaussian_shape(kernel)[:2], strict=True):
            assert seen == pytest.approx(expected, rel=0.25)


def test_the_dark_channel_takes_part(photographs: list[Tensor]) -> None:
    """With the dark channel the kernel is found, too, and differs from the one that is found without it."""
    kernel = gaussian(13, 1.4, 1.4)
    blurred = correlated(sharp(photographs, side=140), kernel)
    dark, plain = (estimate(blurred, Settings(17, weight)) for weight in (4e-3, 0.0))
    assert similarity(dark, kernel) > 0.93
    assert not torch.equal(dark, plain)


def test_unsuitable_images_and_sizes_are_refused(photographs: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="no kernel"):
        estimate(torch.full((100, 100), 0.5))
    with pytest.raises(ValueError, match="too small"):
        estimate(torch.rand(60, 100))
    with pytest.raises(ValueError, match="odd"):
        Settings(24)


def test_kernel_alone_from_the_true_latent_image(photographs: list[Tensor]) -> None:
    """Given the sharp image the problem is linear; its solution is the kernel, rotated by half a turn."""
    image, kernel = sharp(photographs), stroke()
    seen = F.conv2d(F.pad(image, (5, 5, 5, 5))[None, None], kernel.flip(0, 1)[None, None].float())[0, 0]
    edges = strong(differences(image), 1e-3)
    assert similarity(cleaned(solve(differences(image), differences(seen), 11), 0.0), kernel) > 0.999
    assert similarity(cleaned(solve(edges, differences(seen), 11), 0.05), kernel) > 0.9


def test_normal_equations_are_those_of_the_convolution() -> None:
    """The slow computation writes the convolution as a matrix."""
    rng = torch.Generator().manual_seed(1)
    edges, seen = torch.randn(2, 2, 7, 6, generator=rng)
    matrix, right = normal_equations(edges, seen, 3)
    columns = []
    for number in range(9):
        tap = torch.zeros(9, dtype=torch.float64)
        tap[number] = 1.0
        computed = [signal.convolve2d(part.double().numpy(), tap.view(3, 3).numpy(), mode="full") for part in edges]
        columns.append(np.concatenate([part.ravel() for part in computed]))
    whole = torch.from_numpy(np.stack(columns, 1))
    expected = torch.cat([F.pad(part.double(), (1, 1, 1, 1)).flatten() for part in seen])
    assert torch.allclose(matrix, whole.T @ whole, atol=1e-9)
    assert torch.allclose(right, whole.T @ expected, atol=1e-9)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 5, 13, 35]), st.integers(0, 5))
def test_running_max_and_dark_pixels(height: int, width: int, side: int, seed: int) -> None:
    """The slow computation evaluates every window by itself; there are few levels, so that many pixels are equal."""
    image = torch.randint(4, (height, width), generator=torch.Generator().manual_seed(seed)).float()
    plain = ndimage.maximum_filter(image.numpy(), size=side, mode="constant", cval=-np.inf)
    assert np.array_equal(latent_image.running_max(image, side).numpy(), plain)
    reach, dark = side // 2, np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            rows, columns = slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)
            window = image[rows, columns].numpy()
            dark[rows, columns] |= window == window.min()
    assert np.array_equal(latent_image.is_dark(image, side).numpy(), dark)


def test_latent_image_solves_its_equation() -> None:
    """After one step of the splitting x minimises the objective for the g of that step."""
    rng = torch.Generator().manual_seed(2)
    image = torch.rand(24, 30, generator=rng)
    kernel = gaussian(5, 1.0, 1.0)
    weight = 0.03
    passed = latent_image.spectrum(kernel.float(), image.shape)
    wave_y, wave_x = torch.fft.fftfreq(24), torch.fft.rfftfreq(30)
    power = 4 * torch.sin(torch.pi * wave_y).square()[:, None] + 4 * torch.sin(torch.pi * wave_x).square()
    seen = passed.conj() * torch.fft.rfft2(image)
    beta = 2 * weight
    across, down = image.roll(-1, 1) - image, image.roll(-1, 0) - image
    kept = across**2 + down**2 >= weight / beta
    across, down = across * kept, down * kept
    adjoint = across.roll(1, 1) - across + down.roll(1, 0) - down
    expected = torch.fft.irfft2(
        (seen + beta * torch.fft.rfft2(adjoint)) / (passed.abs() ** 2 + beta * power), s=image.shape
    )
    tightest, latent_image.MAX_GRADIENT_TIGHTNESS = latent_image.MAX_GRADIENT_TIGHTNESS, 1.5 * beta
    try:
        result = latent_image.latent(image, kernel, 0.0, weight)
    finally:
        latent_image.MAX_GRADIENT_TIGHTNESS = tightest
    assert torch.allclose(result, expected, atol=1e-5)


def test_a_periodic_image_keeps_its_pixels_and_has_no_edge(photographs: list[Tensor]) -> None:
    image = sharp(photographs)[:100, :90]
    wide = latent_image.periodic(image, 24)
    assert torch.equal(wide[:100, :90], image)
    assert min(wide.shape[0] - 100, wide.shape[1] - 90) >= 24
    steps = (wide - wide.roll(1, 0)).abs().amax(1), (wide - wide.roll(1, 1)).abs().amax(0)
    for jumps, length in zip(steps, (100, 90), strict=True):
        assert float(jumps[[0, length]].max()) <= float(jumps[1:length].max()) + 0.05


@given(st.integers(1, 5000))
def test_fast_lengths(length: int) -> None:
    result = latent_image.fast_length(length)
    rest = result
    for prime in (2, 3, 5, 7):
        while rest % prime == 0:
            rest //= prime
    assert rest == 1
    assert length <= result <= 1.2 * length + 1


def test_otsu_is_that_of_scikit_image(photographs: list[Tensor]) -> None:
    gray = sharp(photographs)
    assert latent_image.otsu(gray) == pytest.approx(threshold_otsu(gray.numpy()), abs=2 / 256)


def test_specks_and_faint_taps_are_no_kernel() -> None:
    kernel = torch.zeros(15, 15, dtype=torch.float64)
    kernel[5:8, 5:8] = 1.0
    kernel[13, 13], kernel[6, 8], kernel[0, 0] = 0.6, 0.01, -0.5
    result = cleaned(kernel, 0.05)
    assert float(result[13, 13]) == float(result[6, 8]) == float(result[0, 0]) == 0.0
    assert float(result.sum()) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no kernel"):
        cleaned(torch.full((5, 5), float("nan"), dtype=torch.float64), 0.05)


def test_edges_of_every_direction_are_kept() -> None:
    """Of many strong edges in one direction and few in another, the few determine the threshold."""
    across, down = torch.zeros(40, 40), torch.zeros(40, 40)
    across[:20], down[20:22] = 1.0, 0.1
    rng = torch.Generator().manual_seed(3)
    slanted = torch.randn(2, 18, 40, generator=rng) * 0.3
    gradients = torch.stack([across, down])
    gradients[:, 22:] = slanted
    threshold = first_threshold(gradients, 2)
    turn = torch.atan2(gradients[1], gradients[0]) % torch.pi
    for number in range(4):
        in_range = (
            (turn >= number * torch.pi / 4) & (turn < (number + 1) * torch.pi / 4) & (gradients.square().sum(0) > 0)
        )
        assert int((gradients.square().sum(0)[in_range] >= threshold).sum()) >= 40
    assert bool((strong(gradients, 1e9) != 0).any()), "the strongest stay"


@pytest.mark.parametrize("size", [9, 17, 25, 31])
def test_levels_and_windows(size: int) -> None:
    sizes = level_sizes(size)
    assert sizes[-1] == size
    assert sizes == sorted(sizes)
    assert all(side % 2 == 1 for side in sizes)
    wide = window_size(gaussian(25, 0.7, 0.7), 25), window_size(gaussian(25, 2.0, 0.7), 25)
    assert dark_channel.MIN_SIZE == wide[0] < wide[1] <= 25
