"""Where in the image a pixel lies: what a lens's blur depends on.

Positions are relative to the image, not in pixels: an image of any size is taken for a whole frame. −1 … 1 runs from
the first row to the last and from the first column to the last, whatever the aspect ratio.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_centres(y: int, x: int, height: int, width: int) -> Tensor:
    """The y and x of the centres of a window's pixels, in pixels from the image's corner: (1, 2, height, width)."""
    rows = torch.arange(height, dtype=torch.float32) + (y + 0.5)
    columns = torch.arange(width, dtype=torch.float32) + (x + 0.5)
    return torch.stack([rows.view(-1, 1).expand(height, width), columns.view(1, -1).expand(height, width)]).unsqueeze(0)


def relative_position(centres: Tensor, size: Tensor) -> Tensor:
    """y, x and y² + x² of every pixel, relative to the middle of its image: (B, 3, h, w).

    centres (B, 2, h, w) as of `pixel_centres`; size (B, 2) height and width of the whole image in the same pixels.
    Where the size is unknown (0), every pixel is in the middle.
    """
    size = size.view(-1, 2, 1, 1)
    place = (2.0 * centres / size.clamp(min=1.0) - 1.0).clamp(-1.0, 1.0)
    place = torch.where(size > 0, place, torch.zeros_like(place))
    return torch.cat([place, (place * place).sum(1, keepdim=True)], 1)
