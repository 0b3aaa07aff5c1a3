"""How much the kernels and the noise that a model draws differ from draw to draw, beside what was estimated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from degsynth.evaluation.kernel_sets import ROUND, coverage, shapes
from degsynth.methods.protocol import Distribution, MeasuredNoise
from degsynth.model.checkpoint import Checkpoint
from degsynth.model.inference import inference
from degsynth.ops.grain import REACH, Grain, at_levels

QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
"""Quantiles of a distribution that are recorded, by the names that they have in ``fit.json``."""
LEVELS = (20 / 255, 64 / 255, 128 / 255, 192 / 255, 235 / 255)
"""Levels at which drawn noise is measured."""
FLAT = 96
"""Side of the flat images on which drawn noise is measured, LR px."""
LEAST_SPREAD = 0.05
"""Kernels count as different if the logarithms of their widths, over all directions, have at least this standard
deviation (``log_shape_sd``)."""
COLLAPSED = 0.5
"""Drawn kernels have collapsed where their spread is less than this share of that of the estimated kernels."""


def spread(kernels: Tensor) -> dict[str, Any]:
    """Return figures of how the shapes of kernels (N, K, K) are distributed."""
    sigma, ratio, angle = shapes(kernels).unbind(1)
    record: dict[str, Any] = {"count": len(kernels)}
    for name, values in (("sigma_px", sigma), ("axes_ratio", ratio)):
        quantiles = {key: float(torch.quantile(values, share)) for key, share in QUANTILES.items()}
        record[name] = {**quantiles, "mean": float(values.mean()), "sd": float(values.std(correction=0))}
    # Half the trace, half the difference of the diagonal, and the off-diagonal entry of the matrix log √covariance.
    elongation, doubled = ratio.log(), 2 * torch.deg2rad(angle)
    axes = torch.stack([2 * sigma.log(), elongation * torch.cos(doubled), elongation * torch.sin(doubled)]) / 2
    record["log_shape_sd"] = float(axes.var(1, correction=0).sum().sqrt())
    # A kernel is the same after half a turn, so angles are doubled before they are averaged.
    directed = ratio > ROUND
    record["directed"] = float(directed.double().mean())
    if bool(directed.any()):
        mean_direction = torch.exp(2j * torch.deg2rad(angle[directed])).mean()
        record["angle_deg"] = math.degrees(math.atan2(float(mean_direction.imag), float(mean_direction.real))) / 2 % 180
        record["angles_agree"] = float(mean_direction.abs())
    return record


@dataclass(frozen=True)
class DrawnNoise:
    """The noise that a model draws, measured on flat images."""

    sigma: Tensor
    """Standard deviation (C, L) of each channel at the `LEVELS`."""
    correlation: Tensor
    """Correlation (2·REACH + 1)² of neighbouring pixels by their distance, 0 in the middle."""
    channels: Tensor
    """Correlation (C, C) of the channels."""


def drawn_noise(model: Checkpoint, number: float, seed: int = 0) -> DrawnNoise:
    """Measure the noise that a model draws on flat images.

    ``number`` is the last entry of the image's code, which decides whose noise is drawn, where there are groups.
    """
    degrader = model.degrader
    channels = 3 if model.spec.channels == "any" else model.spec.channels[0]
    code = degrader.draw(seed)
    code[:, -1:] = number
    sigmas, correlations, between_channels = [], [], []
    for count, level in enumerate(LEVELS):
        field = degrader.field(seed + count, 0, 0, FLAT, FLAT, channels)
        with inference():
            noise = degrader.noise(torch.full((1, channels, FLAT, FLAT), level), code, field)[0].double()
        sigmas.append(noise.std((1, 2)))
        power = torch.fft.rfft2(noise - noise.mean((1, 2), keepdim=True)).abs().square()
        covariance = torch.fft.fftshift(torch.fft.irfft2(power, s=(FLAT, FLAT)), dim=(1, 2)).sum(0)
        near = slice(FLAT // 2 - REACH, FLAT // 2 + REACH + 1)
        correlations.append(covariance[near, near] / covariance.max().clamp(min=1e-15))
        unit = noise.flatten(1) / noise.flatten(1).norm(dim=1, keepdim=True).clamp(min=1e-12)
        between_channels.append(unit @ unit.T)
    return DrawnNoise(torch.stack(sigmas, 1), torch.stack(correlations).mean(0), torch.stack(between_channels).mean(0))


def figures(distribution: Distribution, model: Checkpoint) -> dict[str, Any]:
    """Return, for ``fit.json``, figures of drawn and estimated kernels, and of the groups' measured and drawn noise."""
    record: dict[str, Any] = {"varied": distribution.varied, "kernels": spread(distribution.kernels)}
    if distribution.wanted is not None:
        record["estimated"] = spread(distribution.wanted)
        record["coverage"] = coverage(distribution.kernels, distribution.wanted)
    record["noise"] = [_noise_figures(noise, model) for noise in distribution.noises]
    return record


