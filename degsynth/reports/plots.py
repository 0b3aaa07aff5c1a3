"""Plots that several reports have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degsynth.evaluation.kernel_sets import ROUND, shapes

LABELS = (("σ, HR px", "share"), ("σ, HR px", "ratio of axes"), ("angle of the longer axis, °", "ratio of axes"))
"""Labels (x, y) of the three plots of `plot_shapes`."""


def new_figure(width: float, height: float, dpi: int) -> Any:
    """Return an empty matplotlib figure of this size in inches, which needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_signed_kernel(axis: Any, kernel: Tensor) -> None:
    """Draw a kernel (K, K): zero in white, positive taps in red, negative taps in blue."""
    axis.imshow(signed_colours(kernel), interpolation="nearest")


def signed_colours(kernel: Tensor) -> NDArray[np.uint8]:
    """Return a kernel (K, K) in colours, (K, K, 3): zero in white, positive taps in red, negative taps in blue."""
    from matplotlib import colormaps

    peak = max(float(kernel.abs().max()), torch.finfo(torch.float64).tiny)
    colours: NDArray[np.uint8] = colormaps["RdBu_r"](0.5 + 0.5 * kernel.double().cpu().numpy() / peak, bytes=True)
    return colours[..., :3]


@dataclass(frozen=True)
class ShapeSet:
    """A set of kernels, as `plot_shapes` shows it."""

    name: str
    colour: str
    shapes: Tensor
    """(N, 3): σ, ratio of axes and angle, as `degsynth.evaluation.kernel_sets.shapes` returns them."""

    @classmethod
    def of(cls, name: str, kernels: Tensor, colour: str) -> ShapeSet:
        """Measure the shapes of kernels (N, K, K)."""
        return cls(name, colour, shapes(kernels))


def plot_shapes(axes: Sequence[Any], sets: Sequence[ShapeSet], bins: Any, opacity: float) -> None:
    """Plot the widths of sets of kernels, their ratio of axes against width, and that ratio against the angle.

    ``bins`` are the edges of the histogram of widths, ``opacity`` is that of its bars.
    """
    for kernels in sets:
        sigma, ratio, angle = (column.numpy() for column in kernels.shapes.T)
        weights = [1 / len(sigma)] * len(sigma)
        axes[0].hist(sigma, bins=bins, weights=weights, alpha=opacity, color=kernels.colour, label=kernels.name)
        axes[1].plot(sigma, ratio, ".", ms=3, alpha=0.5, color=kernels.colour)
        elongated = ratio > ROUND
        axes[2].plot(angle[elongated], ratio[elongated], ".", ms=3, alpha=0.5, color=kernels.colour)
    for axis, (x, y) in zip(axes, LABELS, strict=True):
        axis.set_xlabel(x, fontsize=8)
        axis.set_ylabel(y, fontsize=8)
        axis.tick_params(labelsize=7)
    largest_ratio = max((float(kernels.shapes[:, 1].max()) for kernels in sets), default=1.5)
    for axis in axes[1:]:
        axis.set_ylim(1, 1 + 1.1 * max(0.5, largest_ratio - 1))
    axes[2].set_xlim(0, 180)
    axes[2].set_title(f"those of more than {ROUND:g}:1", fontsize=8)


def as_picture(image: Tensor) -> NDArray[Any]:
    """Return an image (C, h, w) as matplotlib draws it: the first three channels as RGB, or the first one as gray."""
    return (image[:3].permute(1, 2, 0) if image.shape[0] >= 3 else image[0]).numpy()
