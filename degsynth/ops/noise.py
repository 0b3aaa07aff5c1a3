"""Planes of random numbers of which any window can be drawn without the rest.

The LR plane is divided into blocks of 256×256. The numbers of block (r, c) follow from a hash of (seed, r, c). So a
window holds the same numbers, whichever tile, batch, worker or device asks for it.

The generator of torch on a CPU takes no more than 32 bits of its seed: of a million images, a hundred would share their
numbers with another one. The other bits of a seed therefore choose a rotation in 16 dimensions, by which all numbers
are turned, 16 at a time. Independent normal numbers stay independent and normal whatever the rotation.
"""

from __future__ import annotations

import torch
from torch import Tensor

RANDOM_VERSION = 2
"""Version of the numbers that are drawn here. A data set with other ones is neither resumed nor replayed. (Models have
their own numbers, which do not change.) 1: only 32 bits of a seed counted."""
BLOCK = 256
"""Side of a block, LR px."""


def generator(seed: int) -> torch.Generator:
    """Return a new CPU generator with this seed, in TorchScript as well.

    TorchScript takes ``torch.Generator()`` for a constant and lets all calls share one object: two threads would then
    draw from each other's stream. A device that depends on an argument prevents that, unless the argument is itself a
    constant. Both names of the device below are the CPU.
    """
    rng = torch.Generator(device="cpu" if seed % 2 == 0 else "cpu:0")
    rng.manual_seed(seed)
    return rng


def block_seed(seed: int, row: int, column: int) -> int:
    """Return a 63-bit hash of a seed and the position of a block: three rounds of multiply, add and xor-shift.

    The products are meant to wrap around.
    """
    x = (seed * 6364136223846793005 + row * 1442695040888963407 + column * 2685821657736338717) & 0x7FFFFFFFFFFFFFFF
    x = x ^ (x >> 32)
    x = (x * 7046029254386353131 + 1013904223) & 0x7FFFFFFFFFFFFFFF
    x = x ^ (x >> 29)
    x = (x * 3935559000370003845 + 2691343689449507681) & 0x7FFFFFFFFFFFFFFF
    return x ^ (x >> 32)


def rotation(bits: int) -> Tensor:
    """Return an orthogonal matrix (16, 16) for each number of 31 bits. It is TorchScript.

    It is H D₁ H D₂ H / 64, where H is Hadamard's matrix and the diagonals of D₁ and D₂ are signs, one for each bit.
    The first sign is always +, as both matrices with all signs turned give the same product. All entries are multiples
    of 1/16, so no machine rounds them.
    """
    hadamard = torch.ones(1, 1)
    for _ in range(4):
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
    signs = [1.0]
    for place in range(31):
        signs.append(1.0 - 2.0 * float((bits >> place) & 1))
    both = torch.tensor(signs).view(2, 16, 1)
    return hadamard @ (both[0] * (hadamard @ (both[1] * hadamard))) / 64.0


def normals(seed: int, count: int) -> Tensor:
    """Return standard normal numbers (count,) that follow from all 63 bits of a seed. It is TorchScript."""
    plain = torch.randn((count + 15) // 16, 16, generator=generator(seed & 0xFFFFFFFF))
    return (plain @ rotation(seed >> 32)).view(-1)[:count]


def block_field(seed: int, y: int, x: int, height: int, width: int, channels: int, block: int = BLOCK) -> Tensor:
    """Return standard normal numbers (1, channels, height, width): the window at (y, x) of an unbounded plane.

    ``block`` is not meant to be changed: TorchScript cannot read the constants of a module, but it can read defaults.
    """
    field = torch.empty(1, channels, height, width)
    if channels == 0 or height == 0 or width == 0:
        return field
    for row in range(y // block, (y + height - 1) // block + 1):
        for column in range(x // block, (x + width - 1) // block + 1):
            values = normals(block_seed(seed, row, column), channels * block * block).view(1, channels, block, block)
            top, bottom = max(y, row * block), min(y + height, (row + 1) * block)
            left, right = max(x, column * block), min(x + width, (column + 1) * block)
            field[:, :, top - y : bottom - y, left - x : right - x] = values[
                :, :, top - row * block : bottom - row * block, left - column * block : right - column * block
            ]
    return field


def uniform(seed: int, low: float, high: float) -> float:
    """Return one random number from [low, high), for a quantity of which an image has one value, e.g. its AWGN σ.

    It is made of 53 bits of a hash of the seed. It is TorchScript.
    """
    return low + (high - low) * (float(block_seed(seed, 0, 0) >> 10) / 9007199254740992.0)  # 2⁵³
