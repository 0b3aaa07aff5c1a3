"""The effect of a hardware factor on a model's blur, measured from the model's output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from degsynth.model.checkpoint import Checkpoint
from degsynth.model.inference import inference
from degsynth.ops.gaussian_cells import LAYER_VARIANCE
from degsynth.ops.kernels import second_moment, variance_at
from degsynth.ops.least_squares import NormalEquations, solve
from degsynth.ops.resample import luma

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0)
"""Factors at which the blur is measured: the paper's, and some between."""
TAPS = 26
"""Side of the window in which a kernel is measured, HR px (one more at odd scales)."""
SIDE = 320
"""Largest side of the middle of an image that is used, HR px."""
LEAST_SHARE, MOST_SHARE = 0.6, 1.4
"""The user is warned if ``share`` (see `sweep`) is outside these limits."""
LEAST_R_SQUARED = 0.95
"""The user is warned if a straight line through the variances has a smaller R²."""


def with_factor(model: Checkpoint, code: Tensor, factor: float) -> Tensor:
    """Return a code (1, G) of `draw` with another hardware factor."""
    assert model.spec.hardware_factor is not None
    code = code.clone()
    code[:, model.spec.hardware_factor.entry] = factor
    return code


def kernel_at(model: Checkpoint, images: Sequence[Tensor], factor: float) -> Tensor:
    """Return the kernel (K, K) that best explains the model's LR of gray images (1, H, W) at a factor.

    Raises ValueError where the images do not determine one.
    """
    scale = model.spec.scale
    equations = NormalEquations(TAPS + scale % 2, scale)
    border = math.ceil(model.spec.clean_halo / scale)
    for hr in images:
        code = with_factor(model, model.degrader.draw(0), factor)
        field = model.degrader.field(0, 0, 0, hr.shape[1] // scale, hr.shape[2] // scale, 1)
        equations.add(hr[0], model.degrader.clean(hr[None], code, field)[0, 0], border)
    if equations.count < equations.kernel_size**2:
        raise ValueError(f"{equations.count} LR pixels are too few for {equations.kernel_size**2} taps")
    return solve(equations, 1e-6, fit_gain=True, fit_offset=True).kernel


def middle(hr: Tensor, scale: int) -> Tensor:
    """Return the luma (1, H, W) of the middle of an image: whole LR pixels, at most `SIDE` HR px a side."""
    height, width = (min(SIDE, side) // scale * scale for side in hr.shape[1:])
    top, left = ((side - part) // 2 // scale * scale for side, part in zip(hr.shape[1:], (height, width), strict=True))
    return luma(hr)[:, top : top + height, left : left + width]


def measure(model: Checkpoint, images: Sequence[Tensor]) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the figures of `sweep`, and warnings for the user; None where the images do not allow a measurement."""
    try:
        figures = sweep(model, images)
    except ValueError as error:
        return None, [f"the effect of the hardware factor could not be measured: {error}"]
    if LEAST_SHARE <= figures["share"] <= MOST_SHARE and figures["r_squared"] >= LEAST_R_SQUARED:
        return figures, []
    return figures, [
        f"the hardware factor does not do what it says: from {FACTORS[0]:g} to {FACTORS[-1]:g} the variance of the blur"
        f" rises by {100 * figures['share']:.0f} % of what the layer adds, R² {figures['r_squared']:.2f}; a narrower "
        "and shallower network (the default preset) leaves the blur to the layer"
    ]


def summary(figures: dict[str, Any] | None) -> str:
    """Put the figures of `sweep` into words, as the end of a sentence."""
    if figures is None:
        return ""
    return (
        f"; from {FACTORS[0]:g} to {FACTORS[-1]:g} the variance of the blur rises by {figures['rise_px2']:.2f} px² "
        f"({100 * figures['share']:.0f} % of what the Gaussians gain), R² {figures['r_squared']:.3f}"
    )


def sweep(model: Checkpoint, images: Sequence[Tensor]) -> dict[str, Any]:
    """Measure a model's blur on images (C, H, W) at factors from 0.25 to 3, and how its variance grows with the factor.

    ``variance_px2`` is the variance of the Gaussian that attenuates a wave of period 8 HR px as much as the kernel;
    ``second_moment_px2`` is the second moment of the kernel itself. Both are means over the two axes, and may be
    negative where the LR is sharpened. ``rise_px2`` is the growth of the variance from factor 0.25 to 3. ``share`` is
    that growth divided by 7.15 px², the growth of the Gaussians in the blurring layer (2.6 px² for each unit of the
    factor). Measured in this way, in a window of 16 px, the layer alone has a share of 0.83, or of 0.90 with the
    Gaussians of group two (`degsynth.ops.gaussian_cells`). ``r_squared`` tells how straight the growth is.
    """
    parts = [middle(image, model.spec.scale) for image in images]
    rows = []
    with inference():
        for factor in FACTORS:
            kernel = kernel_at(model, parts, factor)
            variance, moment = sum(variance_at(kernel)) / 2, sum(second_moment(kernel)) / 2
            rows.append({"factor": factor, "variance_px2": variance, "second_moment_px2": moment})
    factors = torch.tensor([row["factor"] for row in rows], dtype=torch.float64)
    variances = torch.tensor([row["variance_px2"] for row in rows], dtype=torch.float64)
    rise = float(variances[-1] - variances[0])
    r_squared = float(torch.corrcoef(torch.stack([factors, variances]))[0, 1] ** 2) if rise else 0.0
    share = rise / (LAYER_VARIANCE * (FACTORS[-1] - FACTORS[0]))
    return {"rise_px2": rise, "share": share, "r_squared": r_squared, "sweep": rows}
