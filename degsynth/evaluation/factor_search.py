"""The hardware factor at which a fitted model comes nearest to the LR of another camera.

From pairs: the factor whose LR differs least from the real one (L1 of luma), once the shots' levels are matched: on
coarse means, which no blur changes, so that another exposure is not taken for another lens. From two folders without
common scenes: the factor whose LR has the real one's average power spectrum, up to two unknowns, the contrast of what
was photographed and a floor of white noise::

    S_real(ν)  ≈  contrast · S_model(ν; factor) + floor          contrast, floor ≥ 0

Photographs of whatever lose power with frequency in much the same way; what a lens takes from the high ones is told
apart from that by its shape.
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
from degsynth.ops.resample import crop_border, luma

LOWEST, HIGHEST = 0.05, 6.0
"""Factors between which the best one is looked for."""
COARSE = 13
"""How many of them, in equal ratios, are tried at first."""
RESOLUTION = 0.01
"""Relative; how well the best is known in the end."""
TILE = 64
"""Side of the patches that spectra are taken of, LR px."""
COARSE_SIDE = 16
"""Of the blocks whose means tell levels, LR px: a blur of some pixels does not change them."""
LEAST_SPREAD = 1e-4
"""Variance of these means, below which they are no measure of contrast (levels in [0, 1])."""
LOWEST_BIN = 2
"""Slower waves than TILE / 2 px say little of a blur and much of what was photographed."""

Spectrum = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Factors that were tried, and the best."""

    factor: float
    tried: list[tuple[float, float]]
    """(factor, distance), by factor; the distance is L1 in [0, 1] levels, levels matched, or the rms error of the
    spectrum relative to itself."""
    at_the_end: bool
    """Whether the best is the smallest or largest that was tried: then blur is not what tells the cameras apart."""


def search(
    distance: Callable[[float], float],
    limits: tuple[float, float],
    on_try: Callable[[int], None] = lambda count: None,
) -> Calibration:
    """The factor of least distance within ``limits``: a grid in equal ratios, then Brent's method about its best.

    ``on_try`` hears how many have been tried.
    """
    tried: dict[float, float] = {}

    def at(factor: float) -> float:
        factor = float(f"{factor:.4g}")  # what is tried is what is said
        if factor not in tried:
            tried[factor] = distance(factor)
            on_try(len(tried))
        return tried[factor]

    low, high = max(LOWEST, limits[0]), min(HIGHEST, limits[1])
    grid = np.geomspace(low, high, COARSE).tolist()
    best = min(range(COARSE), key=lambda n: at(grid[n]))
    bounds = np.log([grid[max(0, best - 1)], grid[min(COARSE - 1, best + 1)]])
    minimize_scalar(lambda f: at(math.exp(f)), bounds=tuple(bounds), method="bounded", options={"xatol": RESOLUTION})
    factor = min(tried, key=lambda f: tried[f])
    ends = (float(f"{low:.4g}"), float(f"{high:.4g}"))
    near = any(abs(math.log(factor / end)) < 2 * RESOLUTION for end in ends)
    return Calibration(factor, sorted(tried.items()), near)


def _made(model: Checkpoint, hr: Tensor, origin: tuple[int, int], frame: tuple[int, int], factor: float) -> Tensor:
    """The LR (h, w) of gray hr (1, H, W), a part of an image, at a factor."""
    scale, device = model.spec.scale, hr.device
    height, width = hr.shape[1] // scale, hr.shape[2] // scale
    code = with_factor(model, model.degrader.draw(0, *frame), factor).to(device)
    field = model.degrader.field(0, *origin, height, width, 1).to(device)
    made: Tensor = model.degrader.clean(hr[None], code, field)[0, 0]
    return made.clamp(0.0, 1.0)


def paired(
    model: Checkpoint, parts: Sequence[Part], border: int, on_try: Callable[[int], None] = lambda count: None
) -> Calibration:
    """The factor of least L1 over pairs, ``border`` LR px left out at each edge."""
    assert model.spec.hardware_factor is not None
    trained = model.spec.hardware_factor.trained

    def made(part: Part, factor: float) -> Tensor:
        return crop_border(_made(model, luma(part.hr), part.origin, part.frame, factor), border)

    def distance(factor: float) -> float:
        errors = [float((made(part, factor) - real).abs().mean()) for part, real in zip(parts, wanted, strict=True)]
        return sum(errors) / len(errors)

    with torch.inference_mode():
        wanted = [matched(crop_border(luma(part.lr)[0], border), made(part, trained)) for part in parts]
        return search(distance, model.spec.hardware_factor.range, on_try)


def matched(real: Tensor, made: Tensor) -> Tensor:
    """Real (h, w) with the gain and offset that bring the means of its blocks of 16×16 px to those of made."""
    side = min(COARSE_SIDE, *real.shape)
    x, y = (F.avg_pool2d(image[None].double(), side)[0].flatten() for image in (real, made))
    spread = (x - x.mean()).square().mean()
    # Where all blocks are alike their contrast tells nothing: the gain then tends to 1.
    gain = (((x - x.mean()) * (y - y.mean())).mean() + LEAST_SPREAD) / (spread + LEAST_SPREAD)
    return (gain * (real - x.mean()) + y.mean()).to(real.dtype)


def unpaired(
    model: Checkpoint, hr: Sequence[Tensor], lr: Sequence[Tensor], on_try: Callable[[int], None] = lambda count: None
) -> Calibration:
    """The factor whose LR of gray images hr (1, s·h, s·w) has the spectrum of gray images lr (1, h', w').

    Of hr the model's reach is left out at each edge: what remains, and lr, must measure `TILE` LR px a side at least.
    Raises DataError where they are flat.
    """
    assert model.spec.hardware_factor is not None
    real, weights = _spectrum([image[0] for image in lr], "LR")
    border = math.ceil(model.spec.clean_halo / model.spec.scale)

    def distance(factor: float) -> float:
        made = [_made(model, image, (0, 0), (image.shape[1], image.shape[2]), factor) for image in hr]
        return spectral_distance(_spectrum([crop_border(image, border) for image in made], "HR")[0], real, weights)

    with torch.inference_mode():
        return search(distance, model.spec.hardware_factor.range, on_try)


def spectral_distance(made: Spectrum, real: Spectrum, weights: Spectrum) -> float:
    """How far ``real`` is from ``contrast · made + floor`` at the best of these two, rms relative to ``real``."""
    rows = np.stack([made, np.ones_like(made)], 1) * (weights / real)[:, None]
    unit = np.linalg.norm(rows, axis=0)
    _, residual = nnls(rows / unit, weights)
    return float(residual / np.linalg.norm(weights))


def _spectrum(images: Sequence[Tensor], side: str) -> tuple[Spectrum, Spectrum]:
    """Mean power of all patches of images (h, w) in rings of equal frequency, and the root of each ring's size."""
    at = torch.fft.fftfreq(TILE) * TILE
    ring = torch.hypot(at[:, None], at[None, :]).round().long()
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
        raise DataError(f"the {side} images are flat: they have no spectrum to compare; give some with texture")
    return power.numpy(), sizes.double().sqrt().numpy()
