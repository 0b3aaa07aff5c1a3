"""Sheets of pictures: synthesised images beside real ones, and the kernels that made them."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from numpy.typing import NDArray
from torch import Tensor

from degsynth.files import write_atomic
from degsynth.model.checkpoint import LoadedDegrader
from degsynth.ops.kernels import centroid, gaussian_sigma
from degsynth.reports.plots import as_picture, draw_signed_kernel, new_figure

MOST_COLUMNS = 9
"""Largest number of panels in a row of `basis_rows`."""
SHOWN_SIDE = 96
"""Side of the part of an image that is shown, LR px."""
CORNERS = {
    "top left": (0.1, 0.1),
    "top right": (0.1, 0.9),
    "middle": (0.5, 0.5),
    "bottom left": (0.9, 0.1),
    "bottom right": (0.9, 0.9),
}
"""Positions (y, x), relative to the image, of the pixels whose effective kernels are shown."""


@dataclass(frozen=True)
class Panel:
    """One picture of a sheet."""

    title: str
    image: Tensor
    """An image (C, H, W) in [0, 1], or a kernel (K, K)."""
    error: bool = False
    """Whether the image is a difference of two images; it is drawn with −0.1 in black, 0 in gray and 0.1 in white."""


def _kernel_title(title: str, kernel: Tensor) -> str:
    """Add the width and the centroid of a kernel to its title."""
    if abs(float(kernel.sum())) < 0.01 * float(kernel.abs().sum()):  # a difference of blurs has no width or place
        return title
    sigma = [f"{s:.2f}" if s is not None else "–" for s in gaussian_sigma(kernel)]
    y, x = (round(value, 2) + 0.0 for value in centroid(kernel))  # + 0.0 turns −0 into 0
    return f"{title}\nσ {sigma[0]}, {sigma[1]} px; centre {y:+.2f}, {x:+.2f}"


def sheet(path: Path | BinaryIO, rows: Sequence[Sequence[Panel]], heading: str) -> None:
    """Write a PNG with one row of panels for each of ``rows``. Every kernel has its own scale, with zero in white."""
    columns = max(len(row) for row in rows)
    figure = new_figure(2.6 * columns, 2.95 * len(rows) + 0.5, dpi=110)
    figure.suptitle(heading, fontsize=10, parse_math=False)
    axes: NDArray[Any] = figure.subplots(len(rows), columns, squeeze=False)
    for row, row_axes in zip(rows, axes, strict=True):
        for axis in row_axes:
            axis.set_axis_off()
            for side in (axis.xaxis, axis.yaxis):  # matplotlib would still measure the labels that it does not draw
                side.set_visible(False)
        for panel, axis in zip(row, row_axes, strict=False):
            _draw_panel(axis, panel)
    figure.savefig(path, format="png")


def _draw_panel(axis: Any, panel: Panel) -> None:
    if panel.image.ndim == 2:
        draw_signed_kernel(axis, panel.image)
        axis.set_title(_kernel_title(panel.title, panel.image), fontsize=8, parse_math=False)
        return
    image = (panel.image * (5 if panel.error else 1) + 0.5 * panel.error).clamp(0, 1)
    axis.imshow(as_picture(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(panel.title, fontsize=8, parse_math=False)


def exact_sheet(path: Path, rows: Sequence[Sequence[Panel]], heading: str, side: int) -> None:
    """Write a PNG with rows of images, each enlarged by a whole number to about ``side`` px: every pixel is a square.

    The images of a row show the same place and have sides that divide those of the largest.
    """
    gap, title, top = 12, 18, 34
    heights = [max(panel.image.shape[1] for panel in row) for row in rows]
    widths = [max(panel.image.shape[2] for panel in row) for row in rows]
    zooms = [max(1, round(side / max(sizes))) for sizes in zip(heights, widths, strict=True)]
    columns = max(len(row) for row in rows)
    column = max(zoom * width for zoom, width in zip(zooms, widths, strict=True)) + gap
    total = top + sum(zoom * height + title + gap for zoom, height in zip(zooms, heights, strict=True))
    figure = new_figure((columns * column + gap) / 100, total / 100, dpi=100)
    figure.set_layout_engine("none")
    figure.text(gap / (columns * column + gap), 1 - 12 / total, heading, fontsize=8, va="center", parse_math=False)
    begin = top
    for row, zoom, height, width in zip(rows, zooms, heights, widths, strict=True):
        for number, panel in enumerate(row):
            shown = (number * column + gap, total - begin - title - zoom * height, zoom * width, zoom * height)
            sides = (columns * column + gap, total, columns * column + gap, total)
            axis = figure.add_axes([length / whole for length, whole in zip(shown, sides, strict=True)])
            axis.set_axis_off()
            factor = zoom * height // panel.image.shape[1]
            image = panel.image.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
            _draw_panel(axis, Panel("", image))
            axis.set_title(panel.title, fontsize=7, loc="left", pad=3, parse_math=False)
        begin += zoom * height + title + gap
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_atomic(path, picture.getvalue())


def comparison(
    name: str, hr: Tensor, real: Tensor, synthesised: Tensor, bicubic: Tensor, scale: int, camera: str = "real"
) -> list[Panel]:
    """Show the middle of one scene: HR, real LR, synthesised LR, bicubic LR, and both errors; images are (C, H, W).

    ``camera`` names the real LR in the titles.
    """
    return [
        Panel(f"HR ({name})", crop(hr, SHOWN_SIDE, scale)),
        Panel(f"{camera} LR", crop(real, SHOWN_SIDE)),
        Panel("synthesised LR", crop(synthesised, SHOWN_SIDE)),
        Panel("bicubic LR", crop(bicubic, SHOWN_SIDE)),
        Panel(f"synthesised − {camera}, ×5", crop(synthesised - real, SHOWN_SIDE), error=True),
        Panel(f"bicubic − {camera}, ×5", crop(bicubic - real, SHOWN_SIDE), error=True),
    ]


def crop(image: Tensor, size: int, scale: int = 1) -> Tensor:
    """Cut out the middle of an image (C, H, W): at most ``size`` LR px a side, ``scale`` times that of an HR image."""
    height, width = image.shape[1] // scale, image.shape[2] // scale
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    bottom, right = min(height, top + size), min(width, left + size)
    return image[:, top * scale : bottom * scale, left * scale : right * scale]


def has_basis_kernels(degrader: LoadedDegrader) -> bool:
    """Return whether a degrader mixes basis kernels for every pixel, which `basis_rows` can show."""
    return hasattr(degrader.optics, "weight_maps")


def _mixture(degrader: LoadedDegrader, hr: Tensor) -> tuple[Tensor, Tensor]:
    """Return the base kernel and the M basis kernels, (1 + M, K, K), and the weight maps (M, h, w) of hr (C, H, W)."""
    optics: Any = degrader.optics
    grid = degrader.multiple_of
    whole = hr[None, :, : hr.shape[1] // grid * grid, : hr.shape[2] // grid * grid]
    height, width = whole.shape[2] // degrader.scale, whole.shape[3] // degrader.scale
    code, field = degrader.draw(0, height, width), degrader.field(0, 0, 0, height, width, hr.shape[0])
    with torch.inference_mode():
        # The last two planes are the coordinates, the only ones that the weights may depend on.
        if hasattr(degrader, "tone"):  # files of earlier versions have none
            whole = degrader.tone.to_light(whole)
        weights = optics.weight_maps(whole, code.to(hr.device), field[:, -2:].to(hr.device))[0]
        return optics.kernels().cpu(), weights.float().cpu()


def kernels_at(
    degrader: LoadedDegrader, hr: Tensor, places: Mapping[str, tuple[float, float]], name: str
) -> list[Panel]:
    """Show the effective kernels of single pixels of hr (C, H, W): base + Σ_m weights(m) · basis(m).

    ``places`` are positions (y, x) relative to the image, from 0 to 1, by name. ``name`` begins every title.
    """
    kernels, weights = _mixture(degrader, hr)
    panels = []
    for place, (y, x) in places.items():
        row, column = int(y * (weights.shape[1] - 1)), int(x * (weights.shape[2] - 1))
        kernel = kernels[0] + (weights[:, row, column, None, None] * kernels[1:]).sum(0)
        panels.append(Panel(f"{name}, {place}", kernel))
    return panels


def basis_rows(degrader: LoadedDegrader, hr: Tensor) -> list[list[Panel]]:
    """Show the parts of a degrader that mixes basis kernels, and what it does to hr (C, H, W), as rows of panels.

    They are the base and the basis kernels, the effective kernels in the middle and in the corners, and the weight
    maps. The list is empty where a degrader has no basis kernels.
    """
    if not has_basis_kernels(degrader):
        return []
    kernels, weights = _mixture(degrader, hr)
    numbers = range(1, len(weights) + 1)
    basis = [Panel("base", kernels[0]), *(Panel(f"basis {n}", kernels[n]) for n in numbers)]
    maps = [Panel("HR", hr.cpu()), *(Panel(f"weights {n}", weights[n - 1 : n]) for n in numbers)]
    return [*_wrapped(basis), kernels_at(degrader, hr, CORNERS, "kernel"), *_wrapped(maps)]


def _wrapped(panels: list[Panel]) -> list[list[Panel]]:
    """Split a list of panels into rows of at most `MOST_COLUMNS`."""
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
