"""A kernel pool as a picture: some of its kernels, their mean and spread, and how their shapes are distributed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from degsynth.evaluation.diversity import by_width
from degsynth.evaluation.kernel_sets import shapes
from degsynth.files import write_atomic
from degsynth.model.pool_file import SOURCES, Pool
from degsynth.ops.kernels import gaussian
from degsynth.reports.plots import ShapeSet, new_figure, plot_shapes

SHOWN = 12
"""Number of kernels that are drawn of every source, from the narrowest to the widest."""
COLOURS = dict(zip(SOURCES, ("tab:orange", "tab:blue", "tab:green", "tab:purple"), strict=True))
"""Colour of every source."""
REFERENCES = (1.25, 1.6)
"""σ (HR px) of the Gaussians that LR images are usually made with (kmsr, Fig. 4)."""
VISIBLE_SHARE = 0.998
"""Share of the mean kernel that must lie inside the part of the kernels that is drawn."""
ROW_HEIGHT, PLOT_HEIGHT = 1.35, 3.2
"""Heights of a row of kernels and of the plots below, inches."""


@dataclass(frozen=True)
class _Row:
    """A row of kernels (K, K) with a title each."""

    name: str
    kernels: Sequence[tuple[str, Tensor]]


def draw_pool(path: Path, pool: Pool, title: str) -> None:
    """Draw a pool as a PNG file. Flagged kernels are drawn in a row of their own and left out of the plots."""
    usable = pool.subset(pool.usable())
    groups = _by_source(usable)
    rows = _rows(pool, groups)
    reach = _reach(usable.kernels if len(usable) else pool.kernels)
    height = ROW_HEIGHT * len(rows)
    figure = new_figure(13, height + PLOT_HEIGHT + 0.4, dpi=110)
    figure.suptitle(title, fontsize=10, parse_math=False)
    grid = figure.add_gridspec(2, 1, height_ratios=[height, PLOT_HEIGHT])
    cells = grid[0].subgridspec(len(rows), SHOWN)
    for number, row in enumerate(rows):
        _draw_row([figure.add_subplot(cells[number, column]) for column in range(SHOWN)], row, reach)
    cells = grid[1].subgridspec(1, 4)
    axes = [figure.add_subplot(cells[0, column]) for column in range(4)]
    _draw_profiles(axes[0], groups, reach)
    _draw_shapes(axes[1:], groups)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomic(path, picture.getvalue())


def _by_source(pool: Pool) -> dict[str, Tensor]:
    """Return the kernels of every source that the pool has."""
    numbers = {
        source: [number for number, origin in enumerate(pool.origins) if origin.source == source] for source in SOURCES
    }
    return {source: pool.kernels[chosen] for source, chosen in numbers.items() if chosen}


def _rows(pool: Pool, groups: dict[str, Tensor]) -> list[_Row]:
    """Choose the kernels to draw: some of every source, and the first flagged ones."""
    rows = []
    for source, kernels in groups.items():
        chosen = by_width(kernels, min(SHOWN, len(kernels)))
        rows.append(_Row(f"{source} ({len(kernels)})", [(_width(kernel), kernel) for kernel in chosen]))
    flagged = [(origin.flag, kernel) for origin, kernel in zip(pool.origins, pool.kernels, strict=True) if origin.flag]
    if flagged:
        rows.append(_Row(f"flagged ({len(flagged)})", flagged[:SHOWN]))
    return rows


def _width(kernel: Tensor) -> str:
    """Describe the width and the ratio of axes of a kernel (K, K)."""
    sigma, ratio, _ = shapes(kernel[None])[0].tolist()
    return f"σ {sigma:.2f}, {ratio:.1f}:1"


def _reach(kernels: Tensor) -> int:
    """Return the number of taps on either side of the middle that hold nearly all of the mean of kernels (N, K, K)."""
    mean = kernels.clamp(min=0).mean(0)
    middle = mean.shape[0] // 2
    for reach in range(3, middle):
        if float(_inner(mean, reach).sum()) > VISIBLE_SHARE * float(mean.sum()):
            return reach
    return middle


def _inner(kernel: Tensor, reach: int) -> Tensor:
    """Cut the middle of a kernel out, with ``reach`` taps on either side."""
    middle = kernel.shape[0] // 2
    return kernel[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]


def _draw_row(axes: Sequence[Any], row: _Row, reach: int) -> None:
    """Draw the kernels of a row; axes that are left over stay empty."""
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_frame_on(False)
    axes[0].set_ylabel(row.name, fontsize=8)
    for axis, (title, kernel) in zip(axes, row.kernels, strict=False):
        axis.set_frame_on(True)
        axis.imshow(_inner(kernel, reach).numpy(), cmap="magma", vmin=0.0, interpolation="nearest")
        axis.set_title(title, fontsize=7)


def _draw_profiles(axis: Any, groups: dict[str, Tensor], reach: int) -> None:
    """Plot the middle row of kernels, mean ± standard deviation (kmsr, Fig. 4), and Gaussians to compare them with."""
    positions = range(-reach, reach + 1)
    for source, kernels in groups.items():
        middle = kernels.shape[-1] // 2
        profiles = kernels[:, middle, middle - reach : middle + reach + 1]
        mean, spread = profiles.mean(0), profiles.std(0, correction=0)
        axis.plot(positions, mean.numpy(), color=COLOURS[source], label=source)
        low, high = (mean - spread).numpy(), (mean + spread).numpy()
        axis.fill_between(positions, low, high, color=COLOURS[source], alpha=0.2, lw=0)
    for sigma, style in zip(REFERENCES, ("--", ":"), strict=True):
        profile = gaussian(2 * reach + 1, sigma, sigma)[reach]
        axis.plot(positions, profile.numpy(), style, color="gray", lw=1, label=f"Gaussian, σ {sigma:g}")
    axis.set_xlabel("HR px", fontsize=8)
    axis.set_title("middle row: mean ± one deviation", fontsize=8)
    axis.legend(fontsize=7)
    axis.tick_params(labelsize=7)


def _draw_shapes(axes: Sequence[Any], groups: dict[str, Tensor]) -> None:
    """Plot the shapes of the kernels of every source."""
    sets = [ShapeSet.of(source, kernels, COLOURS[source]) for source, kernels in groups.items()]
    widest = max((float(kernels.shapes[:, 0].max()) for kernels in sets), default=1.0)
    narrowest = min((float(kernels.shapes[:, 0].min()) for kernels in sets), default=0.0)
    plot_shapes(axes, sets, torch.linspace(0.9 * narrowest, 1.1 * widest, 40).numpy(), opacity=0.5)