def _noise_figures(noise: MeasuredNoise, model: Checkpoint) -> dict[str, Any]:
    grain: Grain = noise.grain
    levels = torch.tensor(LEVELS, dtype=torch.float64)
    channels = grain.sigma.shape[0]
    measured_sigma = at_levels(grain.sigma, levels.expand(1, channels, 1, -1))[0, :, 0]
    drawn = drawn_noise(model, noise.number)
    return {
        "group": noise.name,
        "levels_255": [round(255 * level) for level in LEVELS],
        "sigma_255": {"measured": (255 * measured_sigma).tolist(), "drawn": (255 * drawn.sigma).tolist()},
        "lag_1": {"measured": _neighbours(grain.correlation), "drawn": _neighbours(drawn.correlation)},
        "channels": {"measured": (grain.mixing @ grain.mixing.T).tolist(), "drawn": drawn.channels.tolist()},
    }


def _neighbours(correlation: Tensor) -> float:
    """Return the correlation of adjacent pixels, mean of both axes, from a table (2·REACH + 1)²."""
    return float(correlation[REACH, REACH + 1] + correlation[REACH + 1, REACH]) / 2


def summary(record: dict[str, Any]) -> str:
    """Say in one line how drawn kernels cover the estimated ones; empty where nothing was estimated."""
    if "coverage" not in record:
        return ""
    covered = record["coverage"]
    angles = "" if covered["angle_near"] is None else f", {100 * covered['angle_near']:.0f} % by direction"
    spreads = f"; their spread of log σ is {covered['log_sigma_spread']:.2f} of that of the estimated ones"
    if record["estimated"]["log_shape_sd"] < LEAST_SPREAD:
        spreads = "; the estimated ones are all alike"
    return (
        f"drawn kernels within the range of the estimated ones (± 15 %): {100 * covered['sigma_inside']:.0f} % by σ, "
        f"{100 * covered['axes_ratio_inside']:.0f} % by ratio of axes{angles}{spreads}"
    )


def warnings(record: dict[str, Any]) -> list[str]:
    """Warn where all drawn kernels are alike though they are meant to differ."""
    drawn = record["kernels"]["log_shape_sd"]
    estimated = record["estimated"]["log_shape_sd"] if "estimated" in record else None
    rightly_alike = not record["varied"] or (estimated is not None and estimated < LEAST_SPREAD)
    least = LEAST_SPREAD if estimated is None else COLLAPSED * estimated
    if rightly_alike or drawn >= least:
        return []
    beside = "" if estimated is None else f", those estimated from the LR images by {100 * estimated:.0f} %"
    return [f"kernels have collapsed: their widths differ by {100 * drawn:.0f} % from draw to draw{beside}"]


def by_width(kernels: Tensor, count: int) -> Sequence[Tensor]:
    """Return ``count`` of the kernels (N, K, K), sorted from the narrowest to the widest, evenly spread among them."""
    order = shapes(kernels)[:, 0].argsort()
    chosen = torch.linspace(0, len(order) - 1, count).round().long()
    return [kernels[int(index)] for index in order[chosen]]
