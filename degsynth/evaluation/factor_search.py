"""The hardware factor at which a fitted model comes nearest to the LR of another camera.

From pairs: the factor whose LR differs least from the real LR (L1 of luma). Before that, the levels of the real LR are
matched to the model's by the means of large blocks, which no blur changes; so another exposure is not taken for another
lens. From two folders without common scenes: the factor whose LR has the average power spectrum of the real LR, up to
two unknowns, the contrast of what was photographed and a floor of white noise::

    S_real(ν)  ≈  contrast · S_model(ν; factor) + floor          contrast, floor ≥ 0

The power of photographs falls with frequency in much the same way, whatever they show. What a lens takes from the high
frequencies differs from that in shape, so the two can be told apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar, nnls
from torch import Tensor

from degsynth.errors import DataError
from degsynth.evaluation.hardware_factor import with_factor
from degsynth.evaluation.held_out import Part
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.inference import inference
from degsynth.ops.resample import crop_border, luma

LOWEST, HIGHEST = 0.05, 6.0
"""Smallest and largest factor that is tried."""
COARSE = 13
"""Number of factors, in geometric progression, that are tried at first."""
RESOLUTION = 0.01
"""Relative precision to which the best factor is searched for."""
TILE = 64
"""Side of the patches whose spectra are computed, LR px."""
COARSE_SIDE = 16
"""Side of the blocks whose means are compared to match levels, LR px: a blur of some pixels does not change them."""
LEAST_SPREAD = 1e-4
"""Variance of these means (levels in [0, 1]) below which they are no measure of contrast."""
LOWEST_BIN = 2
"""Lowest frequency that is used, in cycles per TILE px: lower ones say little of a blur and much of the scenes."""

Spectrum = NDArray[np.float64]
"""Mean power in each ring of equal frequency, from `LOWEST_BIN` up."""


@dataclass(frozen=True)
class Calibration:
    """The best hardware factor, and all factors that were tried."""

    factor: float
    tried: list[tuple[float, float]]
    """(factor, distance), sorted by factor. From pairs the distance is the L1 of luma in [0, 1], levels matched;
    otherwise the rms error of the spectrum relative to itself."""
    at_limit: bool
    """Whether the best factor is the smallest or largest that was tried: then the cameras differ in more than blur."""


class _Trials:
    """The distances at all factors tried so far. No factor is tried twice."""

    def __init__(self, distance: Callable[[float], float], on_try: Callable[[int], None]) -> None:
        self._distance, self._on_try = distance, on_try
        self.distances: dict[float, float] = {}

    def distance_at(self, factor: float) -> float:
        """Return the distance at a factor, which is rounded as it is reported."""
        factor = _as_reported(factor)
        if factor not in self.distances:
            self.distances[factor] = self._distance(factor)
            self._on_try(len(self.distances))
        return self.distances[factor]


def _as_reported(factor: float) -> float:
    """Round a factor to four significant digits."""
    return float(f"{factor:.4g}")


def search(
    distance: Callable[[float], float],
    limits: tuple[float, float],
    on_try: Callable[[int], None] = lambda count: None,
) -> Calibration:
    """Find the factor of least distance within ``limits``.

    The factors of a grid in equal ratios are tried first, then Brent's method is used around the best of them.
    ``on_try`` is called with the number of factors tried so far.
    """
    trials = _Trials(distance, on_try)
    low, high = max(LOWEST, limits[0]), min(HIGHEST, limits[1])
    grid = np.geomspace(low, high, COARSE).tolist()
    best = min(range(COARSE), key=lambda number: trials.distance_at(grid[number]))
    bounds = np.log([grid[max(0, best - 1)], grid[min(COARSE - 1, best + 1)]])
    minimize_scalar(
        lambda log_factor: trials.distance_at(math.exp(log_factor)),
        bounds=tuple(bounds),
        method="bounded",
        options={"xatol": RESOLUTION},
    )
    factor = min(trials.distances, key=lambda tried: trials.distances[tried])
    at_limit = any(abs(math.log(factor / _as_reported(limit))) < 2 * RESOLUTION for limit in (low, high))
    return Calibration(factor, sorted(trials.distances.items()), at_limit)


def _lr_at_factor(
    model: Checkpoint, hr: Tensor, origin: tuple[int, int], frame: tuple[int, int], factor: float
) -> Tensor:
    """Return the LR (h, w) of gray hr (1, H, W) at a factor.

    hr is a part of an image: ``origin`` is where it begins there (y, x), ``frame`` the image's height and width, LR px.
    """
    scale, device = model.spec.scale, hr.device
    height, width = hr.shape[1] // scale, hr.shape[2] // scale
    code = with_factor(model, model.degrader.draw(0, *frame), factor).to(device)
    field = model.degrader.field(0, *origin, height, width, 1).to(device)
    return model.degrader.clean(hr[None], code, field)[0, 0].clamp(0.0, 1.0)


def paired(
    model: Checkpoint, parts: Sequence[Part], border: int, on_try: Callable[[int], None] = lambda count: None
) -> Calibration:
    """Find the factor of least L1 over pairs, ``border`` LR px left out at each edge."""
    known = model.spec.hardware_factor
    assert known is not None

    def model_lr(part: Part, factor: float) -> Tensor:
        return crop_border(_lr_at_factor(model, luma(part.hr), part.origin, part.frame, factor), border)

    def distance(factor: float) -> float:
        errors = [
            float((model_lr(part, factor) - real).abs().mean()) for part, real in zip(parts, real_lr, strict=True)
        ]
        return sum(errors) / len(errors)

    with inference():
        real_lr = [
            level_matched(crop_border(luma(part.lr)[0], border), model_lr(part, known.trained)) for part in parts
        ]
        return search(distance, known.range, on_try)


def level_matched(real: Tensor, model_lr: Tensor) -> Tensor:
    """Return the real LR (h, w) with another gain and offset, so that its levels are those of the model's LR (h, w).

    Gain and offset are those that bring the means of its blocks of 16×16 px nearest to the model's.
    """
    side = min(COARSE_SIDE, *real.shape)
    x, y = (F.avg_pool2d(image[None].double(), side)[0].flatten() for image in (real, model_lr))
    spread = (x - x.mean()).square().mean()
    # Where all blocks are alike they tell nothing of the contrast: the gain then tends to 1.
    gain = (((x - x.mean()) * (y - y.mean())).mean() + LEAST_SPREAD) / (spread + LEAST_SPREAD)
    return (gain * (real - x.mean()) + y.mean()).to(real.dtype)


def unpaired(
    model: Checkpoint, hr: Sequence[Tensor], lr: Sequence[Tensor], on_try: Callable[[int], None] = lambda count: None
) -> Calibration:
    """Find the factor whose LR of gray images hr (1, s·h, s·w) has the spectrum of gray images lr (1, h', w').

    The model's reach is left out at each edge of the LR of hr; what remains, and lr, must have at least `TILE` px a
    side. Raises DataError where the images are flat.
    """
    known = model.spec.hardware_factor
    assert known is not None
    real, weights = _spectrum([image[0] for image in lr], "LR")
    border = math.ceil(model.spec.clean_halo / model.spec.scale)

    def distance(factor: float) -> float:
        images = [_lr_at_factor(model, image, (0, 0), (image.shape[1], image.shape[2]), factor) for image in hr]
        spectrum, _ = _spectrum([crop_border(image, border) for image in images], "HR")
        return spectral_distance(spectrum, real, weights)

    with inference():
        return search(distance, known.range, on_try)


def spectral_distance(model: Spectrum, real: Spectrum, weights: Spectrum) -> float:
    """Return how far ``real`` is from ``contrast · model + floor`` at the best of these two, rms relative to ``real``.

    ``weights`` are the weights of the rings.
    """
    rows = np.stack([model, np.ones_like(model)], 1) * (weights / real)[:, None]
    unit = np.linalg.norm(rows, axis=0)
    _, residual = nnls(rows / unit, weights)
    return float(residual / np.linalg.norm(weights))


def _spectrum(images: Sequence[Tensor], side: str) -> tuple[Spectrum, Spectrum]:
    """Return the mean power of all patches of images (h, w) in rings of equal frequency, and the roots of ring sizes.

    ``side`` (HR or LR) names the images in the DataError that is raised where they are flat.
    """
    cycles = torch.fft.fftfreq(TILE) * TILE
    ring = torch.hypot(cycles[:, None], cycles[None, :]).round().long()
    window = torch.hann_window(TILE, periodic=True, dtype=torch.float64)
    total, count = torch.zeros(TILE, TILE, dtype=torch.float64), 0
    for image in images:
        patches = image.double().cpu().unfold(0, TILE, TILE // 2).unfold(1, TILE, TILE // 2).reshape(-1, TILE, TILE)
        patches = (patches - patches.mean((1, 2), keepdim=True)) * window[:, None] * window[None, :]
        total += torch.fft.fft2(patches).abs().square().sum(0)
        count += len(patches)
    rings = torch.arange(LOWEST_BIN, TILE // 2 + 1)
    sizes = torch.bincount(ring.flatten(), minlength=TILE)[rings]
    power = torch.bincount(ring.flatten(), total.flatten(), minlength=TILE)[rings] / (sizes * count)
    if not bool((power > 0).all()):
        raise DataError(f"the {side} images are flat: they have no spectrum to compare", "give some with texture")
    return power.numpy(), sizes.double().sqrt().numpy()
