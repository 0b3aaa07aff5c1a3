"""Dice that know where they fall: random planes of which any window can be had without the rest.

The LR plane is cut into blocks of 256×256. Block (r, c) comes from a CPU generator seeded by a hash of (seed, r, c),
so a window holds the same numbers whatever tile, batch, worker or device asks for it.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 256
"""Side of a block, LR px."""


def generator(seed: int) -> torch.Generator:
    """A CPU generator of its own, in TorchScript as well.

    TorchScript takes ``torch.Generator()`` for a constant and lets all calls share one object: two threads then draw
    from each other's stream. A device that depends on an argument keeps it from being folded, unless the argument is
    itself a constant; both spellings are the CPU.
    """
    made = torch.Generator(device="cpu" if seed % 2 == 0 else "cpu:0")
    made.manual_seed(seed)
    return made


def block_seed(seed: int, row: int, column: int) -> int:
    """A 63-bit hash of a seed and a block's place: multiply, add, xor-shift twice (wrap-around is intended)."""
    x = (seed * 6364136223846793005 + row * 1442695040888963407 + column * 2685821657736338717) & 0x7FFFFFFFFFFFFFFF
    x = x ^ (x >> 32)
    x = (x * 7046029254386353131 + 1013904223) & 0x7FFFFFFFFFFFFFFF
    x = x ^ (x >> 29)
    x = (x * 3935559000370003845 + 2691343689449507681) & 0x7FFFFFFFFFFFFFFF
    return x ^ (x >> 32)


def block_field(seed: int, y: int, x: int, height: int, width: int, channels: int, block: int = BLOCK) -> Tensor:
    """Standard normal numbers (1, channels, height, width) of the window at (y, x) of an unbounded plane.

    ``block`` is no choice: TorchScript knows no constants of a module, but defaults.
    """
    out = torch.empty(1, channels, height, width)
    if channels == 0 or height == 0 or width == 0:
        return out
    for row in range(y // block, (y + height - 1) // block + 1):
        for column in range(x // block, (x + width - 1) // block + 1):
            dice = generator(block_seed(seed, row, column))
            values = torch.randn(1, channels, block, block, generator=dice)
            top, bottom = max(y, row * block), min(y + height, (row + 1) * block)
            left, right = max(x, column * block), min(x + width, (column + 1) * block)
            out[:, :, top - y : bottom - y, left - x : right - x] = values[
                :, :, top - row * block : bottom - row * block, left - column * block : right - column * block
            ]
    return out


def uniform(seed: int, low: float, high: float) -> float:
    """One number from [low, high): what an image has one of, e.g. its AWGN σ."""
    return low + (high - low) * float(torch.rand(1, generator=generator(seed), dtype=torch.float64))
