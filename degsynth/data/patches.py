"""Training patches as a pure function of (seed, step): a resumed fit sees what an uninterrupted one would have seen."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from degsynth.data.folders import ImageSet
from degsynth.data.pairs import PairSet, square
from degsynth.errors import DataError
from degsynth.seeds import derive

SHARE_OF_DEVICE = 0.5
"""Of an accelerator's free memory, that training images may fill."""
TRIES = 6
"""So often an unpaired patch without texture is drawn anew."""
LEAST_VARIANCE = 4e-4
"""What texture is: 5/255 of standard deviation, in [0, 1] levels."""


class Patches:
    """Random aligned crops of a `PairSet`, on a device."""

    def __init__(
        self, pairs: PairSet, seed: int, size: int, patch: int, grid: int = 1, flips: bool = False, device: str = "cpu"
    ) -> None:
        """Prepare batches of ``size`` crops.

        ``patch`` (HR px) is a multiple of the scale; where an image is smaller, patches become as large as it allows.
        Crops begin at multiples of ``grid`` HR px, as tiles do: a network that pools then sees the grid that it will
        see in whole images. ``flips`` mirrors each at random, left-right and up-down.
        """
        self.pairs, self.seed, self.size, self.flips = pairs, seed, size, flips
        self.device = torch.device(device)
        scale = pairs.scale
        sizes = [pairs.size(index) for index in range(len(pairs))]
        self.step = max(1, grid // scale)
        smallest = min(min(size) for size in sizes)
        self.patch = min(patch // scale, smallest // self.step * self.step)
        if self.patch < 1:
            raise DataError(f"an LR image is {smallest} px high or wide; at least {self.step} are needed to learn from")
        self._resident: list[tuple[Tensor, Tensor]] | None = None
        if self.device.type == "cuda":
            need = sum(height * width for height, width in sizes) * (1 + scale**2) * pairs.channels * 4
            if need <= SHARE_OF_DEVICE * torch.cuda.mem_get_info(self.device)[0]:
                self._resident = [(hr.to(self.device), lr.to(self.device)) for hr, lr in pairs]

    def batch(self, step: int) -> dict[str, Tensor]:
        """Batch number ``step``.

        hr (size, C, s·p, s·p) and lr (size, C, p, p) in [0, 1]; origin (size, 2), where the crops begin (y, x), and
        frame (size, 2), the whole images' height and width, both in LR px, on the CPU.
        """
        dice = np.random.default_rng(derive(self.seed, "", 0, step, "patches"))
        hr_crops: list[Tensor] = []
        lr_crops: list[Tensor] = []
        origins, frames = [], []
        for _ in range(self.size):
            index = int(dice.integers(len(self.pairs)))
            height, width = self.pairs.size(index)
            y = self.step * int(dice.integers((height - self.patch) // self.step + 1))
            x = self.step * int(dice.integers((width - self.patch) // self.step + 1))
            axes = [axis for axis in (-2, -1) if self.flips and dice.integers(2)]
            for crop, crops in zip(self._window(index, y, x), (hr_crops, lr_crops), strict=True):
                crops.append(crop.flip(axes) if axes else crop)
            origins.append((y, x))
            frames.append((height, width))
        return {
            "hr": torch.stack(hr_crops).to(self.device),
            "lr": torch.stack(lr_crops).to(self.device),
            "origin": torch.tensor(origins),
            "frame": torch.tensor(frames),
        }

    def _window(self, index: int, y: int, x: int) -> tuple[Tensor, Tensor]:
        if self._resident is None:
            return self.pairs.window(index, y, x, self.patch)
        hr, lr = self._resident[index]
        side, scale = self.patch, self.pairs.scale
        return hr[:, *square(scale * y, scale * x, scale * side)], lr[:, *square(y, x, side)]


class UnpairedPatches:
    """Random crops of two `ImageSet`s that have nothing to do with each other, on a device."""

    def __init__(
        self,
        hr: ImageSet,
        lr: ImageSet,
        scale: int,
        seed: int,
        size: int,
        patch: int,
        flips: bool = False,
        device: str = "cpu",
        noise: float = 0.0,
    ) -> None:
        """Prepare batches of ``size`` crops; where an image is smaller than ``patch`` (HR px) all become smaller.

        ``noise``: variance that LR crops have without any texture, in the mean of their channels.
        """
        self.noise = noise
        self.hr, self.lr, self.scale, self.seed, self.size, self.flips = hr, lr, scale, seed, size, flips
        self.device = torch.device(device)
        sharp = min(min(hr.size(index)) for index in range(len(hr))) // scale
        real = min(min(lr.size(index)) for index in range(len(lr)))
        self.patch = min(patch // scale, sharp, real)

    def batch(self, step: int) -> dict[str, Tensor]:
        """Batch number ``step``: hr (size, C, s·p, s·p) and lr (size, C, p, p) in [0, 1], of different scenes.

        Flat places tell nothing of blur: a crop without texture is drawn again, up to six times.
        """
        dice = np.random.default_rng(derive(self.seed, "", 0, step, "patches"))
        hr = [self._crop(dice, self.hr, self.scale * self.patch) for _ in range(self.size)]
        lr = [self._crop(dice, self.lr, self.patch, self.noise) for _ in range(self.size)]
        return {"hr": torch.stack(hr).to(self.device), "lr": torch.stack(lr).to(self.device)}

    def _crop(self, dice: np.random.Generator, images: ImageSet, side: int, noise: float = 0.0) -> Tensor:
        index = int(dice.integers(len(images)))  # one image, lest every try decode another
        height, width = images.size(index)
        for _ in range(TRIES):
            y, x = (int(dice.integers(length - side + 1)) for length in (height, width))
            crop = images.window(index, y, x, side, side)
            if float(crop.mean(0).var()) >= LEAST_VARIANCE + noise:
                break
        axes = [axis for axis in (-2, -1) if self.flips and dice.integers(2)]
        return crop.flip(axes) if axes else crop
