"""``degsynth inspect``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from degsynth.cli import console, options

NAME = "inspect"


def command(
    model: options.Model,
    scale: options.PoolScale = None,
    json: options.Json = False,
    picture: Annotated[
        Path | None, typer.Option("--picture", "-o", metavar="P.png", help="Draw its kernels and weight maps.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="F.html", help="Write all of it as one page.")] = None,
    image: Annotated[
        Path | None, typer.Option(metavar="HR", help="Photograph to draw weight maps of; unset: a texture.")
    ] = None,
) -> None:
    """Show what a model says of itself: method, scale, phase, configuration, held-out scores; and draw what it is.

    Pictures show the effective kernel; of models that mix basis kernels also these, the kernels in the middle and in
    the corners of an image, and the weight maps.

    Example: degsynth inspect nikon.pt -o nikon.png --image photo.jpg
    """
    for path in (picture, html):
        if path is not None:
            options.check_output(path)
    from degsynth.model.resolve import open_model

    loaded = open_model(model, scale)
    record = {"path": str(loaded.path), "sha256": loaded.sha256, **loaded.spec.model_dump(mode="json")}
    facts = [(name, jsonlib.dumps(value, ensure_ascii=False)) for name, value in record.items() if name != "held_out"]
    scores: dict[str, dict[str, float]] = dict(record["held_out"] or {})
    if scores:
        scores = {record["method"]: scores.pop("model"), **scores}
    if picture is not None or html is not None:
        from degsynth.reports import panels

        rows = _rows(loaded, image)
        title = f"{loaded.spec.method}, scale {loaded.spec.scale}: {loaded.path.name}"
        if picture is not None:
            panels.sheet(picture, rows, title)
        if html is not None:
            told = [(f"held out, {n}", ", ".join(f"{k} {v:.4g}" for k, v in f.items())) for n, f in scores.items()]
            panels.page(html, title, [*facts, *told], rows)
    if json:
        typer.echo(jsonlib.dumps(record, ensure_ascii=False))
        return
    for name, value in facts:
        typer.echo(f"{name:18} {value}")
    if scores:
        console.scores("held-out images of its fit", scores)


def _rows(loaded: Any, image: Path | None) -> list[list[Any]]:
    """Panels: the effective kernel, and what `panels.anatomy` finds."""
    from degsynth.data import images
    from degsynth.errors import DataError
    from degsynth.evaluation.effective_kernel import texture
    from degsynth.model.degradation import Degradation
    from degsynth.reports import panels, previews

    spec = loaded.spec
    if image is None:
        hr = texture(spec.usual_channels(), 96 * spec.scale, 96 * spec.scale)
    else:
        hr = images.to_tensor(images.read(image).pixels, spec.data_range)
        Degradation(loaded).check_channels(hr.shape[0])
        if min(hr.shape[1:]) < spec.multiple_of:
            raise DataError(f"{image} is too small to draw weight maps of: at least {spec.multiple_of} px a side")
    return [
        [*previews.measured_kernels(loaded), panels.Panel("HR", hr)],
        *panels.anatomy(loaded.degrader, hr),
    ]
