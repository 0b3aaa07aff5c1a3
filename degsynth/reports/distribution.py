"""A picture of what a model draws: kernels, how they are distributed, and noise, beside what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from degsynth.evaluation import diversity, kernel_sets
from degsynth.methods.protocol import Distribution, MeasuredNoise
from degsynth.model.checkpoint import Checkpoint
from degsynth.ops.grain import KNOTS, REACH

SHOWN = 8
"""Kernels."""
COLOURS = {1: ("black",), 3: ("tab:red", "tab:green", "tab:blue")}


def draw_distribution(path: Path, distribution: Distribution, model: Checkpoint) -> None:
    """Write a PNG: a row of kernels, one of their statistics, and one for the noise of each group."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [1.7, 2.8] + [2.8] * len(distribution.noises)
    figure = Figure(figsize=(13, sum(heights)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)

    def row(number: int, count: int) -> list[Any]:
        cells = grid[number].subgridspec(1, count)
        return [figure.add_subplot(cells[0, column]) for column in range(count)]

    _kernels(row(0, SHOWN), distribution)
    _statistics(row(1, 3), distribution)
    for number, one in enumerate(distribution.noises, 2):
        _noise(row(number, 4), one, model)
    figure.savefig(path, format="png")


def _kernels(axes: list[Any], distribution: Distribution) -> None:
    for number, (axis, kernel) in enumerate(
        zip(axes, diversity.by_width(distribution.kernels, len(axes)), strict=True)
    ):
        peak = float(kernel.abs().max())
        axis.imshow(kernel.numpy(), cmap="RdBu_r", vmin=-peak, vmax=peak, interpolation="nearest")
        axis.set_axis_off()
        sigma, ratio, _ = kernel_sets.shapes(kernel[None])[0].tolist()
        rank = round(100 * number / (len(axes) - 1))
        axis.set_title(f"{rank} % are narrower\nσ {sigma:.2f} px, {ratio:.2f}:1", fontsize=8)


def _statistics(axes: list[Any], distribution: Distribution) -> None:
    sets = [("drawn", distribution.kernels, "tab:blue")]
    if distribution.wanted is not None:
        sets.append(("estimated from the LR images", distribution.wanted, "tab:orange"))
    found = [(name, kernel_sets.shapes(kernels), colour) for name, kernels, colour in sets]
    widest = max(float(shape[:, 0].max()) for _, shape, _ in found)
    for name, shape, colour in found:
        sigma, ratio, angle = (column.numpy() for column in shape.T)
        bins: Any = torch.linspace(0, 1.1 * widest, 45).numpy()
        share: Any = torch.full((len(sigma),), 1 / len(sigma)).numpy()
        axes[0].hist(sigma, bins=bins, weights=share, alpha=0.55, color=colour, label=name)
        axes[1].plot(sigma, ratio, ".", ms=3, alpha=0.5, color=colour)
        directed = ratio > kernel_sets.ROUND
        axes[2].plot(angle[directed], ratio[directed], ".", ms=3, alpha=0.5, color=colour)
    for axis, x, y in zip(
        axes,
        ("σ, HR px", "σ, HR px", "angle of the longer axis, °"),
        ("share", "ratio of axes", "ratio of axes"),
        strict=True,
    ):
        axis.set_xlabel(x, fontsize=8)
        axis.set_ylabel(y, fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0].legend(fontsize=7)
    longest = max(1.5, *(float(shape[:, 1].max()) for _, shape, _ in found))
    axes[1].set_xlim(0, 1.1 * widest)
    axes[2].set_xlim(0, 180)
    for axis in axes[1:]:
        axis.set_ylim(1, 1 + 1.1 * (longest - 1))
    axes[2].set_title(f"those of more than {kernel_sets.ROUND:g}:1", fontsize=8)


def _noise(axes: list[Any], one: MeasuredNoise, model: Checkpoint) -> None:
    grain = one.grain
    sigma, lags, between = diversity.made_noise(model, one.number)
    levels = 255 * torch.linspace(0, 1, KNOTS)
    for channel, colour in enumerate(COLOURS.get(len(sigma), ("black",) * len(sigma))):
        own = grain.seen[grain.seen[:, 0] == channel]
        axes[0].plot(255 * own[:, 1].numpy(), 255 * own[:, 2].numpy(), ".", color=colour, ms=5)
        axes[0].plot(levels.numpy(), 255 * grain.sigma[channel].numpy(), "-", color=colour, lw=0.8)
        axes[0].plot([255 * level for level in diversity.LEVELS], 255 * sigma[channel].numpy(), "x", color=colour)
    axes[0].set_ylim(bottom=0)
    axes[0].set_xlabel("level", fontsize=8)
    axes[0].set_ylabel("σ of noise, of 255", fontsize=8)
    axes[0].set_title(f"{one.name}: flat places ·, fitted –, drawn ×", fontsize=8, parse_math=False)
    apart = range(REACH + 1)
    for whose, table, marks in (("measured", grain.correlation, (".-", ".--")), ("drawn", lags, ("x", "+"))):
        axes[1].plot(apart, table[REACH, REACH:].numpy(), marks[0], label=f"{whose}, across")
        axes[1].plot(apart, table[REACH:, REACH].numpy(), marks[1], label=f"{whose}, down")
    axes[1].axhline(0, color="gray", lw=0.5)
    axes[1].set_xlabel("px apart", fontsize=8)
    axes[1].set_ylabel("correlation", fontsize=8)
    axes[1].legend(fontsize=7)
    for axis, matrix, whose in ((axes[2], grain.mixing @ grain.mixing.T, "measured"), (axes[3], between, "drawn")):
        axis.imshow(matrix.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_title(f"channels, {whose}", fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
        for row, values in enumerate(matrix.tolist()):
            for column, value in enumerate(values):
                axis.text(
                    column,
                    row,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if value > 0.6 else "black",
                )
    for axis in axes[:2]:
        axis.tick_params(labelsize=7)
