"""Sheets of pictures: synthesised images beside real ones, and the kernels that made them."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from degsynth.files import write_atomic
from degsynth.model.checkpoint import LoadedDegrader
from degsynth.model.inference import inference
from degsynth.ops.kernels import centroid, gaussian_sigma
from degsynth.reports.mosaic import Tile, mosaic
from degsynth.reports.plots import signed_colours

MOST_COLUMNS = 9
"""Largest number of panels in a row of `basis_rows`."""
SHOWN_SIDE = 96
"""Side of the part of an image that is shown, LR px."""
PANEL_SIDE = 240
"""Side of a panel, about, px."""
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


def sheet(
    path: Path | BinaryIO, rows: Sequence[Sequence[Panel]], heading: str, side: int = PANEL_SIDE, exact: bool = False
) -> None:
    """Write a PNG with one row of panels for each of ``rows``. Every kernel has its own scale, with zero in white.

    Images are shown at about ``side`` px; with ``exact`` larger ones are not reduced, so that all pixels are squares.
    """
    picture = mosaic([[_tile(panel) for panel in row] for row in rows], heading, side, exact)
    if isinstance(path, Path):
        write_atomic(path, picture)
    else:
        path.write(picture)


def _tile(panel: Panel) -> Tile:
    """Return a panel as pixels with a title."""
    if panel.image.ndim == 2:
        return Tile(_kernel_title(panel.title, panel.image), signed_colours(panel.image))
    levels = (panel.image * (5 if panel.error else 1) + 0.5 * panel.error).clamp(0, 1)
    shown = levels[:3] if levels.shape[0] >= 3 else levels[:1].expand(3, -1, -1)
    return Tile(panel.title, (255 * shown).round().byte().permute(1, 2, 0).cpu().numpy())


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
    with inference():
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
    shown = weights + getattr(degrader.optics, "middle", 0.0)  # from 0 to 1
    maps = [Panel("HR", hr.cpu()), *(Panel(f"weights {n}", shown[n - 1 : n]) for n in numbers)]
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
