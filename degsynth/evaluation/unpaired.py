"""How well a model's LR goes with real LR of other scenes: what can be said without a single pair.

The figure is `ops.spectra.Spectra.distance`: the root mean square difference of log-spectra in units of what scenes
scatter by, at the white noise that suits best. 1 is what other photographs of the same camera would have. It is blind
to a shift and to what blurs differ by in phase only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from degsynth.ops.resample import bicubic, crop_border, luma
from degsynth.ops.spectra import SIDE, Spectra

MOST_IMAGES = 16

DRAWS = 8
"""So often an image is degraded by a model whose blur is drawn."""

Degrade = Callable[[Tensor, int], Tensor]
"""What makes lr (1, C, h, w) of hr (1, C, s·h, s·w) and a seed, without noise."""


def clean(degrader: Any) -> Degrade:
    """A degrader's LR without its noise: the distance has a floor of its own."""

    def degrade(hr: Tensor, seed: int) -> Tensor:
        scale = degrader.scale
        height, width = hr.shape[2] // scale, hr.shape[3] // scale
        code = degrader.draw(seed, height, width).to(hr.device)
        field = degrader.field(seed, 0, 0, height, width, hr.shape[1]).to(hr.device)
        made: Tensor = degrader.clean(hr, code, field)
        return made

    return degrade


def draws(degrader: Any) -> int:
    """How often it must be tried: once, unless each image has something of its own."""
    return DRAWS if degrader.draw(0).shape[1] > 0 else 1


class HeldOutSpectra:
    """Held-out HR and LR images, kept in memory, on a device."""

    figure, unit, sign, judges_start = "spectral_distance", "", -1, True

    def __init__(
        self, hr: Sequence[Tensor], lr: Sequence[Tensor], scale: int, border: int, like: Spectra, device: str = "cpu"
    ) -> None:
        """Take images (C, H, W); ``border`` LR px of what is made are left out at each edge.

        ``like``: larger sets of the same kind, from which is known how scenes scatter.
        """
        self.scale = scale
        self.hr = [image[:, : image.shape[1] // scale * scale, : image.shape[2] // scale * scale] for image in hr]
        self.hr = [image.to(device) for image in self.hr]
        smallest = min(min(image.shape[1:]) for image in self.hr) // scale
        self.border = max(0, min(border, (smallest - SIDE) // 2))  # small images are judged up to their rims
        sharp, real = [luma(image)[0].cpu() for image in self.hr], [luma(image)[0] for image in lr]
        self.spectra = Spectra(sharp, real, scale, like)

    def score(self, degrader: Any) -> float:
        """`distance` of a degrader's LR."""
        return self.distance(clean(degrader), draws(degrader))

    def distance(self, degrade: Degrade, draws: int = 1) -> float:
        """Of what a model makes of the HR images, with so many seeds, to the LR images."""
        made = []
        with torch.inference_mode():
            for number, image in enumerate(self.hr):
                for draw in range(draws):
                    lr = degrade(image[None], number + draw * len(self.hr))[0].clamp(0.0, 1.0)
                    made.append(luma(crop_border(lr, self.border))[0].cpu().contiguous())
        return self.spectra.least_distance(self.spectra.of_images(made))

    def bicubic(self) -> float:
        """`distance` of bicubic LR."""
        return self.distance(lambda hr, _: bicubic(hr, self.scale))

    def colour_drift(self, degrade: Degrade) -> list[float]:
        """Mean of LR less mean of HR, per channel, in [0, 1] levels, over all images."""
        with torch.inference_mode():
            drifts = []
            for number, image in enumerate(self.hr):
                drifts.append((degrade(image[None], number)[0].mean((1, 2)) - image.mean((1, 2))).cpu())
            return [float(value) for value in torch.stack(drifts).mean(0)]
