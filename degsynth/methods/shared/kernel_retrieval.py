"""The kernel that comes nearest to a downsampling network, and how near it comes (adl, Eq. 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from degsynth.nets.downsampler import Downsampler
from degsynth.ops.blur import blur_decimate
from degsynth.ops.least_squares import NormalEquations, solve
from degsynth.ops.resample import crop_border, luma

RIDGE = 1e-6
"""Weight of the ridge penalty in Eq. 6. It can be small, since the output of a network is not quantised."""
COMPARED_IMAGES = 8
"""Largest number of images on which a kernel is compared with a network."""
COMPARED_BORDER = 8
"""Width of the border that is left out of the comparison, LR px."""


def retrieve_kernel(network: Downsampler, images: Sequence[Tensor], size: int, scale: int) -> Tensor:
    """Return the kernel (size, size) float64 that comes nearest to a network, by least squares over luma.

    ``images`` are HR images (C, H, W) in [0, 1]. Raises ValueError where they do not determine the kernel.
    """
    equations = NormalEquations(size, scale)
    reach = -(-network.reach() // scale)
    device = next(network.parameters()).device
    with torch.no_grad():
        for image in images:
            hr = _whole_pixels(image, scale)
            lr = luma(network(hr[None].to(device))[0].cpu())[0]
            equations.add(luma(hr)[0], lr, reach)
    return solve(equations, RIDGE).kernel


def kernel_psnr(network: Downsampler, kernel: Tensor, images: Sequence[Tensor], scale: int) -> float:
    """Return the PSNR, dB, of the LR made by a kernel (K, K) against the LR made by the network."""
    errors = []
    for image in images[:COMPARED_IMAGES]:
        hr = _whole_pixels(image, scale)[None]
        with torch.no_grad():
            difference = network(hr) - blur_decimate(hr, kernel.float()[None], scale)
        errors.append(float(crop_border(difference, COMPARED_BORDER).square().mean()))
    return -10 * math.log10(max(sum(errors) / len(errors), 1e-12))


def _whole_pixels(image: Tensor, scale: int) -> Tensor:
    """Return an HR image (C, H, W), cropped to sides that are multiples of the scale."""
    height, width = (length // scale * scale for length in image.shape[1:])
    return image[:, :height, :width]
