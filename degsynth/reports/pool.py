"""A pool as a picture: some of its kernels, their mean and spread, and how their shapes are distributed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from degsynth.evaluation.diversity import by_width
from degsynth.evaluation.kernel_sets import ROUND, shapes
from degsynth.files import write_atomic
from degsynth.model.pool_file import SOURCES, Pool
from degsynth.ops.kernels import gaussian

SHOWN = 12
"""Kernels of every source, from the narrowest to the widest."""
COLOURS = dict(zip(SOURCES, ("tab:orange", "tab:blue", "tab:green", "tab:purple"), strict=True))
REFERENCES = (1.25, 1.6)
"""σ of Gaussians that LR images are usually made with, HR px (kmsr, Fig. 4)."""
KEPT = 0.998
"""What of the mean kernel must be shown."""


def draw_pool(path: Path, pool: Pool, title: str) -> None:
    """Draw the PNG. Flagged kernels have a row of their own, and no part in the rest."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    usable = pool.subset(pool.usable())
    flagged = [number for number, origin in enumerate(pool.origins) if origin.flag]
    rows: list[tuple[str, list[tuple[str, Tensor]]]] = []
    groups: dict[str, Tensor] = {}
    for source in SOURCES:
        own = [number for number, origin in enumerate(usable.origins) if origin.source == source]
        if own:
            groups[source] = usable.kernels[own]
            chosen = by_width(groups[source], min(SHOWN, len(own)))
            rows.append((f"{source} ({len(own)})", [(_width(kernel), kernel) for kernel in chosen]))
    if flagged:
        shown = [(pool.origins[number].flag, pool.kernels[number]) for number in flagged[:SHOWN]]
        rows.append((f"flagged ({len(flagged)})", shown))
    reach = _reach(usable.kernels if len(usable) else pool.kernels)
    figure = Figure(figsize=(13, 1.35 * len(rows) + 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10, parse_math=False)
    grid = figure.add_gridspec(2, 1, height_ratios=[1.35 * len(rows), 3.2])
    kernels = grid[0].subgridspec(len(rows), SHOWN)
    for row, (name, panels) in enumerate(rows):
        for column in range(SHOWN):
            axis = figure.add_subplot(kernels[row, column])
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_frame_on(column < len(panels))
            if column == 0:
                axis.set_ylabel(name, fontsize=8)
            if column < len(panels):
                text, kernel = panels[column]
                axis.imshow(_inner(kernel, reach).numpy(), cmap="magma", vmin=0.0, interpolation="nearest")
                axis.set_title(text, fontsize=7)
    plots = grid[1].subgridspec(1, 4)
    axes = [figure.add_subplot(plots[0, column]) for column in range(4)]
    _profiles(axes[0], groups, reach)
    _shapes(axes[1:], groups)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomic(path, picture.getvalue())


def _width(kernel: Tensor) -> str:
    sigma, ratio, _ = shapes(kernel[None])[0].tolist()
    return f"σ {sigma:.2f}, {ratio:.1f}:1"


def _reach(kernels: Tensor) -> int:
    """So many taps on either side of the middle hold nearly all of the mean kernel."""
    mean = kernels.clamp(min=0).mean(0)
    middle = mean.shape[0] // 2
    for reach in range(3, middle):
        if float(_inner(mean, reach).sum()) > KEPT * float(mean.sum()):
            return reach
    return middle


def _inner(kernel: Tensor, reach: int) -> Tensor:
    middle = kernel.shape[0] // 2
    return kernel[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]


def _profiles(axis: Any, groups: dict[str, Tensor], reach: int) -> None:
    """Across the middle: mean and standard deviation (kmsr, Fig. 4), and Gaussians to compare with."""
    at = range(-reach, reach + 1)
    for source, kernels in groups.items():
        middle = kernels.shape[-1] // 2
        rows = kernels[:, middle, middle - reach : middle + reach + 1]
        mean, spread = rows.mean(0), rows.std(0, correction=0)
        axis.plot(at, mean.numpy(), color=COLOURS[source], label=source)
        axis.fill_between(at, (mean - spread).numpy(), (mean + spread).numpy(), color=COLOURS[source], alpha=0.2, lw=0)
    for sigma, style in zip(REFERENCES, ("--", ":"), strict=True):
        row = gaussian(2 * reach + 1, sigma, sigma)[reach]
        axis.plot(at, row.numpy(), style, color="gray", lw=1, label=f"Gaussian, σ {sigma:g}")
    axis.set_xlabel("HR px", fontsize=8)
    axis.set_title("middle row: mean ± one deviation", fontsize=8)
    axis.legend(fontsize=7)
    axis.tick_params(labelsize=7)


def _shapes(axes: list[Any], groups: dict[str, Tensor]) -> None:
    found = {source: shapes(kernels) for source, kernels in groups.items()}
    widest = max((float(shape[:, 0].max()) for shape in found.values()), default=1.0)
    narrowest = min((float(shape[:, 0].min()) for shape in found.values()), default=0.0)
    bins: Any = torch.linspace(0.9 * narrowest, 1.1 * widest, 40).numpy()
    longest = max((float(shape[:, 1].max()) for shape in found.values()), default=1.5)
    for source, shape in found.items():
        sigma, ratio, angle = (column.numpy() for column in shape.T)
        weights: Any = torch.full((len(sigma),), 1 / len(sigma)).numpy()
        axes[0].hist(sigma, bins=bins, weights=weights, alpha=0.5, color=COLOURS[source], label=source)
        axes[1].plot(sigma, ratio, ".", ms=3, alpha=0.5, color=COLOURS[source])
        directed = ratio > ROUND
        axes[2].plot(angle[directed], ratio[directed], ".", ms=3, alpha=0.5, color=COLOURS[source])
    labels = (("σ, HR px", "share"), ("σ, HR px", "ratio of axes"), ("angle of the longer axis, °", "ratio of axes"))
    for axis, (x, y) in zip(axes, labels, strict=True):
        axis.set_xlabel(x, fontsize=8)
        axis.set_ylabel(y, fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in axes[1:]:
        axis.set_ylim(1, 1 + 1.1 * max(0.5, longest - 1))
    axes[2].set_xlim(0, 180)
    axes[2].set_title(f"those of more than {ROUND:g}:1", fontsize=8)
