"""Blur and decimation at the centred phase. The geometry of degsynth is defined here and nowhere else.

LR pixel i lies at HR coordinate ``s·i + (s − 1)/2``, the centre of its s×s block. A kernel of K taps, K ≡ s (mod 2),
that is centred there covers HR pixels ``s·i − p … s·i − p + K − 1`` with ``p = (K − s)/2``: it extends by p before the
first LR pixel's block and after the last one's. So padding HR by p on all four sides and convolving with stride s gives
exactly H/s × W/s centred LR pixels. Convolution here is cross-correlation: kernels are not flipped.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.convolution import convolution


def half_width(kernel_size: int, scale: int) -> int:
    """Return how many HR pixels a K×K kernel reads beyond an LR pixel's own s×s block on each side: (K − s)/2.

    Raises ValueError for a size that cannot be centred.
    """
    if kernel_size < scale or (kernel_size - scale) % 2 != 0:
        raise ValueError(
            f"kernel size {kernel_size} at scale {scale} cannot be centred: take an even size at even scales, "
            "an odd one at odd scales, and at least the scale"
        )
    return (kernel_size - scale) // 2


def blur_decimate(hr: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """Return hr blurred, with every s-th sample kept at the centred phase; borders are replicated.

    hr (B, C, s·h, s·w), kernels (1, K, K) for all channels or (C, K, K), one for each channel → (B, C, h, w).
    """
    if kernels.shape[0] == 1:
        return responses(hr, kernels, scale).squeeze(2)
    channels: list[Tensor] = []
    for channel in range(hr.shape[1]):
        only = slice(channel, channel + 1)
        channels.append(responses(hr[:, only], kernels[only], scale).squeeze(2))
    return torch.cat(channels, 1)


def responses(hr: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """Return hr blurred by each kernel of a bank and decimated: one strided convolution for the whole bank.

    hr (B, C, s·h, s·w), kernels (N, K, K), all applied to every channel → (B, C, N, h, w). Borders are replicated.
    """
    batch, channels, height, width = hr.shape
    count, pad = kernels.shape[0], half_width(kernels.shape[-1], scale)
    down, right = 0, 0
    if not hr.is_cuda:
        down, right = block_padding(height + 2 * pad, width + 2 * pad, kernels, scale)
    padded = F.pad(hr, [pad, pad + right, pad, pad + down], mode="replicate")
    planes = padded.reshape(batch * channels, 1, padded.shape[2], padded.shape[3])
    blurred = convolved(planes, kernels, scale)[:, :, : height // scale, : width // scale]
    return blurred.reshape(batch, channels, count, height // scale, width // scale)


def convolved(planes: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """Return `F.conv2d(planes, kernels.unsqueeze(1), stride=stride)`, but faster on a CPU.

    planes (P, 1, H, W), kernels (N, K, K) → (P, N, h, w). The bits are the same in any window of an image. For that,
    channels must be passed as planes: with one input channel a CPU computes the same bits in any window. Planes that
    are already padded by `block_padding` are not copied.
    """
    side = 1 if planes.is_cuda else block_side(kernels.shape[0], stride)
    if side == 1:
        return convolution(planes, kernels.unsqueeze(1), None, stride, stride)
    height, width = [(length - kernels.shape[-1]) // stride + 1 for length in planes.shape[2:]]
    down, right = block_padding(planes.shape[2], planes.shape[3], kernels, stride)
    if down > 0 or right > 0:
        planes = F.pad(planes, [0, right, 0, down])
    return blocked_convolution(planes, kernels, stride, side)[:, :, :height, :width]


def block_padding(height: int, width: int, kernels: Tensor, stride: int) -> tuple[int, int]:
    """Return how many rows and columns (down, right) planes must be padded by for `blocked_convolution`.

    It needs whole blocks of LR pixels, and a width that is a multiple of its ``step``.
    """
    size, side = kernels.shape[-1], block_side(kernels.shape[0], stride)
    rows, columns = (height - size) // stride + 1, (width - size) // stride + 1
    step = stride * side
    reach = -(-(step - stride + size) // step) * step
    down = stride * (-(-rows // side) * side - 1) + size - height
    right = (-(-columns // side) - 1) * step + reach - width
    return max(0, down), right if right > 0 else -width % step


def block_side(kernels: int, stride: int) -> int:
    """Return the side of a block in `blocked_convolution`, LR px, for this number of kernels.

    1 means that the plain convolution is used instead. A block has at most 16 HR columns, which are the input channels:
    more channels a CPU may add up in groups, into which the taps of a kernel would fall differently from one LR pixel
    of the block to the next.
    """
    if kernels == 1 and stride <= 4:
        return 4
    return 2 if kernels <= 8 and stride <= 8 else 1


def blocked_convolution(planes: Tensor, kernels: Tensor, scale: int, side: int) -> Tensor:
    """Return `F.conv2d(planes, kernels.unsqueeze(1), stride=scale)` to the last bit, several times faster on a CPU.

    planes (P, 1, H, W), W a multiple of ``step = scale · side``, kernels (N, K, K) → (P, N, h, w).

    A CPU computes 16 output channels of a convolution as fast as one, and from 16 input channels as fast as from one;
    here there is one of each. So the side² LR pixels of a block are made output channels. They all read the same
    window of HR, ``scale·(side − 1) + K`` pixels a side, each with its own filter: the kernel shifted by ``scale`` taps
    from one LR pixel to the next, surrounded by zeros. And ``step`` neighbouring HR columns are made input channels: in
    memory a row of W numbers already is W/step pixels of step channels (channels last), so nothing is moved. For one
    kernel of 20×20 at scale 4 the sum gets 2.6 times as long, but the CPU computes 12 times as much of it per second.
    Adding zeros changes nothing, and the taps come in the same order.
    """
    count, size = kernels.shape[0], kernels.shape[-1]
    step, reach = scale * side, scale * (side - 1) + size
    wide = -(-reach // step) * step
    shifted: list[Tensor] = []
    for row in range(side):
        for column in range(side):
            left, top = scale * column, scale * row
            shifted.append(F.pad(kernels, [left, wide - left - size, top, reach - top - size]))
    weights = torch.stack(shifted, 1).view(count * side * side, reach, wide // step, step).permute(0, 3, 1, 2)
    columns = planes.view(planes.shape[0], planes.shape[2], planes.shape[3] // step, step).permute(0, 3, 1, 2)
    weights = weights.contiguous(memory_format=torch.channels_last)
    return F.pixel_shuffle(convolution(columns, weights, None, step, 1), side)


def apply_kernels(hr: Tensor, kernels: Tensor, scale: int, first_row: int = 0) -> Tensor:
    """Return rows of hr (B, C, s·H, s·w) blurred with a kernel for every LR pixel: (B, C, h, w).

    The kernels (B, h, w, K, K) are those of the LR rows ``first_row`` … ``first_row + h − 1``, which are returned; the
    borders of the whole image are replicated. K² numbers are stored for every pixel and channel of these rows: pass as
    many rows at a time as memory allows.
    """
    rows, size = kernels.shape[1], kernels.shape[-1]
    pad = half_width(size, scale)
    above, below = scale * first_row - pad, scale * (first_row + rows) + pad
    part = hr[:, :, max(0, above) : min(hr.shape[2], below)]
    part = F.pad(part, [pad, pad, max(0, -above), max(0, below - hr.shape[2])], mode="replicate")
    windows = part.unfold(2, size, scale).unfold(3, size, scale)  # a view: (B, C, h, w, K, K)
    return (windows * kernels.unsqueeze(1)).sum([4, 5])
