"""A picture of what a model leaves out of the LR, measured, beside the noise that is drawn for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from degsynth.evaluation.residual import LeftOut
from degsynth.ops.residual_measurement import RINGS, Measured
from degsynth.ops.residual_noise import LEVELS, contrast_knots
from degsynth.reports.panels import SHOWN_SIDE, crop
from degsynth.reports.plots import as_picture, new_figure

SHOWN_LEVELS = {0.25: "dark", 0.5: "medium", 0.75: "bright"}
"""Levels for which σ is plotted against the contrast, by their names."""
COLOURS = ("tab:blue", "tab:green", "tab:orange")
"""A colour for each of them."""

PLACES = {"left": 0.045, "right": 0.995, "bottom": 0.15, "top": 0.92, "wspace": 0.24}
"""Where the plots lie, relative to the figure."""


def draw_residual(path: Path, left_out: LeftOut) -> None:
    """Write a PNG: σ against contrast, spectrum, and a crop of the residual beside one of drawn noise."""
    figure = new_figure(13, 3.3, dpi=100)
    figure.set_layout_engine("none")  # measuring all texts takes as long as drawing them
    axes = figure.subplots(1, 4, gridspec_kw=PLACES)
    _plot_strength(axes[0], left_out)
    _plot_spectrum(axes[1], left_out)
    titles = "real − predicted LR, ×5", "drawn noise, ×5"
    for axis, title, image in zip(axes[2:], titles, left_out.example, strict=True):
        shown = (5 * crop(image, SHOWN_SIDE) + 0.5).clamp(0, 1)
        axis.imshow(as_picture(shown), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_axis_off()
        for side in (axis.xaxis, axis.yaxis):
            side.set_visible(False)
        axis.set_title(title, fontsize=8)
    figure.savefig(path, format="png")


def _plot_strength(axis: Any, left_out: LeftOut) -> None:
    """Plot σ of the luma against the contrast, at some levels."""
    contrasts = 255 * contrast_knots()
    for (level, name), colour in zip(SHOWN_LEVELS.items(), COLOURS, strict=True):
        row = round(level * (LEVELS - 1))
        axis.plot(contrasts, 255 * left_out.measured.noise.sigma[row], "-", color=colour, label=f"{name}, measured")
        axis.plot(contrasts, 255 * left_out.drawn.noise.sigma[row], "x", color=colour, ms=5, label=f"{name}, drawn")
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("local contrast, of 255 per LR px", fontsize=8)
    axis.set_ylabel("σ of the luma, of 255", fontsize=8)
    axis.tick_params(which="both", labelsize=7)
    axis.legend(fontsize=7)


def _plot_spectrum(axis: Any, left_out: LeftOut) -> None:
    """Plot the power of the luma by frequency."""
    from matplotlib.ticker import ScalarFormatter

    frequency = (torch.arange(1, RINGS) + 0.5) / (2 * RINGS)  # the mean of a window is taken out: ring 0 is empty
    for name, noise, style in (("measured", left_out.measured, "-"), ("drawn", left_out.drawn, "x")):
        axis.plot(frequency, 255**2 * noise.spectrum[1:], style, label=_spectrum_label(name, noise))
    if bool((left_out.measured.spectrum[1:] > 0).any()):  # images below WINDOW px a side have no spectrum
        axis.set_yscale("log")
        for side in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            side(ScalarFormatter())  # plain numbers, since they span little more than a decade
    axis.set_xlabel("frequency, cycles per LR px", fontsize=8)
    axis.set_ylabel("power of the luma", fontsize=8)
    axis.tick_params(which="both", labelsize=7)
    axis.legend(fontsize=7)


def _spectrum_label(name: str, noise: Measured) -> str:
    return f"{name}: neighbours {noise.lag_1():.2f}, {100 * noise.fine_share:.0f} % at Nyquist"
