"""Blur and decimation at the centred phase: the one place where the geometry of degsynth is written down.

LR pixel i looks at HR coordinate ``s·i + (s − 1)/2``, the centre of its s×s block. A kernel of K taps, K ≡ s (mod 2),
centred there covers HR pixels ``s·i − p … s·i − p + K − 1`` with ``p = (K − s)/2``: the same half-width before the
first LR pixel and after the last. So padding HR by p on all four sides and convolving with stride s gives exactly H/s
× W/s centred LR pixels. Convolution here is cross-correlation: kernels are not flipped.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from degsynth.ops.convolution import convolution


def half_width(kernel_size: int, scale: int) -> int:
    """HR pixels that a K×K kernel reads beyond an LR pixel's own s×s block, on each side: (K − s)/2."""
    if kernel_size < scale or (kernel_size - scale) % 2 != 0:
        raise ValueError(
            f"kernel size {kernel_size} at scale {scale} cannot be centred: take an even size at even scales, "
            "an odd one at odd scales, and at least the scale"
        )
    return (kernel_size - scale) // 2


def blur_decimate(hr: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """Blur and keep every s-th sample at the centred phase, replicate borders.

    hr (B, C, s·h, s·w), kernels (1, K, K) for all channels or (C, K, K) one each → (B, C, h, w).
    """
    if kernels.shape[0] == 1:
        return responses(hr, kernels, scale).squeeze(2)
    out: list[Tensor] = []
    for channel in range(hr.shape[1]):
        one = slice(channel, channel + 1)
        out.append(responses(hr[:, one], kernels[one], scale).squeeze(2))
    return torch.cat(out, 1)


def responses(hr: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """What each of a bank of kernels sees: one strided convolution for the whole bank, replicate borders.

    hr (B, C, s·h, s·w), kernels (N, K, K), all applied to every channel → (B, C, N, h, w).
    """
    batch, channels, height, width = hr.shape
    count, pad = kernels.shape[0], half_width(kernels.shape[-1], scale)
    down, right = 0, 0
    if not hr.is_cuda:
        down, right = block_padding(height + 2 * pad, width + 2 * pad, kernels, scale)
    padded = F.pad(hr, [pad, pad + right, pad, pad + down], mode="replicate")
    planes = padded.reshape(batch * channels, 1, padded.shape[2], padded.shape[3])
    seen = convolved(planes, kernels, scale)[:, :, : height // scale, : width // scale]
    return seen.reshape(batch, channels, count, height // scale, width // scale)


def convolved(planes: Tensor, kernels: Tensor, stride: int) -> Tensor:
    """`F.conv2d(planes, kernels.unsqueeze(1), stride=stride)`, but faster on a CPU, and bit-equal for any window.

    planes (P, 1, H, W), kernels (N, K, K) → (P, N, h, w). With `block_padding` planes need not be copied for it.
    Channels come as planes, since filters of one input channel the CPU computes alike in any window of an image.
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
    """Rows and columns that planes lack for whole blocks of LR pixels in `blocked_convolution`, (down, right)."""
    size, side = kernels.shape[-1], block_side(kernels.shape[0], stride)
    rows, columns = (height - size) // stride + 1, (width - size) // stride + 1
    step = stride * side
    reach = -(-(step - stride + size) // step) * step
    down = stride * (-(-rows // side) * side - 1) + size - height
    right = (-(-columns // side) - 1) * step + reach - width
    return max(0, down), right if right > 0 else -width % step


def block_side(kernels: int, stride: int) -> int:
    """LR pixels a side of a block in `blocked_convolution`, with so many kernels; 1: it is not worth it.

    HR columns of a block are at most 16: of more channels the CPU may add some up before others, wherever these begin.
    """
    if kernels == 1 and stride <= 4:
        return 4
    return 2 if kernels <= 8 and stride <= 8 else 1


def blocked_convolution(planes: Tensor, kernels: Tensor, scale: int, side: int) -> Tensor:
    """`F.conv2d(planes, kernels.unsqueeze(1), stride=scale)`, to the last bit, some times faster on a CPU.

    planes (P, 1, H, W), W a multiple of ``step = scale · side``, kernels (N, K, K) → (P, N, h, w).

    A CPU computes 16 output channels of a convolution as fast as one, from 16 input channels as fast as from one; and
    here there is one of each. So let side² LR pixels, a block, be output channels. All of them see the window of a
    block, ``scale·(side − 1) + K`` HR pixels a side, through the kernel pushed by ``scale`` taps from pixel to pixel,
    zeros about it. And let ``step`` neighbouring HR columns be input channels: in memory a row of W numbers already is
    W/step pixels of step channels (channels last), so nothing is moved. For one kernel at scale 4, 20×20, that is a
    2.6 times longer sum of which the CPU does 12 times as much a second. Zeros add nothing, and taps come in the same
    order.
    """
    count, size = kernels.shape[0], kernels.shape[-1]
    step, reach = scale * side, scale * (side - 1) + size
    wide = -(-reach // step) * step
    pushed: list[Tensor] = []
    for row in range(side):
        for column in range(side):
            left, top = scale * column, scale * row
            pushed.append(F.pad(kernels, [left, wide - left - size, top, reach - top - size]))
    weights = torch.stack(pushed, 1).view(count * side * side, reach, wide // step, step).permute(0, 3, 1, 2)
    columns = planes.view(planes.shape[0], planes.shape[2], planes.shape[3] // step, step).permute(0, 3, 1, 2)
    weights = weights.contiguous(memory_format=torch.channels_last)
    return F.pixel_shuffle(convolution(columns, weights, None, step, 1), side)


def apply_kernels(hr: Tensor, kernels: Tensor, scale: int, first_row: int = 0) -> Tensor:
    """A kernel for every pixel: hr (B, C, s·H, s·w), kernels (B, h, w, K, K) of LR rows ``first_row`` … + h − 1.

    Returns these rows, (B, C, h, w), borders of the whole image replicated. It takes K² numbers for every pixel and
    channel of them: give as many rows at a time as memory allows.
    """
    rows, size = kernels.shape[1], kernels.shape[-1]
    pad = half_width(size, scale)
    above, below = scale * first_row - pad, scale * (first_row + rows) + pad
    part = hr[:, :, max(0, above) : min(hr.shape[2], below)]
    part = F.pad(part, [pad, pad, max(0, -above), max(0, below - hr.shape[2])], mode="replicate")
    windows = part.unfold(2, size, scale).unfold(3, size, scale)  # a view: (B, C, h, w, K, K)
    return (windows * kernels.unsqueeze(1)).sum([4, 5])
