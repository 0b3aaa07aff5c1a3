"""The position of pixels in their image, on which the blur of a lens depends.

Positions are relative to the image, not in pixels: an image of any size is taken for a whole frame. −1 … 1 runs from
the upper edge to the lower and from the left edge to the right, whatever the aspect ratio.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_centres(y: int, x: int, height: int, width: int) -> Tensor:
    """Return the y and x of the centres of a window's pixels, in pixels from the image's corner: (1, 2, height, width).

    The window's first pixel is (y, x).
    """
    rows = torch.arange(height, dtype=torch.float32) + (y + 0.5)
    columns = torch.arange(width, dtype=torch.float32) + (x + 0.5)
    return torch.stack([rows.view(-1, 1).expand(height, width), columns.view(1, -1).expand(height, width)]).unsqueeze(0)


def relative_position(centres: Tensor, size: Tensor) -> Tensor:
    """Return y, x and y² + x² of every pixel, relative to the middle of its image: (B, 3, h, w).

    ``centres`` (B, 2, h, w) are those of `pixel_centres`; ``size`` (B, 2) is the height and width of the whole image in
    the same pixels. Where the size is unknown (0), all pixels are taken to be in the middle.
    """
    size = size.view(-1, 2, 1, 1)
    position = (2.0 * centres / size.clamp(min=1.0) - 1.0).clamp(-1.0, 1.0)
    position = torch.where(size > 0, position, torch.zeros_like(position))
    return torch.cat([position, (position * position).sum(1, keepdim=True)], 1)
