"""``degsynth inspect``."""

from __future__ import annotations

import json as jsonlib

import typer

from degsynth.cli import console, options

NAME = "inspect"


def command(model: options.Model, json: options.Json = False) -> None:
    """Show what a model says of itself: method, scale, phase, configuration, held-out scores.

    Example: degsynth inspect nikon.pt
    """
    from degsynth import checkpoint

    loaded = checkpoint.load(checkpoint.resolve(model))
    record = {"path": str(loaded.path), "sha256": loaded.sha256, **loaded.spec.model_dump(mode="json")}
    if json:
        typer.echo(jsonlib.dumps(record, ensure_ascii=False))
        return
    scores = record.pop("held_out")
    rows = [[name, jsonlib.dumps(value, ensure_ascii=False)] for name, value in record.items()]
    for name, value in rows:
        typer.echo(f"{name:18} {value}")
    if scores:
        console.scores("held-out pairs of its fit", {record["method"]: scores["model"], "bicubic": scores["bicubic"]})
