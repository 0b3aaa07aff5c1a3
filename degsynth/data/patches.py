"""Training patches as a pure function of (seed, step): a resumed fit gets the patches of an uninterrupted one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from degsynth.data.folders import ImageSet
from degsynth.data.pairs import PairSet, square
from degsynth.errors import DataError
from degsynth.seeds import derive

SHARE_OF_DEVICE = 0.5
"""Largest share of an accelerator's free memory that training images may fill."""
MAX_TRIES = 6
"""Largest number of places in an image that are tried until an unpaired patch has texture."""
LEAST_VARIANCE = 4e-4
"""A patch with less variance than this, beyond that of its noise, has no texture: a standard deviation of 5/255."""


@dataclass(frozen=True)
class PatchOptions:
    """How `Patches` and `UnpairedPatches` cut batches of patches from images."""

    size: int
    """Number of patches in a batch."""
    patch: int
    """Sides of a patch in HR px, a multiple of the scale; where an image is smaller, all patches become smaller."""
    flips: bool = False
    """Mirror each patch at random, left-right and up-down."""
    device: str = "cpu"
    """Device on which the batches are."""
    grid: int = 1
    """Patches of pairs begin at multiples of so many HR px, as tiles do: a network that pools is trained with the
    positions of its grid that it will have in whole images."""


class Patches:
    """Random aligned patches of a `PairSet`, on a device."""

    def __init__(self, pairs: PairSet, seed: int, options: PatchOptions) -> None:
        """Prepare batches; DataError where an image is smaller than one step of the grid."""
        self.pairs, self.seed, self.options = pairs, seed, options
        self.device = torch.device(options.device)
        scale = pairs.scale
        sizes = [pairs.size(index) for index in range(len(pairs))]
        self.step = max(1, options.grid // scale)
        """Patches begin at multiples of so many LR px."""
        smallest = min(min(size) for size in sizes)
        self.patch = min(options.patch // scale, smallest // self.step * self.step)
        """Sides of a patch in LR px."""
        if self.patch < 1:
            raise DataError(f"an LR image is {smallest} px high or wide; at least {self.step} are needed to learn from")
        self._resident: list[tuple[Tensor, Tensor]] | None = None
        """All pairs on the device, where they fit."""
        if self.device.type == "cuda":
            need = sum(height * width for height, width in sizes) * (1 + scale**2) * pairs.channels * 4
            if need <= SHARE_OF_DEVICE * torch.cuda.mem_get_info(self.device)[0]:
                self._resident = [(hr.to(self.device), lr.to(self.device)) for hr, lr in pairs]

    def batch(self, step: int) -> dict[str, Tensor]:
        """Return batch number ``step``.

        hr (size, C, s·p, s·p) and lr (size, C, p, p) in [0, 1]; origin (size, 2), where the patches begin (y, x), and
        frame (size, 2), the whole images' height and width, both in LR px, on the CPU.
        """
        rng = np.random.default_rng(derive(self.seed, "", 0, step, "patches"))
        hr_patches: list[Tensor] = []
        lr_patches: list[Tensor] = []
        origins, frames = [], []
        for _ in range(self.options.size):
            index = int(rng.integers(len(self.pairs)))
            height, width = self.pairs.size(index)
            y = self.step * int(rng.integers((height - self.patch) // self.step + 1))
            x = self.step * int(rng.integers((width - self.patch) // self.step + 1))
            axes = _random_flips(rng, self.options)
            for patch, patches in zip(self._window(index, y, x), (hr_patches, lr_patches), strict=True):
                patches.append(patch.flip(axes) if axes else patch)
            origins.append((y, x))
            frames.append((height, width))
        return {
            "hr": torch.stack(hr_patches).to(self.device),
            "lr": torch.stack(lr_patches).to(self.device),
            "origin": torch.tensor(origins),
            "frame": torch.tensor(frames),
        }

    def _window(self, index: int, y: int, x: int) -> tuple[Tensor, Tensor]:
        """Return both sides of the patch of a pair that begins at (y, x), in LR px."""
        if self._resident is None:
            return self.pairs.window(index, y, x, self.patch)
        hr, lr = self._resident[index]
        side, scale = self.patch, self.pairs.scale
        return hr[:, *square(scale * y, scale * x, scale * side)], lr[:, *square(y, x, side)]


class UnpairedPatches:
    """Random patches of two `ImageSet`s that have no scene in common, on a device."""

    def __init__(
        self, hr: ImageSet, lr: ImageSet, scale: int, seed: int, options: PatchOptions, noise: float = 0.0
    ) -> None:
        """Prepare batches; ``options.grid`` is not used.

        ``noise``: variance of the mean over channels that an LR patch without any texture has.
        """
        self.hr, self.lr, self.scale, self.seed, self.options, self.noise = hr, lr, scale, seed, options, noise
        self.device = torch.device(options.device)
        smallest_hr = min(min(hr.size(index)) for index in range(len(hr))) // scale
        smallest_lr = min(min(lr.size(index)) for index in range(len(lr)))
        self.patch = min(options.patch // scale, smallest_hr, smallest_lr)
        """Sides of a patch in LR px."""

    def batch(self, step: int) -> dict[str, Tensor]:
        """Return batch number ``step``: hr (size, C, s·p, s·p) and lr (size, C, p, p) in [0, 1], of different scenes.

        Blur cannot be seen in flat places: where a patch has no texture another place in the same image is drawn, up
        to `MAX_TRIES` in all.
        """
        rng = np.random.default_rng(derive(self.seed, "", 0, step, "patches"))
        hr = [self._draw(rng, self.hr, self.scale * self.patch) for _ in range(self.options.size)]
        lr = [self._draw(rng, self.lr, self.patch, self.noise) for _ in range(self.options.size)]
        return {"hr": torch.stack(hr).to(self.device), "lr": torch.stack(lr).to(self.device)}

    def _draw(self, rng: np.random.Generator, images: ImageSet, side: int, noise: float = 0.0) -> Tensor:
        """Draw one patch of ``side`` px with texture beyond its noise."""
        index = int(rng.integers(len(images)))  # all tries are in one image, so that only one has to be decoded
        height, width = images.size(index)
        for _ in range(MAX_TRIES):
            y, x = (int(rng.integers(length - side + 1)) for length in (height, width))
            patch = images.window(index, y, x, side, side)
            if float(patch.mean(0).var()) >= LEAST_VARIANCE + noise:
                break
        axes = _random_flips(rng, self.options)
        return patch.flip(axes) if axes else patch


def _random_flips(rng: np.random.Generator, options: PatchOptions) -> list[int]:
    """Draw the axes that a patch is mirrored along; none, and no random numbers, where flips are off."""
    return [axis for axis in (-2, -1) if options.flips and rng.integers(2)]
