"""Colours of pixels that alpha hides, in place of those that the file has there.

Nobody sees the colour of a transparent pixel, and programs store there what they like. Blur would mix it into pixels
that are seen. So before anything is blurred, hidden pixels get the mean colour of what is seen around them::

    filled  =  alpha · colour  +  (1 − alpha) · m,      m  =  Σ w alpha colour / Σ w alpha

where the weights w fall with the distance like a pyramid. Opaque pixels keep their colour to the last bit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pyramid_reach(reach: int) -> int:
    """Return how far the weights reach that reach at least so far: one less than a power of two, px."""
    return (1 << max(reach, 1).bit_length()) - 1


def filled(colours: Tensor, alpha: Tensor, reach: int, premultiplied: bool = False) -> Tensor:
    """Return colours (C, H, W) with hidden ones replaced by the mean of what is seen up to ``reach`` px away.

    ``alpha`` (1, H, W) is in [0, 1]. If ``premultiplied``, the colours are multiplied by alpha already, and the result
    is not. Where nothing is seen so near, nothing changes. ``reach`` is one that `pyramid_reach` returns. The bits are
    the same in any window of an image that holds all that lies within the reach.
    """
    seen = colours if premultiplied else colours * alpha
    sums = _pyramid(torch.cat([seen, alpha]), reach)
    mean = sums[:-1] / sums[-1:]
    mixed = seen + (1.0 - alpha) * mean
    return torch.where((alpha >= 1.0) | (sums[-1:] <= 0.0), colours, mixed)


def _pyramid(planes: Tensor, reach: int) -> Tensor:
    """Return the sum of planes (N, H, W) around every pixel, with weights that fall to 0 just beyond the reach.

    A row of 2ⁿ pixels is summed by n additions, and doing that twice gives weights like a roof.
    """
    strides = [2**power for power in range((reach + 1).bit_length() - 1)] * 2
    total = F.pad(planes, [reach] * 4)
    for stride in strides:
        total = total[:, :-stride] + total[:, stride:]
    for stride in strides:
        total = total[:, :, :-stride] + total[:, :, stride:]
    return total
