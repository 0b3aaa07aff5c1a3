"""The judge of an unpaired fit: how close a model's LR comes to real LR of other scenes, without a single pair.

The figure is `degsynth.ops.spectra.Spectra.distance`: the root mean square difference of log-spectra, in units of how
much scenes scatter, at the white noise that suits best. Other photographs of the same camera would have a distance of
1. It sees neither a shift nor any other difference of blurs that is in phase only.

Two models are compared by the t-test of `degsynth.ops.spectral_lead` on the same images, because the difference of
their distances says little: most of a distance is the difference of the scenes, which both models have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from degsynth.model.checkpoint import LoadedDegrader
from degsynth.model.inference import inference
from degsynth.ops.resample import bicubic, crop_border, luma
from degsynth.ops.spectra import SIDE, Spectra, power
from degsynth.ops.spectral_lead import Lead, Scatter

MOST_IMAGES = 32
"""Largest number of images of each side that are used."""
LARGEST_SIDE = 720
"""Largest side of the middles of HR images that are used, HR px: many scenes say more than large ones."""
DRAWS = 8
"""Number of times that an image is degraded by a model whose blur is drawn."""

Degrade = Callable[[Tensor, int], Tensor]
"""Makes lr (1, C, h, w) without noise from hr (1, C, s·h, s·w) and a seed."""


def clean_lr(degrader: LoadedDegrader) -> Degrade:
    """Return a function that gives a degrader's LR without noise; the distance adds the white noise that fits best."""

    def degrade(hr: Tensor, seed: int) -> Tensor:
        scale = degrader.scale
        height, width = hr.shape[2] // scale, hr.shape[3] // scale
        code = degrader.draw(seed, height, width).to(hr.device)
        field = degrader.field(seed, 0, 0, height, width, hr.shape[1]).to(hr.device)
        return degrader.clean(hr, code, field)

    return degrade


def draws_needed(degrader: LoadedDegrader) -> int:
    """Return how often each image is to be degraded: once, unless the model draws something for each image."""
    return DRAWS if degrader.draw(0).shape[1] > 0 else 1


class HeldOutSpectra:
    """Judges by the spectral distance between the LR made of held-out HR images and held-out real LR images.

    The HR images are kept in memory, on a device.
    """

    figure, unit, sign = "spectral_distance", "", -1

    def __init__(
        self, hr: Sequence[Tensor], lr: Sequence[Tensor], scale: int, border: int, like: Spectra, device: str = "cpu"
    ) -> None:
        """Take images (C, H, W); ``border`` px of a model's LR are left out at each edge.

        ``like``: spectra of larger sets of the same kind, from which it is known how much scenes scatter.
        """
        self.scale = scale
        self.hr = [image[:, : image.shape[1] // scale * scale, : image.shape[2] // scale * scale] for image in hr]
        self.hr = [image.to(device) for image in self.hr]
        smallest = min(min(image.shape[1:]) for image in self.hr) // scale
        self.border = max(0, min(border, (smallest - SIDE) // 2))  # small images are judged up to their edges
        sharp, real = [luma(image)[0].cpu() for image in self.hr], [luma(image)[0] for image in lr]
        self.spectra = Spectra(sharp, real, scale, like)
        self.real = self._powers(real)
        """Powers of the real LR images, (M, n)."""
        self.scatter = Scatter(like.sets, like.bins)

    def score(self, degrader: LoadedDegrader) -> float:
        """Return the `distance` of a degrader's LR."""
        return self.score_of(self.measure(degrader))

    def measure(self, degrader: LoadedDegrader) -> Tensor:
        """Return the powers (N, n) of the LR that a degrader makes of every HR image."""
        return self.powers(clean_lr(degrader), draws_needed(degrader))

    def score_of(self, measured: Tensor) -> float:
        """Return the `distance` that belongs to what `measure` returned."""
        return self.spectra.least_distance(measured.mean(0))

    def lead(self, measured: Tensor, start: Tensor) -> Lead:
        """Return the lead of what was measured over what was measured of the start."""
        return self.scatter.compare(start, measured, self.real)

    def distance(self, degrade: Degrade, draws: int = 1) -> float:
        """Return the spectral distance between the real LR images and the LR that a model makes of the HR images.

        Each HR image is degraded with ``draws`` different seeds.
        """
        return self.score_of(self.powers(degrade, draws))

    def powers(self, degrade: Degrade, draws: int = 1) -> Tensor:
        """Return the powers (N, n) of the LR made of every HR image, the mean over so many seeds."""
        rows = []
        for draw in range(draws):
            images = []
            with inference():
                for number, hr in enumerate(self.hr):
                    lr = degrade(hr[None], number + draw * len(self.hr))[0].clamp(0.0, 1.0)
                    images.append(luma(crop_border(lr, self.border))[0].cpu().contiguous())
            rows.append(self._powers(images))
        return torch.stack(rows).mean(0)

    def _powers(self, images: Sequence[Tensor]) -> Tensor:
        """Return the powers (N, n) of the images (h, w) that are large enough."""
        bins = self.spectra.bins
        return torch.stack([bins(power(image, SIDE)) for image in images if min(image.shape) >= SIDE])

    def bicubic(self) -> float:
        """Return the `distance` of bicubic LR."""
        return self.distance(lambda hr, _: bicubic(hr, self.scale))

    def colour_drift(self, degrade: Degrade) -> list[float]:
        """Return the mean of a model's LR minus the mean of HR, per channel, in [0, 1] levels, over all images."""
        with inference():
            drifts = []
            for number, image in enumerate(self.hr):
                drifts.append((degrade(image[None], number)[0].mean((1, 2)) - image.mean((1, 2))).cpu())
            return [float(value) for value in torch.stack(drifts).mean(0)]
