"""A picture of the gap between synthetic and real LR images: four curves, and the patches that give them away."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from degsynth.evaluation.gap.figures import LEVELS
from degsynth.evaluation.gap.measurement import SURE_PATCHES, Curves, Gap
from degsynth.evaluation.gap.summary import CONTRAST_EDGES, GRADIENTS_PER_OCTAVE, SMALLEST_GRADIENT, rings
from degsynth.files import write_atomic
from degsynth.reports.plots import as_picture, new_figure

SYNTHETIC, REAL = "tab:orange", "tab:blue"


def draw_gap(path: Path, gap: Gap) -> None:
    """Write a PNG: curves of both folders, and of two halves of the real one; below, the surest patches of both."""
    figure = new_figure(13, 6.2, dpi=100)
    test = gap.record["two_sample"]
    figure.suptitle(
        f"synthetic (orange) and real (blue; thin: two halves); networks tell {100 * test['accuracy']:.0f} % of the "
        f"patches rightly ({100 * test['low']:.0f} to {100 * test['high']:.0f} %)",
        fontsize=10,
    )
    curves, sheets = figure.subfigures(2, 1, height_ratios=(3.3, 2.6))
    axes = curves.subplots(1, 4)
    for one, colour, thickness in (
        *((half, REAL, 0.6) for half in gap.real_halves),
        (gap.real, REAL, 1.8),
        (gap.synthetic, SYNTHETIC, 1.8),
    ):
        _plot(axes, one, colour, thickness)
    _label(axes)
    _draw_patches(sheets, gap)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomic(path, picture.getvalue())


def _plot(axes: Any, curves: Curves, colour: str, thickness: float) -> None:
    style = {"color": colour, "linewidth": thickness}
    axes[0].plot(rings()[1], curves.spectrum, **style)
    axes[1].plot(255 * (torch.arange(LEVELS) + 0.5) / LEVELS, curves.noise, "-", marker=".", **style)
    edges = torch.tensor((CONTRAST_EDGES[0] / 2, *CONTRAST_EDGES, 2 * CONTRAST_EDGES[-1]), dtype=torch.float64)
    axes[2].plot((edges[:-1] * edges[1:]).sqrt(), curves.detail, "-", marker=".", **style)
    sizes = 255 * SMALLEST_GRADIENT * 2 ** ((torch.arange(len(curves.gradients)) + 0.5) / GRADIENTS_PER_OCTAVE)
    axes[3].plot(sizes, 1 - curves.gradients.cumsum(0), **style)


def _label(axes: Any) -> None:
    from matplotlib.ticker import NullFormatter

    labels = (
        ("frequency, cycles per px", "mean log power of luma, dB"),
        ("level, of 255", "σ of the noise in flat blocks, of 255"),
        ("local contrast, of 255 per px", "finest detail, of 255"),
        ("difference of neighbours, of 255", "share of larger ones"),
    )
    for axis, (x, y) in zip(axes, labels, strict=True):
        axis.set_xlabel(x, fontsize=8)
        axis.set_ylabel(y, fontsize=8)
        axis.tick_params(labelsize=7)
    axes[1].set_ylim(bottom=0)
    for axis in axes[2:]:
        axis.set_xscale("log")
        axis.set_yscale("log")
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter("{x:g}")
            side.set_minor_formatter(NullFormatter())
    axes[3].set_xlim(0.5, 255)
    axes[3].set_ylim(1e-4, 1)


def _draw_patches(figure: Any, gap: Gap) -> None:
    axes = figure.subplots(2, SURE_PATCHES, squeeze=False)
    titles = "surest to be synthetic", "surest to be real"
    for row, title, patches in zip(axes, titles, gap.sure, strict=True):
        for axis in row:
            axis.set_axis_off()
        row[0].set_title(title, fontsize=8, loc="left")
        for axis, patch in zip(row, patches, strict=False):
            axis.imshow(_shown(patch), cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _shown(patch: Tensor) -> Any:
    """Return a patch (C, h, w) as matplotlib wants it, stretched to the whole range of levels so that noise shows."""
    low, high = float(patch.min()), float(patch.max())
    return as_picture((patch - low) / max(high - low, 8 / 255))
