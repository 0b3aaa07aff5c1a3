"""How much what a model draws differs from draw to draw: kernels and noise, beside what they were to be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from degsynth.evaluation.kernel_sets import ROUND, coverage, shapes
from degsynth.methods.protocol import Distribution, MeasuredNoise
from degsynth.model.checkpoint import Checkpoint
from degsynth.ops.grain import REACH, Grain, at_levels

QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
LEVELS = (20 / 255, 64 / 255, 128 / 255, 192 / 255, 235 / 255)
"""At which noise is looked at."""
FLAT = 96
"""Side of the flat images that it is drawn for, LR px."""
SPREADS = 0.05
"""From this standard deviation of the logs of widths on (in all directions) blur is said to differ."""
COLLAPSED = 0.5
"""Draws whose spread is less than this share of what it was to be have collapsed."""


def spread(kernels: Tensor) -> dict[str, Any]:
    """How the shapes of kernels (N, K, K) are distributed."""
    sigma, ratio, angle = shapes(kernels).unbind(1)
    found: dict[str, Any] = {"count": len(kernels)}
    for name, values in (("sigma_px", sigma), ("axes_ratio", ratio)):
        quantiles = {key: float(torch.quantile(values, at)) for key, at in QUANTILES.items()}
        found[name] = {**quantiles, "mean": float(values.mean()), "sd": float(values.std(correction=0))}
    longer, doubled = ratio.log(), 2 * torch.deg2rad(angle)
    axes = torch.stack([2 * sigma.log(), longer * torch.cos(doubled), longer * torch.sin(doubled)]) / 2
    found["log_shape_sd"] = float(axes.var(1, correction=0).sum().sqrt())
    # Directions: a kernel is the same after half a turn, so angles are doubled before they are averaged.
    directed = ratio > ROUND
    found["directed"] = float(directed.double().mean())
    if bool(directed.any()):
        doubled = torch.exp(2j * torch.deg2rad(angle[directed])).mean()
        found["angle_deg"] = math.degrees(math.atan2(float(doubled.imag), float(doubled.real))) / 2 % 180
        found["angles_agree"] = float(doubled.abs())
    return found


def made_noise(model: Checkpoint, number: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Noise on flat images: σ (C, L) at `LEVELS`, correlation of neighbours (2·REACH+1)², of channels (C, C).

    ``number``: the last of the image's code, which decides for a group.
    """
    degrader = model.degrader
    channels = 3 if model.spec.channels == "any" else model.spec.channels[0]
    code = degrader.draw(seed)
    code[:, -1:] = number
    sigma, lags, between = [], [], []
    for count, level in enumerate(LEVELS):
        field = degrader.field(seed + count, 0, 0, FLAT, FLAT, channels)
        with torch.inference_mode():
            made = degrader.noise(torch.full((1, channels, FLAT, FLAT), level), code, field)[0].double()
        sigma.append(made.std((1, 2)))
        power = torch.fft.rfft2(made - made.mean((1, 2), keepdim=True)).abs().square()
        around = torch.fft.fftshift(torch.fft.irfft2(power, s=(FLAT, FLAT)), dim=(1, 2)).sum(0)
        near = slice(FLAT // 2 - REACH, FLAT // 2 + REACH + 1)
        lags.append(around[near, near] / around.max().clamp(min=1e-15))
        flat = made.flatten(1) / made.flatten(1).norm(dim=1, keepdim=True).clamp(min=1e-12)
        between.append(flat @ flat.T)
    return torch.stack(sigma, 1), torch.stack(lags).mean(0), torch.stack(between).mean(0)


def facts(distribution: Distribution, model: Checkpoint) -> dict[str, Any]:
    """For ``fit.json``: kernels as drawn and as they were to be; noise as measured and as drawn, group by group."""
    found: dict[str, Any] = {"varied": distribution.varied, "kernels": spread(distribution.kernels)}
    if distribution.wanted is not None:
        found["estimated"] = spread(distribution.wanted)
        found["coverage"] = coverage(distribution.kernels, distribution.wanted)
    found["noise"] = [_noise_facts(one, model) for one in distribution.noises]
    return found


def _noise_facts(one: MeasuredNoise, model: Checkpoint) -> dict[str, Any]:
    grain: Grain = one.grain
    levels = torch.tensor(LEVELS, dtype=torch.float64)
    channels = grain.sigma.shape[0]
    wanted = at_levels(grain.sigma, levels.expand(1, channels, 1, -1))[0, :, 0]
    sigma, lags, between = made_noise(model, one.number)
    return {
        "group": one.name,
        "levels_255": [round(255 * level) for level in LEVELS],
        "sigma_255": {"measured": (255 * wanted).tolist(), "drawn": (255 * sigma).tolist()},
        "lag_1": {"measured": _one_apart(grain.correlation), "drawn": _one_apart(lags)},
        "channels": {"measured": (grain.mixing @ grain.mixing.T).tolist(), "drawn": between.tolist()},
    }


def _one_apart(correlation: Tensor) -> float:
    return float(correlation[REACH, REACH + 1] + correlation[REACH + 1, REACH]) / 2


def told(found: dict[str, Any]) -> str:
    """How what is drawn covers what was estimated, in one line; empty where there is nothing to compare with."""
    if "coverage" not in found:
        return ""
    covered = found["coverage"]
    angles = "" if covered["angle_near"] is None else f", {100 * covered['angle_near']:.0f} % by direction"
    return (
        f"drawn kernels among the estimated ones (± 15 %): {100 * covered['sigma_inside']:.0f} % by σ, "
        f"{100 * covered['axes_ratio_inside']:.0f} % by ratio of axes{angles}; spread of log σ "
        f"{covered['log_sigma_spread']:.2f} of theirs"
    )


def faults(found: dict[str, Any]) -> list[str]:
    """That draws are all alike though they are not meant to be."""
    drawn = found["kernels"]["log_shape_sd"]
    wanted = found["estimated"]["log_shape_sd"] if "estimated" in found else None
    if not found["varied"] or (drawn >= SPREADS if wanted is None else wanted < SPREADS or drawn >= COLLAPSED * wanted):
        return []
    beside = "" if wanted is None else f", among the LR images by {100 * wanted:.0f} %"
    return [f"kernels have collapsed: their widths differ by {100 * drawn:.0f} % from draw to draw{beside}"]


def by_width(kernels: Tensor, count: int) -> Sequence[Tensor]:
    """So many of kernels (N, K, K), from the narrowest to the widest, evenly among them."""
    order = shapes(kernels)[:, 0].argsort()
    at = torch.linspace(0, len(order) - 1, count).round().long()
    return [kernels[int(index)] for index in order[at]]
