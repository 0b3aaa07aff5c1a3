"""The random numbers of one image, read in windows.

They are drawn in whole blocks. A block is kept as long as the next window overlaps it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from degsynth.errors import DataError
from degsynth.model.checkpoint import Checkpoint
from degsynth.ops.noise import BLOCK


class NoiseField:
    """The random numbers (1, F, height, width) of an LR image, in F planes; windows are read from top to bottom."""

    def __init__(self, draw: Callable[[int, int, int, int], Tensor], height: int, width: int) -> None:
        """``draw`` returns the window (y, x, height, width) of the planes, (1, F, height, width)."""
        self._draw, self._height, self._width = draw, height, width
        self._blocks: dict[tuple[int, int], Tensor] = {}

    @classmethod
    def of(
        cls, model: Checkpoint, seed: int, channels: int, height: int, width: int, only_blurs: bool = False
    ) -> NoiseField:
        """Return the planes that a model uses for an LR image (channels, height, width) with this seed.

        Where the model ``only_blurs``, because its noise is not wanted, planes that only its noise would read are 0.
        """
        unread = model.planes_of_noise_alone(channels) if only_blurs else 0
        if unread:
            return cls(lambda y, x, h, w: torch.zeros(1, 1, 1, 1).expand(1, unread, h, w), height, width)
        return cls(lambda y, x, h, w: model.degrader.field(seed, y, x, h, w, channels), height, width)

    def window(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """Return rows ``top`` … ``bottom`` − 1 and columns ``left`` … ``right`` − 1 of all planes."""
        rows = range(top // BLOCK, (bottom - 1) // BLOCK + 1)
        columns = range(left // BLOCK, (right - 1) // BLOCK + 1)
        self._blocks = {(row, column): self._block(row, column) for row in rows for column in columns}
        lines = []
        for row in rows:
            inner_rows = slice(max(0, top - row * BLOCK), bottom - row * BLOCK)
            blocks = [
                self._blocks[row, column][:, :, inner_rows, max(0, left - column * BLOCK) : right - column * BLOCK]
                for column in columns
            ]
            lines.append(blocks[0] if len(blocks) == 1 else torch.cat(blocks, 3))
        return lines[0] if len(lines) == 1 else torch.cat(lines, 2)

    def _block(self, row: int, column: int) -> Tensor:
        if (row, column) in self._blocks:
            return self._blocks[row, column]
        height, width = self._height - row * BLOCK, self._width - column * BLOCK
        height, width = min(BLOCK, height), min(BLOCK, width)
        block = self._draw(row * BLOCK, column * BLOCK, height, width)
        if block.ndim != 4 or block.shape[0] != 1 or block.shape[2:] != (height, width):
            raise DataError(
                f"the model draws a field {list(block.shape)} for {height}×{width} LR px", "fit another model"
            )
        return block
