from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from degsynth.ops.blur import block_side, blocked_convolution, blur_decimate, half_width, responses
from degsynth.ops.kernels import gaussian
from degsynth.ops.resample import area, bicubic, crop_border, decimate, luma


def assembled(hr: Tensor, kernel: Tensor, scale: int) -> Tensor:
    """The slow reference: every LR pixel is an inner product around HR coordinate s·i + (s − 1)/2, indices clamped."""
    height, width = hr.shape[-2:]
    size = kernel.shape[-1]
    out = torch.zeros(height // scale, width // scale, dtype=torch.float64)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for a in range(size):
                for b in range(size):
                    y = scale * i + (scale - 1) / 2 + a - (size - 1) / 2
                    x = scale * j + (scale - 1) / 2 + b - (size - 1) / 2
                    assert y == int(y)
                    pixel = hr[min(max(int(y), 0), height - 1), min(max(int(x), 0), width - 1)]
                    out[i, j] += kernel[a, b] * pixel
    return out


@given(st.integers(1, 4), st.integers(0, 4), st.integers(1, 5), st.integers(1, 5), st.integers(0, 999))
def test_equals_the_definition(scale: int, half: int, height: int, width: int, seed: int) -> None:
    size = scale + 2 * half
    generator = torch.Generator().manual_seed(seed)
    hr = torch.rand(height * scale, width * scale, generator=generator)
    kernel = torch.randn(size, size, generator=generator)
    fast = blur_decimate(hr[None, None], kernel[None], scale)[0, 0]
    assert torch.allclose(fast.double(), assembled(hr.double(), kernel.double(), scale), atol=1e-5)


def test_per_channel_kernels_blur_their_channel() -> None:
    hr = torch.rand(2, 3, 24, 18)
    kernels = torch.rand(3, 4, 4)
    out = blur_decimate(hr, kernels, 2)
    for channel in range(3):
        alone = blur_decimate(hr[:, channel : channel + 1], kernels[channel : channel + 1], 2)
        assert torch.equal(out[:, channel : channel + 1], alone)


@pytest.mark.parametrize(("size", "scale"), [(3, 2), (4, 3), (2, 3), (5, 4), (12, 1)])
def test_kernels_that_cannot_be_centred_are_refused(size: int, scale: int) -> None:
    with pytest.raises(ValueError, match="centred"):
        half_width(size, scale)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_a_ramp_keeps_its_phase(scale: int) -> None:
    """A linear ramp through any symmetric kernel: LR pixel i holds the ramp at s·i + (s − 1)/2."""
    size = 8 if scale % 2 == 0 else 9
    ramp = torch.arange(40 * scale, dtype=torch.float32).expand(1, 1, 12 * scale, -1) / 200
    expected = (scale * torch.arange(40) + (scale - 1) / 2) / 200
    for lr in (
        blur_decimate(ramp, gaussian(size, 1.0, 1.5)[None].float(), scale),
        bicubic(ramp, scale),
        area(ramp, scale),
    ):
        assert torch.allclose(lr[0, 0, 6, 6:-6], expected[6:-6], atol=1e-5)


def test_luma_of_gray_rgb_and_many() -> None:
    rgb = torch.rand(2, 3, 5, 7)
    weights = torch.tensor([0.299, 0.587, 0.114])
    assert torch.allclose(luma(rgb)[:, 0], (rgb * weights[:, None, None]).sum(1), atol=1e-6)
    assert torch.equal(luma(rgb[:, :1]), rgb[:, :1])
    assert torch.equal(luma(rgb[:, :2]), rgb[:, :2].mean(1, keepdim=True))


def test_bicubic_at_scale_one_is_the_image() -> None:
    hr = torch.rand(1, 3, 9, 9)
    assert bicubic(hr, 1) is hr


@pytest.mark.parametrize(("size", "scale"), [(21, 1), (20, 2), (21, 3), (20, 4)])
def test_any_window_is_bit_equal_to_the_whole(size: int, scale: int) -> None:
    """This makes outputs independent of tile, batch and thread count, down to the last bit."""
    hr = torch.rand(3, 3, 96 * scale, 70 * scale)
    kernel = torch.randn(1, size, size) / size
    whole = blur_decimate(hr, kernel, scale)
    reach = -(-half_width(size, scale) // scale)
    top, left = 20, 31
    window = blur_decimate(hr[1:2, :, top * scale : (top + 60) * scale, left * scale :], kernel, scale)
    assert torch.equal(window[0, :, reach:-reach, reach:], whole[1, :, top + reach : top + 60 - reach, left + reach :])


@given(
    st.integers(1, 4),
    st.integers(2, 9),
    st.integers(1, 9),
    st.sampled_from([2, 4]),
    st.integers(1, 7),
    st.integers(1, 7),
)
def test_blocks_are_the_convolution(scale: int, half: int, count: int, side: int, rows: int, columns: int) -> None:
    """The rearranged convolution adds the same products in the same order: equal to the last bit."""
    size, step = scale + 2 * half, scale * side
    width = step * (columns + -(-(step - scale + size) // step))
    planes = torch.rand(2, 1, step * rows + size - scale, width)
    kernels = torch.randn(count, size, size)
    plain = F.conv2d(planes, kernels.unsqueeze(1), stride=scale)
    blocked = blocked_convolution(planes, kernels, scale, side)
    assert blocked.shape[3] >= side * columns
    assert torch.equal(blocked, plain[..., : blocked.shape[2], : blocked.shape[3]])


COUNTS = (1, 2, 8, 9)
SIZES = ((21, 1), (3, 1), (14, 2), (2, 2), (9, 3), (20, 4), (15, 5), (24, 8))


@pytest.mark.parametrize(
    ("count", "scale", "side"),
    [(1, 1, 4), (1, 4, 4), (1, 5, 2), (1, 8, 2), (1, 9, 1), (2, 1, 2), (2, 8, 2), (8, 8, 2), (8, 9, 1), (9, 1, 1)],
)
def test_block_sides(count: int, scale: int, side: int) -> None:
    """Large blocks for one kernel, small blocks for a few, none for many kernels or large scales."""
    assert block_side(count, scale) == side


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_block_has_at_most_sixteen_columns(count: int, scale: int) -> None:
    """With more, the sums of the blocked convolution need not be in the order of the plain one's."""
    side = block_side(count, scale)
    assert side >= 1
    assert side == 1 or side * scale <= 16


def test_small_windows_are_tested_with_every_block_side() -> None:
    assert {block_side(count, scale) for count in COUNTS for _, scale in SIZES} == {1, 2, 4}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "scale"), SIZES)
def test_small_windows_are_bit_equal_too(size: int, scale: int, channels: int, count: int) -> None:
    """However few pixels a window has: torch uses another algorithm for small images."""
    hr, kernels = torch.rand(1, channels, 110 * scale, 100 * scale), torch.randn(count, size, size)
    whole = responses(hr, kernels, scale)
    reach = -(-half_width(size, scale) // scale)
    for top, left, height, width in ((13, 22, 1, 1), (30, 57, 2, 5), (61, 3, 7, 3), (40, 40, 33, 41)):
        outer = hr[
            :, :, scale * (top - reach) : scale * (top + height + reach),
            scale * max(0, left - reach) : scale * (left + width + reach),
        ]  # fmt: skip
        window = responses(outer, kernels, scale)[..., reach : reach + height, min(reach, left) :][..., :width]
        assert torch.equal(window, whole[..., top : top + height, left : left + width])


def test_a_bank_is_its_kernels_one_by_one() -> None:
    hr, bank = torch.rand(2, 3, 18, 24), torch.randn(4, 5, 5)
    blurred = responses(hr, bank, 3)
    assert blurred.shape == (2, 3, 4, 6, 8)
    for number in range(4):
        alone = blur_decimate(hr, bank[number : number + 1], 3)
        assert torch.allclose(blurred[:, :, number], alone, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_decimation_keeps_the_centred_phase(scale: int) -> None:
    """LR pixel i of a ramp holds its value at s·i + (s − 1)/2, averaged over no more pixels than necessary."""
    y, x = torch.meshgrid(torch.arange(6.0 * scale), torch.arange(8.0 * scale), indexing="ij")
    lr = decimate((y + 100 * x)[None, None], scale)[0, 0]
    at = lambda count: scale * torch.arange(float(count)) + (scale - 1) / 2  # noqa: E731
    assert torch.allclose(lr, at(6)[:, None] + 100 * at(8)[None, :])
    spike = torch.zeros(1, 1, 5 * scale, 5 * scale)
    spike[..., 2 * scale + (scale - 1) // 2, 2 * scale + (scale - 1) // 2] = 1.0
    assert float(decimate(spike, scale).sum()) == (1.0 if scale % 2 else 0.25)


def test_crop_border() -> None:
    image = torch.arange(30.0).view(5, 6)
    assert torch.equal(crop_border(image, 0), image)
    assert torch.equal(crop_border(image, 2), image[2:3, 2:4])
