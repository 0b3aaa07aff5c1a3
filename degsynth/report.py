"""Pictures for people: what was synthesised beside what was real, and the kernels behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from degsynth.ops.kernels import centroid, gaussian_sigma


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet: an image (C, H, W) in [0, 1], or a kernel (K, K)."""

    title: str
    image: Tensor
    error: bool = False
    """Signed difference: drawn ± 0.1 around gray."""


def _kernel_title(title: str, kernel: Tensor) -> str:
    sigma = [f"{s:.2f}" if s is not None else "–" for s in gaussian_sigma(kernel)]
    y, x = (round(value, 2) + 0.0 for value in centroid(kernel))  # + 0.0 turns −0 into 0
    return f"{title}\nσ {sigma[0]}, {sigma[1]} px; centre {y:+.2f}, {x:+.2f}"


def sheet(path: Path, rows: Sequence[Sequence[Panel]], heading: str) -> None:
    """Write a PNG with one row of panels for each of ``rows``; kernels on a scale of their own, zero in white."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(2.6 * columns, 2.95 * len(rows) + 0.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(heading, fontsize=10, parse_math=False)
    axes: NDArray[Any] = figure.subplots(len(rows), columns, squeeze=False)
    for row, line in zip(rows, axes, strict=True):
        for axis in line:
            axis.set_axis_off()
        for panel, axis in zip(row, line, strict=False):
            if panel.image.ndim == 2:
                peak = float(panel.image.abs().max())
                axis.imshow(panel.image.numpy(), cmap="RdBu_r", vmin=-peak, vmax=peak, interpolation="nearest")
                axis.set_title(_kernel_title(panel.title, panel.image), fontsize=8, parse_math=False)
                continue
            shown = np.clip(panel.image.permute(1, 2, 0).numpy() * (5 if panel.error else 1) + 0.5 * panel.error, 0, 1)
            shown = shown[..., 0] if shown.shape[2] == 1 else shown[..., :3]
            axis.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_title(panel.title, fontsize=8, parse_math=False)
    figure.savefig(path)


def comparison(
    name: str, hr: Tensor, real: Tensor, made: Tensor, usual: Tensor, scale: int, whose: str = "real", side: int = 96
) -> list[Panel]:
    """The middle of one scene: HR, real LR, synthesised LR, bicubic LR, and both errors; images (C, H, W).

    ``whose`` LR is called real; ``side`` is the side of the part shown, LR px.
    """
    return [
        Panel(f"HR ({name})", crop(hr, side, scale)),
        Panel(f"{whose} LR", crop(real, side)),
        Panel("synthesised LR", crop(made, side)),
        Panel("bicubic LR", crop(usual, side)),
        Panel(f"synthesised − {whose}, ×5", crop(made - real, side), error=True),
        Panel(f"bicubic − {whose}, ×5", crop(usual - real, side), error=True),
    ]


def crop(image: Tensor, size: int, scale: int = 1) -> Tensor:
    """The middle of an image (C, H, W): at most ``size`` LR px a side, ``scale`` × that of an HR image."""
    height, width = image.shape[1] // scale, image.shape[2] // scale
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    bottom, right = min(height, top + size), min(width, left + size)
    return image[:, top * scale : bottom * scale, left * scale : right * scale]
