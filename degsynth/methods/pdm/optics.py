"""What pdm ends with: a network that draws kernels, and noise that follows the level, is a network's, or is none."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degsynth.model.optics import Optics
from degsynth.nets.kernel_generator import KernelGenerator
from degsynth.nets.noise_generator import NoiseGenerator
from degsynth.ops.blur import apply_kernels, blur_decimate
from degsynth.ops.grain import KNOTS, REACH, Grain, grain
from degsynth.ops.noise import generator

TAPS_AT_ONCE = 4_000_000
"""Taps of per-pixel kernels that exist at a time; there are some copies of them."""
MOST_GROUPS = 16
"""Noises that a model can choose from."""


class Silence(nn.Module):
    """No noise."""

    def __init__(self) -> None:
        super().__init__()
        self.planes, self.reach = 0, 0

    def forward(self, lr: Tensor, code: Tensor, white: Tensor) -> Tensor:  # noqa: D102
        return torch.zeros_like(lr)


class GrainNoise(nn.Module):
    """`ops.grain`: one of up to `MOST_GROUPS` noises, chosen by the last number of an image's code."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        side = 2 * REACH + 1
        self.planes, self.reach = channels, REACH
        self.sigma = nn.Buffer(torch.zeros(MOST_GROUPS, channels, KNOTS))
        self.taps = nn.Buffer(torch.zeros(MOST_GROUPS, side, side))
        self.taps[:, REACH, REACH] = 1.0
        self.mixing = nn.Buffer(torch.zeros(MOST_GROUPS, channels, channels))
        self.share = nn.Buffer(torch.zeros(MOST_GROUPS))

    def take(self, grains: list[Grain], share: Tensor, level: bool) -> None:
        """Have these noises, each for a share (G,) of the images; ``level`` False: as strong at all levels."""
        for number, one in enumerate(grains):
            self.sigma[number] = (one if level else one.level_blind()).sigma.float()
            self.taps[number], self.mixing[number] = one.taps.float(), one.mixing.float()
        if grains:
            self.share[: len(grains)] = share.float()

    def group(self, code: Tensor) -> int:
        """Whose turn it is by a code (G,)."""
        if code.shape[0] == 0:
            return 0
        # Rounding must not let the last share end below 1.
        return int((self.share.cumsum(0)[:-1] <= torch.special.ndtr(code[-1]) - 1e-6).sum())

    def forward(self, lr: Tensor, code: Tensor, white: Tensor) -> Tensor:  # noqa: D102
        made: list[Tensor] = []
        for item in range(lr.shape[0]):
            which = self.group(code[item])
            one = slice_of(lr, item), slice_of(white, item)
            made.append(grain(one[0], one[1], self.sigma[which], self.taps[which], self.mixing[which]))
        return torch.cat(made)


class NetworkNoise(nn.Module):
    """netN of the paper."""

    def __init__(self, network: NoiseGenerator, numbers: int) -> None:
        super().__init__()
        self.network, self.planes, self.reach = network, numbers if network.draws else 0, network.reach

    def forward(self, lr: Tensor, code: Tensor, white: Tensor) -> Tensor:  # noqa: D102
        made: Tensor = self.network(lr, white)
        return made


def slice_of(batch: Tensor, item: int) -> Tensor:
    """One of a batch, still a batch."""
    return batch[item : item + 1]


class PDMOptics(Optics):
    """Kernels of a `KernelGenerator`, one an image or one a pixel, and noise of one of the three above."""

    def __init__(
        self,
        kernels: KernelGenerator,
        noises: nn.Module,
        scale: int,
        numbers: int,
        draws: bool,
        sees: bool,
        varies: bool,
    ) -> None:
        """Take the parts.

        ``draws``: kernels follow from ``numbers`` dice (else from zeros, unless they follow from the picture);
        ``sees``: from the picture, as it looks at the LR's size; ``varies``: there is one for every pixel.
        """
        super().__init__()
        self.kernels = kernels
        self.noises: Any = noises
        self.scale, self.numbers, self.draws, self.sees, self.varies = scale, numbers, draws, sees, varies
        self.code_size = numbers if draws and not varies else 0
        self.kernel_planes = numbers if draws and varies else 0
        self.taps_at_once = TAPS_AT_ONCE

    @torch.jit.export
    def draw(self, seed: int) -> Tensor:  # noqa: D102
        return torch.randn(1, self.code_size, generator=generator(seed))

    @torch.jit.export
    def field_planes(self, channels: int) -> int:  # noqa: D102
        planes: int = self.noises.planes
        return self.kernel_planes + planes

    @torch.jit.export
    def image_kernels(self, code: Tensor) -> Tensor:
        """Kernels (B, K, K) of whole images, by their codes (B, G), one at a time: a batch changes last digits."""
        made: list[Tensor] = []
        for item in range(code.shape[0]):
            z = code[item : item + 1, : self.numbers] if self.draws else code.new_zeros(1, self.numbers)
            made.append(self.kernels(z[:, :, None, None]))
        size = self.kernels.size
        return torch.cat(made).view(-1, size, size)

    @torch.jit.export
    def clean(self, hr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        made: list[Tensor] = []
        if not self.varies:
            kernels = self.image_kernels(code)
            for item in range(hr.shape[0]):
                made.append(blur_decimate(slice_of(hr, item), slice_of(kernels, item), self.scale))
            return torch.cat(made)
        for item in range(hr.shape[0]):
            made.append(self.blurred_by_place(slice_of(hr, item), slice_of(field, item)))
        return torch.cat(made)

    @torch.jit.export
    def blurred_by_place(self, hr: Tensor, field: Tensor) -> Tensor:
        """One image (1, C, s·h, s·w), with a kernel for every pixel; a few rows of them exist at a time."""
        features = self.kernels.features(self.inputs(hr, field))
        height, width, size = features.shape[2], features.shape[3], self.kernels.size
        count = max(1, self.taps_at_once // (width * size * size))
        made: list[Tensor] = []
        for first in range(0, height, count):
            taps = self.kernels.taps(features[:, :, first : first + count])
            made.append(apply_kernels(hr, taps.view(1, -1, width, size, size), self.scale, first))
        return torch.cat(made, 2)

    @torch.jit.export
    def inputs(self, hr: Tensor, field: Tensor) -> Tensor:
        """What the kernels of places follow from: dice and picture, (B, Z, h, w)."""
        parts: list[Tensor] = []
        if self.draws:
            parts.append(field[:, : self.numbers])
        if self.sees:
            parts.append(F.avg_pool2d(hr, self.scale) - 0.5)
        return torch.cat(parts, 1)

    @torch.jit.export
    def noise(self, lr: Tensor, code: Tensor, field: Tensor) -> Tensor:  # noqa: D102
        made: Tensor = self.noises(lr, code, field[:, self.kernel_planes :])
        return made
