"""What a hardware factor does to a model's blur, measured from outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from degsynth.model.checkpoint import Checkpoint
from degsynth.ops.gaussian_cells import LAYER_VARIANCE
from degsynth.ops.kernels import second_moment, variance_at
from degsynth.ops.least_squares import NormalEquations, solve
from degsynth.ops.resample import luma

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0)
"""Where it is measured: the paper's, and some between."""
TAPS = 26
"""Side of the window in which a kernel is measured, HR px (one more at odd scales)."""
SIDE = 320
"""Of the middle of an image that is looked at, HR px at most."""
LEAST_SHARE, MOST_SHARE = 0.6, 1.4
"""How much of the layer's rise the model's may be."""
LEAST_R_SQUARED = 0.95
"""How straight the rise must be."""


def with_factor(model: Checkpoint, code: Tensor, factor: float) -> Tensor:
    """A code (1, G) of `draw` with another hardware factor."""
    assert model.spec.hardware_factor is not None
    code = code.clone()
    code[:, model.spec.hardware_factor.entry] = factor
    return code


def kernel_at(model: Checkpoint, images: Sequence[Tensor], factor: float) -> Tensor:
    """The kernel (K, K) that explains best what the model makes of gray images (1, H, W) at a factor.

    Raises ValueError where they do not determine one.
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
    """The luma of an image's middle (1, H, W), whole LR pixels."""
    height, width = (min(SIDE, side) // scale * scale for side in hr.shape[1:])
    top, left = ((side - part) // 2 // scale * scale for side, part in zip(hr.shape[1:], (height, width), strict=True))
    return luma(hr)[:, top : top + height, left : left + width]


def look(model: Checkpoint, images: Sequence[Tensor]) -> tuple[dict[str, Any] | None, list[str]]:
    """`sweep`, and what a user should not overlook of it; None where the images do not allow it."""
    try:
        found = sweep(model, images)
    except ValueError as error:
        return None, [f"what the hardware factor does could not be measured: {error}"]
    if LEAST_SHARE <= found["share"] <= MOST_SHARE and found["r_squared"] >= LEAST_R_SQUARED:
        return found, []
    return found, [
        f"the hardware factor does not do what it says: from {FACTORS[0]:g} to {FACTORS[-1]:g} the variance of the blur"
        f" rises by {100 * found['share']:.0f} % of what the layer adds, R² {found['r_squared']:.2f}; a narrower and "
        "shallower network (the default preset) leaves the blur to the layer"
    ]


def told(found: dict[str, Any] | None) -> str:
    """What `sweep` found, as the end of a sentence."""
    if found is None:
        return ""
    return (
        f"; from {FACTORS[0]:g} to {FACTORS[-1]:g} the variance of the blur rises by {found['rise_px2']:.2f} px² "
        f"({100 * found['share']:.0f} % of what the Gaussians gain), R² {found['r_squared']:.3f}"
    )


def sweep(model: Checkpoint, images: Sequence[Tensor]) -> dict[str, Any]:
    """The blur of a model on images (C, H, W) at factors from 0.25 to 3, and how straight and far it rises.

    ``variance_px2`` is that of the Gaussian that dims a wave of 8 HR px as much, ``second_moment_px2`` the kernel's
    own; both are means of the two axes and may be negative, where the LR is sharpened. ``rise_px2`` is that of the
    variance from 0.25 to 3, ``share`` the rise over the 7.15 px² that the Gaussians themselves gain (2.6 px² a unit; by
    this ruler, and in a window of 16 px, the layer alone has 0.83 of it, 0.90 with group two), ``r_squared`` tells how
    well a straight line describes it.
    """
    parts = [middle(image, model.spec.scale) for image in images]
    rows = []
    with torch.inference_mode():
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
