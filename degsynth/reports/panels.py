"""Pictures for people: what was synthesised beside what was real, and the kernels behind it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degsynth.files import write_atomic
from degsynth.ops.kernels import centroid, gaussian_sigma

MOST_COLUMNS = 9
CORNERS = {
    "top left": (0.1, 0.1),
    "top right": (0.1, 0.9),
    "middle": (0.5, 0.5),
    "bottom left": (0.9, 0.1),
    "bottom right": (0.9, 0.9),
}
"""Where effective kernels are looked at, relative (y, x)."""


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet: an image (C, H, W) in [0, 1], or a kernel (K, K)."""

    title: str
    image: Tensor
    error: bool = False
    """Signed difference: drawn ± 0.1 around gray."""


def _kernel_title(title: str, kernel: Tensor) -> str:
    if abs(float(kernel.sum())) < 0.01 * float(kernel.abs().sum()):  # a difference of blurs has no width or place
        return title
    sigma = [f"{s:.2f}" if s is not None else "–" for s in gaussian_sigma(kernel)]
    y, x = (round(value, 2) + 0.0 for value in centroid(kernel))  # + 0.0 turns −0 into 0
    return f"{title}\nσ {sigma[0]}, {sigma[1]} px; centre {y:+.2f}, {x:+.2f}"


def sheet(path: Path | BinaryIO, rows: Sequence[Sequence[Panel]], heading: str) -> None:
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
    figure.savefig(path, format="png")


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


def has_anatomy(degrader: Any) -> bool:
    """Whether a degrader mixes basis kernels for every pixel, so that there is something to be drawn."""
    return hasattr(degrader.optics, "weight_maps")


def _mixture(degrader: Any, hr: Tensor) -> tuple[Tensor, Tensor]:
    """The bank of kernels (1 + M, K, K) and the weight maps (M, h, w) that hr (C, H, W) gets."""
    grid = degrader.multiple_of
    whole = hr[None, :, : hr.shape[1] // grid * grid, : hr.shape[2] // grid * grid]
    height, width = whole.shape[2] // degrader.scale, whole.shape[3] // degrader.scale
    code, field = degrader.draw(0, height, width), degrader.field(0, 0, 0, height, width, hr.shape[0])
    with torch.inference_mode():
        weights = degrader.optics.weight_maps(whole, code.to(hr.device), field.to(hr.device))[0]
        return degrader.optics.kernels().cpu(), weights.float().cpu()


def kernels_at(degrader: Any, hr: Tensor, places: Mapping[str, tuple[float, float]], whose: str) -> list[Panel]:
    """Effective kernels of single pixels: Σ_m C(m) φ_m at relative positions (y, x) in 0 … 1 of hr (C, H, W)."""
    kernels, weights = _mixture(degrader, hr)
    panels = []
    for name, (y, x) in places.items():
        row, column = int(y * (weights.shape[1] - 1)), int(x * (weights.shape[2] - 1))
        panels.append(
            Panel(f"{whose}, {name}", kernels[0] + (weights[:, row, column, None, None] * kernels[1:]).sum(0))
        )
    return panels


def anatomy(degrader: Any, hr: Tensor) -> list[list[Panel]]:
    """What a degrader with basis kernels is made of, and what it does to hr (C, H, W): rows of panels.

    The basis (what weights multiply, and the base they add to), the effective kernels in the middle and in the corners,
    and the weight maps. An empty list for methods that have none of it.
    """
    if not has_anatomy(degrader):
        return []
    kernels, weights = _mixture(degrader, hr)
    number = range(1, len(weights) + 1)
    basis = [Panel("base", kernels[0]), *(Panel(f"basis {n}", kernels[n]) for n in number)]
    maps = [Panel("HR", hr.cpu()), *(Panel(f"weights {n}", weights[n - 1 : n]) for n in number)]
    return [*_lines(basis), kernels_at(degrader, hr, CORNERS, "kernel"), *_lines(maps)]


def _lines(panels: list[Panel]) -> list[list[Panel]]:
    return [panels[start : start + MOST_COLUMNS] for start in range(0, len(panels), MOST_COLUMNS)]


def page(path: Path, title: str, facts: Sequence[tuple[str, str]], rows: Sequence[Sequence[Panel]]) -> None:
    """Write one self-contained HTML file: a title, a table of facts, and a sheet of pictures."""
    picture = io.BytesIO()
    sheet(picture, rows, "")
    lines = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in facts)
    write_atomic(
        path,
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
th {{ text-align: left; vertical-align: top; padding-right: 2rem; font-weight: 600; white-space: nowrap }}
td {{ overflow-wrap: anywhere }}
img {{ max-width: 100%; margin-top: 1rem }}
</style></head>
<body><h1>{html.escape(title)}</h1><table>{lines}</table>
<img alt="kernels and weight maps" src="data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}">
</body></html>
""",
    )
