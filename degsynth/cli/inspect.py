"""``degsynth inspect``."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from degsynth.cli import console, options
from degsynth.errors import DataError

if TYPE_CHECKING:
    from degsynth.model.checkpoint import Checkpoint
    from degsynth.reports.panels import Panel

NAME = "inspect"

Scores = dict[str, dict[str, float]]
"""Mean scores on held-out images, by model."""


def command(
    model: options.Model,
    scale: options.PoolScale = None,
    json: options.Json = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            "-o",
            metavar="P.png",
            help="Draw the kernels and weight maps of the model into this file. Unset: no picture.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="F.html", help="Write metadata, scores and picture as one HTML page. Unset: no page."),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(metavar="HR", help="HR image whose weight maps are drawn. Unset: a synthetic texture."),
    ] = None,
) -> None:
    """Show the metadata of a model, its scores and its kernels.

    Pictures show the effective kernel. For models that mix basis kernels they also show these, the kernels in the
    middle and in the corners of an image, and the weight maps.

    Example: degsynth inspect nikon.pt -o nikon.png --image photo.jpg
    """
    from degsynth.model.resolve import open_model

    for path in (picture, html):
        if path is not None:
            options.check_output(path)
    loaded = open_model(model, scale)
    record = {"path": str(loaded.path), "sha256": loaded.sha256, **loaded.spec.model_dump(mode="json")}
    facts = [(name, _in_few_digits(value)) for name, value in record.items() if name != "held_out"]
    scores: Scores = dict(record["held_out"] or {})
    if scores:
        scores = {record["method"]: scores.pop("model"), **scores}
    if picture is not None or html is not None:
        _draw(loaded, image, picture, html, [*facts, *_score_lines(scores)])
    if json:
        typer.echo(jsonlib.dumps(record, ensure_ascii=False))
        return
    for name, value in facts:
        console.result(f"{name:18} {value}")
    if scores:
        console.scores("held-out images of the fit", scores)


def _in_few_digits(value: Any) -> str:
    """Write a value as JSON, with four digits of each number that is not whole; `--json` has them all."""
    exact = jsonlib.dumps(value, ensure_ascii=False)
    few = jsonlib.loads(exact, parse_float=lambda digits: float(f"{float(digits):.4g}"))
    return jsonlib.dumps(few, ensure_ascii=False)


def _score_lines(scores: Scores) -> list[tuple[str, str]]:
    """Return a name and a line of figures for each model that was scored."""
    return [
        (f"held out, {model}", ", ".join(f"{name} {figure:.4g}" for name, figure in figures.items()))
        for model, figures in scores.items()
    ]


def _draw(
    model: Checkpoint, image: Path | None, picture: Path | None, html: Path | None, facts: list[tuple[str, str]]
) -> None:
    """Write the picture and the page, where they are asked for."""
    from degsynth.model import checkpoint
    from degsynth.reports import panels

    with checkpoint.faults_named(model.path):
        rows = _rows(model, image)
    name = model.path.parent.name if model.path.name == "checkpoint.pt" else model.path.name
    title = f"{model.spec.method}, scale {model.spec.scale}: {name}"
    if picture is not None:
        panels.sheet(picture, rows, title)
        console.note(f"picture: {picture}")
    if html is not None:
        panels.page(html, title, facts, rows)
        console.note(f"page: {html}")


def _rows(model: Checkpoint, image: Path | None) -> list[list[Panel]]:
    """Return rows of panels: the effective kernels and, for a model with basis kernels, these and their weight maps."""
    from degsynth.data import images
    from degsynth.evaluation.effective_kernel import texture
    from degsynth.model.degradation import Degradation
    from degsynth.reports import panels, previews

    spec = model.spec
    if image is None:
        hr = texture(spec.usual_channels(), 96 * spec.scale, 96 * spec.scale)
    else:
        hr = images.to_tensor(images.read(image).pixels, spec.data_range)
        Degradation(model).check_channels(hr.shape[0])
        if min(hr.shape[1:]) < spec.multiple_of:
            raise DataError(
                f"{image} is too small for weight maps; give an image of at least {spec.multiple_of} px a side"
            )
    return [previews.measured_kernels(model), *panels.basis_rows(model.degrader, hr)]
