"""A picture of what a model draws: kernels, how they are distributed, and noise, beside what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from degsynth.evaluation import diversity, kernel_sets
from degsynth.evaluation.diversity import DrawnNoise
from degsynth.methods.protocol import Distribution, MeasuredNoise
from degsynth.model.checkpoint import Checkpoint
from degsynth.ops.grain import KNOTS, REACH, Grain
from degsynth.reports.plots import ShapeSet, draw_signed_kernel, new_figure, plot_shapes

SHOWN = 8
"""Number of kernels that are drawn, from the narrowest to the widest."""
COLOURS = {1: ("black",), 3: ("tab:red", "tab:green", "tab:blue")}
"""Colours of the channels, by their number."""


def draw_distribution(path: Path, distribution: Distribution, model: Checkpoint) -> None:
    """Write a PNG: a row of kernels, a row of plots of their shapes, and a row for the noise of each group."""
    heights = [1.7, 2.8] + [2.8] * len(distribution.noises)
    figure = new_figure(13, sum(heights), dpi=100)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)

    def row(number: int, count: int) -> list[Any]:
        cells = grid[number].subgridspec(1, count)
        return [figure.add_subplot(cells[0, column]) for column in range(count)]

    _draw_kernels(row(0, SHOWN), distribution.kernels)
    _plot_kernel_shapes(row(1, 3), distribution)
    for number, noise in enumerate(distribution.noises, 2):
        _plot_noise(row(number, 4), noise, model)
    figure.savefig(path, format="png")


def _draw_kernels(axes: list[Any], kernels: Tensor) -> None:
    """Draw some of the kernels (N, K, K), from the narrowest to the widest."""
    for number, (axis, kernel) in enumerate(zip(axes, diversity.by_width(kernels, len(axes)), strict=True)):
        draw_signed_kernel(axis, kernel)
        axis.set_axis_off()
        sigma, ratio, _ = kernel_sets.shapes(kernel[None])[0].tolist()
        rank = round(100 * number / (len(axes) - 1))
        axis.set_title(f"{rank} % are narrower\nσ {sigma:.2f} px, {ratio:.2f}:1", fontsize=8)


def _plot_kernel_shapes(axes: list[Any], distribution: Distribution) -> None:
    """Plot the shapes of drawn kernels, and of estimated ones where there are any."""
    sets = [ShapeSet.of("drawn", distribution.kernels, "tab:blue")]
    if distribution.wanted is not None:
        sets.append(ShapeSet.of("estimated from the LR images", distribution.wanted, "tab:orange"))
    widest = max(float(kernels.shapes[:, 0].max()) for kernels in sets)
    plot_shapes(axes, sets, torch.linspace(0, 1.1 * widest, 45).numpy(), opacity=0.55)
    axes[0].legend(fontsize=7)
    axes[1].set_xlim(0, 1.1 * widest)


def _plot_noise(axes: list[Any], noise: MeasuredNoise, model: Checkpoint) -> None:
    """Plot the noise of a group, measured and drawn: its strength, and the correlations of pixels and channels."""
    drawn = diversity.drawn_noise(model, noise.number)
    _plot_strength(axes[0], noise, drawn)
    _plot_correlation(axes[1], noise.grain, drawn)
    _draw_matrix(axes[2], noise.grain.mixing @ noise.grain.mixing.T, "channels, measured")
    _draw_matrix(axes[3], drawn.channels, "channels, drawn")
    for axis in axes[:2]:
        axis.tick_params(labelsize=7)


def _plot_strength(axis: Any, noise: MeasuredNoise, drawn: DrawnNoise) -> None:
    """Plot σ against the level: the measured points, the curves fitted to them, and drawn noise."""
    grain = noise.grain
    levels = 255 * torch.linspace(0, 1, KNOTS)
    for channel, colour in enumerate(COLOURS.get(len(drawn.sigma), ("black",) * len(drawn.sigma))):
        points = grain.measured[grain.measured[:, 0] == channel]
        axis.plot(255 * points[:, 1].numpy(), 255 * points[:, 2].numpy(), ".", color=colour, ms=5)
        axis.plot(levels.numpy(), 255 * grain.sigma[channel].numpy(), "-", color=colour, lw=0.8)
        axis.plot([255 * level for level in diversity.LEVELS], 255 * drawn.sigma[channel].numpy(), "x", color=colour)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("level", fontsize=8)
    axis.set_ylabel("σ of noise, of 255", fontsize=8)
    axis.set_title(f"{noise.name}: flat places ·, fitted –, drawn ×", fontsize=8, parse_math=False)


def _plot_correlation(axis: Any, grain: Grain, drawn: DrawnNoise) -> None:
    """Plot the correlation of pixels against their distance, along rows and along columns."""
    distances = range(REACH + 1)
    for name, table, markers in (
        ("measured", grain.correlation, (".-", ".--")),
        ("drawn", drawn.correlation, ("x", "+")),
    ):
        axis.plot(distances, table[REACH, REACH:].numpy(), markers[0], label=f"{name}, across")
        axis.plot(distances, table[REACH:, REACH].numpy(), markers[1], label=f"{name}, down")
    axis.axhline(0, color="gray", lw=0.5)
    axis.set_xlabel("px apart", fontsize=8)
    axis.set_ylabel("correlation", fontsize=8)
    axis.legend(fontsize=7)


def _draw_matrix(axis: Any, matrix: Tensor, title: str) -> None:
    """Draw a matrix (C, C) of correlations, with its numbers."""
    axis.imshow(matrix.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set_title(title, fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
    for row, values in enumerate(matrix.tolist()):
        for column, value in enumerate(values):
            axis.text(column, row, f"{value:.2f}", color="white" if value > 0.6 else "black", **style)
