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
    pad = half_width(kernels.shape[-1], scale)
    padded = F.pad(hr, [pad, pad, pad, pad], mode="replicate")
    out = []
    for channel in range(hr.shape[1]):
        out.append(
            F.conv2d(padded[:, channel : channel + 1], kernels[channel : channel + 1].unsqueeze(1), stride=scale)
        )
    return torch.cat(out, 1)


def responses(hr: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """What each of a bank of kernels sees: one strided convolution for the whole bank, replicate borders.

    hr (B, C, s·h, s·w), kernels (N, K, K), all applied to every channel → (B, C, N, h, w).
    """
    batch, channels, height, width = hr.shape
    pad = half_width(kernels.shape[-1], scale)
    padded = F.pad(hr, [pad, pad, pad, pad], mode="replicate")
    planes = padded.reshape(batch * channels, 1, padded.shape[2], padded.shape[3])
    # Channels as batch: filters of one input channel, which the CPU does bit-equally for any window of an image.
    seen = F.conv2d(planes, kernels.unsqueeze(1), stride=scale)
    return seen.reshape(batch, channels, kernels.shape[0], height // scale, width // scale)


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
